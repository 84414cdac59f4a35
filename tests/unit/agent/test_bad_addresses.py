# SPDX-License-Identifier: Apache-2.0
"""What is no address in the wanted state is the trouble of its own object, told by attribute and value."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import pytest

from portico.agent.drivers.dhcp import DhcpDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.nft import FilterDriver
from portico.agent.loop import Loop
from portico.hoststate import (
    Bridge,
    Dhcp,
    DhcpSubnet,
    Group,
    Guard,
    HostObject,
    Lease,
    Member,
    Route,
    Rule,
    Source,
    Status,
    Update,
    Vif,
    key_of,
)
from portico.testing.fakekernel import (
    DESCRIPTOR,
    HOST,
    OURS,
    FakeConntrack,
    FakeKernel,
    FakeLinks,
    FakeNetfilter,
    FakeNft,
)
from portico.testing.fakeservers import FakeServers
from portico.testing.faults import Faults

MAC = "00:00:5e:00:53:01"
NETWORK = "aaaaaaaa-0000-4000-8000-000000000001"
NO_CIDR = "is not an IPv4 or IPv6 network in CIDR notation"
NO_ADDRESS = "is not an IPv4 or IPv6 address"
NO_MAC = "is not a MAC address: six pairs of hexadecimal digits between colons"
CLOSED = Group("closed", (Rule("egress", "IPv4"),))
SUBNET = DhcpSubnet("s4", "192.0.2.0/24", "192.0.2.250", "dhcpv4")
SERVER = Dhcp(NETWORK, "server", "00:00:5e:00:53:fa", 1500, "", (SUBNET,))
GOOD: tuple[HostObject, ...] = (
    Bridge(NETWORK, 1500),
    CLOSED,
    Member("closed", NETWORK, "192.0.2.10/32"),
    Vif("11111111-1-p", NETWORK, MAC, 1500, "pv1", guard=Guard((Source(MAC, "192.0.2.10/32"),), ("closed",))),
    SERVER,
    Lease(NETWORK, "p1", MAC, ("192.0.2.10",), "one"),
)


def bad_vif(*sources: Source, mac: str = MAC) -> Vif:
    return Vif("22222222-2-p", NETWORK, mac, 1500, "pv2", guard=Guard(sources, ("closed",)))


def bad_server(**changed: object) -> Dhcp:
    return msgspec.structs.replace(SERVER, subnets=(SUBNET, msgspec.structs.replace(SUBNET, **changed)))


class Agent:
    """A loop with the agent's drivers on a fake kernel, and the statuses that it gave."""

    def __init__(self) -> None:
        kernel = FakeKernel(Faults())
        ours, host = FakeLinks(kernel, OURS), FakeLinks(kernel, HOST)
        table, conntrack = LinkTable(ours), FakeConntrack()
        self.statuses: dict[str, Status] = {}
        self._now_s = 0.0
        self.loop = Loop(
            [
                BridgeDriver(table, conntrack),
                PairDriver(table, host, DESCRIPTOR, OURS),
                FilterDriver(FakeNft(kernel), FakeNetfilter(kernel), conntrack),
                CarrierDriver(table),
                DhcpDriver(table, FakeServers(kernel)),
            ],
            clock=lambda: self._now_s,
            report=self._note,
        )

    def want(self, *objects: HostObject) -> dict[str, Status]:
        """Want exactly `objects`; return what became of them."""
        self._now_s += 60.0
        self.loop.accept(Update(1, objects, complete=True))
        self.loop.step()
        return self.statuses

    def _note(self, _revision: int, statuses: Collection[Status]) -> None:
        self.statuses |= {status.key: status for status in statuses}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            bad_vif(Source(MAC, "192.0.2.11/32"), Source(MAC, "192.0.2.300/32")),
            f"guard.sources[1].cidr '192.0.2.300/32' {NO_CIDR}",
        ),
        (bad_vif(Source("00:00:5e:00:53", "192.0.2.11/32")), f"guard.sources[0].mac '00:00:5e:00:53' {NO_MAC}"),
        (
            Group("bad", (Rule("egress", "IPv4"), Rule("ingress", "IPv4", remote_cidr="any"))),
            f"rules[1].remote_cidr 'any' {NO_CIDR}",
        ),
        (
            Group("bad", (Rule("ingress", "IPv4", remote_cidr="2001:db8::/64"),)),
            "rules[0].remote_cidr '2001:db8::/64' is not of the rule's ethertype, IPv4",
        ),
        (Member("closed", NETWORK, "192.0.2.11/33"), f"cidr '192.0.2.11/33' {NO_CIDR}"),
        (Lease(NETWORK, "p2", MAC, ("192.0.2.11", "x"), "two"), f"addresses[1] 'x' {NO_ADDRESS}"),
        (Lease(NETWORK, "p2", "x,y", ("192.0.2.11",), "two"), f"mac 'x,y' {NO_MAC}"),
        (msgspec.structs.replace(SERVER, mac="zz"), f"mac 'zz' {NO_MAC}"),
        (bad_server(cidr="x/24"), f"subnets[1].cidr 'x/24' {NO_CIDR}"),
        (bad_server(server="x"), f"subnets[1].server 'x' {NO_ADDRESS}"),
        (bad_server(gateway="x"), f"subnets[1].gateway 'x' {NO_ADDRESS}"),
        (bad_server(dns_servers=("192.0.2.1", "x")), f"subnets[1].dns_servers[1] 'x' {NO_ADDRESS}"),
        (bad_server(routes=(Route("x", "192.0.2.1"),)), f"subnets[1].routes[0].destination 'x' {NO_CIDR}"),
        (bad_server(routes=(Route("0.0.0.0/0", "x"),)), f"subnets[1].routes[0].nexthop 'x' {NO_ADDRESS}"),
    ],
)
def test_it_stops_no_other_object_at_the_start_or_later(bad: HostObject, reason: str) -> None:
    objects = [item for item in GOOD if key_of(item) != key_of(bad)]
    later = Agent()
    assert {status.state for status in later.want(*GOOD).values()} == {"active"}
    for statuses in (Agent().want(bad, *objects), later.want(bad, *objects)):
        told = statuses[key_of(bad)]
        assert told.state == "error" and told.reason.endswith(f": {reason}")
        assert {statuses[key_of(item)].state for item in objects} == {"active"}
    assert later.want(*GOOD)[key_of(GOOD[3])].state == "active"
