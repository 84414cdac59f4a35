# SPDX-License-Identifier: Apache-2.0
"""The fast path on the real kernel: what takes it arrives as by the long way, and what must not take it does not."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from portico.agent import owner
from portico.agent.drivers import sysctls
from portico.agent.fast_path.programs import OBJECT
from portico.hoststate import NEXT_HOPS, ROUTED, Bridge, Guard, Limit, Qos, Router, Source, Space, Vif
from portico.hoststate.l3 import Floating, Forward, Leg, Way
from portico.testing import frames
from portico.testing.lab import Lab, Process, wait_until
from portico.testing.rig import ANY, Rig, Workload, flow, group, lost

pytestmark = pytest.mark.lab

ALL = group(1, *ANY, *(rule.__class__("ingress", rule.ethertype) for rule in ANY))
# It sends nothing either: an answer that comes after a cut would begin a connection, to which all that follows belongs.
CLOSED = group(2)
OUTSIDE, OUTER = "eeeeeeee-0000-4000-8000-000000000001", "203.0.113"
MTU, PINGS = 1450, 100


def network_id(place: int) -> str:
    return f"{place}aaaaaaa-0000-4000-8000-000000000000"


def vif(place: int, number: int, *cidrs: str, network: str = "", **options: Any) -> Vif:
    """Return a port with the addresses 10.PLACE.0.NUMBER and 2001:db8:PLACE::NUMBER, or others."""
    name, mac = f"{place}bb{number:05x}-0000-4000-8000-000000000000", f"02:00:00:00:{place:02x}:{number:02x}"
    own = cidrs or (f"10.{place}.0.{number}/32", f"2001:db8:{place}::{number:x}/128")
    guard = Guard(tuple(Source(mac, cidr) for cidr in own), (ALL.group_id,))
    found = Vif(name, network or network_id(place), mac, MTU, owner.host_link(name), guard=guard)
    return structs.replace(found, **options)


def leg(place: int) -> Leg:
    addresses = (f"10.{place}.0.1/24", f"2001:db8:{place}::1/64")
    return Leg(f"{place}leg0000-00", network_id(place), f"02:00:00:ff:00:{place:02x}", MTU, addresses)


OUT = Leg("0leg0000-00", OUTSIDE, "02:00:00:ff:00:ff", MTU, (f"{OUTER}.1/24",), outside=True, snat=f"{OUTER}.1")
ROUTER = Router(
    "ffffffff-0000-4000-8000-000000000001",
    (leg(1), leg(2), OUT),
    (Way("0.0.0.0/0", f"{OUTER}.254", OUT.port_id),),
    floating=(Floating(f"{OUTER}.2", OUT.port_id),),
    forwards=(Forward(f"{OUTER}.2", "udp", (4101, 4101), "10.1.0.5", (4001, 4001)),),
)
ROUTED_VIFS = [
    vif(7, number, f"10.7.0.{number}/32", network=ROUTED, routes=(f"10.7.0.{number}/32",)) for number in (1, 2)
]


@dataclass(frozen=True, slots=True)
class Site:
    """Two on one network of a router, one on its other network, one outside, and two that are routed."""

    rig: Rig
    blue: Workload
    azure: Workload
    green: Workload
    outer: Workload
    routed: tuple[Workload, Workload]

    def left_by(self, workload: Workload) -> int:
        """Return how many packets have left by a port's link, which those of the short way do not."""
        name = owner.port_link(workload.vif.port_id)
        found = json.loads(self.rig.host.run(["ip", "-n", "portico", "-j", "-s", "link", "show", "dev", name]).out)
        return int(found[0]["stats64"]["tx"]["packets"])

    def long_way(self, client: Workload, server: Workload, address: str) -> int:
        """Return how many of PINGS echo requests, all answered, took the long way."""
        assert client.pings(address, 2)
        before = self.left_by(server)
        out = client.run("ping", "-q", "-c", str(PINGS), "-i", "0.003", address).out
        assert f" {PINGS} received" in out, out
        return self.left_by(server) - before


def plug(rig: Rig, name: str, port: Vif) -> Workload:
    assert port.guard is not None
    cidrs = [source.cidr for source in port.guard.sources]
    if port.network_id == ROUTED:
        workload = rig.plug(name, port, *cidrs)
        workload.run("ip", "route", "add", NEXT_HOPS[4], "dev", "eth0")
        workload.run("ip", "route", "add", "default", "via", NEXT_HOPS[4])
        return workload
    workload = rig.plug(name, port, *(cidr.replace("/32", "/24").replace("/128", "/64") for cidr in cidrs))
    if port.network_id != OUTSIDE:
        workload.run("ip", "route", "add", "default", "via", cidrs[0].rpartition(".")[0] + ".1")
        workload.run("ip", "route", "add", "default", "via", cidrs[1].rpartition(":")[0] + ":1")
    return workload


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        ports = [vif(1, 5), vif(1, 6), vif(2, 5), vif(0, 254, f"{OUTER}.254/32", network=OUTSIDE)]
        bridges = (Bridge(network_id(1), MTU), Bridge(network_id(2), MTU), Bridge(OUTSIDE, MTU))
        rig.want(ALL, CLOSED, *bridges, Space(MTU), ROUTER, *ports, *ROUTED_VIFS)
        rig.start()
        names = ("blue", "azure", "green", "outer", "routed1", "routed2")
        plugged = [plug(rig, name, port) for name, port in zip(names, [*ports, *ROUTED_VIFS], strict=True)]
        blue, azure, green, outer, *routed = plugged
        yield Site(rig, blue, azure, green, outer, (routed[0], routed[1]))


def test_the_programs_that_are_shipped_are_what_their_source_says(tmp_path: Path) -> None:
    script = Path(__file__).parents[3] / "scripts" / "compile_fast_path.py"
    subprocess.run([sys.executable, script, tmp_path / "programs.o"], check=True)
    assert OBJECT.read_bytes() == (tmp_path / "programs.o").read_bytes(), "`make fast-path` has not been run"


def test_connections_take_the_short_way_on_a_bridge_across_a_router_out_of_it_and_where_it_is_routed(
    site: Site,
) -> None:
    ways = {
        "bridge": (site.blue, site.azure, "10.1.0.6"),
        "bridge, IPv6": (site.blue, site.azure, "2001:db8:1::6"),
        "router": (site.blue, site.green, "10.2.0.5"),
        "router, IPv6": (site.blue, site.green, "2001:db8:2::5"),
        "routed": (*site.routed, "10.7.0.2"),
    }
    counts = {name: site.long_way(*way) for name, way in ways.items()}
    assert all(count < PINGS / 4 for count in counts.values()), counts
    # echoes that are translated are left to the long way, datagrams and TCP are not
    assert site.long_way(site.blue, site.outer, f"{OUTER}.254") >= PINGS


def hold(workload: Workload) -> Process:
    """Have somebody take the answers to `datagrams`; it writes "back" for each."""
    code = (
        "import socket; s = socket.socket(type=2); s.bind(('', 4000)); print('open')\nwhile s.recv(100): print('back')"
    )
    process = workload.python(code)
    process.wait_for_text("open", 20)
    return process


def _has_heard(process: Process, count: int) -> bool:
    return process.output.count("back") == count


def datagrams(source: Vif, gateway: str, target: str, port: int, count: int) -> list[bytes]:
    """Return frames that differ in what they say alone, with right checksums; every other has none of what it says."""
    assert source.guard is not None
    own = source.guard.sources[0].cidr.partition("/")[0]
    found = []
    for number in range(count):
        body = struct.pack("!HHHH", 4000, port, 8 + 12, 0) + f"datagram-{number:03}".encode()
        whole = frames.summed(own, target, frames.UDP, body, 6) if number % 2 else body
        packet = frames.ipv4(own, target, frames.UDP, whole)
        found.append(frames.ethernet(gateway, source.mac, frames.IPV4, packet))
    return found


def is_sound(packet: bytes) -> bool:
    """Tell whether the checksums of an IPv4 packet with one of `datagrams` are right (RFC 791, 768)."""
    pseudo = packet[12:20] + struct.pack("!HH", frames.UDP, len(packet) - 20)
    has_none = int(packet[-3:]) % 2 == 0
    rest = packet[26:28] if has_none else struct.pack("!H", frames.checksum(pseudo + packet[20:]))
    return frames.checksum(packet[:20]) == 0 and rest == b"\0\0"


@pytest.mark.parametrize("where", ["network", "router", "outside", "forwarded"])
def test_a_packet_arrives_by_the_short_way_as_it_does_by_the_long_one(site: Site, where: str) -> None:
    source, target, gateway, address, port = {
        "network": (site.blue, site.azure, site.azure.vif.mac, "10.1.0.6", 4001),
        "router": (site.blue, site.green, leg(1).mac, "10.2.0.5", 4001),
        "outside": (site.blue, site.outer, leg(1).mac, f"{OUTER}.254", 4001),
        "forwarded": (site.outer, site.blue, OUT.mac, f"{OUTER}.2", 4101),
    }[where]
    count = 40
    target.serve("udp", "0.0.0.0", 4001)
    holder = hold(source)
    sniffer = target.sniff()
    before = site.left_by(target)
    sent = datagrams(source.vif, gateway, address, port, count)
    for already, some in ((0, sent[:5]), (5, sent[5:])):
        source.send(*some)
        wait_until("all answers", partial(_has_heard, holder, already + len(some)), 20, holder.tail)
    found = [bytes.fromhex(line) for line in sniffer.output.splitlines() if b"datagram-".hex() in line]
    assert len(found) == count and site.left_by(target) - before < count / 2
    assert all(is_sound(frame[14:42] + frame[42:54]) for frame in found)
    heads = {frame[:24] + frame[26:40] for frame in found}  # all but the two checksums, of which one is of the payload
    assert len(heads) == 1 and next(iter(heads))[22] == (64 if where == "network" else 63)
    for process in (holder, sniffer):
        process.kill()


def test_whoever_is_not_the_sender_does_not_get_by_on_its_connection(site: Site) -> None:
    rig, blue, azure = site.rig, site.blue, site.azure
    rig.want(vif(1, 9))
    thief = plug(rig, "thief", vif(1, 9))
    azure.serve("udp", "10.1.0.6", 4002)
    holder, sniffer = hold(blue), azure.sniff()
    sent = datagrams(blue.vif, azure.vif.mac, "10.1.0.6", 4002, 41)
    for already, some in ((0, sent[:5]), (5, sent[5:20])):
        before = site.left_by(azure)
        blue.send(*some)
        wait_until("all answers", partial(_has_heard, holder, already + len(some)), 20, holder.tail)
    assert site.left_by(azure) - before < 15  # the connection takes the short way
    thief.send(*sent[20:30])
    blue.send(*(frame[:6] + frames.mac("02:00:00:00:00:99") + frame[12:] for frame in sent[30:40]), sent[40])
    sniffer.wait_for_text(b"datagram-040".hex(), 20)
    assert not [number for number in range(20, 40) if f"datagram-{number:03}".encode().hex() in sniffer.output]
    for process in (holder, sniffer):
        process.kill()


@pytest.mark.parametrize("translates", [False, True], ids=["routes", "translates"])
@pytest.mark.parametrize("limited", [False, True], ids=["free", "limited"])
def test_a_workload_that_passes_on_what_others_send_is_not_passed_by(
    site: Site, *, translates: bool, limited: bool
) -> None:
    """One that stands between two networks, as a firewall does, whether or not its own ports may take the short way."""
    name = f"wall{translates:d}{limited:d}"
    number = 20 + 2 * translates + limited
    limit = Limit(10_000_000, 1000)
    qos = Qos(egress=limit, ingress=limit) if limited else None
    ends = [structs.replace(vif(place, number), guard=None, qos=qos) for place in (1, 2)]
    site.rig.want(*ends)
    run = site.rig.host.run
    wall = site.rig.plug(name, ends[0], f"10.1.0.{number}/24")
    run(["ip", "link", "set", ends[1].link_name, "netns", name])
    run(["ip", "-n", name, "link", "set", ends[1].link_name, "name", "eth1", "up"])
    run(["ip", "-n", name, "addr", "add", f"10.2.0.{number}/24", "dev", "eth1"])
    wall.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
    if translates:
        rules = (
            "add table ip t; add chain ip t c { type nat hook postrouting priority 100; }; add rule ip t c masquerade"
        )
        wall.run("nft", rules)
    site.blue.run("ip", "route", "replace", "10.2.0.5", "via", f"10.1.0.{number}")
    site.green.run("ip", "route", "replace", "10.1.0.5", "via", f"10.2.0.{number}")
    site.green.serve("udp", "10.2.0.5", 4010 + number)
    steady = site.blue.python(_STEADY, "10.2.0.5", str(4010 + number))
    wait_until("answers", lambda: steady.output.count("answered") > 30, 20, steady.tail)
    before, mark = _sent(wall, "eth1"), len(steady.output)
    wait_until("more answers", lambda: steady.output[mark:].count("answered") > 100, 20, steady.tail)
    assert _sent(wall, "eth1") - before >= 100
    wall.run("nft", "add table ip wall; add chain ip wall c { type filter hook forward priority 0; policy drop; }")
    mark = len(steady.output)
    wait_until("silence", lambda: steady.output[mark:].count("silent") > 3, 20, steady.tail)
    assert "answered" not in steady.output[mark:].partition("silent")[2]
    steady.kill()
    for workload, address in ((site.blue, "10.2.0.5"), (site.green, "10.1.0.5")):
        workload.run("ip", "route", "del", address)
    site.rig.want(gone=ends)


def _sent(workload: Workload, link: str) -> int:
    return int(workload.run("cat", f"/sys/class/net/{link}/statistics/tx_packets").out)


_STEADY = """
import socket, sys, time
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(0.2)
s.connect((sys.argv[1], int(sys.argv[2])))
while True:
    s.send(b"x")
    try:
        print("answered" if s.recv(100) else "")
    except OSError:
        print("silent")
    time.sleep(0.005)
"""


def test_what_nobody_answers_takes_the_long_way(site: Site) -> None:
    holder = site.azure.python("import socket; s = socket.socket(type=2); s.bind(('', 4003)); print('open'); input()")
    holder.wait_for_text("open", 20)
    before = site.left_by(site.azure)
    site.blue.send(*datagrams(site.blue.vif, site.azure.vif.mac, "10.1.0.6", 4003, 40))
    wait_until("all of them", lambda: site.left_by(site.azure) - before >= 40, 20)
    holder.kill()


def test_a_rule_that_goes_takes_what_it_let_in_with_it_at_once(site: Site) -> None:
    site.green.serve("udp", "10.2.0.5", 4100)
    steady = site.blue.python(_STEADY, "10.2.0.5", "4100")
    wait_until("answers", lambda: steady.output.count("answered") > 30, 20, steady.tail)
    guard = site.green.vif.guard
    assert guard is not None
    site.rig.want(structs.replace(site.green.vif, guard=structs.replace(guard, group_ids=(CLOSED.group_id,))))
    mark = len(steady.output)
    wait_until("silence", lambda: steady.output[mark:].count("silent") > 3, 20, steady.tail)
    assert steady.output[mark:].count("answered") <= 1, steady.output[mark:]  # one was on its way to be written
    site.rig.want(site.green.vif)
    mark = len(steady.output)
    wait_until("answers again", lambda: "answered" in steady.output[mark:], 20, steady.tail)
    steady.kill()


def test_a_rule_that_somebody_else_makes_is_obeyed_although_no_agent_sees_it(site: Site) -> None:
    assert site.rig.agent is not None
    site.green.serve("udp", "10.2.0.5", 4100)
    steady = site.blue.python(_STEADY, "10.2.0.5", "4100")
    wait_until("answers", lambda: steady.output.count("answered") > 30, 20, steady.tail)
    site.rig.agent.send_signal(signal.SIGSTOP)
    try:
        site.rig.host.run(["ip", "netns", "exec", "portico", "nft", "insert rule bridge portico send drop"])
        wait_until("silence", lambda: steady.output.endswith("silent\nsilent\nsilent\n"), 20, steady.tail)
    finally:
        site.rig.agent.send_signal(signal.SIGCONT)
    mark = len(steady.output)
    wait_until("all as it was", lambda: "answered" in steady.output[mark:], 20, steady.tail)
    steady.kill()


def test_filters_of_others_see_every_packet(site: Site) -> None:
    """As those that copy a port's packets to another one do."""
    name = owner.port_link(site.azure.vif.port_id)
    assert site.long_way(site.blue, site.azure, "10.1.0.6") < PINGS / 4
    everything = ["bpf", "bytecode", "1,6 0 0 4294967295"]
    nothing = ["action", "gact", "continue"] if Path("/sys/module/act_gact").exists() else ["classid", "1:1"]
    tc = ["tc", "-n", "portico", "filter"]
    site.rig.host.run([*tc, "add", "dev", name, "egress", "pref", "77", "protocol", "all", *everything, *nothing])
    wait_until("all by the long way", lambda: site.long_way(site.blue, site.azure, "10.1.0.6") >= PINGS, 20)
    site.rig.host.run([*tc, "del", "dev", name, "egress", "pref", "77"])
    wait_until("the short way again", lambda: site.long_way(site.blue, site.azure, "10.1.0.6") < PINGS / 4, 20)


def test_a_limited_port_takes_the_long_way_as_long_as_it_is(site: Site) -> None:
    limit = Qos(ingress=Limit(100_000, 10_000))
    site.rig.want(structs.replace(site.azure.vif, qos=limit))
    assert site.long_way(site.blue, site.azure, "10.1.0.6") >= PINGS
    site.rig.want(site.azure.vif)
    assert site.long_way(site.blue, site.azure, "10.1.0.6") < PINGS / 4


def test_connection_tracking_keeps_what_it_hardly_sees(site: Site) -> None:
    """A connection that falls silent must not be forgotten sooner: its next packet would be nobody's."""
    site.green.serve("tcp", "10.2.0.5", 4200)
    talk = site.blue.talk("10.2.0.5", 4200)
    wait_until("answers", lambda: talk.output.count("answered") > 60, 20, talk.tail)
    talk.send_signal(signal.SIGSTOP)
    out = site.rig.host.run(["ip", "netns", "exec", "portico", "conntrack", "-L", "-p", "tcp", "--dport", "4200"]).out
    kept_s = [int(line.split()[2]) for line in out.splitlines() if "ESTABLISHED" in line]
    given_s = int(sysctls.SPARSE["netfilter/nf_conntrack_tcp_timeout_unacknowledged"])
    assert kept_s and all(given_s - 60 < seconds <= given_s for seconds in kept_s), out
    talk.kill()


def test_an_agent_without_it_takes_it_from_links_and_all_goes_on(site: Site) -> None:
    running = flow(site.blue, "10.1.0.6")
    command = site.rig.command
    site.rig.pause()
    site.rig.command = [*command, "--long-way"]
    site.rig.start()
    assert site.long_way(site.blue, site.azure, "10.1.0.6") >= PINGS
    site.rig.pause()
    site.rig.command = command
    site.rig.start()
    assert site.long_way(site.blue, site.azure, "10.1.0.6") < PINGS / 4
    assert lost(running) == []
