# SPDX-License-Identifier: Apache-2.0
"""Many tracked connections are cut at once, and no others."""

from __future__ import annotations

import errno
import struct
from collections import Counter
from collections.abc import Iterator

import pytest

from portico.agent import netlink
from portico.agent.delta import Wanted
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.verdict import Judge
from portico.hoststate import Bridge, Group, Guard, Rule, Source, Vif
from portico.testing.lab import Lab

pytestmark = pytest.mark.lab

CT_NEW, CT_GET, CT_DELETE = 0x0100, 0x0101, 0x0102
NFGEN = struct.pack("=BBH", 2, 0, 0)
MANY = 1000
SERVER, OTHER = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


@pytest.fixture
def netfilter() -> Iterator[netlink.Socket]:
    with Lab() as lab:
        host = lab.host("one")
        with host.call(lambda: netlink.Socket(netlink.NETFILTER)) as found:
            yield found


def ends(kind: int, source: bytes, destination: bytes, ports: tuple[int, int]) -> bytes:
    addresses = netlink.nest(1, netlink.attr(1, source), netlink.attr(2, destination))
    numbers = [netlink.attr(at, struct.pack("!H", number)) for at, number in zip((2, 3), ports, strict=True)]
    return netlink.nest(kind, addresses, netlink.nest(2, netlink.u8(1, 17), *numbers))


def zone_attr(zone: int) -> bytes:
    return netlink.attr(18, struct.pack("!H", zone))


def original(number: int, destination: bytes) -> bytes:
    return ends(1, bytes([10, 1, number >> 8, number & 255]), destination, (1024, 53))


def fill(netfilter: netlink.Socket, zone: int, destination: bytes) -> None:
    """Track `MANY` connections over UDP, each of another client, to port 53 of `destination`."""
    for number in range(MANY):
        reply = ends(2, destination, bytes([10, 1, number >> 8, number & 255]), (53, 1024))
        more = netlink.attr(7, struct.pack("!I", 600)) + netlink.attr(3, struct.pack("!I", 8)) + zone_attr(zone)
        netfilter.ask(CT_NEW, NFGEN + original(number, destination) + reply + more, netlink.NLM_F_CREATE)


def left(netfilter: netlink.Socket) -> Counter[tuple[int, bytes]]:
    """Return how many connections there are by zone and destination."""
    found: Counter[tuple[int, bytes]] = Counter()
    for entry in netfilter.dump(CT_GET, struct.pack("=BBH", 0, 0, 0)):
        parts = netlink.attributes(entry, 4)
        addresses = netlink.attributes(netlink.attributes(parts[1])[1])
        found[int.from_bytes(parts[18], "big"), addresses[2]] += 1
    return found


def test_what_no_rule_lets_in_is_cut_however_many_and_the_rest_stays(netfilter: netlink.Socket) -> None:
    for zone in (1, 2):
        for destination in (SERVER, OTHER):
            fill(netfilter, zone, destination)
    mac, wanted = "00:00:5e:00:53:01", Wanted()
    vif = Vif("p1", "n1", mac, 1500, "pv", guard=Guard((Source(mac, "10.0.0.1/32"),), ("g",)))
    few = Rule("ingress", "IPv4", 17, 53, 53, remote_cidr="10.1.0.0/28")
    wanted.change([Bridge("n1", 1500), Bridge("n2", 1500), Group("g", (few,)), vif], ())
    assert Conntrack(netfilter).remove(Judge(wanted, None, {})) == MANY - 16
    assert left(netfilter) == {(1, SERVER): 16, (1, OTHER): MANY, (2, SERVER): MANY, (2, OTHER): MANY}


def test_a_zone_is_cleared_and_no_other(netfilter: netlink.Socket) -> None:
    for zone in (1, 2):
        fill(netfilter, zone, SERVER)
    Conntrack(netfilter).clear_zone(1)
    assert left(netfilter) == {(2, SERVER): MANY}


def test_of_requests_sent_together_each_is_done_or_told_of(netfilter: netlink.Socket) -> None:
    fill(netfilter, 1, SERVER)
    bodies = [NFGEN + original(number, SERVER) + zone_attr(1) for number in range(0, MANY, 2)]
    assert netfilter.ask_all(CT_DELETE, bodies) == []
    assert left(netfilter) == {(1, SERVER): MANY // 2}
    bodies = [NFGEN + original(number, SERVER) + zone_attr(1) for number in range(MANY)]
    assert [error.errno for error in netfilter.ask_all(CT_DELETE, bodies)] == [errno.ENOENT] * (MANY // 2)
    assert left(netfilter) == {}
    assert netfilter.ask_all(CT_DELETE, []) == []
