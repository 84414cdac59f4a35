# SPDX-License-Identifier: Apache-2.0
"""What the neutron backend asks of the remote, and of a port's host: without either."""

from __future__ import annotations

from typing import Any

import pytest

from portico.backends.neutron import body, outlet, plan
from portico.backends.neutron.plan import Rule, Signs
from portico.model.snapshot import Port, Snapshot
from portico.testing.world import PutAddressGroup, PutGroup, PutNetwork, PutPort, PutRule, PutSubnet, World, object_id

SIGNS = Signs("portico")
PORT, NETWORK = "99999999-1111-4000-8000-000000000000", "88888888-1111-4000-8000-000000000000"


def snapshot(*edits: Any) -> Snapshot:
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 4), PutGroup(0), *edits)
    return world.snapshot()


def port(plug: str = "tap", **profile: object) -> Port:
    world = World()
    world.apply(PutNetwork(0), PutPort(0, 0, plug=plug))
    world.rows["port"][object_id("port", 0)]["binding:profile"].update(profile)
    return world.snapshot().ports[object_id("port", 0)]


def bound(vif_type: str, **details: object) -> dict[str, Any]:
    return {"id": PORT, "network_id": NETWORK, "binding:vif_type": vif_type, "binding:vif_details": details}


@pytest.mark.parametrize(
    ("vif_type", "details", "device", "bridge", "interface_id"),
    [
        ("ovs", {}, "tap99999999-11", "br-int", PORT),
        ("ovs", {"bridge_name": "br-far"}, "tap99999999-11", "br-far", PORT),
        ("bridge", {}, "tap99999999-11", "brq88888888-11", ""),
        ("bridge", {"bridge_name": "brfar"}, "tap99999999-11", "brfar", ""),
        ("tap", {}, "tap99999999-11", "", ""),
        ("tap", {"tap_name": "tapfar"}, "tapfar", "", ""),
    ],
)
def test_a_hypervisors_tap_goes_where_the_binding_says(
    vif_type: str, details: dict[str, str], device: str, bridge: str, interface_id: str
) -> None:
    found = outlet.of(port(), bound(vif_type, **details), 1400)
    assert (found.device, found.bridge, found.interface_id, found.plug) == (device, bridge, interface_id, "tap")
    assert outlet.binding(bound(vif_type, **details), found).vif_details == {**details, "tap_name": device}
    assert outlet.of(port(make_tap=True), bound(vif_type), 1400).make_tap


def test_a_container_gets_a_link_of_ours_except_from_a_portico() -> None:
    mine = port("veth")
    found = outlet.of(mine, bound("bridge"), 1400)
    assert (found.plug, found.device, found.link_name) == ("veth", "tap99999999-11", f"pv{mine.id[:11]}")
    assert outlet.binding(bound("bridge"), found).vif_details == {"link_name": f"pv{mine.id[:11]}"}
    theirs = bound("veth", link_name="pv99999999-11")
    found = outlet.of(mine, theirs, 1400)
    assert (found.way, found.device, found.link_name) == ("link", "pv99999999-11", "")
    assert outlet.binding(theirs, found).vif_details == {"link_name": "pv99999999-11"}


def test_a_binding_that_no_agent_plugs_is_named() -> None:
    with pytest.raises(outlet.NotPlugged, match="binding:vif_type 'vhostuser' of the remote is plugged by no agent"):
        outlet.of(port(), bound("vhostuser"), 1400)


def test_a_rule_that_names_an_address_group_is_one_for_each_address_of_its_version() -> None:
    addresses = PutAddressGroup(0, ("198.51.100.0/28", "2001:db8::/64", "0.0.0.0/0"))
    want = snapshot(addresses, PutRule(0, 0, remote_addresses=0), PutPort(0, 0, versions=(4,), groups=(0,)))
    group = plan.wanted(want, SIGNS, send_profile=False)[("security_group", object_id("security_group", 0))]
    rule = Rule("ingress", "IPv4", None, None, None, "198.51.100.0/28", None)
    assert group.rules == {rule, Rule("ingress", "IPv4", None, None, None, None, None)}


def test_groups_are_those_that_ports_have_and_that_rules_of_these_name() -> None:
    want = snapshot(PutGroup(1), PutGroup(2), PutRule(0, 0, remote_group=1), PutPort(0, 0, versions=(4,), groups=(0,)))
    found = {key[1] for key in plan.wanted(want, SIGNS, send_profile=False) if key[0] == "security_group"}
    assert found == {object_id("security_group", 0), object_id("security_group", 1)}


def test_an_address_that_slaac_gives_is_not_asked_for_and_others_are() -> None:
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 4), PutSubnet(0, 6, ra_mode="slaac"), PutPort(0, 0))
    row = world.rows["port"][object_id("port", 0)]
    row["fixed_ips"][1]["ip_address"] = "2001:db8:0:1:200:5eff:fe00:5300"
    wanted = plan.wanted(world.snapshot(), SIGNS, send_profile=False)
    ids = {key: f"their {key[0]}" for key in wanted}
    asked = body.of_new(wanted[("port", row["id"])], ids)["fixed_ips"]
    assert asked == [{"subnet_id": "their subnet", "ip_address": "192.0.2.10"}, {"subnet_id": "their subnet"}]


def test_a_dhcp_option_that_is_wanted_no_more_is_taken_away_by_name() -> None:
    wanted = plan.wanted(snapshot(PutPort(0, 0, versions=(4,))), SIGNS, send_profile=False)
    item = wanted[("port", object_id("port", 0))]
    row = {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400", "ip_version": 4}]}
    changes = body.of_changes(item, row, ["extra_dhcp_opts"], {}, {})
    assert changes == {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": None, "ip_version": 4}]}


@pytest.mark.parametrize(
    ("row", "ours"),
    [
        ({"description": "portico:x", "tags": []}, "x"),
        ({"description": "changed", "tags": ["mine", "portico:x"]}, "x"),
        ({"description": "portico-2:x", "tags": ["portico2:x"]}, ""),
        ({"description": None}, ""),
    ],
)
def test_an_object_is_known_by_description_or_tag(row: dict[str, Any], ours: str) -> None:
    assert SIGNS.read(row) == ours
