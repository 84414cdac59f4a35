# SPDX-License-Identifier: Apache-2.0
"""What the server of all routed networks is configured to say, and what has it made anew."""

from __future__ import annotations

from portico.agent import routed_dnsmasq
from portico.agent.delta import Wanted
from portico.hoststate import ROUTED, Dhcp, DhcpOption, DhcpSubnet, Lease, Space, Vif

ONE, TWO = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
FOUR = DhcpSubnet("s4", "10.0.0.0/24", "10.0.0.2", "dhcpv4", dns_servers=("192.0.2.53",))
SIX = DhcpSubnet("s6", "2001:db8::/64", "2001:db8::2", "slaac", advertise=True)
SERVERS = [
    Dhcp(ONE, "p1", "00:00:5e:00:53:01", 1400, "one.example", (FOUR, SIX), routed=True),
    Dhcp(TWO, "p2", "00:00:5e:00:53:02", 1500, "", (), routed=True),
]
LEASE = Lease(ONE, "port", "00:00:5e:00:53:09", ("10.0.0.9",), "vm", (DhcpOption("ntp-server", "192.0.2.1"),))


def test_each_network_has_its_link_its_domain_and_its_ports() -> None:
    text = routed_dnsmasq.config(SERVERS, {ONE: [LEASE], TWO: []}, {ONE: ["pbx", "pby"], TWO: []}, ["no-ping"])
    assert routed_dnsmasq.networks(text) == [ONE, TWO]
    assert text.splitlines()[1:] == [
        "no-ping",
        "interface=pqaaaaaaaa-00",
        "bridge-interface=pqaaaaaaaa-00,pbx,pby",
        "interface=pbx",
        "interface=pby",
        "domain=one.example,10.0.0.0/24",
        "domain=one.example,2001:db8::/64",
        "local=/one.example/",
        "dhcp-range=set:xs4,10.0.0.0,static,255.255.255.0,86400",
        "dhcp-range=set:xs6,2001:db8::,ra-only,off-link,64",
        "ra-param=pqaaaaaaaa-00,mtu:1400,60,1800",
        "interface=pqbbbbbbbb-00",
        "dhcp-mac=set:xport,00:00:5e:00:53:09",
    ]


def test_clients_are_told_the_next_hop_and_no_neighbours() -> None:
    assert routed_dnsmasq.options(SERVERS, {ONE: [LEASE], TWO: []}).splitlines() == [
        "tag:xs4,option:netmask,255.255.255.255",
        "tag:xs4,option:mtu,1400",
        "tag:xs4,option:router,169.254.1.1",
        "tag:xs4,option:classless-static-route,169.254.1.1/32,0.0.0.0,0.0.0.0/0,169.254.1.1",
        "tag:xs4,option:dns-server,192.0.2.53",
        "tag:xport,option:ntp-server,192.0.2.1",
    ]


def test_what_concerns_one_network_concerns_the_server_of_all() -> None:
    wanted = Wanted()
    wanted.change([Space(1500), *SERVERS, LEASE], ())
    both = {f"dhcp/{ONE}", f"dhcp/{TWO}"}
    tap = Vif("port", ROUTED, "00:00:5e:00:53:09", 1500, "pv", plug="tap", tap_name="tap")
    assert both <= wanted.change([tap], ())
    assert both <= wanted.change([], ["lease/port"])
    assert wanted.change([], [f"dhcp/{ONE}"]) == both
    assert not both & wanted.change([Vif("other", ROUTED, "00:00:5e:00:53:0a", 1500, "pv")], ())
