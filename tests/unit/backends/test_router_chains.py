# SPDX-License-Identifier: Apache-2.0
"""Routers that send to other routers: those are on the same hosts, with what they are on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from portico import planning
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import HostObject, Update, key_of
from portico.model.snapshot import Snapshot
from portico.testing.router_world import OUTSIDE, PutRouter, RouterWorld, l3_id
from portico.testing.world import HOSTS, PutNetwork, PutPort, PutSubnet, object_id
from portico.trace.packet import TCP, Packet
from portico.trace.way import verdict

INNER, OUTER = l3_id("router", 0), l3_id("router", 1)
TRANSIT = object_id("network", 2)
BY_OUTER = [{"destination": "0.0.0.0/0", "nexthop": "198.18.1.2"}]
Objects = dict[str, dict[str, HostObject]]


def world(outside_type: str = "local") -> RouterWorld:
    """Return two routers on a network without ports; the inner one is on a port's network, the outer one outside."""
    made = RouterWorld()
    made.outside_type = outside_type
    made.apply(*(edit for number in (0, 2, 4) for edit in (PutNetwork(number), PutSubnet(number, 4))))
    made.apply(PutPort(0, 0, port_security=False), PutPort(1, OUTSIDE, port_security=False))
    made.apply(PutRouter(0, (0, 2)), PutRouter(1, (2,), outside=True))
    return made


def send(made: RouterWorld, routes: list[dict[str, str]]) -> dict[str, set[str]]:
    """Give the inner router these extra routes; return what changed."""
    made.rows["router"][INNER]["routes"] = routes
    return {"router": {INNER}}


class Hosts:
    """What a bridge backend has hosts be told."""

    def __init__(self, want: Snapshot) -> None:
        self.states, self.told = HostStates(), Objects()
        self.backend = BridgeBackend(self.states)
        for host in HOSTS:
            self.states.follow(host, self._taker(host))
        self.sync(want, Dirty(everything=True))

    def _taker(self, host: str) -> Callable[[Update], None]:
        def take(update: Update) -> None:
            known = {} if update.complete else self.told.get(host, {})
            known = {**known, **{key_of(item): item for item in update.objects}}
            self.told[host] = {key: item for key, item in known.items() if key not in update.gone}

        return take

    def sync(self, want: Snapshot, dirty: Dirty) -> Objects:
        list(self.backend.sync(want, dirty))
        self.states.publish(1)
        return self.told


@pytest.fixture
def made() -> RouterWorld:
    return world()


def test_a_router_that_is_sent_to_is_where_its_senders_are_with_its_networks(made: RouterWorld) -> None:
    want = made.snapshot()
    assert planning.routers.hosts_of_router(want, OUTER) == set()
    assert planning.routers.routers_of_host(want, HOSTS[0]) == {INNER}
    send(made, BY_OUTER)
    want = made.snapshot()
    assert planning.routers.hosts_of_router(want, OUTER) == {HOSTS[0]}
    assert planning.routers.routers_of_host(want, HOSTS[0]) == {INNER, OUTER}
    assert planning.routers.networks_of_host(want, HOSTS[0]) >= {TRANSIT, object_id("network", OUTSIDE)}
    assert planning.routers.routers_of_host(want, HOSTS[1]) == set()
    # in a ring nobody waits for anybody
    made.rows["router"][OUTER]["routes"] = [{"destination": "192.0.2.0/24", "nexthop": "198.18.1.1"}]
    assert planning.routers.hosts_of_router(made.snapshot(), INNER) == {HOSTS[0]}
    made.apply(PutRouter(1, (2,), outside=True, admin_up=False))
    assert planning.routers.routers_of_host(made.snapshot(), HOSTS[0]) == {INNER}


def test_a_packet_is_followed_from_router_to_router(made: RouterWorld) -> None:
    sent = (*(made.snapshot().ports[object_id("port", number)] for number in (0, 1)),)
    source, destination = (port.fixed_ips[0].address for port in sent)
    packet = Packet(sent[0].id, sent[1].id, sent[0].mac, source, destination, TCP, 40000, 80)
    assert not verdict(made.snapshot(), packet)
    send(made, BY_OUTER)
    found = verdict(made.snapshot(), packet)
    assert [hop.object for hop in found.hops if hop.object.startswith("router/")] == [
        f"router/{INNER}",
        f"router/{OUTER}",
    ]
    assert found.delivered and "source" in found.hops[-2].what


def test_a_route_to_a_subnet_of_the_router_itself_changes_nothing(made: RouterWorld) -> None:
    made.apply(PutPort(2, 2, port_security=False))

    def found() -> tuple[object, bool]:
        want = made.snapshot()
        ports = (*(want.ports[object_id("port", number)] for number in (0, 2)),)
        source, destination = (port.fixed_ips[0].address for port in ports)
        packet = Packet(ports[0].id, ports[1].id, ports[0].mac, source, destination, TCP, 40000, 80)
        return planning.routers.router(want, HOSTS[0], INNER).ways, verdict(want, packet).delivered

    before = found()
    own = next(row["cidr"] for row in made.rows["subnet"].values() if row["network_id"] == TRANSIT)
    send(made, [{"destination": own, "nexthop": "198.18.1.2"}])
    assert found() == before == ((), True)
    send(made, [{"destination": "203.0.113.0/24", "nexthop": "198.18.1.2"}])
    assert found()[0] != before[0]


@pytest.mark.parametrize("outside_type", ["local", "flat"])
def test_hints_about_routers_in_a_chain_equal_everything(outside_type: str) -> None:
    made = world(outside_type)
    made.apply(PutNetwork(1), PutSubnet(1, 4), PutPort(3, 1, host=HOSTS[1]), PutRouter(1, (1, 2), outside=True))
    want = made.snapshot()
    hosts = Hosts(want)
    steps: tuple[Callable[[], dict[str, set[str]]], ...] = (
        lambda: send(made, BY_OUTER),
        lambda: made.apply(PutPort(2, 2, host=HOSTS[1])),
        lambda: made.apply(PutPort(0, 0, host=HOSTS[1], port_security=False)),
        lambda: send(made, []),
        lambda: send(made, BY_OUTER),
        lambda: made.apply(PutPort(0, 0, host=HOSTS[0], port_security=False)),
        lambda: made.apply(PutPort(2, 2, host="")),
        lambda: send(made, []),
        lambda: send(made, BY_OUTER),
        lambda: made.apply(PutRouter(1, (), outside=True)),
        lambda: made.apply(PutRouter(1, (1, 2), outside=True)),
    )
    for step in steps:
        changed = step()
        made.update(want, changed)
        told = hosts.sync(want, Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()}))
        assert told == Hosts(made.snapshot()).told, changed
