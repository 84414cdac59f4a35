# SPDX-License-Identifier: Apache-2.0
"""The bridge backend with the real agent on a real kernel delivers exactly what the oracle says, packet by packet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

from portico.contract import Backend, Dirty
from portico.model.snapshot import DHCP_OWNER, Snapshot
from portico.testing import strategies
from portico.testing.backend_suite import change, example_world, overlapping_world
from portico.testing.bridge_lab import NAME, LabSite
from portico.testing.lab import Lab
from portico.testing.probes import probes
from portico.testing.world import Drop, Edit, PutAddressGroup, PutGroup, PutPort, PutRule, World
from portico.trace.packet import VRRP, Packet
from portico.trace.way import verdict

pytestmark = pytest.mark.lab
ALL = Dirty(everything=True)


@pytest.fixture(scope="module")
def site() -> Iterator[LabSite]:
    with Lab() as lab:
        yield LabSite(lab.host("one"))


def at_home(world: World) -> Snapshot:
    """Return the world with every bound port plugged by veth on the one host there is."""
    rows = world.rows["port"]
    for row in rows.values():
        if row["device_owner"] != DHCP_OWNER:
            host = NAME if row["binding:host_id"] else ""
            row |= {"binding:host_id": host, "binding:profile": {"plug": "veth"}, "inactive_bindings": []}
    servers = [port_id for port_id, row in rows.items() if row["device_owner"] == DHCP_OWNER]
    for port_id in servers:
        del rows[port_id]
    return world.snapshot()


def is_fair(want: Snapshot, packet: Packet) -> bool:
    """Leave out packets that would change what later ones meet.

    A bridge learns a false sender address from a port without port security; and connection tracking takes VRRP, which
    has no ports, for the answer to what came the other way.
    """
    sender = want.ports[packet.sender]
    return packet.protocol != VRRP and (sender.port_security or packet.mac == sender.mac)


def disagreements(site: LabSite, want: Snapshot) -> list[str]:
    packets = [packet for packet in probes(want) if is_fair(want, packet)]
    found = site.delivered(want, packets)
    return [
        f"{packet}: {verdict(want, packet)}" for packet, came in found.items() if came != bool(verdict(want, packet))
    ]


def realise(site: LabSite, backend: Backend, want: Snapshot, dirty: Dirty = ALL) -> None:
    list(backend.sync(want, dirty))
    statuses = site.settle()
    for port in want.ports.values():
        if port.host:
            assert statuses[f"vif/{port.id}"].state == "active", statuses[f"vif/{port.id}"]


@settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate)
)
@given(world=strategies.worlds())
@example(world=example_world())
@example(world=overlapping_world())
@example(world=example_world(PutPort(2, 0, versions=(), groups=(0,)), PutPort(0, 0, versions=(), groups=(0,))))
def test_real_packets_go_where_the_oracle_says(site: LabSite, world: World) -> None:
    want = at_home(world)
    realise(site, site.current(), want)
    assert disagreements(site, want) == []


def test_real_packets_follow_changes(site: LabSite) -> None:
    world = example_world()
    at_home(world)
    want = world.snapshot()
    backend = site.make()
    realise(site, backend, want)
    steps: list[tuple[Edit, ...]] = [
        (PutRule(5, 0, "ingress", "IPv6", "udp", 80, 80),),
        (PutPort(1, 0, groups=(1,), pairs=(0,)),),
        (PutPort(0, 0, groups=(0,), admin_up=False),),
        (PutPort(0, 0, groups=(0, 2)), PutRule(6, 2, "ingress")),
        (Drop("port", 3), PutGroup(2)),
        (PutPort(2, 0, groups=(0,)),),
        (PutAddressGroup(0, ("192.0.2.0/29", "2001:db8:0:1::/64")), PutRule(7, 1, remote_addresses=0)),
        (PutPort(1, 0, groups=(1,)), PutPort(3, 0, groups=(0,)), PutRule(8, 0, "egress", "IPv6", remote_addresses=0)),
        (PutAddressGroup(0, ("192.0.2.13/32",)),),
        (PutAddressGroup(0, ("0.0.0.0/0", "192.0.2.13/32", "::/0", "fe80::/10")),),
        (PutAddressGroup(0),),
        (PutPort(1, 0, port_security=False),),
    ]
    for edits in steps:
        realise(site, backend, want, change(world, want, edits))
        assert disagreements(site, want) == [], edits


def test_a_new_agent_and_broker_change_nothing_that_packets_meet(site: LabSite) -> None:
    want = at_home(example_world())
    for _ in range(2):
        realise(site, site.make(), want)
        assert disagreements(site, want) == []
