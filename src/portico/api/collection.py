# SPDX-License-Identifier: Apache-2.0
"""The five verbs of every collection, from the registry and the table of rules. Called in worker threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, TypeGuard, TypeVar

import msgspec

from portico.api import query
from portico.errors import BadRequest, PorticoError, PreconditionFailed
from portico.model import check
from portico.model.resource import Resource
from portico.rules import lookup
from portico.rules import of as rules_of
from portico.rules.context import Context, Row
from portico.store.query import Filter
from portico.store.store import Store
from portico.store.transaction import Transaction

S = TypeVar("S")
T = TypeVar("T")

# A bulk request is one transaction, and others wait for it.
MAX_BULK = 1000
# After an object that who asks cannot see there is nothing of these, which is no error: Neutron's own tests ask for it.
_NO_PAGE_AFTER = frozenset({"policy"})


class Service(msgspec.Struct, frozen=True):
    """What requests are served with."""

    store: Store
    page_max: int


def _bad(message: str) -> BadRequest:
    return BadRequest(message, type="HTTPBadRequest")


def _offered(resource: Resource, function: T | None) -> T:
    if function is None:
        raise _bad(f"{resource.plural} do not offer this verb.")
    return function


@cache
def _visible(resource: Resource) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in resource.attributes.values() if attribute.is_visible)


@cache
def _as_text(resource: Resource) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in resource.attributes.values() if attribute.as_text)


def render(resource: Resource, row: Row, hidden: Collection[str], fields: Iterable[str] = ()) -> Row:
    """Return an object as clients see it: without what is hidden from them, with only `fields` if any are named."""
    shown = {name: row.get(name) for name in _visible(resource) if name not in hidden}
    shown.update((name, str(shown[name])) for name in _as_text(resource) if shown.get(name) is not None)
    if "project_id" in shown:
        shown["tenant_id"] = shown["project_id"]
    if fields:
        return {name: value for name, value in shown.items() if name in fields}
    return shown


def list_objects(
    service: Service, resource: Resource, context: Context, pairs: query.Pairs, url: str, parent_id: str = ""
) -> Row:
    """Return the body of a list answer; `parent_id`, here and below, is that of the object whose parts it is about."""
    policy, name = context.policy, resource.name
    request = query.parse(resource, pairs, service.page_max, context.project_id, policy.secrets(context, name))
    asked = request.query
    if resource.parent is not None:
        asked = msgspec.structs.replace(asked, filters=(*asked.filters, Filter(resource.parent_key, (parent_id,))))
    rules = rules_of(resource)
    if rules.before_list is not None:
        rules.before_list(service.store, context, asked)
    with service.store.read() as tx:
        _find_parent(tx, context, resource, parent_id)
        try:
            rows = tx.list(name, asked, policy.visible(tx.tables, context, name))
        except LookupError as error:
            if name not in _NO_PAGE_AFTER:
                raise lookup.missing(name, str(error.args[0])) from error
            rows = []
        body: Row = {resource.plural: answers(tx, context, resource, rows, request.fields)}
    found = query.links(url, pairs, request, [row["id"] for row in rows]) if asked.limit is not None else []
    if found:
        body[f"{resource.plural}_links"] = found
    return body


def is_short(resource: Resource, pairs: query.Pairs) -> bool:
    """Tell whether a list takes no longer than an object: of a network's subnets, which are few.

    Docker's plugin asks for these whenever a container starts on a routed network.
    """
    return resource.name == "subnet" and [name for name, _ in pairs].count("network_id") == 1


def show(
    service: Service, resource: Resource, context: Context, object_id: str, pairs: query.Pairs, parent_id: str = ""
) -> Row:
    """Return the body of a show answer."""
    with service.store.read() as tx:
        row = _find(tx, context, resource, object_id, parent_id)
        return {resource.name: answers(tx, context, resource, [row], query.parse_fields(pairs))[0]}


def _find_parent(tx: Transaction, context: Context, resource: Resource, parent_id: str) -> None:
    if resource.parent is not None:
        lookup.visible(tx, context, resource.parent.name, parent_id)


def _find(tx: Transaction, context: Context, resource: Resource, object_id: str, parent_id: str) -> Row:
    """Return the row of one object; a part of another object than that with `parent_id` is not there."""
    _find_parent(tx, context, resource, parent_id)
    row = lookup.visible(tx, context, resource.name, object_id)
    if resource.parent is not None and row[resource.parent_key] != parent_id:
        raise lookup.missing(resource.name, object_id)
    return row


def answers(
    tx: Transaction, context: Context, resource: Resource, rows: list[Row], fields: Collection[str] = ()
) -> list[Row]:
    """Return objects as who asks may see them, with only `fields` if any are named."""
    present = rules_of(resource).present
    if present is not None:
        rows = present(tx, context, rows)
    hidden = context.policy.hidden(tx, context, resource.name, rows)
    return [render(resource, row, names, fields) for row, names in zip(rows, hidden, strict=True)]


def create(service: Service, resource: Resource, context: Context, body: object, parent_id: str = "") -> Row:
    """Make one object or, with the plural in the body, several or none at all."""
    rules = rules_of(resource)
    make = _offered(resource, rules.create)
    items, bulk = _items(resource, body)
    where = resource.plural if bulk else ""
    wanted = _each(where, items, lambda item: _owned(check.prepare_post(resource, item), resource, context))
    if rules.check_bulk is not None and bulk:
        rules.check_bulk(wanted)

    inside = {resource.parent_key: parent_id} if resource.parent is not None else {}

    def permitted(tx: Transaction, item: Row) -> Row:
        item = {**item, **inside}
        context.policy.require(tx, context, "create", resource.name, item, _given(resource, item))
        return make(tx, context, item)

    if resource.parent is not None:
        context.policy.refuse_whatever(context, "create", resource.name)
    with service.store.write() as tx:
        _find_parent(tx, context, resource, parent_id)
        rows = _each(where, wanted, lambda item: permitted(tx, item))
        shown = answers(tx, context, resource, rows)
    return {resource.plural: shown} if bulk else {resource.name: shown[0]}


def _given(resource: Resource, item: Row) -> Row:
    """Return what a create says besides the defaults."""
    attributes = resource.attributes
    return {
        name: value
        for name, value in item.items()
        if not (attributes[name].has_default and attributes[name].default == value)
    }


def _each(where: str, items: Sequence[S], function: Callable[[S], T]) -> list[T]:
    """Return what `function` makes of each item; an error tells which one of `where` it was, after Neutron's words."""
    made: list[T] = []
    for number, item in enumerate(items):
        try:
            made.append(function(item))
        except PorticoError as error:
            if where:
                error.message = f"{error.message} ({where}[{number}])"
            raise
    return made


def is_bulk(body: object, resource: Resource) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether the body of a create holds several objects."""
    return isinstance(body, Mapping) and resource.plural in body


def _items(resource: Resource, body: object) -> tuple[Sequence[object], bool]:
    if is_bulk(body, resource):
        items = body[resource.plural]
        if not isinstance(items, list) or not items:
            raise _bad(f"Resources required: '{resource.plural}' must be a list of at least one {resource.name}.")
        if len(items) > MAX_BULK:
            raise _bad(
                f"Invalid input for {resource.plural}. Reason: {len(items)} is more than {MAX_BULK} in a request."
            )
        # Neutron allows each item to be wrapped once more: {"networks": [{"network": {...}}]}.
        return [item[resource.name] if isinstance(item, Mapping) and list(item) == [resource.name] else item
                for item in items], True  # fmt: skip
    return [one_of(resource.name, body)], False


def one_of(name: str, body: object) -> object:
    """Return the one object in a body, which stands there under `name`.

    Raises:
        BadRequest: there is none.
    """
    if not isinstance(body, Mapping) or not body:
        raise _bad("Resource body required: a JSON object.")
    if name not in body:
        raise _bad(f"Unable to find '{name}' in request body.")
    return body[name]


def _owned(item: Row, resource: Resource, context: Context) -> Row:
    if "project_id" not in resource.attributes:
        return item
    project = item.get("project_id") or context.project_id
    if not project:
        raise _bad("project_id: must be given, because who asks is in no project.")
    if project != context.project_id and not context.is_admin:
        raise _bad(
            f"Specifying 'project_id' {project} other than the authenticated project in request requires admin "
            "privileges."
        )
    return {**item, "project_id": project}


def update(
    service: Service,
    resource: Resource,
    context: Context,
    object_id: str,
    body: object,
    expected: int | None,
    parent_id: str = "",
) -> Row:
    """Change one object; `expected` is the revision that If-Match demands."""
    rules = rules_of(resource)
    change = _offered(resource, rules.update)
    changes = check.prepare_put(resource, one_of(resource.name, body))
    with service.store.write() as tx:
        row = _find(tx, context, resource, object_id, parent_id)
        context.policy.require(tx, context, "update", resource.name, {**row, **changes}, changes)
        _check_revision(row, expected)
        row = change(tx, context, row, changes)
        return {resource.name: answers(tx, context, resource, [row])[0]}


def delete(
    service: Service,
    resource: Resource,
    context: Context,
    object_id: str,
    expected: int | None,
    parent_id: str = "",
) -> None:
    """Remove one object; `expected` is the revision that If-Match demands."""
    remove = _offered(resource, rules_of(resource).delete)
    with service.store.write() as tx:
        row = _find(tx, context, resource, object_id, parent_id)
        context.policy.require(tx, context, "delete", resource.name, row, {})
        _check_revision(row, expected)
        remove(tx, context, row)


def act(
    service: Service, resource: Resource, context: Context, object_id: str, name: str, body: object
) -> Row | list[Row]:
    """Do an action with one object and return its answer."""
    action = next(item for item in resource.actions if item.name == name)
    given = check.prepare_action(action, one_of(resource.name, body) if action.wrapped else body)
    with service.store.write() as tx:
        row = lookup.visible(tx, context, resource.name, object_id)
        context.policy.require(tx, context, name, resource.name, row, given)
        answer = rules_of(resource).actions[name](tx, context, row, given)
        if action.gives or isinstance(answer, list):
            return answer
        return {resource.name: answers(tx, context, resource, [answer])[0]}


def tell(service: Service, resource: Resource, context: Context, object_id: str, name: str) -> Row | list[Row]:
    """Return the answer of an action that only reads."""
    with service.store.read() as tx:
        row = lookup.visible(tx, context, resource.name, object_id)
        context.policy.require(tx, context, name, resource.name, row, {})
        return rules_of(resource).actions[name](tx, context, row, {})


def _check_revision(row: Row, expected: int | None) -> None:
    if expected is not None and row.get("revision_number") != expected:
        raise PreconditionFailed(
            f"Constrained to {expected}, but current revision is {row.get('revision_number')}.",
            type="RevisionNumberConstraintFailed",
        )


def expected_revision(header: str | None) -> int | None:
    """Return the revision number that an If-Match header demands.

    Raises:
        BadRequest: it is not of the form `revision_number=N`.
    """
    if header is None:
        return None
    name, _, number = header.strip().partition("=")
    if name != "revision_number" or not (number.isascii() and number.isdecimal()) or len(number) > 18:
        raise _bad(f"Invalid input for If-Match. Reason: {header[:60]!a} is not of the form revision_number=N.")
    return int(number)


def decode(raw: bytes) -> Any:
    """Return the JSON value of a body.

    Raises:
        BadRequest: it is no JSON text, or an object in it has a key twice (which RFC 8259 section 4 gives no meaning).
    """
    if not raw:
        raise _bad("Resource body required: the request has none.")
    try:
        found = msgspec.json.decode(raw)
        _KEYS.decode(raw.decode())
    except (ValueError, RecursionError) as error:
        raise _bad(f"Malformed request body: {error}.") from error
    return found


def _refuse_twice(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"an object has the key {key[:60]!a} twice")
        seen.add(key)


_KEYS = json.JSONDecoder(object_pairs_hook=_refuse_twice)
