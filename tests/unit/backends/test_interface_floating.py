# SPDX-License-Identifier: Apache-2.0
"""Floating IPs at an interface of a router, in what hosts are to have; packets are in tests/lab."""

from __future__ import annotations

from ipaddress import ip_address

from msgspec import structs

from portico import planning
from portico.agent import router_rules
from portico.contract import Dirty
from portico.hoststate import Router
from portico.hoststate.l3 import Floating, Leg
from portico.model.snapshot import Snapshot
from portico.testing.router_suite import joined_world
from portico.testing.router_world import PutRouter, l3_id, put_at_interface
from portico.testing.world import PutPort, object_id
from portico.trace import router
from portico.trace.packet import TCP, Packet

ROUTER, PORT, OTHER = l3_id("router", 0), object_id("port", 0), object_id("port", 1)


def world(*, outside: bool = True) -> tuple[Snapshot, str]:
    """Return a router between the networks 0 and 2, and the floating address on network 2 of a port on network 0."""
    made = joined_world(PutRouter(0, (0, 2), outside=outside))
    floating_id = put_at_interface(made)
    return made.snapshot(), str(made.rows["floatingip"][floating_id]["floating_ip_address"])


def planned(want: Snapshot) -> Router:
    return planning.routers.router(want, want.ports[PORT].host, ROUTER)


def entry(want: Snapshot) -> Leg:
    legs = (leg for leg in planned(want).legs if leg.network_id == object_id("network", 2))
    return next(leg for leg in legs if not any(":" in text for text in leg.addresses))


def test_it_is_at_the_interface_which_stays_one_for_all_else() -> None:
    want, address = world()
    leg = entry(want)
    assert (leg.floats, leg.outside, leg.snat) == (True, False, "")
    fixed = next(str(item.address) for item in want.ports[PORT].fixed_ips if item.address.version == 4)
    assert planned(want).floating == (Floating(address, leg.port_id, fixed),)
    assert not any(it.floats for it in planned(want).legs if it != leg)
    want.remove("floatingip", l3_id("floatingip", 9))
    assert not entry(want).floats


def test_what_is_from_far_is_answered_by_the_interface_if_another_router_is_there() -> None:
    want, _ = world()
    leg = entry(want)
    assert leg.beyond == "", "the router is the gateway of that subnet"
    (subnet,) = (it for it in want.subnets.values() if it.network_id == leg.network_id and it.cidr.version == 4)
    beyond = subnet.cidr[77]
    want.place("subnet", structs.replace(subnet, gateway=beyond))
    assert entry(want).beyond == str(beyond)
    assert all(it.beyond == "" for it in planned(want).legs if it.outside), "one gateway needs no mark"


def test_rules_translate_what_passes_there_and_has_a_floating_address_alone() -> None:
    want, address = world()
    names = {leg.port_id: f"pl{number}" for number, leg in enumerate(planned(want).legs)}
    found = router_rules.translation(planned(want), names)
    name = names[entry(want).port_id]
    assert found.fixed == ()
    assert [(link, pairs[0][0]) for link, pairs in found.near] == [(name, address)]
    text = router_rules.text(found)
    assert f'oifname "{name}" snat ip to ip saddr map {{ {found.near[0][1][0][1]} : {address} }}' in text
    assert "ct status dnat meta mark != { 1, 2 }" in text
    bare = structs.replace(planned(want), floating=())
    assert found.affected(router_rules.translation(bare, names)) == frozenset(found.near[0][1][0])


def crossed(want: Snapshot, sender: str, receiver: str, destination: str = "") -> tuple[str, str]:
    """Return as from whom and to whom a packet arrives."""
    ends = [want.ports[item] for item in (sender, receiver)]
    source, target = (next(ip.address for ip in port.fixed_ips if ip.address.version == 4) for port in ends)
    packet = Packet(sender, receiver, ends[0].mac, source, ip_address(destination or target), TCP, 40000, 80)
    ((found,),) = router.crossings(want, ends[0], ends[1], packet)
    return str(found.packet.source), str(found.packet.destination)


def test_the_oracle_gives_the_floating_address_there_and_leaves_who_asks_the_own() -> None:
    for outside in (True, False):
        want, address = world(outside=outside)
        mine, other = (crossed(want, one, two)[1] for one, two in ((OTHER, PORT), (PORT, OTHER)))
        assert crossed(want, PORT, OTHER) == (address, other)
        assert crossed(want, OTHER, PORT, address) == (other, mine)
        assert crossed(want, OTHER, PORT) == (other, mine)


def test_on_a_network_that_is_one_on_all_hosts_a_port_elsewhere_is_not_reached_and_told_so() -> None:
    made = joined_world(PutPort(0, 0, host="host-b"), PutPort(1, 2, host="host-a"), PutRouter(0, (0, 2)))
    floating_id = put_at_interface(made)
    local = made.snapshot()
    assert planning.reach.unled(local, local.floating_ips[floating_id]) == ""
    made.rows["network"][object_id("network", 2)]["provider:network_type"] = "flat"
    want = made.snapshot()
    why = planning.reach.unled(want, want.floating_ips[floating_id])
    assert why.startswith(f"host host-b of port {PORT} has not the interface on network {object_id('network', 2)}")
    assert planning.routers.router(want, "host-b", ROUTER).floating == ()
    told = planning.reach.changed(want, Dirty(everything=True), planning.ports.Memory(), {})
    assert [(item.resource, item.state) for item in told if item.id == floating_id] == [("floatingip", "ERROR")]
