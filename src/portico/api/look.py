# SPDX-License-Identifier: Apache-2.0
"""`GET /portico/v1/ports/{id}/kernel`: what the kernel of a port's host has of it, as the host's agent sees it now.

The question goes to the agent by the feed that it follows. Where several API servers share a database that may be
another server's, and the agent's answer may come to a third one: then both are passed on by way of the database.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
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

# Characters of at most four bytes: with the other parts of a word less than the 8,000 bytes that PostgreSQL passes on.
_PIECE = 1500
# As long as the column that a port's host is kept in.
_MAX_HOST = 255
_MAX_ID = 36
LOG = logging.getLogger(__name__)

Say = Callable[[Sequence[str]], Awaitable[None]]


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A server asks the others: whose is the agent of this host?"""

    host: str
    look: Look


class Told(msgspec.Struct, frozen=True, tag="told"):
    """A server tells the others a piece of what an agent has answered to a question of one of them.

    `place`: where in the answer it stands; of equal words PostgreSQL passes on but one.
    """

    host: str
    look_id: str
    place: int
    text: str
    is_last: bool


_WORDS = msgspec.json.Decoder(Asked | Told)


class _Open:
    """A question whose answer is waited for, and what has come of it from another server."""

    def __init__(self) -> None:
        self.sight: asyncio.Future[Sight] = asyncio.get_running_loop().create_future()
        self.text = ""


class Looks:
    """Questions that agents are still to answer. For one event loop, but for `heard`.

    Args:
        hosts: whose agents follow this server.
        say: what tells the other servers words; None if there cannot be any.
        answer_s: how long an agent may take.
    """

    def __init__(self, hosts: HostStates, say: Say | None = None, answer_s: float = ANSWER_S) -> None:
        self._hosts = hosts
        self._say = say
        self._answer_s = answer_s
        self._open: dict[tuple[str, str], _Open] = {}

    async def ask(self, host: str, port_id: str) -> Sight:
        """Return what a host's agent sees of a port.

        Raises:
            Unavailable: no agent of it is there, or it does not answer, or it sees nothing.
        """
        look = Look(str(uuid.uuid4()), port_id)
        asked = self._open[host, look.id] = _Open()
        silent = f"the agent of host {host} has not told"
        try:
            if not self._hosts.ask(host, look):
                nobody = f"no agent of host {host} follows this API server"
                if self._say is None:
                    raise Unavailable(f"Port {port_id}: {nobody}.")
                silent = f"{nobody}, and none that follows another has told"
                await self._say([_text(Asked(host, look))])
            found = await asyncio.wait_for(asked.sight, self._answer_s)
        except TimeoutError as error:
            raise Unavailable(f"Port {port_id}: {silent} in {self._answer_s:g} s what its kernel has.") from error
        finally:
            del self._open[host, look.id]
        if found.trouble:
            raise Unavailable(f"Port {port_id}: the agent of host {host} cannot look: {found.trouble}")
        return found

    async def answer(self, host: str, look_id: str, raw: bytes) -> None:
        """Take in what an agent sees, or pass it on; nobody waits for it any more if it comes late.

        Raises:
            BadRequest: it is no Sight.
            Unavailable: the database that passes it on does not answer.
        """
        try:
            found = msgspec.json.decode(raw, type=Sight)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"sight of host {host}: {error}", type="HTTPBadRequest") from error
        asked = self._open.get((host, look_id))
        if asked is not None:
            _settle(asked, found)
        elif self._say is not None and len(host) <= _MAX_HOST and len(look_id) <= _MAX_ID:
            await self._say(list(_pieces(host, look_id, _text(found))))

    def heard(self, text: str) -> None:
        """Take in a word of another server; from any thread."""
        try:
            word = _WORDS.decode(text)
        except msgspec.MsgspecError:
            LOG.warning("a word of another API server is not understood: is it of another version?")
            return
        if isinstance(word, Asked):
            self._hosts.ask(word.host, word.look)
        elif (asked := self._open.get((word.host, word.look_id))) is not None:
            asked.sight.get_loop().call_soon_threadsafe(_take, asked, word)


def _take(asked: _Open, word: Told) -> None:
    if asked.sight.done():
        return
    # All pieces of one answer come one after the other: they are of one transaction.
    asked.text += word.text
    if word.is_last:
        _settle(asked, msgspec.json.decode(asked.text, type=Sight))


def _settle(asked: _Open, found: Sight) -> None:
    if not asked.sight.done():
        asked.sight.set_result(found)


def _pieces(host: str, look_id: str, text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE):
        yield _text(Told(host, look_id, start, text[start : start + _PIECE], start + _PIECE >= len(text)))


def _text(word: Asked | Told | Sight) -> str:
    return msgspec.json.encode(word).decode()


def routes(api: Api) -> list[Route]:
    """Return the paths of who asks and of agents."""
    store = api.service.store

    async def say(words: Sequence[str]) -> None:
        await api.workers.read(store.say, words)

    looks = Looks(api.hosts, None if store.is_embedded else say, ANSWER_S)
    store.on_word(looks.heard)

    async def kernel(request: Request) -> Response:
        api.require(request, "portico:host")
        context, port_id = api.context(request), request.path_params["id"]

        def where() -> str:
            with store.read() as tx:
                return str(lookup.visible(tx, context, "port", port_id)["binding:host_id"] or "")

        host = await api.workers.read_one(where)
        found = await looks.ask(host, port_id) if host else Sight()
        return as_json({"host": host, "aspects": msgspec.to_builtins(found.aspects)})

    async def sight(request: Request) -> Response:
        api.require(request, "portico:host")
        await looks.answer(request.path_params["host"], request.path_params["id"], await body_of(request))
        return Response(status_code=204)

    return [
        route("/portico/v1/ports/{id}/kernel", {"GET": kernel}),
        route("/portico/v1/hosts/{host}/looks/{id}", {"PUT": sight}),
    ]
