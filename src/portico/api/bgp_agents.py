# SPDX-License-Identifier: Apache-2.0
"""BGP speakers of an agent, and agents of a BGP speaker: parts of both that are no collections of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api import action, collection
from portico.api.collection import Service
from portico.api.message import as_json, body_of
from portico.api.route import route
from portico.errors import BadRequest
from portico.rules import TABLE, bgp_agent
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

if TYPE_CHECKING:
    from portico.api.app import Api

Find = Callable[[Transaction, Context, str], list[Row]]
Change = Callable[[Transaction, Context, str, str], None]


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def listed(rule: str, resource: str, find: Find, request: Request) -> Response:
        about = api.service, api.context(request), rule, resource, find, request.path_params["id"]
        return as_json(await api.workers.read(_list, *about))

    async def change(rule: str, act: Change, request: Request) -> Response:
        is_add = request.method == "POST"
        body = collection.decode(await body_of(request)) if is_add else None
        speaker_id = _speaker_of(body) if is_add else request.path_params["speaker"]
        about = api.service, api.context(request), rule, act, request.path_params["id"], speaker_id
        await api.workers.write(_change, *about)
        return as_json(None, 201) if is_add else Response(status_code=204)

    speakers = partial(listed, "list_bgp_speaker_on_dragent", "bgp_speaker", bgp_agent.speakers_on)
    agents = partial(listed, "list_dragent_hosting_bgp_speaker", "agent", bgp_agent.agents_of)
    add = partial(change, "add_bgp_speaker_to_dragent", bgp_agent.add)
    remove = partial(change, "remove_bgp_speaker_from_dragent", bgp_agent.remove)
    return [
        route("/v2.0/agents/{id}/bgp-drinstances", {"GET": speakers, "POST": add}),
        route("/v2.0/agents/{id}/bgp-drinstances/{speaker}", {"DELETE": remove}),
        route("/v2.0/bgp-speakers/{id}/bgp-dragents", {"GET": agents}),
    ]


def _speaker_of(body: Any) -> str:
    """Return the speaker that a body names.

    Raises:
        BadRequest: it names none.
    """
    if not isinstance(body, dict) or not isinstance(body.get("bgp_speaker_id"), str):
        raise BadRequest(
            "Request body contains invalid data: it must hold bgp_speaker_id, a text.", type="HTTPBadRequest"
        )
    return str(body["bgp_speaker_id"])


def _list(service: Service, context: Context, rule: str, resource: str, find: Find, object_id: str) -> Row:
    action.require(context, rule)
    with service.store.read() as tx:
        kind, rows, present = tx.registry.resources[resource], find(tx, context, object_id), TABLE[resource].present
        if present is not None:
            rows = present(tx, context, rows)
        hidden = context.policy.hidden(tx, context, resource, rows)
        shown = [collection.render(kind, row, names) for row, names in zip(rows, hidden, strict=True)]
    return {kind.plural: shown}


def _change(service: Service, context: Context, rule: str, act: Change, agent_id: str, speaker_id: str) -> None:
    action.require(context, rule)
    with service.store.write() as tx:
        act(tx, context, agent_id, speaker_id)
