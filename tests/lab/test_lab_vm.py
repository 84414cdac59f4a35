# SPDX-License-Identifier: Apache-2.0
"""A virtual machine in a lab is a real one: tested on a plain bridge with a plain dnsmasq, without Portico."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.testing.lab import CommandFailed, Lab, LabHost, NotReady, VirtualMachine, wait_until

pytestmark = pytest.mark.lab

MAC = "02:00:00:00:00:05"


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    """Yield a host with a bridge, a tap in it, and a DHCP server that also advertises an IPv6 prefix."""
    with Lab() as lab:
        host = lab.host("one")
        host.run(["ip", "link", "add", "br0", "type", "bridge"])
        host.run(["ip", "address", "add", "203.0.113.1/24", "dev", "br0"])
        host.run(["ip", "address", "add", "2001:db8:5::1/64", "dev", "br0", "nodad"])
        host.run(["ip", "tuntap", "add", "tap0", "mode", "tap"])
        host.run(["ip", "link", "set", "tap0", "master", "br0", "up"])
        host.run(["ip", "link", "set", "br0", "up"])
        ranges = ["--dhcp-range=203.0.113.10,203.0.113.20", "--dhcp-range=2001:db8:5::,ra-only", "--enable-ra"]
        leases = [f"--dhcp-host={MAC},203.0.113.15", "--dhcp-option=26,1400", "--leasefile-ro", "--no-ping"]
        quiet = ["--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--port=0", "--interface=br0"]
        host.spawn(["dnsmasq", *quiet, *ranges, *leases])
        yield host


@pytest.fixture(scope="module")
def guest(host: LabHost) -> Iterator[VirtualMachine]:
    with VirtualMachine(host, "guest", tap="tap0", mac=MAC) as guest:
        yield guest


def test_a_guest_gets_the_address_name_and_mtu_that_dhcp_tells_it(guest: VirtualMachine) -> None:
    assert guest.wait_for_address() == "203.0.113.15"
    assert MAC in guest.run(["ip", "link", "show", "eth0"]).out
    assert "mtu 1400" in guest.run(["ip", "link", "show", "eth0"]).out


def test_a_guest_makes_an_address_from_a_router_advertisement(guest: VirtualMachine) -> None:
    def addresses() -> str:
        return guest.run(["ip", "-6", "address", "show", "dev", "eth0"]).out

    wait_until("an IPv6 address", lambda: "2001:db8:5::ff:fe00:5/64" in addresses(), 20, addresses)


def test_a_guest_and_its_host_reach_each_other(guest: VirtualMachine, host: LabHost) -> None:
    address = guest.wait_for_address()
    guest.run(["ping", "-c1", "-W2", "203.0.113.1"])
    host.run(["ping", "-c1", "-W2", address])
    guest.run(["httpd", "-p", "80", "-h", "/etc"])
    page = guest.run(["wget", "-q", "-O-", f"http://{address}/group"]).out
    assert host.run(["busybox", "wget", "-q", "-O-", f"http://{address}/group"]).out == page == "root:x:0:\n"


def test_a_command_in_the_guest_keeps_its_words_and_tells_its_exit_code(guest: VirtualMachine) -> None:
    assert guest.run(["printf", "%s|", "two words", "$HOME", "a'b\nc"]).out == "two words|$HOME|a'b\nc|"
    assert guest.run(["sh", "-c", "echo out; echo err >&2; exit 3"], check=False).code == 3
    with pytest.raises(CommandFailed, match="virtual machine guest: false: exit code 1"):
        guest.run(["false"])
    with pytest.raises(CommandFailed, match="exit code 137"):
        guest.run(["sleep", "60"], timeout_s=1)


def test_a_guest_that_cannot_start_says_why(host: LabHost) -> None:
    host.run(["ip", "link", "add", "no-tap", "type", "bridge"])
    with pytest.raises(NotReady, match=r"QEMU ended.*\n(.*\n)*.*\(no-tap\): Invalid argument"):
        VirtualMachine(host, "other", tap="no-tap", mac=MAC).start()
