# SPDX-License-Identifier: Apache-2.0
"""What ports may use, with real packets: bandwidth both ways, packet rates and marks; live changes and strangers."""

from __future__ import annotations

import itertools
import sys
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from portico.agent import netlink, owner, redirect
from portico.agent.links import Links
from portico.agent.shaper import Shapers, shape
from portico.hoststate import Limit, Qos, Rule, Space, Vif
from portico.testing import frames
from portico.testing.lab import Process, wait_until
from portico.testing.rig import ANY, Rig, Workload, group, network, port

from .test_routed import plug, routed

pytestmark = pytest.mark.lab

EVERYBODY = group(1, *ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))

RECEIVE = """
import socket, sys, time
s = socket.create_server((sys.argv[1], 5001))
print("serving")
c = s.accept()[0]
begun, total = time.monotonic(), 0
while data := c.recv(1 << 20):
    total += len(data)
    if (took := time.monotonic() - begun) >= 0.2:
        print("got", int(total * 8 / took / 1000))
        begun, total = time.monotonic(), 0
print("closed")
"""
SEND = """
import socket, sys
s = socket.create_connection((sys.argv[1], 5001), 5)
while True:
    s.sendall(bytes(1 << 18))
"""
FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(400):
    s.sendto(b"flood", (sys.argv[1], 5002))
"""


class Stream:
    """One TCP connection that sends all it can."""

    def __init__(self, sender: Workload, receiver: Workload, address: str) -> None:
        self._end = receiver.python(RECEIVE, address)
        self._end.wait_for_text("serving", 20)
        sender.python(SEND, address)

    def settles(self, low: int, high: float) -> None:
        """Wait until two measurements in a row are between `low` and `high` kbit/s."""
        mark = len(self._end.output)
        wait_until(f"{low} to {high} kbit/s", lambda: self._is_between(mark, low, high), 15, self._end.tail)

    def _is_between(self, mark: int, low: int, high: float) -> bool:
        assert "closed" not in self._end.output
        measured = [int(line.split()[1]) for line in self._end.output[mark:].splitlines() if line.startswith("got ")]
        return any(low <= a <= high and low <= b <= high for a, b in itertools.pairwise(measured[1:]))


def limited(vif: Vif, **changes: object) -> Vif:
    return replace(vif, qos=Qos(**changes))  # type: ignore[arg-type]


def near(kbit: int) -> tuple[int, float]:
    return int(kbit * 0.85), kbit * 1.1


def test_bandwidth_is_limited_each_way_and_changes_under_a_connection(rig: Rig) -> None:
    a, b = (port(number, EVERYBODY.group_id) for number in (1, 2))
    rig.want(network(), EVERYBODY, limited(a, egress=Limit(20_000), ingress=Limit(40_000, 400)), b)
    rig.start()
    wa, wb = rig.plug("a", a, "10.0.0.1/24"), rig.plug("b", b, "10.0.0.2/24")
    sent, received = Stream(wa, wb, "10.0.0.2"), Stream(wb, wa, "10.0.0.1")
    sent.settles(*near(20_000))
    received.settles(*near(40_000))
    before, link, waiting = shapes(rig), owner.port_link(a.port_id), owner.limit_link(a.port_id)
    for command in (
        f"tc -n portico qdisc del dev {link} root",
        f"tc -n portico qdisc del dev {link} clsact",
        f"tc -n portico qdisc change dev {waiting} root tbf rate 1gbit burst 1mb limit 1mb",
        f"ip -n portico link del {waiting}",
    ):
        rig.host.run(command.split())
        wait_until(f"mended after {command}", lambda: shapes(rig) == before, 15, lambda: str(shapes(rig)))
    rig.pause()
    rig.start()
    sent.settles(*near(20_000))
    received.settles(*near(40_000))
    rig.want(limited(a, egress=Limit(60_000)))
    sent.settles(*near(60_000))
    received.settles(200_000, float("inf"))
    rig.want(a)
    sent.settles(200_000, float("inf"))
    wait_until("nothing is left", lambda: not shapes(rig) and waiting not in qdiscs(rig), 20)


def qdiscs(rig: Rig) -> str:
    return rig.host.run(["tc", "-n", "portico", "qdisc", "show"]).out


def shapes(rig: Rig) -> list[tuple[str, str]]:
    """Return what waits or is led elsewhere, by link, without the numbers that are new each time."""
    lines = [line.split() for line in qdiscs(rig).splitlines()]
    waits = [(words[4], " ".join(words[7:])) for words in lines if words[1] == "tbf"]
    hooked = [words[4] for words in lines if words[1] == "clsact"]
    tc = ["tc", "-n", "portico", "filter", "show", "dev"]
    return sorted(waits + [(link, "led") for link in hooked if "mirred" in rig.host.run([*tc, link, "ingress"]).out])


def test_packets_are_counted_and_marked_whether_a_connection_is_known_or_not(rig: Rig) -> None:
    a, b, c = (port(number, EVERYBODY.group_id) for number in (1, 2, 3))
    b = limited(b, ingress_packets=Limit(50, 10), dscp=46)
    rig.want(network(), EVERYBODY, limited(a, egress_packets=Limit(50, 10), dscp=10), b, c)
    rig.start()
    wa, wb, wc = (
        rig.plug(name, vif, f"10.0.0.{number}/24", f"2001:db8::{number}/64")
        for number, (name, vif) in enumerate((("a", a), ("b", b), ("c", c)), 1)
    )
    seen = wc.sniff()
    for address in ("10.0.0.3", "2001:db8::3"):
        assert wa.pings(address, 3)
        assert wb.pings(address, 3)
    assert marks(seen, a) == {0x28}
    assert marks(seen, b) == {0xB8}
    for sender, receiver, end in ((wa, "10.0.0.3", wc), (wc, "10.0.0.2", wb)):
        heard = end.sniff()
        sender.run(sys.executable, "-I", "-S", "-c", FLOOD, receiver)
        assert sender.pings(receiver), "what is within the rate passes"
        assert 5 <= heard.output.count(b"flood".hex()) <= 200
    assert wa.pings("10.0.0.2")


def test_packets_of_routed_ports_are_counted_and_marked_too(rig: Rig) -> None:
    a, b, c = (routed(number, EVERYBODY.group_id) for number in (1, 2, 3))
    a, b = limited(a, egress_packets=Limit(50, 10), dscp=10), limited(b, ingress_packets=Limit(50, 10))
    rig.want(Space(1500, ipv6=True), EVERYBODY, a, b, c)
    rig.start()
    wa, wb, wc = (plug(rig, name, vif) for name, vif in (("a", a), ("b", b), ("c", c)))
    seen = wc.sniff()
    assert wa.pings("10.0.0.3", 3) and wa.pings("2001:db8::3", 3) and wb.pings("10.0.0.3")
    sources = {"10.0.0.1": {0x28}, "2001:db8::1": {0x28}, "10.0.0.2": {0}}
    wait_until("packets of all", lambda: all(classes(seen, source) for source in sources), 20)
    assert {source: classes(seen, source) for source in sources} == sources
    for sender, receiver, end in ((wa, "10.0.0.3", wc), (wc, "10.0.0.2", wb)):
        heard = end.sniff()
        sender.run(sys.executable, "-I", "-S", "-c", FLOOD, receiver)
        assert sender.pings(receiver), "what is within the rate passes"
        assert 5 <= heard.output.count(b"flood".hex()) <= 200


def classes(seen: Process, source: str) -> set[int]:
    """Return the traffic classes (with two bits that are not ours) of the packets that came from an address."""
    address = ip_address(source).packed
    sent = [bytes.fromhex(line) for line in seen.output.splitlines()[1:]]
    if len(address) == 4:
        return {frame[15] for frame in sent if frame[12:14] == b"\x08\x00" and frame[26:30] == address}
    v6 = [frame for frame in sent if frame[12:14] == b"\x86\xdd" and frame[22:38] == address]
    return {int.from_bytes(frame[14:16], "big") >> 4 & 0xFF for frame in v6}


def marks(seen: Process, vif: Vif) -> set[int]:
    """Return the traffic classes (with two bits that are not ours) of the echo requests that a port has sent."""

    def found() -> tuple[set[int], set[int]]:
        sent = [bytes.fromhex(line) for line in seen.output.splitlines() if line[12:24] == frames.mac(vif.mac).hex()]
        v4 = {frame[15] for frame in sent if frame[12:14] == b"\x08\x00"}
        v6 = {int.from_bytes(frame[14:16], "big") >> 4 & 0xFF for frame in sent if frame[12:14] == b"\x86\xdd"}
        return v4, v6

    wait_until("packets of both versions", lambda: all(found()), 20)
    return set.union(*found())


def test_what_is_said_of_a_limit_because_the_agent_asks_is_no_reason_to_look_again(rig: Rig) -> None:
    def look() -> tuple[list[bool], list[bool]]:
        with netlink.Socket(netlink.ROUTE, [redirect.GROUP]) as events, netlink.Socket(netlink.ROUTE) as route:
            kernel, shapers = Links(route), Shapers(route)
            kernel.add_ifb("pi1", "")
            kernel.change("pi1", up=True)
            list(events.events())
            link = kernel.find("pi1")
            assert link is not None
            shapers.at(link.index)
            ours = [shapers.is_known(*event) for event in events.events()]
            shapers.put(link.index, shape(Limit(1000), 1500))
            list(events.events())
            shapers.at(link.index)
            ours += [shapers.is_known(*event) for event in events.events()]
            Shapers(route).put(link.index, shape(Limit(2000), 1500))
            return ours, [shapers.is_known(*event) for event in events.events()]

    ours, others = rig.host.call(look)
    assert ours == [True] * 2
    assert others and not any(others)
