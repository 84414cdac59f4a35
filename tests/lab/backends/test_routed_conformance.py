# SPDX-License-Identifier: Apache-2.0
"""The routed backend with the real agent on a real kernel delivers exactly what the oracle says, packet by packet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from tests.lab.backends.test_bridge_conformance import at_home, disagreements, realise

from portico.contract import Dirty
from portico.model.snapshot import IpAddress, Snapshot
from portico.testing import strategies
from portico.testing.backend_suite import change, example_world
from portico.testing.lab import Lab
from portico.testing.probes import router_probes
from portico.testing.routed_lab import RoutedSite
from portico.testing.router_suite import joined_world
from portico.testing.router_world import OUTSIDE, PutRouter, put_in_scopes
from portico.testing.world import PutAddressGroup, PutPort, PutRule, World
from portico.trace.way import verdict

pytestmark = pytest.mark.lab


Compare = Callable[[RoutedSite, Snapshot], list[str]]


def lasting(site: RoutedSite, want: Snapshot, compare: Compare = disagreements) -> list[str]:
    """Return where packets and oracle disagree, now and still a little later.

    The kernel takes a link into use up to a second after it has a carrier, if its number in our namespace happens to be
    that of its other end (`linkwatch_urgent_event` in net/core/link_watch.c), and drops what it is to send until then.
    """
    found = compare(site, want)
    if found:
        time.sleep(1.2)
        found = compare(site, want)
    return found


def disagreements_about_routers(site: RoutedSite, want: Snapshot) -> list[str]:
    """Return where packets to other networks and to floating IPs do not go where the oracle says."""
    told = {packet: verdict(want, packet) for packet in router_probes(want)}
    found = site.delivered(want, told)
    return [f"{packet}: {told[packet]}" for packet, came in found.items() if came != told[packet].delivered]


@pytest.fixture(scope="module")
def site() -> Iterator[RoutedSite]:
    with Lab() as lab:
        yield RoutedSite(lab.host("one"))


@settings(
    max_examples=5, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@given(world=strategies.worlds())
@example(world=example_world())
@example(world=example_world(PutPort(3, 0, versions=(4,), port_security=False)))
def test_real_packets_go_where_the_oracle_says(site: RoutedSite, world: World) -> None:
    want = at_home(world.routed())
    realise(site, site.current(), want)
    assert lasting(site, want) == []


def test_real_packets_follow_changes_and_a_new_agent_and_broker_change_nothing(site: RoutedSite) -> None:
    world = example_world().routed()
    want: Snapshot = at_home(world)
    backend = site.make()
    realise(site, backend, want)
    for edits in (
        (PutRule(5, 0, "ingress", "IPv6", "udp", 80, 80), PutPort(1, 0, groups=(1,), pairs=(0,))),
        (PutPort(0, 0, groups=(0,), admin_up=False), PutPort(2, 1, groups=(0, 1), pairs=(0,))),
        (PutPort(0, 0, groups=(0, 2)), PutAddressGroup(0, ("192.0.3.0/24",)), PutRule(7, 1, remote_addresses=0)),
        (PutPort(1, 0, port_security=False),),
    ):
        realise(site, backend, want, change(world, want, list(edits)))
        assert lasting(site, want) == [], edits
    realise(site, site.make(), want)
    assert lasting(site, want) == []


def test_real_packets_to_floating_ips_go_where_the_oracle_says(site: RoutedSite) -> None:
    want = at_home(joined_world().routed())
    realise(site, site.make(), want)
    assert any(verdict(want, packet) and packet.destination in floating(want) for packet in router_probes(want))
    assert lasting(site, want, disagreements_about_routers) == []
    want = at_home(joined_world(PutRouter(0, None), PutRouter(1, (1, 3), outside=True, floating=(2, 3))).routed())
    realise(site, site.make(), want)
    assert lasting(site, want, disagreements_about_routers) == []


def test_real_packets_leave_their_address_scope_for_floating_ips_alone(site: RoutedSite) -> None:
    world = joined_world().routed()
    realise(site, site.current(), at_home(world))
    put_in_scopes(world, {0: "a", 2: "b", OUTSIDE: "b"})
    want = world.snapshot()
    passing = {packet.destination for packet in router_probes(want) if verdict(want, packet)}
    assert passing & floating(want) and len(passing) > len(floating(want))
    realise(site, site.current(), want, Dirty(ids={"subnetpool": frozenset(world.rows["subnetpool"])}))
    assert lasting(site, want, disagreements_about_routers) == []


def floating(want: Snapshot) -> set[IpAddress]:
    return {item.address for item in want.floating_ips.values()}
