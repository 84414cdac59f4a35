# SPDX-License-Identifier: Apache-2.0
"""The routed backend's plan and admission."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.unit.backends.test_bridge_plan import follow

from portico.backends.routed import RoutedBackend, plan
from portico.broker.hosts import HostStates
from portico.contract import Change, Dirty
from portico.errors import Unsupported
from portico.hoststate import ROUTED, HostObject, Member, Space, Vif, key_of
from portico.testing import strategies
from portico.testing.backend_suite import change
from portico.testing.world import (
    HOSTS,
    Drop,
    Edit,
    PutGroup,
    PutNetwork,
    PutPort,
    PutRule,
    PutSubnet,
    World,
    object_id,
    subnet_id,
)


def world(*edits: Edit) -> World:
    """Return two routed networks with ports of groups 0 and 1, of which the first lets the second in."""
    made = World(routed=True)
    made.apply(PutNetwork(0), PutSubnet(0, 4), PutNetwork(1, mtu=1400), PutSubnet(1, 4))
    made.apply(PutGroup(0), PutGroup(1), PutRule(0, 0, remote_group=1), *edits)
    return made


def planned(made: World, host: str = HOSTS[0]) -> dict[str, HostObject]:
    return {key_of(item): item for item in plan.host_objects(made.snapshot(), host)}


def test_a_member_that_goes_together_with_its_network_is_known_nowhere() -> None:
    hosts = HostStates()
    made = world(PutPort(0, 0, HOSTS[0], groups=(1,)), PutPort(1, 1, HOSTS[1], groups=(0,)))
    state, backend, want = follow(hosts), RoutedBackend(hosts), made.snapshot()
    list(backend.sync(want, Dirty(everything=True)))
    hosts.publish(1)
    assert any(isinstance(item, Member) for item in state[HOSTS[1]].values())
    list(backend.sync(want, change(made, want, [Drop("network", 0)])))
    hosts.publish(2)
    assert state[HOSTS[1]] == planned(made, HOSTS[1])
    assert not any(isinstance(item, Member) for item in state[HOSTS[1]].values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(strategies.worlds(), strategies.batches())
def test_changes_lead_to_what_a_plan_from_nothing_gives(given_world: World, batches: list[list[Edit]]) -> None:
    made = given_world.routed()
    hosts = HostStates()
    state = follow(hosts)
    backend = RoutedBackend(hosts)
    want = made.snapshot()
    list(backend.sync(want, Dirty(everything=True)))
    hosts.publish(1)
    for revision, batch in enumerate(batches, 2):
        list(backend.sync(want, change(made, want, batch)))
        hosts.publish(revision)
    assert state == {host: planned(made, host) for host in HOSTS}


def test_a_remote_group_has_its_members_of_all_routed_networks() -> None:
    found = planned(world(PutPort(0, 0, groups=(0,)), PutPort(1, 1, groups=(1,), host=HOSTS[1])))
    members = [item for item in found.values() if isinstance(item, Member)]
    assert members == [Member(object_id("security_group", 1), ROUTED, "192.0.3.12/32")]


def test_the_link_to_the_host_carries_what_any_network_there_does() -> None:
    both = planned(world(PutPort(0, 1), PutSubnet(1, 6)))
    assert both["space/routed"] == Space(mtu=1400, ipv6=True)
    assert planned(world(PutPort(0, 1), PutPort(1, 0)))["space/routed"] == Space(mtu=1500)
    assert planned(world(PutPort(0, 0, host=HOSTS[1]))) == {}


def test_only_pairs_within_the_networks_subnets_are_led_to_a_port() -> None:
    found = planned(world(PutPort(0, 0, pairs=(0, 2, 3, 5))))[f"vif/{object_id('port', 0)}"]
    assert isinstance(found, Vif)
    assert found.routes == ("192.0.2.10/32",)
    assert found.shared_routes == ("192.0.2.200/32",)
    assert found.network_id == ROUTED


def test_a_port_without_addresses_sends_nothing() -> None:
    bare = World(routed=True)
    bare.apply(PutNetwork(0), PutPort(0, 0, versions=()))
    found = planned(bare)[f"vif/{object_id('port', 0)}"]
    assert isinstance(found, Vif) and found.guard is not None
    assert (found.guard.sources, found.routes, found.shared_routes) == ((), (), ())


def subnet(cidr: str, number: int = 9) -> Change:
    row: dict[str, Any] = {"id": subnet_id(number, 4), "network_id": object_id("network", number), "cidr": cidr}
    return Change("subnet", None, row | {"enable_dhcp": False, "ipv6_ra_mode": None})


@pytest.mark.parametrize("cidr", ["192.0.2.128/25", "192.0.0.0/16"])
def test_a_subnet_that_overlaps_a_routed_one_is_refused_with_its_name(cidr: str) -> None:
    with pytest.raises(Unsupported) as caught:
        RoutedBackend(HostStates()).admit(world().snapshot(), subnet(cidr))
    assert subnet_id(0, 4) in caught.value.message and cidr in caught.value.message


def test_subnets_apart_and_the_same_one_again_are_admitted() -> None:
    backend = RoutedBackend(HostStates())
    want = world().snapshot()
    backend.admit(want, subnet("198.51.100.0/24"))
    backend.admit(want, subnet("192.0.2.0/24", 0))
    backend.admit(want, subnet("2001:db8::/64"))


def test_next_hops_are_no_subnets() -> None:
    with pytest.raises(Unsupported, match="next hops"):
        RoutedBackend(HostStates()).admit(world().snapshot(), subnet("169.254.0.0/16"))


@pytest.mark.parametrize("name", ["provider:physical_network", "provider:segmentation_id"])
def test_what_only_l2_networks_have_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match=name):
        RoutedBackend(HostStates()).admit(world().snapshot(), Change("network", None, {"id": "n", name: 7}))


def test_a_port_is_told_its_next_hops() -> None:
    want = world(PutPort(0, 0, plug="tap")).snapshot()
    binding = RoutedBackend(HostStates()).bind(want.ports[object_id("port", 0)], HOSTS[0])
    assert binding.vif_type == "tap"
    assert binding.vif_details == {
        "connectivity": "l3", "port_filter": True, "link_name": "pvb0000000-00", "tap_name": "tapb0000000-00",
        "next_hop_v4": "169.254.1.1", "next_hop_v6": "fe80::1",
        "second_next_hop_v4": "169.254.1.3", "second_next_hop_v6": "fe80::3",
    }  # fmt: skip
