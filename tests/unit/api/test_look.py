# SPDX-License-Identifier: Apache-2.0
"""What the kernel of a port's host has of it is asked of the host's agent, by the feed that it follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest

from portico.api import look as look_module
from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.api.look import Looks
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import BadRequest, Unavailable
from portico.hoststate import Update
from portico.model.resource import Registry
from portico.rules.context import Limits
from portico.store import schema
from portico.store.store import Store
from portico.testing.postgresql import PostgresqlServer

from .asker import Answer, Asker, Row

ASPECT = {"aspect": "tap mtu", "wanted": "1500", "actual": "1234", "same": False}


@pytest.fixture
def hosts() -> HostStates:
    return HostStates()


@pytest.fixture
def api(store: Store, hosts: HostStates) -> Iterator[Asker]:
    limits = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
    with Asker(make_app(Api(Service(store, 1000), Broker(store, hosts, [BridgeBackend(hosts)]), hosts, limits))) as api:
        yield api


def port(api: Asker, host: str) -> Row:
    return api.port(api.network("10.0.0.0/24"), **({"binding:host_id": host} if host else {}))


def test_the_agent_of_the_host_is_asked_and_nobody_else(hosts: HostStates) -> None:
    looks, asked, background = Looks(hosts), list[tuple[str, str]](), list[Any]()

    def follow(host: str, sight: dict[str, Any]) -> None:
        def answer(update: Update) -> None:
            for look in update.looks:
                asked.append((host, look.port_id))
                background.append(asyncio.ensure_future(looks.answer(host, look.id, msgspec.json.encode(sight))))

        hosts.follow(host, answer)

    follow("one", {"aspects": [ASPECT]})
    follow("two", {"trouble": "no data plane"})
    found = asyncio.run(looks.ask("one", "p"))
    assert msgspec.to_builtins(found.aspects) == (ASPECT,) and asked == [("one", "p")]
    with pytest.raises(Unavailable, match="Port p: the agent of host two cannot look: no data plane"):
        asyncio.run(looks.ask("two", "p"))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_module, "ANSWER_S", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_port_on_no_host_has_nothing_and_who_is_not_there_is_named(api: Asker, store: Store) -> None:
    loose = api.ask("GET", f"/portico/v1/ports/{port(api, '')['id']}/kernel")
    assert (loose.status, loose.body) == (200, {"host": "", "aspects": []})
    nowhere = port(api, "three")
    answer = api.ask("GET", f"/portico/v1/ports/{nowhere['id']}/kernel")
    assert answer.status == 503
    # On a database of several, it may follow another one.
    others = "" if store.is_embedded else ", and none that follows another has told in 0.5 s what its kernel has"
    assert answer.message == f"Port {nowhere['id']}: no agent of host three follows this API server{others}."
    assert api.ask("PUT", "/portico/v1/hosts/three/looks/x", {"aspects": 7}).status == 400
    assert api.ask("PUT", "/portico/v1/hosts/three/looks/late", {"aspects": []}).status == 204


def test_an_agent_that_is_silent_is_not_waited_for_for_ever(hosts: HostStates) -> None:
    looks, asked = Looks(hosts, answer_s=0.05), list[Any]()

    def answer(update: Update) -> None:
        for look in update.looks:
            asked.append((look.id, asyncio.ensure_future(looks.answer("two", look.id, b"{}"))))  # it is not asked

    hosts.follow("one", answer)
    with pytest.raises(Unavailable, match=r"Port p: the agent of host one has not told in 0\.05 s"):
        asyncio.run(looks.ask("one", "p"))
    asyncio.run(looks.answer("one", asked[0][0], b"{}"))
    with pytest.raises(BadRequest, match="sight of host one"):
        asyncio.run(looks.answer("one", asked[0][0], b"["))


class Side:
    """An API server on a shared database."""

    def __init__(self, stack: ExitStack, url: str, registry: Registry) -> None:
        self.hosts = HostStates()
        self.store = Store(url, registry)
        stack.callback(self.store.close)
        schema.ensure(self.store)
        limits = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
        broker = Broker(self.store, self.hosts, [BridgeBackend(self.hosts)])
        self.app = make_app(Api(Service(self.store, 1000), broker, self.hosts, limits))
        self.asker = stack.enter_context(Asker(self.app))


def test_whichever_server_is_asked_and_whichever_the_agent_answers(registry: Registry) -> None:
    # Quotes and characters of four bytes, more than one notification takes, and pieces that are equal.
    sight = {"aspects": [ASPECT, {**ASPECT, "actual": '"\N{GRINNING FACE}\\' * 3000}]}
    answers = ThreadPoolExecutor(1)
    with PostgresqlServer() as server, ExitStack() as stack:
        asked, followed, answered = (Side(stack, server.url(), registry) for _ in range(3))
        stack.enter_context(answers)
        told: list[Future[Answer]] = []

        def follow(update: Update) -> None:
            for look in update.looks:
                path = f"/portico/v1/hosts/one/looks/{look.id}"
                told.append(answers.submit(answered.asker.ask, "PUT", path, sight))

        followed.hosts.follow("one", follow)
        port_id = port(asked.asker, "one")["id"]
        # Until the servers listen, words are lost.
        deadline = time.monotonic() + 60
        while (found := asked.asker.ask("GET", f"/portico/v1/ports/{port_id}/kernel")).status == 503:
            assert time.monotonic() < deadline, found
        assert found.body == {"host": "one", **sight}
        assert told[-1].result(20).status == 204
