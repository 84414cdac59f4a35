# SPDX-License-Identifier: Apache-2.0
"""Port security: what a guarded port may send, frame by frame, as a listening port without port security sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from portico.agent import owner
from portico.hoststate import Guard, Rule, Source
from portico.testing import frames
from portico.testing.lab import Lab, wait_until
from portico.testing.rig import ANY, Rig, Workload, group, network, port

pytestmark = pytest.mark.lab

ME, OTHER = "00:00:5e:00:53:01", "00:00:5e:00:53:77"
PAIR = "00:00:5e:00:53:aa"
LOCAL = "fe80::200:5eff:fe00:5301"
ALL_NODES = "ff02::1"


def plain(source: str, mac: str = ME) -> tuple[str, int, bytes]:
    """Return sender, type and packet of a datagram from `source`."""
    if ":" in source:
        return mac, frames.IPV6, frames.ipv6(source, "2001:db8::2", frames.UDP, frames.udp(1, 2))
    return mac, frames.IPV4, frames.ipv4(source, "10.0.0.2", frames.UDP, frames.udp(1, 2))


def dhcp(source: str, low: int, high: int) -> tuple[str, int, bytes]:
    if ":" in source:
        return ME, frames.IPV6, frames.ipv6(source, "ff02::1:2", frames.UDP, frames.udp(low, high))
    return ME, frames.IPV4, frames.ipv4(source, "255.255.255.255", frames.UDP, frames.udp(low, high))


def neighbor(kind: int, source: str, target: str) -> tuple[str, int, bytes]:
    return ME, frames.IPV6, frames.neighbor(kind, source, ALL_NODES, target)


def arp(operation: int, sender: str, mac: str = ME) -> tuple[str, int, bytes]:
    return ME, frames.ARP, frames.arp(operation, mac, sender, "10.0.0.2")


def odd_arp(mac: int, address: int) -> tuple[str, int, bytes]:
    """Say that addresses are longer than those of Ethernet and IPv4; who reads on by that finds others."""
    return ME, frames.ARP, frames.arp(frames.REPLY, ME, "10.0.0.1", "10.0.0.2", (mac, address)) + bytes(32)


ADVERT_BODY = bytes([64, 0, 7, 8]) + bytes(8)

ALLOWED = {
    "its address": plain("10.0.0.1"),
    "its IPv6 address": plain("2001:db8::1"),
    "its link-local address": plain(LOCAL),
    "an allowed pair's address": plain("10.0.0.50"),
    "an allowed pair's address and MAC": plain("10.0.0.51", PAIR),
    "the first address of an allowed range": plain("192.0.2.0"),
    "the last address of an allowed range": plain("192.0.2.127"),
    "an allowed IPv6 range": plain("2001:db8:1::5"),
    "an ARP request": arp(frames.REQUEST, "10.0.0.1"),
    "an ARP reply": arp(frames.REPLY, "10.0.0.1"),
    "an ARP probe": arp(frames.REQUEST, "0.0.0.0"),
    "an ARP reply for a range": arp(frames.REPLY, "192.0.2.9"),
    "a solicitation": neighbor(frames.SOLICIT, "2001:db8::1", "2001:db8::2"),
    "an advertisement": neighbor(frames.ADVERT, "2001:db8::1", "2001:db8::1"),
    "an advertisement of the link-local address": neighbor(frames.ADVERT, LOCAL, LOCAL),
    "an advertisement of an address in a range": neighbor(frames.ADVERT, LOCAL, "2001:db8:1::5"),
    "duplicate address detection": neighbor(frames.SOLICIT, "::", "2001:db8::1"),
    "a router solicitation": (ME, frames.IPV6, frames.icmpv6(LOCAL, "ff02::2", frames.ROUTER_SOLICIT, bytes(4))),
    "a DHCP request without an address": dhcp("0.0.0.0", 68, 67),
    "a DHCPv6 request": dhcp(LOCAL, 546, 547),
}

REFUSED = {
    "another's address": plain("10.0.0.2"),
    "another's MAC": plain("10.0.0.1", OTHER),
    "a pair's address with the wrong MAC": plain("10.0.0.51"),
    "the address after an allowed range": plain("192.0.2.128"),
    "another's IPv6 address": plain("2001:db8::2"),
    "another's link-local address": plain("fe80::1"),
    "no address": plain("0.0.0.0"),
    "an ARP reply for another": arp(frames.REPLY, "10.0.0.2"),
    "an ARP reply with another's MAC": arp(frames.REPLY, "10.0.0.1", OTHER),
    "an ARP announcement of no address": arp(frames.REPLY, "0.0.0.0"),
    "an advertisement for another": neighbor(frames.ADVERT, "2001:db8::1", "2001:db8::2"),
    "an advertisement from another": neighbor(frames.ADVERT, "2001:db8::2", "2001:db8::2"),
    "duplicate address detection for another": neighbor(frames.SOLICIT, "::", "2001:db8::2"),
    "a DHCP answer": dhcp("10.0.0.1", 67, 68),
    "a DHCP answer from another port": dhcp("10.0.0.1", 1000, 68),
    "a DHCPv6 answer": dhcp(LOCAL, 547, 546),
    "a router advertisement": (ME, frames.IPV6, frames.icmpv6(LOCAL, ALL_NODES, frames.ROUTER_ADVERT, ADVERT_BODY)),
    "a redirect": (ME, frames.IPV6, frames.icmpv6(LOCAL, ALL_NODES, 137, bytes(36))),
    "another protocol": (ME, frames.LOCAL_EXPERIMENT, bytes(50)),
    "an ARP announcement of another's address": arp(frames.REQUEST, "10.0.0.2"),
    "an ARP reply whose MAC addresses are longer": odd_arp(8, 4),
    "an ARP reply whose addresses are longer": odd_arp(6, 16),
    "IPv6 in a frame for IPv4": (ME, frames.IPV4, plain("2001:db8::1")[2]),
}

EXTENSIONS = {
    "hop-by-hop options": (frames.HOP_BY_HOP,),
    "destination options": (frames.DESTINATION,),
    "a routing header": (frames.ROUTING,),
    "the header of an only fragment": (frames.FRAGMENT,),
    "many headers": (frames.HOP_BY_HOP, *[frames.DESTINATION] * 20, frames.FRAGMENT, frames.DESTINATION),
}


def hidden(given: dict[str, tuple[str, int, bytes]]) -> dict[str, tuple[str, int, bytes]]:
    """Return the IPv6 packets among frames, each behind extension headers."""
    return {
        f"{name} behind {what}": (mac, kind, frames.behind(packet, *headers))
        for name, (mac, kind, packet) in given.items()
        if kind == frames.IPV6
        for what, headers in EXTENSIONS.items()
    }


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Workload, Workload]]:
    """A guarded port that may send anything by its rules, and a listening port without port security."""
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        open_group = group(1, *ANY)
        sources = [(ME, "10.0.0.1/32"), (ME, "2001:db8::1/128"), (ME, "10.0.0.50/32"), (PAIR, "10.0.0.51/32")]
        ranges = [(ME, "192.0.2.0/25"), (ME, "192.0.2.0/26"), (ME, "2001:db8:1::/64")]
        guard = Guard(tuple(Source(mac, cidr) for mac, cidr in sources + ranges), (open_group.group_id,))
        sender, listener = port(1, guard=guard), port(2, guard=None)
        rig.want(network(), open_group, sender, listener)
        rig.start()
        yield rig.plug("sender", sender), rig.plug("listener", listener)


def seen(pair: tuple[Workload, Workload], given: dict[str, tuple[str, int, bytes]]) -> set[str]:
    """Send frames, each to a MAC address of its own that nobody has, and return the names of those that arrived."""
    sender, listener = pair
    sniffer = listener.sniff()
    markers = {f"02:ff:00:00:00:{number:02x}": name for number, name in enumerate(given)}
    sender.send(*(frames.ethernet(marker, *given[name]) for marker, name in markers.items()))
    time.sleep(0.3)
    sniffer.kill()
    found = {line[:12] for line in sniffer.output.splitlines()}
    return {name for marker, name in markers.items() if marker.replace(":", "") in found}


def test_a_guarded_port_may_send_what_is_its_own(pair: tuple[Workload, Workload]) -> None:
    assert seen(pair, ALLOWED) == set(ALLOWED)


def test_a_guarded_port_may_not_send_what_is_not(pair: tuple[Workload, Workload]) -> None:
    assert seen(pair, REFUSED) == set()


def test_extension_headers_change_nothing_of_what_may_be_sent(pair: tuple[Workload, Workload]) -> None:
    own = hidden(ALLOWED)
    assert seen(pair, {**own, **hidden(REFUSED)}) == set(own)


def test_a_port_that_was_given_no_address_claims_none(rig: Rig) -> None:
    anything = group(1, *ANY)
    bare, other = port(1, guard=Guard((), (anything.group_id,))), port(2, guard=None)
    rig.want(network(), anything, bare, other)
    rig.start()
    pair = rig.plug("sender", bare), rig.plug("listener", other)
    kept = {"its link-local address", "an ARP probe", "a router solicitation", "a DHCP request without an address"}
    kept |= {"a DHCPv6 request", "an advertisement of the link-local address"}
    assert seen(pair, {**ALLOWED, **REFUSED}) == kept


def test_a_tag_does_not_carry_a_frame_past_the_guard(pair: tuple[Workload, Workload]) -> None:
    sender, listener = pair
    sniffer = listener.sniff()
    sender.send(frames.tagged(5, frames.ethernet("02:ff:00:00:00:01", *plain("10.0.0.1"))))
    sender.send(frames.ethernet("02:ff:00:00:00:02", *plain("10.0.0.1")))
    sniffer.wait_for_text("02ff00000002", 20)
    assert "02ff00000001" not in sniffer.output


def test_no_tag_carries_a_frame_past_the_guard_chain(pair: tuple[Workload, Workload]) -> None:
    """Frames in a tag end at the guard, before any other chain: a counter behind it sees none."""
    sender, _ = pair
    # Else its own kernel may just then report which groups it listens to, as it may.
    sender.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    kinds = [*ALLOWED.values(), *REFUSED.values()]
    plainly = [frames.ethernet("02:ff:00:00:00:01", *kind) for kind in kinds]
    once = [frames.tagged(tag, frame) for frame in plainly for tag in (0, 5)]
    outer = [frames.tagged(7, frame, frames.OUTER_VLAN) for frame in [*plainly, *once]]
    nft = ["ip", "netns", "exec", "portico", "nft"]
    for command in (
        "add table bridge watch",
        "add chain bridge watch passed { type filter hook prerouting priority -299; }",
        "add rule bridge watch passed ether saddr { 00:00:5e:00:53:01, 00:00:5e:00:53:77, 00:00:5e:00:53:aa } counter",
    ):
        sender.host.run([*nft, command])
    sender.send(*once, *outer)
    listed = sender.host.run([*nft, "list", "table", "bridge", "watch"]).out
    sender.host.run([*nft, "delete", "table", "bridge", "watch"])
    assert "packets 0 " in listed, listed


def test_a_router_advertisement_in_fragments_does_not_pass(pair: tuple[Workload, Workload]) -> None:
    advert = frames.icmpv6(LOCAL, ALL_NODES, frames.ROUTER_ADVERT, ADVERT_BODY)
    harmless = frames.ipv6(LOCAL, "2001:db8::2", frames.UDP, frames.udp(1, 2, bytes(24)))
    given = {}
    for name, packet in (("advert", advert), ("harmless", harmless)):
        for number, piece in enumerate(frames.fragments(packet, 8)):
            given[f"{name} {number}"] = (ME, frames.IPV6, piece)
    assert {name.split()[0] for name in seen(pair, given)} == {"harmless"}


def test_a_frame_to_a_reserved_group_teaches_the_bridge_nothing(pair: tuple[Workload, Workload]) -> None:
    """Such frames skip prerouting; learning their source would lead the listener's traffic to the sender."""
    sender, listener = pair
    victim = listener.vif.mac
    sender.send(frames.ethernet("01:80:c2:00:00:0e", victim, 0x88CC, bytes(50)))
    entries = sender.host.run(["bridge", "-n", "portico", "fdb", "show"]).out.splitlines()
    assert [line for line in entries if line.startswith(victim) and "pbaaaa0001" in line] == []


def test_a_port_without_port_security_sends_what_it_likes(pair: tuple[Workload, Workload]) -> None:
    sender, listener = pair
    sniffer = sender.sniff()
    odd = {
        1: (OTHER, frames.LOCAL_EXPERIMENT, bytes(50)),
        2: (OTHER, frames.ARP, frames.arp(frames.REPLY, OTHER, "10.0.0.9", "10.0.0.1")),
    }
    listener.send(*(frames.ethernet(f"02:ff:00:00:00:0{number}", *frame) for number, frame in odd.items()))
    sniffer.wait_for_text("02ff00000002", 20)
    assert "02ff00000001" not in sniffer.output  # a guarded port receives IP and ARP only


def test_a_link_that_is_not_ours_hears_nothing_of_a_connection_that_the_bridge_sends_everywhere() -> None:
    with Lab() as lab:
        rig, open_to_all = Rig(lab.host("h1")), group(1, *ANY, Rule("ingress", "IPv4"))
        rig.command = [*rig.command, "--long-way"]  # the fast path knows where to, and floods nobody
        vifs = [port(number, open_to_all.group_id) for number in (1, 2, 3)]
        rig.want(network(), open_to_all, *vifs)
        rig.start()
        a, b, c = (rig.plug(f"w{vif.link_name}", vif, f"10.0.0.{n}/24") for n, vif in enumerate(vifs, 1))
        run, link = rig.host.run, owner.port_link(vifs[1].port_id)
        run(["ip", "netns", "add", "stranger"])
        run(["ip", "-n", "portico", "link", "add", "eth9", "type", "veth", "peer", "eth0", "netns", "stranger"])
        run(["ip", "-n", "portico", "link", "set", "eth9", "up", "master", owner.bridge_name(vifs[0].network_id)])
        run(["ip", "-n", "stranger", "link", "set", "eth0", "up"])
        state = ["bridge", "-n", "portico", "link", "show", "dev", "eth9"]
        wait_until("the stranger's link in the bridge", lambda: "forwarding" in run(state).out, 20)
        heard, other = Workload("stranger", vifs[0], rig.host).sniff(), c.sniff()
        run(["bridge", "-n", "portico", "link", "set", "dev", link, "learning", "off"])
        run(["bridge", "-n", "portico", "fdb", "del", vifs[1].mac, "dev", link, "master"], check=False)
        assert a.pings("10.0.0.2", count=3)
        sent = b.vif.mac.replace(":", "") + a.vif.mac.replace(":", "")
        wait_until("the flood at a port of ours", lambda: other.output.count(sent) >= 3, 10)
        assert sent not in heard.output
