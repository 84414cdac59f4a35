# SPDX-License-Identifier: Apache-2.0
"""The network that a project gets when it asks for just any: what is not there yet is made by showing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api import collection, query
from portico.api.collection import Service
from portico.api.message import as_json
from portico.api.route import route
from portico.errors import BadRequest, Forbidden
from portico.rules import auto_allocated_topology
from portico.rules.auto_allocated_topology import NAME
from portico.rules.context import Context, Row

if TYPE_CHECKING:
    from portico.api.app import Api

DRY_RUN = "dry-run"
# What clients write for the project that asks: openstacksdk has no better word for none.
NONE = "None"


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def show(request: Request) -> Response:
        pairs = request.query_params.multi_items()
        about = api.service, api.context(request), request.path_params["project_id"], pairs
        return as_json(await api.workers.write(_show, *about))

    async def delete(request: Request) -> Response:
        await api.workers.write(_delete, api.service, api.context(request), request.path_params["project_id"])
        return Response(status_code=204)

    return [route("/v2.0/auto-allocated-topology/{project_id}", {"GET": show, "DELETE": delete})]


def _show(service: Service, context: Context, project_id: str, pairs: query.Pairs) -> Row:
    project_id = _project(context, project_id)
    fields = query.parse_fields(pairs)
    resource = service.store.registry.resources[NAME]
    if unknown := sorted(set(fields) - {DRY_RUN, *resource.attributes}):
        raise BadRequest(f"Bad auto_allocate request: Unrecognized field {unknown[0]!a}.", type="BadRequest")
    with service.store.write() as tx:
        context.policy.require(tx, context, f"get_{NAME}", NAME, {"project_id": project_id}, {})
        if DRY_RUN in fields:
            row = auto_allocated_topology.check_requirements(tx, context, project_id)
        else:
            row = auto_allocated_topology.get(tx, context, project_id)
    return {NAME: collection.render(resource, row, ())}


def _delete(service: Service, context: Context, project_id: str) -> None:
    project_id = _project(context, project_id)
    with service.store.write() as tx:
        context.policy.require(tx, context, "delete", NAME, {"project_id": project_id}, {})
        auto_allocated_topology.delete(tx, context, project_id)


def _project(context: Context, project_id: str) -> str:
    """Return the project that a path means.

    Raises:
        BadRequest: who asks is in none, and names none.
        Forbidden: it is another one than that of who asks, who is no administrator.
    """
    found = context.project_id if project_id == NONE else project_id
    if not found:
        raise BadRequest("Bad auto_allocate request: who asks is in no project, and names none.", type="BadRequest")
    if found != context.project_id and not context.is_admin:
        raise Forbidden("Not authorized.", type="NotAuthorized")
    return found
