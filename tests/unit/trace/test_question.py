# SPDX-License-Identifier: Apache-2.0
"""What people are told of packets is what backends are held to."""

from __future__ import annotations

from ipaddress import ip_address

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from portico.model.l3 import INTERFACE_OWNER
from portico.model.snapshot import Port, Snapshot
from portico.testing import strategies
from portico.testing.router_suite import joined_world
from portico.testing.router_world import PutRouter, RouterWorld, l3_id
from portico.testing.world import HOSTS, PutPort, PutRule, World, object_id
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
        found = answer(want, Question(sender.id, receiver.id, TCP, 80))
        if sender.network_id == receiver.network_id:
            assert found.delivered == delivered(want, sender, receiver), found
        else:
            assert not found.delivered


@FEW
@given(strategies.router_worlds())
def test_across_routers_nothing_is_said_to_pass_that_backends_must_stop(world: RouterWorld) -> None:
    want = world.snapshot()
    for sender, receiver in pairs(want):
        found = answer(want, Question(sender.id, receiver.id, TCP, 80))
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
        found = answer(want, Question(sender.id, receiver.id, TCP, 80))
        assert found.delivered == delivered(want, sender, receiver), found
        told[sender.id, receiver.id] = found
    assert {len(found.hops) for found in told.values() if found} == {5}
    assert {found.delivered for found in told.values()} == {True, False}


ANSWERED = "it answers by itself"
ONLY = "its gateway on network "


@pytest.mark.parametrize(
    ("number", "host", "destination", "passes", "why"),
    [
        (0, HOSTS[0], "192.0.2.1", True, ANSWERED),
        (0, HOSTS[1], "192.0.2.1", True, ANSWERED),
        (0, HOSTS[0], "198.18.2.100", True, ANSWERED),
        (0, HOSTS[1], "198.18.2.100", False, ONLY),
        (4, HOSTS[0], "198.18.2.100", True, ANSWERED),
        (4, HOSTS[0], "198.18.2.201", True, "rule "),
        (4, HOSTS[0], "198.18.2.200", True, "rule "),
        (4, HOSTS[1], "198.18.2.200", True, "rule "),
        (4, "", "198.18.2.200", False, "port b0000000-0000-4000-8000-000000000000 is bound to no host"),
        (0, HOSTS[0], "198.18.2.18", True, "port security is off"),
        (0, HOSTS[1], "198.18.2.18", False, ONLY),
    ],
)
def test_a_router_answers_for_its_own_addresses_and_floating_ips_where_it_has_them(
    number: int, host: str, destination: str, passes: bool, why: str
) -> None:
    floating = (0, 1) if destination == "198.18.2.200" else (1,)
    made = joined_world(PutPort(0, 0, host=host, groups=(0,)), PutRule(9, 0))
    made.apply(PutRouter(0, (0, 2), outside=True, floating=floating))
    for row in made.rows["subnet"].values():
        if row["network_id"] == object_id("network", 0) and ":" not in row["cidr"]:
            row["gateway_ip"] = "192.0.2.1"
    want = made.snapshot()
    found = answer(want, Question(object_id("port", number), ip_address(destination), TCP, 80))
    assert found.delivered is passes, found
    assert found.hops[-1].why.startswith(why), found
    # the same by the name of the router's port
    owned = [port for port in want.ports.values() if port.device_id == l3_id("router", 0)]
    for port in (it for it in owned if destination in {str(item.address) for item in it.fixed_ips}):
        named = answer(want, Question(object_id("port", number), port.id, TCP, 80))
        assert (named.delivered, named.hops[-1].why) == (passes, found.hops[-1].why)


def test_a_router_that_is_switched_off_answers_for_nothing() -> None:
    want = joined_world(PutRouter(0, (0, 2), outside=True, admin_up=False)).snapshot()
    found = answer(want, Question(object_id("port", 4), ip_address("198.18.2.100"), TCP, 80))
    assert (found.delivered, found.reason) == (False, "admin_state_up is false")
