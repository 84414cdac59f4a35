# SPDX-License-Identifier: Apache-2.0
"""The query string of a list or show request."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlencode

import msgspec

from portico.errors import BadRequest
from portico.model import check
from portico.model.converters import convert_to_boolean
from portico.model.resource import Resource
from portico.rules import agent
from portico.store.query import Filter, Query

Pairs = Sequence[tuple[str, str]]

_CONTROL = frozenset({"fields", "sort_key", "sort_dir", "limit", "marker", "page_reverse", "verbose"})
_TAGS = {"tags": "tags_all", "tags-any": "tags_any", "not-tags": "not_tags_all", "not-tags-any": "not_tags_any"}
_FIXED_IPS: Mapping[str, Literal["subnet", "address", "address_contains"]] = {
    "subnet_id": "subnet",
    "ip_address": "address",
    "ip_address_substr": "address_contains",
}
# An agent is alive while its last heartbeat is young: the younger, the more so.
_SORTED_BY = {("agent", "alive"): "heartbeat_timestamp"}
# SQLite and PostgreSQL take 8-byte integers.
MAX_INTEGER = 2**63 - 1
MAX_FILTER_VALUES = 5000
# Values that are a condition each, for which databases have less room; no object has more tags.
MAX_CONDITIONS = 50


class ListRequest(msgspec.Struct, frozen=True):
    """What a list request asks for: `fields` empty means all."""

    query: Query
    fields: frozenset[str]


def _bad(message: str) -> BadRequest:
    return BadRequest(message, type="HTTPBadRequest")


def parse_fields(pairs: Pairs) -> frozenset[str]:
    """Return the attributes that the answer is to have; unknown names are passed over, as Neutron does."""
    return frozenset(value for name, value in pairs if name == "fields" and value)


def grouped(pairs: Pairs) -> dict[str, list[str]]:
    """Return the values of each parameter.

    Raises:
        BadRequest: there are more than a statement takes, or one holds what no database takes.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
        if "\x00" in value or "\x00" in name:
            raise _bad(f"Invalid input for {name.strip(chr(0))}. Reason: the value holds a NUL character.")
    for name, given in values.items():
        if len(given) > MAX_FILTER_VALUES and name not in _CONTROL:
            raise _bad(f"Invalid input for {name}. Reason: more than {MAX_FILTER_VALUES} values to filter by.")
    return values


def parse(resource: Resource, pairs: Pairs, page_max: int, project_id: str, hidden: Collection[str]) -> ListRequest:
    """Return the list request that a query string makes, for who asks from a project and may not see some attributes.

    As Neutron's, a filter may name an attribute that is not shown: it chooses among objects that are. A sort key may
    not, for the places of all objects would tell of their values.

    Raises:
        BadRequest: names the parameter, its value and the rule.
    """
    values = grouped(pairs)
    filters = [
        item for name, given in values.items() if name not in _CONTROL for item in _filter(resource, name, given)
    ]
    keys = values.get("sort_key", [])
    names = _sort_names(resource, keys, hidden)
    return _request(filters, zip(names, _directions(keys, values), strict=True), values, page_max, project_id)


def parse_computed(plural: str, names: Collection[str], pairs: Pairs, page_max: int) -> ListRequest:
    """Return the list request for computed objects, which are filtered and sorted by the attributes `names`.

    Raises:
        BadRequest: names the parameter, its value and the rule.
    """
    values = grouped(pairs)
    for name in values:
        if name not in names and name not in _CONTROL:
            raise _bad(f"['{name[:40]}'] is invalid attribute for filtering {plural}.")
    filters = [Filter(name, tuple(given)) for name, given in values.items() if name in names]
    keys = values.get("sort_key", [])
    for key in keys:
        if key not in names:
            raise _bad(f"Invalid input for sort_key. Reason: '{key[:40]}' is none of {', '.join(names)}.")
    return _request(filters, zip(keys, _directions(keys, values), strict=True), values, page_max)


def _request(
    filters: Iterable[Filter],
    sort: Iterable[tuple[str, bool]],
    values: Mapping[str, Sequence[str]],
    page_max: int,
    project_id: str = "",
) -> ListRequest:
    first: dict[str, bool] = {}
    for name, descending in sort:
        # A key that comes again decides nothing any more.
        first.setdefault(name, descending)
    query = Query(
        filters=tuple(filters),
        sort=tuple(first.items()),
        limit=limit_of(values.get("limit", [""])[-1], page_max),
        marker=values.get("marker", [""])[-1] or None,
        reverse=values.get("page_reverse", [""])[-1].lower() == "true",
        project_id=project_id,
    )
    return ListRequest(query=query, fields=frozenset(value for value in values.get("fields", ()) if value))


def limit_of(text: str, page_max: int) -> int | None:
    """Return the size of a page; 0 and nothing mean as many as there are, up to `page_max` (-1: no bound)."""
    asked = 0
    if text:
        if not (text.isascii() and text.isdecimal()) or len(text) > 18:
            raise BadRequest(
                f"Bad limit request: Limit must be an integer 0 or greater and not '{text[:40]}'.", type="BadRequest"
            )
        asked = int(text)
    bounds = [bound for bound in (asked, page_max) if bound > 0]
    return min(bounds) if bounds else None


def _sort_names(resource: Resource, keys: Sequence[str], hidden: Collection[str]) -> list[str]:
    """Return the columns that stand for the keys."""
    names = []
    for key in keys:
        attribute = resource.attributes.get("project_id" if key == "tenant_id" else key)
        if attribute is None or not attribute.is_sort_key or key in hidden:
            raise _bad(f"Invalid input for sort_key. Reason: '{key}' is no attribute that {resource.plural} sort by.")
        names.append(_SORTED_BY.get((resource.name, key), attribute.name))
    return names


def _directions(keys: Sequence[str], values: Mapping[str, Sequence[str]]) -> list[bool]:
    """Return for each key whether it sorts in descending order."""
    given = values.get("sort_dir", ())
    if given and len(keys) != len(given):
        raise _bad(f"The number of sort_keys and sort_dirs must be same: {len(keys)} and {len(given)}.")
    for direction in given:
        if direction not in ("asc", "desc"):
            raise _bad(f"Invalid input for sort_dir. Reason: '{direction}' is neither asc nor desc.")
    return [direction == "desc" for direction in given] or [False] * len(keys)


def _filter(resource: Resource, name: str, given: Sequence[str]) -> list[Filter]:
    if name == "tenant_id":
        name = "project_id"
    found = _special_filter(resource, name, given)
    if found is not None:
        return found
    attribute = resource.attributes.get(name)
    if attribute is None or not attribute.is_filter or not attribute.column or attribute.column == "json":
        raise _bad(f"['{name}'] is invalid attribute for filtering {resource.plural}.")
    typed = tuple(check.parse_filter(attribute, value) for value in given)
    for value in typed:
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise _bad(f"Invalid input for {name}. Reason: '{value}' is out of the range of integers.")
    return [Filter(name, typed)]


def _special_filter(resource: Resource, name: str, given: Sequence[str]) -> list[Filter] | None:
    """Return the filters on what is no column of its own, or None for a column."""
    if resource.tags and name in _TAGS:
        tags = tuple(tag for value in given for tag in value.split(","))
        if not name.endswith("-any"):
            tags = _few(name, tags)
        return [Filter("tags", tags, _TAGS[name])]  # type: ignore[arg-type]
    if resource.standard and name == "changed_since":
        return [Filter("updated_at", _few(name, [_moment(value) for value in given]), "after")]
    match resource.name, name:
        case "port", "fixed_ips":
            return _fixed_ips(given)
        case "port", "security_groups" | "security_group_ids":
            return [Filter("security_groups", tuple(given), "group")]
        case "agent", "alive":
            wanted = {convert_to_boolean(value) for value in given}
            return [agent.alive_filter(value) for value in wanted] if len(wanted) == 1 else []
        case _, "shared" if resource.name != "subnet" and "shared" in resource.attributes:
            return [Filter("id", tuple({convert_to_boolean(value) for value in given}), "shared")]
        case "subnet", "shared":
            return [Filter("network_id", tuple({convert_to_boolean(value) for value in given}), "network_shared")]
    return None


def _few(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return the different ones of values that are a condition each."""
    different = tuple(dict.fromkeys(values))
    if len(different) > MAX_CONDITIONS:
        raise _bad(f"Invalid input for {name}. Reason: more than {MAX_CONDITIONS} values that must each be looked for.")
    return different


def _moment(value: str) -> str:
    """Return a time of changed_since in the store's form; a zone other than UTC and fractions are not Neutron's."""
    text = value.removesuffix("Z").split(".")[0]
    try:
        if len(text) == len("2026-01-01T00:00:00"):
            return datetime.fromisoformat(f"{text}+00:00").strftime("%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        pass
    raise _bad(f"The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SS[Z], not '{value[:40]}'.")


def _fixed_ips(given: Sequence[str]) -> list[Filter]:
    """Return the filters on fixed IPs: values of one key are alternatives, keys must all hold."""
    values: dict[str, list[str]] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not (key and equals):
            raise BadRequest(
                f"Invalid input for fixed_ips. Reason: '{pair[:40]}' is not of the form KEY=VALUE, with a KEY of "
                f"{', '.join(_FIXED_IPS)}.",
                type="InvalidInput",
            )
        if key not in _FIXED_IPS:
            raise _bad(f"Invalid input for fixed_ips. Reason: '{key[:40]}' is none of {', '.join(_FIXED_IPS)}.")
        values.setdefault(key, []).append(_address(text))
    if "ip_address_substr" in values:
        values["ip_address_substr"] = list(_few("fixed_ips", values["ip_address_substr"]))
    return [Filter("fixed_ips", tuple(texts), _FIXED_IPS[key]) for key, texts in values.items()]


def _address(text: str) -> str:
    """Return an address, or a part of one, as it is kept; no port has what is none: an empty answer, as Neutron's."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text.lower()


def links(url: str, pairs: Pairs, request: ListRequest, ids: Sequence[str]) -> list[dict[str, str]]:
    """Return the next and previous links of a page, as the pagination extension has them: a short one is the last.

    A list that nobody asked to have in pages has a link only if it is too long for one.
    """
    rest = [(name, value) for name, value in pairs if name not in ("marker", "page_reverse")]
    query = request.query
    is_short = query.limit is None or len(ids) < query.limit
    asked = any(name in ("limit", "marker") for name, _ in pairs)
    result = []
    if not is_short or (asked and query.reverse):
        result.append({"rel": "next", "href": _link(url, rest, ids[-1:])})
    if asked and not (is_short and query.reverse):
        result.append({"rel": "previous", "href": _link(url, [*rest, ("page_reverse", "True")], ids[:1])})
    return result


def _link(url: str, pairs: Pairs, marker: Sequence[str]) -> str:
    return f"{url}?{urlencode([*pairs, *(('marker', object_id) for object_id in marker)])}"
