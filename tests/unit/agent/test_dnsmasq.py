# SPDX-License-Identifier: Apache-2.0
"""dnsmasq's files, word for word and by dnsmasq's own check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from portico.agent import dnsmasq
from portico.agent.delta import Wanted
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.link import LinkTable
from portico.agent.server import check_options
from portico.hoststate import Bridge, Dhcp, DhcpOption, DhcpSubnet, Lease, Route
from portico.testing.fakekernel import OURS, FakeKernel, FakeLinks
from portico.testing.fakeservers import FakeServers
from portico.testing.faults import Faults

SERVER = Dhcp(
    "net-1",
    "port-0",
    "00:00:5e:00:53:fa",
    1450,
    "lab.example",
    (
        DhcpSubnet(
            "s4", "10.0.0.0/24", "10.0.0.2", "dhcpv4", gateway="10.0.0.1", routes=(Route("192.0.2.0/24", "10.0.0.9"),)
        ),
        DhcpSubnet("s5", "10.0.1.0/24", "10.0.1.2", "dhcpv4", dns_servers=("192.0.2.53",)),
        DhcpSubnet(
            "s6", "2001:db8::/64", "2001:db8::2", "dhcpv6-stateful", advertise=True, dns_servers=("2001:db8::53",)
        ),
        DhcpSubnet("s7", "2001:db8:1::/64", "2001:db8:1::2", "slaac", advertise=True),
        DhcpSubnet("s8", "2001:db8:2::/64", "2001:db8:2::2", "slaac"),
        DhcpSubnet("s9", "2001:db8:3::/64", "2001:db8:3::2", "dhcpv6-stateless", advertise=True),
    ),
)
LEASES = (
    Lease("net-1", "port-1", "00:00:5e:00:53:01", ("10.0.0.5", "2001:db8::5"), "one", (DhcpOption("66", "10.0.0.77"),)),
    Lease("net-1", "port-2", "00:00:5e:00:53:02", ("10.0.0.6",), "two", (DhcpOption("23", "2001:db8::9", 6),)),
    Lease("net-1", "port-3", "00:00:5e:00:53:03", ("10.0.0.7",), "three", serve=False, domain="own.test"),
    Lease("net-1", "port-4", "00:00:5e:00:53:04", (), "four"),
)


def text(folder: Path = Path("/run/x")) -> str:
    return dnsmasq.config(SERVER, LEASES, run_dir=str(folder), state_dir=str(folder), user="nobody")


def test_dnsmasq_accepts_the_files(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text(tmp_path))
    (tmp_path / dnsmasq.HOSTS).write_text(dnsmasq.hosts(LEASES))
    (tmp_path / dnsmasq.NAMES).write_text(dnsmasq.names(SERVER, LEASES))
    (tmp_path / dnsmasq.OPTIONS).write_text(dnsmasq.options(SERVER, LEASES))
    argv = ["/usr/sbin/dnsmasq", "--test", f"--conf-file={tmp_path}/config"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "dnsmasq: syntax check OK.\n")


def test_only_served_ports_with_addresses_are_known_and_all_names_are() -> None:
    assert dnsmasq.hosts(LEASES).splitlines() == [
        "00:00:5e:00:53:01,10.0.0.5,one",
        "00:00:5e:00:53:01,[2001:db8::5],one",
        "00:00:5e:00:53:02,10.0.0.6,two",
    ]
    assert dnsmasq.names(SERVER, LEASES).splitlines() == [
        "10.0.0.5 one.lab.example one",
        "2001:db8::5 one.lab.example one",
        "10.0.0.6 two.lab.example two",
        "10.0.0.7 three.own.test three",
    ]


def test_leases_of_others_on_addresses_that_are_given_anew_are_in_the_way() -> None:
    kept = [
        "1795710000 00:00:5e:00:53:02 10.0.0.6 two 01:00:00:5e:00:53:02\n",
        "1795710000 00:00:5e:00:53:01 10.0.0.5 one *\n",
        "duid 00:01:00:01\n",
        "1795710000 7 2001:db8::6 two 00:03:00:01\n",
    ]
    lost = ["1795710000 00:00:5e:00:53:09 10.0.0.8 * *\n", "1795710000 7 2001:db8::5 one 00:03:00:02\n"]
    before = "00:00:5e:00:53:02,10.0.0.6,two\n00:00:5e:00:53:02,[2001:db8::6],two\n"
    after = (
        before + "00:00:5e:00:53:01,10.0.0.5,one\n00:00:5e:00:53:01,[2001:db8::5],one\n00:00:5e:00:53:03,10.0.0.8,x\n"
    )
    assert dnsmasq.without_leases_in_the_way("".join([*lost, *kept]), before, after) == "".join(kept)
    assert dnsmasq.without_leases_in_the_way("".join([*lost, *kept]), after, after) == "".join([*lost, *kept])


def test_options_are_those_of_the_subnet_and_of_the_port() -> None:
    assert dnsmasq.options(SERVER, LEASES).splitlines() == [
        "tag:xs4,option:mtu,1450",
        "tag:xs4,option:router,10.0.0.1",
        "tag:xs4,option:classless-static-route,192.0.2.0/24,10.0.0.9,0.0.0.0/0,10.0.0.1",
        "tag:xs5,option:mtu,1450",
        "tag:xs5,option:router",
        "tag:xs5,option:dns-server,192.0.2.53",
        "tag:xs6,option6:dns-server,[2001:db8::53]",
        "tag:xport-1,66,10.0.0.77",
        "tag:xport-2,option6:23,2001:db8::9",
    ]


def test_each_address_mode_has_its_range_and_no_tag_is_in_the_hosts_file() -> None:
    lines = text().splitlines()
    assert [line for line in lines if line.startswith("dhcp-range")] == [
        "dhcp-range=set:xs4,10.0.0.0,static,255.255.255.0,86400",
        "dhcp-range=set:xs5,10.0.1.0,static,255.255.255.0,86400",
        "dhcp-range=set:xs6,2001:db8::,static,64,86400",
        "dhcp-range=set:xs7,2001:db8:1::,ra-only,64",
        "dhcp-range=set:xs9,2001:db8:3::,ra-stateless,64,86400",
    ]
    assert "enable-ra" in lines and "ra-param=eth0,mtu:1450,60,0" in lines
    assert "dhcp-mac=set:xport-1,00:00:5e:00:53:01" in lines
    assert "set:" not in dnsmasq.hosts(LEASES)


@pytest.mark.parametrize(
    "lease",
    [
        Lease("net-1", "p", "00:00:5e:00:53:01", ("10.0.0.5",), "one\n00:00:5e:00:53:09,10.0.0.9"),
        Lease("net-1", "p", "00:00:5e:00:53:01", ("10.0.0.5",), "one,infinite"),
        *(
            Lease("net-1", "p", "00:00:5e:00:53:01", ("10.0.0.5",), "one", (DhcpOption(name, value),))
            for name, value in [
                ("router", "10.0.0.1\noption:dns-server,192.0.2.6"),
                ("router\n3", "10.0.0.1"),
                ("router,10.0.0.1", ""),
                ("", "10.0.0.1"),
                ("66", "x\udc80"),
            ]
        ),
    ],
)
def test_a_lease_that_would_write_more_than_its_own_words_is_in_trouble_and_no_other_is(
    lease: Lease,
) -> None:
    assert dnsmasq.fault(lease) and not any(dnsmasq.fault(good) for good in LEASES)
    kernel = FakeKernel(Faults())
    driver = DhcpDriver(LinkTable(FakeLinks(kernel, OURS)), FakeServers(kernel))
    wanted = Wanted()
    keys = wanted.change([Bridge("net-1", 1450), SERVER, *LEASES, lease], (), whole=True)
    items, troubles = driver.plan(wanted, keys)
    assert [*items] == ["dhcp/net-1"] and [*troubles] == ["lease/p"]
    assert dict(items["dhcp/net-1"].files)[dnsmasq.OPTIONS] == dnsmasq.options(SERVER, LEASES)
    assert driver.plan(wanted, ["lease/p"]) == ({}, troubles)


def test_a_domain_that_is_more_than_a_word_is_a_trouble_of_its_server() -> None:
    kernel = FakeKernel(Faults())
    driver = DhcpDriver(LinkTable(FakeLinks(kernel, OURS)), FakeServers(kernel))
    wanted = Wanted()
    bad = msgspec.structs.replace(SERVER, domain="lab\ndhcp-script=/bin/x")
    keys = wanted.change([Bridge("net-1", 1450), bad, *LEASES], (), whole=True)
    assert {key: "domain" in trouble.reason for key, trouble in driver.plan(wanted, keys)[1].items()} == {
        "dhcp/net-1": True
    }


def test_a_configuration_tells_its_network() -> None:
    assert dnsmasq.network_of(text()) == "net-1"
    assert dnsmasq.network_of("# something else\n") == ""


def test_dnsmasq_judges_options_before_a_server_has_to_read_them() -> None:
    check_options(dnsmasq.options(SERVER, LEASES))
    with pytest.raises(OSError, match=r"line 2 .*\(tag:xp,3,not-an-address\)"):
        check_options("tag:xs4,option:mtu,1450\ntag:xp,3,not-an-address\n")
