# SPDX-License-Identifier: Apache-2.0
"""Routers of the bridge backend on a real kernel: packets cross them as the oracle says, and with what addresses."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from tests.lab.backends.test_bridge_conformance import ALL, at_home

from portico import planning
from portico.model.snapshot import Snapshot
from portico.testing import strategies
from portico.testing.bridge_lab import NAME, Seen
from portico.testing.lab import Lab
from portico.testing.probes import router_probes
from portico.testing.router_lab import RouterSite
from portico.testing.router_suite import behind_world, joined_world
from portico.testing.router_world import (
    OUTSIDE,
    HostWorld,
    PutRouter,
    RouterWorld,
    l3_id,
    put_at_interface,
    put_in_scopes,
)
from portico.testing.world import Drop, PutPort, object_id
from portico.trace import router
from portico.trace.packet import Packet
from portico.trace.way import verdict

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def site() -> Iterator[RouterSite]:
    with Lab() as lab:
        yield RouterSite(lab.host("one"))


def scoped_world() -> RouterWorld:
    """Return a world in which two networks of one router are in different address scopes."""
    world = joined_world()
    put_in_scopes(world, {0: "a", 2: "b", OUTSIDE: "a"})
    return world


def interface_world(*, outside: bool) -> RouterWorld:
    """Return a world in which a floating IP is of a network that its router has an interface on."""
    world = joined_world(PutRouter(0, (0, 2), outside=outside, floating=(1,) if outside else ()))
    put_at_interface(world)
    return world


def chained_world() -> RouterWorld:
    """Return a world in which a router without a gateway sends all to another one, which has a floating IP for it."""
    world = joined_world(Drop("port", 1), PutRouter(0, (0, 2)), PutRouter(1, (2,), outside=True))
    world.apply(PutPort(0, 0, port_security=False))
    first, second = (world.rows["router"][l3_id("router", number)] for number in (0, 1))
    first["routes"] = [{"destination": "0.0.0.0/0", "nexthop": "198.18.1.2"}]
    second["routes"] = [{"destination": "192.0.2.0/24", "nexthop": "198.18.1.1"}]
    floating_id, port = l3_id("floatingip", 0), world.rows["port"][object_id("port", 0)]
    world.rows["floatingip"][floating_id] = {
        "id": floating_id,
        "floating_ip_address": "198.18.2.200",
        "floating_network_id": object_id("network", OUTSIDE),
        "router_id": second["id"],
        "port_id": port["id"],
        "fixed_ip_address": port["fixed_ips"][0]["ip_address"],
    }
    return world


def on_one_host(world: RouterWorld) -> Snapshot:
    """Return a world at home on the one host there is, with a network of its own for gateways."""
    outside = world.rows["network"][object_id("network", OUTSIDE)]
    if not isinstance(world, HostWorld):
        outside["provider:network_type"] = "local"
    return at_home(world)


def expected(want: Snapshot, packet: Packet) -> set[Seen]:
    """Return as what a packet may come to its receiver: each of several routers has its own address outside."""
    if not verdict(want, packet):
        return set()
    ways = router.crossings(want, want.ports[packet.sender], want.ports[packet.receiver], packet)
    return {(last.packet.source, last.packet.destination, last.packet.high) for *_, last in ways}


def disagreements(site: RouterSite, want: Snapshot) -> list[str]:
    """Return which packets came otherwise than they should, now and still a little later: see `lasting` of routed."""
    told = {packet: expected(want, packet) for packet in router_probes(want)}
    wrong = list(told)
    for wait_s in (0.0, 1.2):
        time.sleep(wait_s if wrong else 0)
        came = site.crossed(want, wrong)
        wrong = [it for it in wrong if bool(told[it]) != bool(came[it]) or not came[it] <= told[it]]
    return [f"{packet} came as {came[packet]}: {told[packet]} {verdict(want, packet)}" for packet in wrong]


@settings(
    max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@given(world=strategies.router_worlds())
@example(world=joined_world())
@example(world=joined_world(PutRouter(0, (0, 2), outside=True, snat=False, forwarded=(1,)), PutRouter(1, (3,))))
@example(world=scoped_world())
@example(world=chained_world())
@example(world=behind_world())
@example(world=interface_world(outside=True))
@example(world=interface_world(outside=False))
def test_real_packets_cross_routers_as_the_oracle_says(site: RouterSite, world: RouterWorld) -> None:
    want = on_one_host(world)
    list(site.current().sync(want, ALL))
    statuses = site.settle()
    for router_id in planning.routers.routers_of_host(want, NAME):
        assert statuses[f"router/{router_id}"].state == "active", statuses[f"router/{router_id}"]
    assert disagreements(site, want) == []
