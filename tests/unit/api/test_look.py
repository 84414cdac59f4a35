# SPDX-License-Identifier: Apache-2.0
"""What the kernel of a port's host has of it is asked of the host's agent, by the feed that it follows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.api.look import Looks
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import BadRequest, Unavailable
from portico.hoststate import Update
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Asker, Row

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
    looks, asked = Looks(hosts), list[tuple[str, str]]()

    def follow(host: str, sight: dict[str, Any]) -> None:
        def answer(update: Update) -> None:
            for look in update.looks:
                asked.append((host, look.port_id))
                looks.answer(host, look.id, msgspec.json.encode(sight))

        hosts.follow(host, answer)

    follow("one", {"aspects": [ASPECT]})
    follow("two", {"trouble": "no data plane"})
    found = asyncio.run(looks.ask("one", "p"))
    assert msgspec.to_builtins(found.aspects) == (ASPECT,) and asked == [("one", "p")]
    with pytest.raises(Unavailable, match="Port p: the agent of host two cannot look: no data plane"):
        asyncio.run(looks.ask("two", "p"))


def test_a_port_on_no_host_has_nothing_and_who_is_not_there_is_named(api: Asker) -> None:
    loose = api.ask("GET", f"/portico/v1/ports/{port(api, '')['id']}/kernel")
    assert (loose.status, loose.body) == (200, {"host": "", "aspects": []})
    nowhere = port(api, "three")
    answer = api.ask("GET", f"/portico/v1/ports/{nowhere['id']}/kernel")
    assert answer.status == 503
    assert answer.message == f"Port {nowhere['id']}: no agent of host three follows this API server."
    assert api.ask("PUT", "/portico/v1/hosts/three/looks/x", {"aspects": 7}).status == 400
    assert api.ask("PUT", "/portico/v1/hosts/three/looks/late", {"aspects": []}).status == 204


def test_an_agent_that_is_silent_is_not_waited_for_for_ever(hosts: HostStates) -> None:
    looks, asked = Looks(hosts, 0.05), list[Any]()

    def answer(update: Update) -> None:
        for look in update.looks:
            asked.append(look.id)
            looks.answer("two", look.id, b"{}")  # it is not asked

    hosts.follow("one", answer)
    with pytest.raises(Unavailable, match=r"Port p: the agent of host one has not told in 0\.05 s"):
        asyncio.run(looks.ask("one", "p"))
    looks.answer("one", asked[0], b"{}")
    with pytest.raises(BadRequest, match="sight of host one"):
        looks.answer("one", asked[0], b"[")
