# SPDX-License-Identifier: Apache-2.0
"""Security groups, with real connections."""

from __future__ import annotations

import sys
import time
from typing import Literal

import pytest
from msgspec import structs

from portico.hoststate import Guard, Member, Rule, Source, Vif
from portico.testing import frames
from portico.testing.rig import ANY, NET_A, NET_B, Rig, Workload, group, members, network, port

pytestmark = pytest.mark.lab

PING = (Rule("ingress", "IPv4", 1, 8), Rule("ingress", "IPv6", 58, 128))


def addresses(vif: Vif) -> list[str]:
    assert vif.guard
    return [f"{s.cidr.partition('/')[0]}/{64 if ':' in s.cidr else 24}" for s in vif.guard.sources]


def plug(rig: Rig, **vifs: Vif) -> list[Workload]:
    return [rig.plug(name, vif, *addresses(vif)) for name, vif in vifs.items()]


def test_default_is_nothing_in_all_out_with_answers(rig: Rig) -> None:
    closed, pinged = group(1, *ANY), group(2, *ANY, *PING)
    a, b = port(1, closed.group_id), port(2, pinged.group_id)
    rig.want(network(), closed, pinged, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    assert wa.pings("10.0.0.2") and wa.pings("2001:db8::2")
    assert wb.misses("10.0.0.1") and wb.misses("2001:db8::1")


def test_a_port_in_no_group_sends_and_receives_nothing_but_arp_and_nd(rig: Rig) -> None:
    everything = group(1, *ANY, Rule("ingress", "IPv4"), Rule("ingress", "IPv6"))
    a, b = port(1), port(2, everything.group_id)
    rig.want(network(), everything, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    for one, other, number in ((wa, wb, 2), (wb, wa, 1)):
        assert one.misses(f"10.0.0.{number}") and one.misses(f"2001:db8::{number}")
        neighbors = one.run("ip", "neigh").out
        assert neighbors.count(other.vif.mac) == 2, neighbors


def test_no_egress_rule_means_nothing_out(rig: Rig) -> None:
    narrow = group(1, Rule("egress", "IPv4", 17, 53, 53), Rule("egress", "IPv4", 6, 443, 443, "10.0.0.2/32"))
    open_group = group(2, *ANY, Rule("ingress", "IPv4"))
    a, b = port(1, narrow.group_id), port(2, open_group.group_id)
    rig.want(network(), narrow, open_group, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    for protocol, number in (("udp", 53), ("udp", 54), ("tcp", 443), ("tcp", 80)):
        wb.serve(protocol, "10.0.0.2", number)
    assert wa.reaches("udp", "10.0.0.2", 53) and wa.reaches("tcp", "10.0.0.2", 443)
    assert wa.is_kept_from("udp", "10.0.0.2", 54) and wa.is_kept_from("tcp", "10.0.0.2", 80)
    assert wa.misses("10.0.0.2")


@pytest.mark.parametrize("address", ["10.0.0.2", "2001:db8::2"])
@pytest.mark.parametrize(("protocol", "number"), [("tcp", 6), ("udp", 17)])
def test_a_port_range_lets_in_its_ports_and_no_others(rig: Rig, protocol: str, number: int, address: str) -> None:
    kind: Literal["IPv4", "IPv6"] = "IPv6" if ":" in address else "IPv4"
    served = group(1, *ANY, Rule("ingress", kind, number, 80, 82), Rule("ingress", kind, number, 90, 90))
    client = group(2, *ANY)
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), served, client, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    for each in (79, 80, 81, 82, 83, 90):
        wb.serve(protocol, address, each)
    assert all(wa.reaches(protocol, address, each) for each in (80, 81, 82, 90))
    assert all(wa.is_kept_from(protocol, address, each) for each in (79, 83))


def test_any_protocol_number_can_be_named_and_those_with_ports_by_port(rig: Rig) -> None:
    rules = [Rule("ingress", "IPv4", number, 1000, 2000) for number in (33, 132, 136)]
    served = group(1, *ANY, *rules, Rule("ingress", "IPv4", 47), Rule("ingress", "IPv6", 132, 1000, 2000))
    client = group(2, *ANY)
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), served, client, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    sniffer = wb.sniff()
    sent = {
        f"<{number:03} {target} >".encode(): (number, target)
        for number in (33, 47, 132, 136)
        for target in (1000, 2001)
    }
    for marker, (number, target) in sent.items():
        packet = frames.ipv4("10.0.0.1", "10.0.0.2", number, frames.opening(number, 7, target, marker * 4))
        wa.send(frames.ethernet(wb.vif.mac, wa.vif.mac, frames.IPV4, packet))
    packet = frames.ipv6("2001:db8::1", "2001:db8::2", 132, frames.opening(132, 7, 1500, b"last" * 4))
    wa.send(frames.ethernet(wb.vif.mac, wa.vif.mac, frames.IPV6, packet))
    sniffer.wait_for_text(b"last".hex(), 20)
    arrived = b"".join(bytes.fromhex(line) for line in sniffer.output.splitlines()[1:])
    expected = {what for what in sent.values() if what[1] == 1000 or what[0] == 47}
    assert {what for marker, what in sent.items() if marker in arrived} == expected


def test_icmp_type_and_code_are_matched(rig: Rig) -> None:
    narrow = group(1, *ANY, Rule("ingress", "IPv4", 1, 13, 0))
    client = group(2, *ANY)
    a, b = port(1, client.group_id), port(2, narrow.group_id)
    rig.want(network(), narrow, client, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    sniffer = wb.sniff()

    def icmp(kind: int, code: int) -> bytes:
        packet = frames.ipv4("10.0.0.1", "10.0.0.2", 1, bytes([kind, code, 0, 0]) + bytes([kind, code]) * 20)
        return frames.ethernet(wb.vif.mac, wa.vif.mac, frames.IPV4, packet)

    wa.send(icmp(8, 0), icmp(13, 1), icmp(13, 0))
    sniffer.wait_for_text("0d00" * 10, 20)
    assert "0800" * 10 not in sniffer.output and "0d01" * 10 not in sniffer.output


# Says "refused" when it hears that nobody is at that port.
_REFUSED = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], 9))
s.send(b"x")
try:
    s.recv(10)
except ConnectionRefusedError:
    print("refused")
"""


def test_an_error_about_a_connection_comes_back_and_one_about_none_does_not(rig: Rig) -> None:
    closed, served = (
        group(1, *ANY),
        group(2, *ANY, Rule("ingress", "IPv4", 17, 9, 9), Rule("ingress", "IPv6", 17, 9, 9)),
    )
    a, b = port(1, closed.group_id), port(2, served.group_id)
    rig.want(network(), closed, served, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    sniffer = wa.sniff()
    quoted = frames.ipv4("10.0.0.1", "10.0.0.2", 17, frames.udp(7, 9, b"unasked-"))
    head = bytes([3, 3, 0, 0]) + bytes(4)
    message = head[:2] + frames.checksum(head + quoted).to_bytes(2) + head[4:] + quoted
    made_up = frames.ipv4("10.0.0.2", "10.0.0.1", 1, message)
    wb.send(frames.ethernet(wa.vif.mac, wb.vif.mac, frames.IPV4, made_up))
    for address in ("10.0.0.2", "2001:db8::2"):
        told = wa.run(sys.executable, "-I", "-S", "-c", _REFUSED, address)
        assert told.out == "refused\n", told
    sniffer.wait_for_text(f"{wa.vif.mac}{wb.vif.mac}86dd".replace(":", ""), 20)
    assert b"unasked-".hex() not in sniffer.output


def test_a_remote_cidr_admits_senders_in_it(rig: Rig) -> None:
    served = group(
        1,
        *ANY,
        Rule("ingress", "IPv4", 1, remote_cidr="10.0.0.1/32"),
        Rule("ingress", "IPv6", 58, remote_cidr="2001:db8::2:0/112"),
    )
    client = group(2, *ANY)
    ports = [port(n, client.group_id) for n in (1, 3)] + [port(2, served.group_id)]
    rig.want(network(), served, client, *ports)
    rig.start()
    wa, wc, _ = plug(rig, a=ports[0], c=ports[1], b=ports[2])
    assert wa.pings("10.0.0.2") and wc.misses("10.0.0.2")
    assert wa.misses("2001:db8::2")


def test_a_remote_group_admits_its_members_and_follows_them(rig: Rig) -> None:
    me = group(1)
    same = group(
        1,
        *ANY,
        Rule("ingress", "IPv4", remote_group_id=me.group_id),
        Rule("ingress", "IPv6", remote_group_id=me.group_id),
    )
    other = group(2, *ANY)
    a, b, c = port(1, same.group_id), port(2, same.group_id), port(3, other.group_id)
    rig.want(network(), same, other, a, b, c, *members(same.group_id, a, b))
    rig.start()
    wa, wb, wc = plug(rig, a=a, b=b, c=c)
    assert wa.pings("10.0.0.2") and wb.pings("10.0.0.1") and wa.pings("2001:db8::2")
    assert wc.misses("10.0.0.2") and wc.misses("2001:db8::2")
    rig.want(*members(same.group_id, c))
    assert wc.pings("10.0.0.2") and wc.pings("2001:db8::2")
    rig.want(gone=members(same.group_id, a))
    assert wa.misses("10.0.0.2") and wc.pings("10.0.0.2")


def test_a_range_of_a_member_counts_as_member(rig: Rig) -> None:
    me = group(1)
    same = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id=me.group_id))
    base = port(1)
    wide = Guard((Source(base.mac, "10.0.0.1/32"), Source(base.mac, "10.0.0.128/25")), (same.group_id,))
    a, b = port(1, guard=wide), port(2, same.group_id)
    rig.want(network(), same, a, b, *members(same.group_id, a, b))
    rig.start()
    wa, _ = rig.plug("a", a, "10.0.0.200/24"), rig.plug("b", b, "10.0.0.2/24")
    assert wa.pings("10.0.0.2")


def test_networks_with_the_same_addresses_do_not_know_each_other(rig: Rig) -> None:
    """Not by frames, not as members of a group, and not by tracked connections: all tuples here are equal."""
    me = group(1)
    same = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id=me.group_id))
    a, b = port(1, same.group_id), port(2, same.group_id)
    c, d = port(1, same.group_id, network=NET_B), port(2, same.group_id, network=NET_B)
    rig.want(
        network(NET_A), network(NET_B), same, a, b, c, d, *members(same.group_id, a, b), *members(same.group_id, d)
    )
    rig.start()
    wa, wb, wc, wd = plug(rig, a=a, b=b, c=c, d=d)
    wb.serve("tcp", "10.0.0.2", 80)
    assert wa.reaches("tcp", "10.0.0.2", 80)
    assert wc.is_kept_from("tcp", "10.0.0.2", 80)  # on the other network 10.0.0.1 is no member
    assert wa.run("ip", "neigh").out.count(wd.vif.mac) == 0
    flows = rig.host.run(["ip", "netns", "exec", "portico", "conntrack", "-L", "-p", "tcp"]).out
    assert {word for word in flows.split() if word.startswith("zone=")} == {"zone=1"}


def test_admin_down_lets_nothing_pass_and_takes_the_carrier(rig: Rig) -> None:
    off = port(1, guard=None, admin_up=False)
    on = port(2, guard=None)
    rig.want(network(), off, on)
    rig.start()
    wa, wb = rig.plug("a", off, "10.0.0.1/24"), rig.plug("b", on, "10.0.0.2/24")
    assert wb.misses("10.0.0.1")
    assert "NO-CARRIER" in wa.run("ip", "link", "show", "eth0").out
    rig.want(port(1, guard=None))
    assert wb.pings("10.0.0.1")


@pytest.mark.parametrize("guarded", [False, True])
def test_a_steady_link_keeps_its_carrier_while_nothing_passes(rig: Rig, *, guarded: bool) -> None:
    everybody = group(1, *ANY, Rule("ingress", "IPv4"))
    off = port(1, everybody.group_id, admin_up=False, steady=True)
    off = off if guarded else structs.replace(off, guard=None)
    on = port(2, guard=None)
    rig.want(network(), everybody, off, on)
    rig.start()
    wa, wb = rig.plug("a", off, "10.0.0.1/24"), rig.plug("b", on, "10.0.0.2/24")
    heard = (wa.sniff(), wb.sniff())
    assert wb.misses("10.0.0.1") and wa.misses("10.0.0.2")
    assert off.mac.replace(":", "") not in heard[1].output and on.mac.replace(":", "") not in heard[0].output
    assert "LOWER_UP" in wa.run("ip", "link", "show", "eth0").out
    rig.want(structs.replace(off, admin_up=True))
    for workload in (wa, wb):  # or neighbours that did not answer are asked again a second later
        workload.run("ip", "neighbour", "flush", "dev", "eth0")
    assert wb.pings("10.0.0.1") and wa.pings("10.0.0.2")
    rig.want(off)
    assert wb.misses("10.0.0.1")
    assert "LOWER_UP" in wa.run("ip", "link", "show", "eth0").out


def test_removing_a_rule_cuts_what_it_alone_let_in_within_a_second_and_nothing_else(rig: Rig) -> None:
    both = group(1, *ANY, Rule("ingress", "IPv4", 6, 80, 80), Rule("ingress", "IPv4", 6, 81, 81))
    fewer = group(1, *ANY, Rule("ingress", "IPv4", 6, 81, 81))
    client = group(2, *ANY)
    a, b, c = port(1, client.group_id), port(2, both.group_id), port(3, guard=None)
    rig.want(network(), both, client, a, b, c)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    wc = rig.plug("c", c, "10.0.0.3/24")
    for number in (80, 81):
        wb.serve("tcp", "10.0.0.2", number)
    cut, kept, unguarded = wa.talk("10.0.0.2", 80), wa.talk("10.0.0.2", 81), wc.talk("10.0.0.2", 80)
    assert rig.want(fewer) < 1
    time.sleep(0.3)
    marks = [len(process.output) for process in (cut, kept, unguarded)]
    time.sleep(0.8)
    assert "answered" not in cut.output[marks[0] :]
    assert "answered" in kept.output[marks[1] :] and "silent" not in kept.output
    assert "answered" not in unguarded.output[marks[2] :]


def test_a_member_that_leaves_loses_its_connections(rig: Rig) -> None:
    me = group(1)
    same = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id=me.group_id))
    a, b, c = (port(n, same.group_id) for n in (1, 2, 3))
    rig.want(network(), same, a, b, c, *members(same.group_id, a, b, c))
    rig.start()
    wa, wb, wc = plug(rig, a=a, b=b, c=c)
    wb.serve("tcp", "10.0.0.2", 80)
    leaver, stayer = wa.talk("10.0.0.2", 80), wc.talk("10.0.0.2", 80)
    rig.want(gone=members(same.group_id, a))
    time.sleep(0.3)
    marks = len(leaver.output), len(stayer.output)
    time.sleep(0.6)
    assert "answered" not in leaver.output[marks[0] :]
    assert "answered" in stayer.output[marks[1] :] and "silent" not in stayer.output


def test_addresses_that_leave_an_address_group_lose_their_connections(rig: Rig) -> None:
    """Single addresses and ranges, also those that lie in each other, on two networks."""
    ranges = [f"addresses/{cidr}" for cidr in ("10.0.0.1/32", "10.0.0.2/31", "0.0.0.0/0")]
    one, two, every = ([Member("addresses", net, item.partition("/")[2]) for net in (NET_A, NET_B)] for item in ranges)
    open_to = group(1, *ANY, Rule("ingress", "IPv4", remote_group_id="addresses"))
    client = group(2, *ANY)
    a, b, c, d = (port(n, client.group_id) for n in (1, 2, 3, 4))
    server = port(5, open_to.group_id)
    far, near = port(1, client.group_id, network=NET_B), port(5, open_to.group_id, network=NET_B)
    rig.want(network(NET_A), network(NET_B), open_to, client, a, b, c, d, server, far, near, *one, *two, *every)
    rig.start()
    wa, wb, _, wd, ws, wfar, wnear = plug(rig, a=a, b=b, c=c, d=d, s=server, far=far, near=near)
    for there in (ws, wnear):
        there.serve("tcp", "10.0.0.5", 80)
    talks = [one_of.talk("10.0.0.5", 80) for one_of in (wa, wb, wd, wfar)]
    assert rig.want(gone=[*every, *one]) < 1
    time.sleep(0.3)
    marks = [len(process.output) for process in talks]
    time.sleep(0.8)
    assert ["answered" in process.output[mark:] for process, mark in zip(talks, marks, strict=True)] == [
        False, True, False, False,
    ]  # fmt: skip
    assert wd.is_kept_from("tcp", "10.0.0.5", 80) and wb.reaches("tcp", "10.0.0.5", 80)


def test_stateless_groups_let_answers_in_by_rule_only(rig: Rig) -> None:
    client = group(1, *ANY, stateful=False)
    served = group(2, *ANY, Rule("ingress", "IPv4", 17, 53, 53))
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), client, served, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    wb.serve("udp", "10.0.0.2", 53)
    assert wa.is_kept_from("udp", "10.0.0.2", 53)
    rig.want(group(1, *ANY, Rule("ingress", "IPv4", 17, remote_cidr="10.0.0.2/32"), stateful=False))
    assert wa.reaches("udp", "10.0.0.2", 53)


def test_a_stateful_group_beside_a_stateless_one_tracks_for_both(rig: Rig) -> None:
    stateless, stateful = group(1, *ANY, stateful=False), group(3)
    served = group(2, *ANY, Rule("ingress", "IPv4", 17, 53, 53))
    a, b = port(1, stateless.group_id, stateful.group_id), port(2, served.group_id)
    rig.want(network(), stateless, stateful, served, a, b)
    rig.start()
    wa, wb = plug(rig, a=a, b=b)
    wb.serve("udp", "10.0.0.2", 53)
    assert wa.reaches("udp", "10.0.0.2", 53)


def test_large_packets_pass_in_fragments(rig: Rig) -> None:
    served, client = group(1, *ANY, *PING), group(2, *ANY)
    a, b = port(1, client.group_id), port(2, served.group_id)
    rig.want(network(), served, client, a, b)
    rig.start()
    wa, _ = plug(rig, a=a, b=b)
    for address in ("10.0.0.2", "2001:db8::2"):
        assert wa.run("ping", "-c", "2", "-i", "0.1", "-W", "1", "-s", "5000", address).ok
