# SPDX-License-Identifier: Apache-2.0
"""`GET /portico/v1/ports/{id}/kernel`: what the kernel of a port's host has of it, as the host's agent sees it now.

The question goes to the agent by the feed that it follows, so it has to follow this API server.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from portico.api.message import as_json, body_of
from portico.api.route import route
from portico.broker.hosts import HostStates
from portico.errors import BadRequest, Unavailable
from portico.hoststate.look import Look, Sight
from portico.rules import lookup

if TYPE_CHECKING:
    from portico.api.app import Api

ANSWER_S = 15.0
"""How long an agent may take."""


class Looks:
    """Questions that agents are still to answer. For one event loop."""

    def __init__(self, hosts: HostStates, answer_s: float = ANSWER_S) -> None:
        self._hosts = hosts
        self._answer_s = answer_s
        self._open: dict[tuple[str, str], asyncio.Future[Sight]] = {}

    async def ask(self, host: str, port_id: str) -> Sight:
        """Return what a host's agent sees of a port.

        Raises:
            Unavailable: no agent of it is there, or it does not answer, or it sees nothing.
        """
        look = Look(str(uuid.uuid4()), port_id)
        told: asyncio.Future[Sight] = asyncio.get_running_loop().create_future()
        self._open[host, look.id] = told
        try:
            if not self._hosts.ask(host, look):
                raise Unavailable(f"Port {port_id}: no agent of host {host} follows this API server.")
            found = await asyncio.wait_for(told, self._answer_s)
        except TimeoutError as error:
            raise Unavailable(
                f"Port {port_id}: the agent of host {host} has not told in {self._answer_s:g} s what its kernel has."
            ) from error
        finally:
            del self._open[host, look.id]
        if found.trouble:
            raise Unavailable(f"Port {port_id}: the agent of host {host} cannot look: {found.trouble}")
        return found

    def answer(self, host: str, look_id: str, raw: bytes) -> None:
        """Take in what an agent sees; nobody waits for it any more if it comes late.

        Raises:
            BadRequest: it is no Sight.
        """
        try:
            found = msgspec.json.decode(raw, type=Sight)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"sight of host {host}: {error}", type="HTTPBadRequest") from error
        told = self._open.get((host, look_id))
        if told is not None and not told.done():
            told.set_result(found)


def routes(api: Api) -> list[Route]:
    """Return the paths of who asks and of agents."""
    looks = Looks(api.hosts)

    async def kernel(request: Request) -> Response:
        api.require(request, "portico:host")
        context, port_id = api.context(request), request.path_params["id"]

        def where() -> str:
            with api.service.store.read() as tx:
                return str(lookup.visible(tx, context, "port", port_id)["binding:host_id"] or "")

        host = await api.workers.read_one(where)
        found = await looks.ask(host, port_id) if host else Sight()
        return as_json({"host": host, "aspects": msgspec.to_builtins(found.aspects)})

    async def sight(request: Request) -> Response:
        api.require(request, "portico:host")
        looks.answer(request.path_params["host"], request.path_params["id"], await body_of(request))
        return Response(status_code=204)

    return [
        route("/portico/v1/ports/{id}/kernel", {"GET": kernel}),
        route("/portico/v1/hosts/{host}/looks/{id}", {"PUT": sight}),
    ]
