# SPDX-License-Identifier: Apache-2.0
"""What the bridge backend's plan makes of single objects."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from portico.backends.bridge import plan
from portico.hoststate import Dhcp, Group, Guard, HostObject, Lease, Member, Rule, Source, Vif, key_of
from portico.model.converters import PROTOCOLS
from portico.model.snapshot import Snapshot
from portico.testing.world import (
    HOSTS,
    Drop,
    Edit,
    PutAddressGroup,
    PutGroup,
    PutNetwork,
    PutPort,
    PutRule,
    PutSubnet,
    World,
    object_id,
)

PORT, MAC = object_id("port", 0), "00:00:5e:00:53:00"
NETWORK = object_id("network", 0)


def planned(*edits: Edit, **port: Any) -> dict[str, HostObject]:
    """Return what the first host must have, with the first port's row changed by `port`."""
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 4), PutSubnet(0, 6, ra_mode="slaac"), PutGroup(0), PutGroup(1), *edits)
    if port:
        world.rows["port"][PORT] |= port
    return {key_of(item): item for item in plan.host_objects(world.snapshot(), HOSTS[0])}


def vif(*edits: Edit, **port: Any) -> Vif:
    found = planned(*edits, **port)[f"vif/{PORT}"]
    assert isinstance(found, Vif)
    return found


def test_link_names_fit_the_kernel() -> None:
    found = vif(PutPort(0, 0, plug="tap"))
    assert (found.link_name, found.tap_name) == ("pvb0000000-00", "tapb0000000-00")
    assert len(found.tap_name) < 16


def test_a_hypervisors_own_name_of_its_tap_is_kept() -> None:
    found = vif(PutPort(0, 0), **{"binding:profile": {"plug": "tap", "tap_name": "vnet7", "make_tap": True}})
    assert (found.tap_name, found.make_tap) == ("vnet7", True)


@pytest.mark.parametrize(
    ("edit", "sources"),
    [
        (PutPort(0, 0), [(MAC, "192.0.2.10/32"), (MAC, "2001:db8:0:1::a/128")]),
        (PutPort(0, 0, versions=()), []),
        (PutPort(0, 0, versions=(4,), pairs=(0,)), [(MAC, "192.0.2.10/32"), ("00:00:5e:00:53:fe", "192.0.2.200/32")]),
        (PutPort(0, 0, versions=(4,), pairs=(2,)), [(MAC, "192.0.2.10/32"), (MAC, "198.51.100.0/28")]),
    ],
    ids=["addresses", "none: nothing, as there are subnets", "pair with a MAC address", "pair without one"],
)
def test_a_guard_holds_a_port_to_its_addresses(edit: PutPort, sources: list[tuple[str, str]]) -> None:
    assert vif(edit).guard == Guard(tuple(Source(*source) for source in sources), ())


def test_without_addresses_a_port_is_held_to_its_mac_address_where_there_are_no_subnets() -> None:
    found = vif(Drop("subnet", 4), Drop("subnet", 6), PutPort(0, 0, versions=()))
    assert found.guard == Guard((Source(MAC, "0.0.0.0/0"), Source(MAC, "::/0")), ())
    assert vif(Drop("subnet", 4), PutPort(0, 0, versions=())).guard == Guard((), ())


def test_without_port_security_there_is_no_guard() -> None:
    assert vif(PutPort(0, 0, port_security=False)).guard is None


@pytest.mark.parametrize(
    "edits",
    [(PutPort(0, 0, admin_up=False),), (PutPort(0, 0), PutNetwork(0, admin_up=False))],
    ids=["port", "network"],
)
def test_either_admin_state_cuts_a_port_off(edits: tuple[Edit, ...]) -> None:
    assert vif(*edits).admin_up is False


def test_a_host_that_stands_by_has_all_of_the_port_but_its_traffic() -> None:
    def on(host: str, edit: PutPort, **port: Any) -> dict[str, HostObject]:
        world = World()
        world.apply(PutNetwork(0), PutSubnet(0, 4), PutGroup(0), edit)
        world.rows["port"][PORT] |= port
        return {key_of(item): item for item in plan.host_objects(world.snapshot(), host)}

    here, there = HOSTS
    coming = {"profile": {"plug": "tap", "tap_name": "vnet9"}, "vif_type": "tap", "host": there}
    at_work = PutPort(0, 0, host=here, plug="tap", groups=(0,))
    before = on(there, at_work, inactive_bindings=[coming])
    after = on(there, PutPort(0, 0, host=there, plug="tap", groups=(0,)), **{"binding:profile": coming["profile"]})
    ready, active = before.pop(f"vif/{PORT}"), after.pop(f"vif/{PORT}")
    assert isinstance(ready, Vif) and isinstance(active, Vif)
    assert (ready.admin_up, ready.tap_name, active.admin_up) == (False, "vnet9", True)
    assert structs.replace(ready, admin_up=True) == active
    lease, served = before.pop(f"lease/{PORT}"), after.pop(f"lease/{PORT}")
    assert isinstance(lease, Lease) and isinstance(served, Lease)
    assert (lease.serve, served.serve) == (False, True)
    assert before == after and f"dhcp/{NETWORK}" in before
    still = on(here, at_work, inactive_bindings=[coming])[f"vif/{PORT}"]
    assert isinstance(still, Vif) and still.admin_up


def test_a_host_that_a_port_has_left_has_nothing_of_it() -> None:
    left = [{"profile": {}, "vif_type": "unbound", "host": HOSTS[0]}]
    assert planned(PutPort(0, 0, host=HOSTS[1]), inactive_bindings=left) == {}


@pytest.mark.parametrize("edits", [(), (PutNetwork(0, admin_up=False),)], ids=["port", "network"])
def test_a_steady_link_is_so_whatever_cuts_its_port_off(edits: tuple[Edit, ...]) -> None:
    found = vif(PutPort(0, 0, admin_up=bool(edits), steady=True), *edits)
    assert (found.admin_up, found.steady) == (False, True)
    assert not vif(PutPort(0, 0)).steady


@pytest.mark.parametrize(
    ("ethertype", "protocol", "number"),
    [
        ("IPv4", None, None),
        ("IPv4", "ip", None),
        ("IPv4", "0", None),
        ("IPv4", "icmp", 1),
        ("IPv6", "icmp", 58),
        ("IPv6", "icmpv6", 58),
        ("IPv6", "ipv6-icmp", 58),
        ("IPv6", "1", 58),
        ("IPv4", "tcp", 6),
        ("IPv4", "112", 112),
    ],
)
def test_protocols_are_numbers_of_their_family(ethertype: str, protocol: str | None, number: int | None) -> None:
    found = planned(PutRule(0, 0, ethertype=ethertype, protocol=protocol), PutPort(0, 0, groups=(0,)))
    group = found[f"group/{object_id('security_group', 0)}"]
    assert isinstance(group, Group)
    assert [rule.protocol for rule in group.rules] == [number]


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_that_the_api_takes_can_be_planned(name: str) -> None:
    assert planned(PutRule(0, 0, ethertype="IPv6", protocol=name), PutPort(0, 0, groups=(0,)))


def test_a_rule_is_carried_whole() -> None:
    edit = PutRule(0, 0, "egress", "IPv6", "udp", 53, 54, remote_cidr="2001:db8:ff::/64")
    group = planned(edit, PutPort(0, 0, groups=(0,)))[f"group/{object_id('security_group', 0)}"]
    assert isinstance(group, Group)
    assert group.rules == (Rule("egress", "IPv6", 17, 53, 54, "2001:db8:ff::/64"),)


def test_members_are_those_of_remote_groups_on_networks_of_the_host() -> None:
    edits = (
        PutNetwork(1), PutSubnet(1, 4), PutRule(0, 0, remote_group=1), PutPort(0, 0, groups=(0,)),
        PutPort(1, 0, host=HOSTS[1], versions=(4,), groups=(1,)), PutPort(2, 1, host=HOSTS[1], groups=(1,)),
    )  # fmt: skip
    found = [item for item in planned(*edits).values() if isinstance(item, Member)]
    assert found == [Member(object_id("security_group", 1), NETWORK, "192.0.2.11/32")]


def test_an_address_group_has_its_addresses_on_every_network_of_the_host() -> None:
    cidrs = ("192.0.2.0/25", "2001:db8:ff::1/128")
    edits = (
        PutNetwork(1), PutAddressGroup(0, cidrs), PutAddressGroup(1, ("198.51.100.0/24",)),
        PutRule(0, 0, remote_addresses=0), PutRule(1, 1, remote_addresses=1),
        PutPort(0, 0, groups=(0,)), PutPort(1, 1), PutPort(2, 1, host=HOSTS[1]),
    )  # fmt: skip
    found = planned(*edits)
    members = {(item.network_id, item.cidr) for item in found.values() if isinstance(item, Member)}
    assert members == {(object_id("network", number), cidr) for number in (0, 1) for cidr in cidrs}
    group = found[f"group/{object_id('security_group', 0)}"]
    assert isinstance(group, Group)
    assert [rule.remote_group_id for rule in group.rules] == [object_id("address_group", 0)]


def test_dhcp_is_served_where_a_tap_is() -> None:
    found = planned(PutPort(0, 0, plug="tap"), PutPort(1, 0, host=HOSTS[1]))
    server = found[f"dhcp/{NETWORK}"]
    assert isinstance(server, Dhcp)
    assert [(subnet.mode, subnet.advertise, subnet.server) for subnet in server.subnets] == [
        ("dhcpv4", False, "192.0.2.210"),
        ("slaac", True, "2001:db8:0:1::d2"),
    ]
    own, other = (found[f"lease/{object_id('port', number)}"] for number in (0, 1))
    assert isinstance(own, Lease) and isinstance(other, Lease)
    assert (own.serve, own.hostname) == (True, "")
    assert other.serve is False, "the other host's server answers that one; its name is known here"


def test_containers_alone_need_no_dhcp() -> None:
    assert not [item for item in planned(PutPort(0, 0)).values() if isinstance(item, Dhcp | Lease)]


def test_a_host_without_ports_needs_nothing() -> None:
    assert plan.host_objects(Snapshot(), HOSTS[0]) == []
    assert planned(PutPort(0, 0, host=HOSTS[1])) == {}
