# SPDX-License-Identifier: Apache-2.0
"""What people are told of packets is what backends are held to."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings

from portico.model.l3 import INTERFACE_OWNER
from portico.model.snapshot import Port, Snapshot
from portico.testing import strategies
from portico.testing.router_suite import joined_world
from portico.testing.router_world import RouterWorld
from portico.testing.world import World
from portico.trace.packet import TCP, Packet
from portico.trace.question import Question, answer
from portico.trace.way import verdict

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def pairs(want: Snapshot) -> list[tuple[Port, Port]]:
    ports = [port for port in want.ports.values() if port.fixed_ips and port.device_owner == "compute:test"]
    return [(a, b) for a in ports for b in ports if a is not b]


def delivered(want: Snapshot, sender: Port, receiver: Port) -> bool:
    """Tell whether any packet to port 80 is delivered between addresses that are the ports' own."""
    return any(
        verdict(want, Packet(sender.id, receiver.id, sender.mac, source.address, target.address, TCP, 40000, 80))
        for source in sender.fixed_ips
        for target in receiver.fixed_ips
        if source.address.version == target.address.version
    )


@FEW
@given(strategies.worlds())
def test_between_ports_of_one_network_the_answer_is_what_backends_must_do(world: World) -> None:
    want = world.snapshot()
    for sender, receiver in pairs(want):
        found = answer(want, Question(sender.id, receiver.id, TCP, 80), {})
        if sender.network_id == receiver.network_id:
            assert found.delivered == delivered(want, sender, receiver), found
        else:
            assert not found.delivered


@FEW
@given(strategies.router_worlds())
def test_across_routers_nothing_is_said_to_pass_that_backends_must_stop(world: RouterWorld) -> None:
    want = world.snapshot()
    for sender, receiver in pairs(want):
        found = answer(want, Question(sender.id, receiver.id, TCP, 80), {})
        passes = delivered(want, sender, receiver)
        assert not (found.delivered and not passes), found
        # What passes all the same is sent to a router that is not the sender's gateway.
        assert found.delivered == passes or found.hops[-1].object.startswith(("network/", "router/")), found


def test_tenants_whose_routers_are_their_gateways_reach_their_own_and_not_each_other() -> None:
    want = joined_world().snapshot()
    for port in [port for port in want.ports.values() if port.device_owner == INTERFACE_OWNER]:
        for item in port.fixed_ips:
            want.place("subnet", msgspec.structs.replace(want.subnets[item.subnet_id], gateway=item.address))
    told = {}
    inside = [pair for pair in pairs(want) if not want.networks[pair[0].network_id].external]
    for sender, receiver in inside:
        found = answer(want, Question(sender.id, receiver.id, TCP, 80), {})
        assert found.delivered == delivered(want, sender, receiver), found
        told[sender.id, receiver.id] = found
    assert {len(found.hops) for found in told.values() if found} == {5}
    assert {found.delivered for found in told.values()} == {True, False}
