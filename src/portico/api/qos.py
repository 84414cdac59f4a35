# SPDX-License-Identifier: Apache-2.0
"""Types of QoS rules, and rules by their id alone: what of QoS is no plain collection."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api import action, collection, query
from portico.api.action import Listing, only
from portico.api.collection import Service
from portico.api.message import as_json, body_of, origin_of
from portico.api.route import route
from portico.errors import BadRequest, Forbidden
from portico.model.converters import boolean
from portico.model.qos import RULE_TYPES
from portico.model.resource import Resource
from portico.rules import lookup, qos_policy
from portico.rules.context import Context, Row

if TYPE_CHECKING:
    from portico.api.app import Api

_ALL_RULES, _ALL_SUPPORTED = "all_rules", "all_supported"
_TYPES = Listing("rule_types", "type", ("type",), (_ALL_RULES, _ALL_SUPPORTED))


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def types(request: Request) -> Response:
        pairs, url = request.query_params.multi_items(), f"{origin_of(request)}{request.url.path}"
        return as_json(await api.workers.read(_list_types, api.service, api.context(request), pairs, url))

    async def one_type(request: Request) -> Response:
        pairs, kind = request.query_params.multi_items(), request.path_params["id"]
        return as_json(await api.workers.read(_show_type, api.service, api.context(request), kind, pairs))

    async def show(resource: Resource, request: Request) -> Response:
        about = api.service, resource, api.context(request), request.path_params["id"]
        return as_json(await api.workers.read(_show, *about, request.query_params.multi_items()))

    async def update(resource: Resource, request: Request) -> Response:
        about = api.service, resource, api.context(request), request.path_params["id"]
        return as_json(await api.workers.write(_update, *about, collection.decode(await body_of(request))))

    async def delete(resource: Resource, request: Request) -> Response:
        about = api.service, resource, api.context(request), request.path_params["id"]
        await api.workers.write(_delete, *about)
        return Response(status_code=204)

    verbs = {"GET": show, "PUT": update, "DELETE": delete}
    return [
        route("/v2.0/qos/rule-types", {"GET": types}),
        route("/v2.0/qos/rule-types/{id}", {"GET": one_type}),
        *(
            route(alias_path(one), {verb: partial(function, one) for verb, function in verbs.items()})
            for one in rules(api.registry.resources.values())
        ),
    ]


def rules(resources: Any) -> Iterator[Resource]:
    """Yield those of `resources` whose objects are rules of QoS policies."""
    return (one for one in resources if one.name.removesuffix("_rule") in RULE_TYPES)


def alias_path(resource: Resource) -> str:
    """Return the path of a rule that goes without its policy's id."""
    return f"/v2.0/qos/alias-{resource.plural.replace('_', '-')}/{{id}}"


def _list_types(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    action.require(context, "get_rule_type")
    given = query.grouped(pairs)
    every, some = (_is_asked(given, name) for name in (_ALL_RULES, _ALL_SUPPORTED))
    if every and some:
        raise BadRequest(
            f"Invalid input for operation: only one of {_ALL_RULES} and {_ALL_SUPPORTED} can be asked for.",
            type="InvalidInput",
        )
    found = list(RULE_TYPES) if every else qos_policy.types(context, some=some)
    return _TYPES.answer([{"type": kind} for kind in found], service, pairs, url)


def _is_asked(given: Any, name: str) -> bool:
    return any(boolean(value) for value in given.get(name, ()))


def _show_type(service: Service, context: Context, kind: str, pairs: query.Pairs) -> Row:
    action.require(context, "get_rule_type")
    if not context.is_admin:  # as in Neutron: no rule of a policy file tells who may know of backends
        raise Forbidden("rule:context_is_admin is disallowed by policy", type="PolicyNotAuthorized")
    parameters = list(_parameters(service.store.registry.resources.get(f"{kind}_rule")))
    names = qos_policy.drivers(context, kind)
    drivers = [{"name": name, "supported_parameters": parameters} for name in names]
    return {"rule_type": only({"type": kind, "drivers": drivers}, pairs)}


def _parameters(resource: Resource | None) -> Iterator[Row]:
    """Yield what the attributes of a type's rules may be, in Neutron's shape."""
    for attribute in resource.attributes.values() if resource is not None else ():
        for name, argument in attribute.validate if attribute.allow_post else ():
            values = {"start": argument[0], "end": argument[1]} if name == "type:range" else argument
            kind = "range" if name == "type:range" else "choices"
            yield {"parameter_name": attribute.name, "parameter_type": kind, "parameter_values": values}


def _policy_of(service: Service, resource: Resource, context: Context, rule_id: str) -> str:
    """Return the id of the policy that a rule is a part of.

    Raises:
        NotFound: there is no such rule for who asks.
    """
    with service.store.read() as tx:
        row = lookup.visible(tx, context, resource.name, rule_id)
        return str(row[resource.parent_key])


def _renamed(resource: Resource, answer: Row) -> Row:
    return {f"alias_{resource.name}": answer[resource.name]}


def _show(service: Service, resource: Resource, context: Context, rule_id: str, pairs: query.Pairs) -> Row:
    policy_id = _policy_of(service, resource, context, rule_id)
    return _renamed(resource, collection.show(service, resource, context, rule_id, pairs, policy_id))


def _update(service: Service, resource: Resource, context: Context, rule_id: str, body: Any) -> Row:
    policy_id = _policy_of(service, resource, context, rule_id)
    wrapped = {resource.name: collection.one_of(f"alias_{resource.name}", body)}
    return _renamed(resource, collection.update(service, resource, context, rule_id, wrapped, None, policy_id))


def _delete(service: Service, resource: Resource, context: Context, rule_id: str) -> None:
    policy_id = _policy_of(service, resource, context, rule_id)
    collection.delete(service, resource, context, rule_id, None, policy_id)
