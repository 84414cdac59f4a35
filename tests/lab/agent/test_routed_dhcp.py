# SPDX-License-Identifier: Apache-2.0
"""DHCP, router advertisements and names on routed networks: one server for all, which sees every port's link."""

from __future__ import annotations

import pytest
from tests.lab.agent.test_dhcp import SCRIPT, asked, dhcpv6, gets_nothing, subnet4, subnet6, udhcpc

from portico.hoststate import NEXT_HOPS, ROUTED, Dhcp, DhcpSubnet, Lease, Space, Vif
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, NET_A, NET_B, Rig, Workload, group, port

pytestmark = pytest.mark.lab

ASKING = group(1, *ANY)


def served(number: int) -> Vif:
    """Return a port of a virtual machine, whose hypervisor is late: its link can be taken for the machine's."""
    routes = (f"10.0.0.{number}/32", f"2001:db8::{number:x}/128")
    options: dict[str, object] = {"plug": "tap", "tap_name": "late", "routes": routes}
    return port(number, ASKING.group_id, network=ROUTED, **options)


def lease(vif: Vif, number: int, network: str = NET_A) -> Lease:
    return Lease(network, vif.port_id, vif.mac, (f"10.0.0.{number}", f"2001:db8::{number:x}"), f"vm{number}")


def server(*subnets: DhcpSubnet, network: str = NET_A) -> Dhcp:
    return Dhcp(
        network, f"server-{network}", f"00:00:5e:00:53:{network[:2]}", 1450, "lab.example", subnets, routed=True
    )


def begin(rig: Rig, *subnets: DhcpSubnet) -> Workload:
    a = served(1)
    rig.want(Space(1450, ipv6=True), ASKING, a, server(*subnets), lease(a, 1))
    rig.start()
    assert rig.statuses()[f"dhcp/{NET_A}"].state == "active"
    rig.host.path(SCRIPT).write_text("#!/bin/sh\necho EVENT $1; set\n")
    rig.host.run(["chmod", "+x", SCRIPT])
    return rig.plug("a", a)


def test_a_client_is_told_one_address_and_the_next_hop(rig: Rig) -> None:
    a = begin(rig, subnet4(), subnet6("dhcpv6-stateful", advertise=True))
    told = udhcpc(a, "mtu", "staticroutes")
    assert (told["ip"], told["mask"], told["router"], told["mtu"]) == ("10.0.0.1", "32", NEXT_HOPS[4], "1450")
    assert told["staticroutes"] == f"{NEXT_HOPS[4]}/32 0.0.0.0 0.0.0.0/0 {NEXT_HOPS[4]}"
    assert told["hostname"] == "vm1" and told["dns"] == "10.0.0.250" and told["domain"] == "lab.example"
    wait_until("a link-local address", lambda: "fe80" in a.run("ip", "-6", "addr", "show", "-tentative").out, 20)
    assert dhcpv6(a)[:1] == b"\7"
    a.run("ip", "addr", "add", "10.0.0.1/32", "dev", "eth0")
    a.run("ip", "route", "add", NEXT_HOPS[4], "dev", "eth0")
    a.run("ip", "route", "add", "default", "via", NEXT_HOPS[4])
    assert asked(a, "vm1.lab.example", 1)[-4:] == bytes([10, 0, 0, 1])


def test_advertisements_make_the_next_hop_the_router_and_nobody_a_neighbour(rig: Rig) -> None:
    a = begin(rig, subnet6("slaac", advertise=True))
    wait_until("a default route", lambda: "default via fe80::1" in a.run("ip", "-6", "route").out, 20)
    assert "2001:db8::/64" not in a.run("ip", "-6", "route").out
    assert "2001:db8::" in a.run("ip", "-6", "addr").out


def test_ports_and_networks_come_and_go_and_nothing_is_left(rig: Rig) -> None:
    a = begin(rig, subnet4())
    b = served(2)
    other = DhcpSubnet("o4", "10.0.0.0/29", "10.0.0.6", "dhcpv4")
    rig.want(b, server(other, network=NET_B), lease(b, 2, NET_B))
    second = rig.plug("b", b)
    told = udhcpc(second)
    assert (told["ip"], told["serverid"]) == ("10.0.0.2", "10.0.0.6")
    assert udhcpc(a)["serverid"] == "10.0.0.250"
    rig.host.run(["pkill", "-x", "dnsmasq"])
    wait_until("the server is back", lambda: rig.host.run(["pgrep", "-x", "dnsmasq"], check=False).ok, 20)
    assert udhcpc(a)["ip"] == "10.0.0.1"
    rig.want(gone=[server(network=NET_A), lease(a.vif, 1)])
    assert gets_nothing(a) and udhcpc(second)["ip"] == "10.0.0.2"
    rig.want(gone=[server(network=NET_B), lease(b, 2, NET_B)])
    assert not rig.host.run(["pgrep", "-x", "dnsmasq"], check=False).ok
    assert ": pq" not in rig.host.run(["ip", "-n", "portico", "-o", "link"]).out
    assert not rig.host.path("/run/portico/routed-dhcp/portico/routed").exists()
