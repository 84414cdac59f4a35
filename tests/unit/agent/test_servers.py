# SPDX-License-Identifier: Apache-2.0
"""DHCP servers through restarts and faults: what they have read, and who gets which address from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from portico.agent import dnsmasq, owner
from portico.agent.delta import Trouble, Wanted, difference
from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.link import LinkTable
from portico.hoststate import Bridge, Dhcp, DhcpSubnet, HostObject, Lease
from portico.testing.fakekernel import OURS, FakeKernel, FakeLinks
from portico.testing.fakeservers import PREFIX, FakeServers, given
from portico.testing.faults import Crash, Faults

NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
SHORT = owner.short(NETWORK)
KEY = f"dhcp/{NETWORK}"
SUBNET = DhcpSubnet("s6", "2001:db8::/64", "2001:db8::fa", "dhcpv6-stateful")
SERVER = Dhcp(NETWORK, "port", "00:00:5e:00:53:fa", 1450, "", (SUBNET,))


def lease(number: int, address: int) -> Lease:
    return Lease(NETWORK, f"p{number}", f"00:00:5e:00:53:0{number}", (f"2001:db8::{address}",), f"name{number}")


class Host:
    """A host with a bridge; `work` is one pass of a driver, `restart` gives a new one."""

    def __init__(self) -> None:
        self.kernel = FakeKernel(Faults())
        self.links = FakeLinks(self.kernel, OURS)
        self.links.add_bridge(owner.bridge_name(NETWORK), "02:00:00:00:00:01", 1450)
        self.wanted = Wanted()
        self.restart()

    def restart(self) -> None:
        self.table = LinkTable(self.links)
        self.driver = DhcpDriver(self.table, FakeServers(self.kernel))

    def want(self, *objects: HostObject) -> None:
        self.wanted.change([Bridge(NETWORK, 1450), *objects], (), whole=True)

    def work(self) -> dict[str, Trouble]:
        self.table.refresh()
        items, troubles = self.driver.plan(self.wanted, self.wanted.objects.keys())
        assert troubles == {}
        actual = self.driver.read(None)
        return self.driver.apply(difference(items, actual, {*items, *actual}))

    def given(self) -> dict[str, str]:
        return given(self.kernel.processes[SHORT])


def work_with_a_fault_at_each_call(prepare: Callable[[Host], None], *, deadly: bool) -> list[Host]:
    """Return hosts whose driver failed at its first, second... call, or died there; each had one more pass."""
    hosts: list[Host] = []
    struck = True
    while struck:
        host = Host()
        prepare(host)
        host.kernel.faults.arm(len(hosts) + 1, deadly=deadly)
        try:
            host.work()
        except Crash:
            host.restart()
        struck = host.kernel.faults.disarm()
        assert host.work() == {}
        hosts.append(host)
    return hosts


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
def test_an_address_goes_to_who_has_it_now_whatever_fails_meanwhile(*, deadly: bool) -> None:
    def prepare(host: Host) -> None:
        host.want(SERVER, lease(1, 1), lease(2, 2))
        assert host.work() == {}
        host.want(SERVER, lease(1, 3), lease(2, 1))

    hosts = work_with_a_fault_at_each_call(prepare, deadly=deadly)
    assert len(hosts) > 5
    expected = {"2001:db8::3": "00:00:5e:00:53:01", "2001:db8::1": "00:00:5e:00:53:02"}
    assert [host.given() for host in hosts] == [expected] * len(hosts)


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
def test_a_process_has_read_what_is_in_its_files_whatever_fails_meanwhile(*, deadly: bool) -> None:
    def prepare(host: Host) -> None:
        host.want(SERVER, lease(1, 1))
        assert host.work() == {}
        host.want(SERVER, lease(1, 1), lease(2, 2))

    hosts = work_with_a_fault_at_each_call(prepare, deadly=deadly)
    assert len(hosts) > 3
    assert all(len(host.given()) == 2 for host in hosts)


def test_a_server_that_is_as_it_should_be_is_left_alone_and_told_once_by_a_new_agent() -> None:
    host = Host()
    host.want(SERVER, lease(1, 1))
    assert host.work() == {}
    process, writes = host.kernel.processes[SHORT], host.kernel.faults.writes
    assert host.work() == {} and host.kernel.faults.writes == writes
    host.restart()
    assert host.work() == {} and host.kernel.faults.writes == writes + 1
    assert host.work() == {} and host.kernel.faults.writes == writes + 1
    assert host.kernel.processes[SHORT] is process


def test_after_a_restart_of_the_machine_files_without_text_are_there_too() -> None:
    host = Host()
    host.want(SERVER, lease(1, 1))
    assert host.work() == {}
    assert host.kernel.files[SHORT, dnsmasq.OPTIONS] == ""
    host.kernel.processes.clear()
    del host.kernel.namespaces[PREFIX + SHORT]
    for name in dnsmasq.RELOADED:
        del host.kernel.files[SHORT, name]
    host.restart()
    assert host.work() == {}
    assert host.given() == {"2001:db8::1": "00:00:5e:00:53:01"}


def test_the_mtu_of_our_end_is_made_right_again() -> None:
    host = Host()
    host.want(SERVER)
    assert host.work() == {}
    host.links.change(owner.dhcp_link(NETWORK), mtu=1400)
    assert host.work() == {}
    assert host.links.all()[-1].mtu == 1450


def test_a_server_in_a_namespace_that_lost_its_name_is_ended_and_another_started() -> None:
    host = Host()
    host.want(SERVER)
    assert host.work() == {}
    before = host.kernel.processes[SHORT]
    del host.kernel.namespaces[PREFIX + SHORT]
    assert host.work() == {}
    assert host.kernel.processes[SHORT] is not before
    assert host.kernel.processes[SHORT].home is host.kernel.namespaces[PREFIX + SHORT]
