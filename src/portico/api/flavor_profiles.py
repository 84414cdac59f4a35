# SPDX-License-Identifier: Apache-2.0
"""Service profiles of a flavor: parts of it that are a collection of their own besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api import collection
from portico.api.collection import Service
from portico.api.message import as_json, body_of
from portico.api.route import route
from portico.errors import BadRequest
from portico.model import check
from portico.rules import flavor, lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

if TYPE_CHECKING:
    from portico.api.app import Api


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def post(request: Request) -> Response:
        profile_id = _profile_of(collection.decode(await body_of(request)))
        about = api.service, api.context(request), request.path_params["id"], profile_id
        await api.workers.write(add, *about)
        return as_json({"service_profile": {"id": profile_id}}, 201)

    async def delete(request: Request) -> Response:
        about = api.service, api.context(request), request.path_params["id"], request.path_params["profile"]
        await api.workers.write(remove, *about)
        return Response(status_code=204)

    path = "/v2.0/flavors/{id}/service_profiles"
    return [route(path, {"POST": post}), route(f"{path}/{{profile}}", {"DELETE": delete})]


def _profile_of(body: Any) -> str:
    """Return the profile that a body names.

    Raises:
        BadRequest: it names none.
    """
    item = collection.one_of("service_profile", body)
    if not isinstance(item, dict) or list(item) != ["id"] or not isinstance(item["id"], str):
        raise BadRequest(
            "Request body contains invalid data: service_profile must hold id, a text, and nothing else.",
            type="HTTPBadRequest",
        )
    check.refuse_unstorable("id", item["id"])
    return item["id"]


def add(service: Service, context: Context, flavor_id: str, profile_id: str) -> None:
    """Give a flavor one more profile; see `flavor.add_profile` for what is refused."""
    with service.store.write() as tx:
        row = _flavor(tx, context, "create_flavor_service_profile", flavor_id)
        flavor.add_profile(tx, row, profile_id)


def remove(service: Service, context: Context, flavor_id: str, profile_id: str) -> None:
    """Take a profile away from a flavor; see `flavor.remove_profile` for what is refused."""
    with service.store.write() as tx:
        row = _flavor(tx, context, "delete_flavor_service_profile", flavor_id)
        flavor.remove_profile(tx, row, profile_id)


def _flavor(tx: Transaction, context: Context, rule: str, flavor_id: str) -> Row:
    row = lookup.visible(tx, context, "flavor", flavor_id)
    context.policy.require(tx, context, rule, "flavor", row, {})
    return row
