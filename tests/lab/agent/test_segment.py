# SPDX-License-Identifier: Apache-2.0
"""Networks on a physical one: two hosts on a segment, with a neighbour outside that tells which tags it sees."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from portico.hoststate import Bridge, Router, Rule
from portico.hoststate.l3 import Floating, Leg
from portico.testing import agent_on_file
from portico.testing.lab import Lab, LabHost, Process, wait_until
from portico.testing.rig import ANY, NET_A, NET_B, Rig, flow, group, lost, port

pytestmark = pytest.mark.lab

EVERYBODY = group(1, *ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))
NEIGHBOUR = "10.0.0.9"
NET_C = "cccccccc-0000-4000-8000-000000000003"
TAGGED, OTHER = Bridge(NET_A, 1450, "lab", 7), Bridge(NET_B, 1450, "lab", 8)

# Answers ARP requests and pings for its address, with the tag that they have, and says that tag; 0 is none. Says who
# pings, and what is announced.
_ANSWER = """
import socket, struct, sys
own, mac = socket.inet_aton(sys.argv[1]), bytes.fromhex("00005e0053f9")
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 3))
s.setsockopt(263, 8, 1)
print("listening", flush=True)
while True:
    frame, told, _, where = s.recvmsg(2000, 100)
    if where[2] == socket.PACKET_OUTGOING:
        continue
    status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", told[0][2])
    tag = tci & 0xFFF if status & 0x10 else 0
    if frame[12:14] == b"\\x08\\x06" and frame[28:32] == frame[38:42]:
        print("announced", socket.inet_ntoa(frame[28:32]), "with", tag, flush=True)
        continue
    if frame[12:14] == b"\\x08\\x06" and frame[21] == 1 and frame[38:42] == own:
        body = frame[12:20] + b"\\0\\2" + mac + own + frame[6:12] + frame[28:32]
    elif frame[12:14] == b"\\x08\\0" and frame[23] == 1 and frame[34] == 8 and frame[30:34] == own:
        echo = b"\\0\\0\\0\\0" + frame[38:]
        total = sum(struct.unpack(f"!{len(echo) // 2}H", echo))
        total = (total >> 16) + (total & 0xFFFF)
        total += total >> 16
        body = frame[12:26] + frame[30:34] + frame[26:30] + b"\\0\\0" + struct.pack("!H", ~total & 0xFFFF) + echo[4:]
        print("ping of", socket.inet_ntoa(frame[26:30]), "with", tag, flush=True)
    else:
        continue
    s.send(frame[6:12] + mac + (struct.pack("!HH", 0x8100, tag) if tag else b"") + body)
"""


class Segment:
    """Two hosts and the neighbour, all by their `eth0`, which the hosts have as physical network "lab"."""

    def __init__(self, lab: Lab) -> None:
        self.one, self.two = (Rig(lab.host(name, underlay=True)) for name in ("one", "two"))
        for rig in (self.one, self.two):
            rig.command = agent_on_file.command("/run/portico.json", "portico", lab="eth0")
        outside = lab.host("outside", underlay=True)
        self.neighbour: Process = outside.spawn([sys.executable, "-I", "-S", "-c", _ANSWER, NEIGHBOUR])
        self.neighbour.wait_for_text("listening", 20)

    def hears(self, text: str, count: int = 1) -> None:
        """Wait until the neighbour has said something so often."""
        wait_until(text, lambda: self.neighbour.output.count(f"{text}\n") >= count, 20, self.neighbour.tail)


def flags(host: LabHost) -> str:
    return host.run(["ip", "-o", "link", "show", "eth0"]).out.partition(">")[0]


def filters(host: LabHost) -> int:
    return host.run(["tc", "filter", "show", "dev", "eth0", "ingress"], check=False).out.count("portico-tag")


@pytest.fixture
def segment() -> Iterator[Segment]:
    with Lab() as lab:
        yield Segment(lab)


def test_networks_with_and_without_tags_share_an_interface_and_give_it_back(segment: Segment) -> None:
    one, two = segment.one, segment.two
    before = flags(one.host)
    near, far, other = port(1, EVERYBODY.group_id), port(2, EVERYBODY.group_id), port(3, "", network=NET_B, guard=None)
    one.want(TAGGED, OTHER, EVERYBODY, near, other)
    two.want(TAGGED, EVERYBODY, far)
    one.start()
    two.start()
    w1, w2 = one.plug("near", near, "10.0.0.1/24"), two.plug("far", far, "10.0.0.2/24")
    w3 = one.plug("other", other, "10.0.0.3/24")
    wait_until("host to host", lambda: w1.pings("10.0.0.2"), 20)
    assert w1.pings(NEIGHBOUR) and w2.pings(NEIGHBOUR) and w3.pings(NEIGHBOUR) and not w3.pings("10.0.0.2", 1)
    segment.hears("ping of 10.0.0.2 with 7")
    segment.hears("ping of 10.0.0.3 with 8")
    assert one.host.run(["ping", "-c", "1", "198.51.100.2"]).ok, "the interface's own addresses go on"

    without = Bridge(NET_C, 1450, "lab", 0)
    plain = port(4, "", network=NET_C, guard=None)
    one.want(without, plain)
    reason = "interface eth0 has address 198.51.100.1/24, and a flat network would take all frames without a tag"
    assert one.statuses()[f"bridge/{NET_C}"].reason == reason
    one.host.run(["ip", "address", "flush", "dev", "eth0"])
    one.wait_status(f"bridge/{NET_C}", "active", 20)
    w4 = one.plug("plain", plain, "10.0.0.4/24")
    wait_until("the neighbour", lambda: w4.pings(NEIGHBOUR), 20)
    segment.hears("ping of 10.0.0.4 with 0")
    assert w1.pings("10.0.0.2") and not w4.pings("10.0.0.2", 1)

    running = flow(w1, "10.0.0.2")
    one.pause()
    one.start()
    assert lost(running) == [], "a new agent takes over what is there"
    one.host.run(["tc", "filter", "del", "dev", "eth0", "ingress"])
    wait_until("the joins are there again", lambda: filters(one.host) == 3 and w1.pings("10.0.0.2", 1), 20)
    one.want(gone=[without, plain, OTHER, other])
    assert "PROMISC" in flags(one.host) and filters(one.host) == 1
    one.want(gone=[TAGGED, near])
    assert (flags(one.host), filters(one.host)) == (before, 0)


def test_a_router_is_on_the_segment_by_its_gateway_and_says_so_when_it_moves(segment: Segment) -> None:
    inside, outside = "dddddddd-0000-4000-8000-000000000001", "eeeeeeee-0000-4000-8000-000000000002"
    router = Router(
        router_id="ffffffff-0000-4000-8000-000000000001",
        legs=(
            Leg(inside, NET_B, "00:00:5e:00:53:e1", 1450, ("10.9.0.1/24",)),
            Leg(outside, NET_A, "00:00:5e:00:53:e2", 1450, ("10.0.0.5/24",), outside=True, snat="10.0.0.5"),
        ),
        floating=(Floating("10.0.0.6", outside, "10.9.0.2"),),
    )
    behind, far = port(2, "", network=NET_B, guard=None), port(1, "", guard=None)
    wanted = (TAGGED, Bridge(NET_B, 1450), behind, router)
    segment.two.want(TAGGED, far)
    segment.two.start()
    w1 = segment.two.plug("far", far, "10.0.0.1/24")
    for count, rig in enumerate((segment.one, segment.two), 1):
        rig.want(*wanted)
        if count == 1:
            rig.start()
        segment.hears("announced 10.0.0.5 with 7", count)
        segment.hears("announced 10.0.0.6 with 7", count)
        w2 = rig.plug("behind", behind, "10.9.0.2/24")
        w2.run("ip", "route", "add", "default", "via", "10.9.0.1")
        wait_until("the neighbour", lambda w2=w2: w2.pings(NEIGHBOUR), 20)  # type: ignore[misc]
        assert w1.pings("10.0.0.6"), "by its floating IP, over the segment"
        if count == 1:
            rig.want(gone=wanted)
    segment.hears("ping of 10.0.0.6 with 7", 2)


def test_a_host_without_the_network_or_the_interface_says_so_until_it_is_there(segment: Segment) -> None:
    rig = segment.one
    rig.command = agent_on_file.command("/run/portico.json", "portico", lab="eth9")
    rig.want(TAGGED, Bridge(NET_B, 1450, "attic", 7))
    rig.start()
    status = rig.statuses()[f"bridge/{NET_A}"]
    assert (status.state, status.reason) == ("waiting", "interface eth9 does not exist on this host yet")
    told = rig.statuses()[f"bridge/{NET_B}"]
    assert (told.state, told.reason) == ("error", "no physical network 'attic': agent.physical_networks has lab")
    rig.host.run(["ip", "link", "add", "eth9", "type", "veth", "peer", "name", "far9"])
    rig.wait_status(f"bridge/{NET_A}", "active", 20)
    assert "UP" in rig.host.run(["ip", "-o", "link", "show", "eth9"]).out
    rig.pause()
    rig.command = agent_on_file.command("/run/portico.json")
    rig.start()
    wait_until("the setting is gone", lambda: rig.statuses()[f"bridge/{NET_A}"].state == "error", 20)
    shown = rig.host.run(["ip", "-o", "link", "show", "eth9"]).out.partition(">")[0]
    assert "PROMISC" not in shown and "UP" not in shown, "it is as it was"
