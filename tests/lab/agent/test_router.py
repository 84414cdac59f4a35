# SPDX-License-Identifier: Apache-2.0
"""Routers on a real kernel: who reaches whom across them, with which addresses, and what survives what."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import pytest

from portico.agent import meter_rules, owner
from portico.hoststate import Bridge, Guard, Router, Source, Vif
from portico.hoststate.l3 import Floating, Forward, Leg, Prefix, Way
from portico.hoststate.metering import Meter, MeterRule
from portico.testing import frames
from portico.testing.lab import Lab, wait_until
from portico.testing.rig import ANY, Rig, Workload, flow, group, lost

from .test_explain import differences

pytestmark = pytest.mark.lab

ALL = group(1, *ANY, *(rule.__class__("ingress", rule.ethertype) for rule in ANY))
OUTSIDE = "eeeeeeee-0000-4000-8000-000000000001"
OUTER = "203.0.113"


def network_id(tenant: int, place: int) -> str:
    return f"{tenant}{place}aaaaaa-0000-4000-8000-000000000000"


def port_id(tenant: int, place: int, number: int) -> str:
    return f"{tenant}{place}bb{number:04x}-0000-4000-8000-000000000000"


def vif(tenant: int, place: int, number: int, network: str = "") -> Vif:
    """Return a port with the addresses 10.PLACE.0.NUMBER and 2001:db8:PLACE::NUMBER, in each tenant the same."""
    name = port_id(tenant, place, number)
    mac = f"02:00:00:{tenant:02x}:{place:02x}:{number:02x}"
    v4 = f"10.{place}.0.{number}" if not network else f"{OUTER}.{number}"
    guard = Guard((Source(mac, f"{v4}/32"), Source(mac, f"2001:db8:{place}::{number:x}/128")), (ALL.group_id,))
    return Vif(name, network or network_id(tenant, place), mac, 1450, owner.host_link(name), guard=guard)


def inside(tenant: int, place: int) -> Leg:
    return Leg(
        port_id=port_id(tenant, place, 0xF000),
        network_id=network_id(tenant, place),
        mac=f"02:00:00:ff:{tenant:02x}:{place:02x}",
        mtu=1450,
        addresses=(f"10.{place}.0.1/24", f"2001:db8:{place}::1/64"),
        # what hosts would make up in it by themselves is not what their port security knows
        prefixes=(Prefix(f"2001:db8:{place}::/64", "dhcpv6-stateful"),) if tenant == 1 else (),
    )


def gateway(tenant: int) -> Leg:
    address = f"{OUTER}.{tenant}"
    name, mac = f"{tenant}0gggggg-00", f"02:00:00:ee:{tenant:02x}:01"
    return Leg(name, OUTSIDE, mac, 1450, (f"{address}/24",), outside=True, snat=address)


def router(tenant: int, *floating: Floating, forwards: tuple[Forward, ...] = (), snat: bool = True) -> Router:
    out = gateway(tenant) if snat else msgspec.structs.replace(gateway(tenant), snat="")
    legs = (inside(tenant, 1), inside(tenant, 2), out)
    ways = (Way("10.99.0.0/16", "10.2.0.5", legs[1].port_id), Way("0.0.0.0/0", f"{OUTER}.254", legs[2].port_id))
    return Router(f"{tenant}rrrrrrr-0000-4000-8000-000000000000", legs, ways, floating, forwards)


def scoped(wanted: Router) -> Router:
    """Return a router whose second network is in the address scope outside, and the first in another one."""
    one, two, out = wanted.legs
    legs = (
        msgspec.structs.replace(one, apart=("10.2.0.0/24", "2001:db8:2::/64")),
        msgspec.structs.replace(two, apart=("10.1.0.0/24", "2001:db8:1::/64")),
        msgspec.structs.replace(out, known=("10.2.0.0/24",), apart=() if out.snat else ("10.1.0.0/24",)),
    )
    return msgspec.structs.replace(wanted, legs=legs)


@dataclass(frozen=True, slots=True)
class Site:
    """Two tenants with equal addresses, a router each, and somebody outside."""

    rig: Rig
    blue: Workload
    green: Workload
    twin: Workload
    outer: Workload


def plug(rig: Rig, name: str, port: Vif) -> Workload:
    assert port.guard is not None
    v4, v6 = (source.cidr.partition("/")[0] for source in port.guard.sources)
    workload = rig.plug(name, port, f"{v4}/24", f"{v6}/64")
    if not v4.startswith(OUTER):
        run = workload.run
        run("ip", "route", "add", "default", "via", v4.rpartition(".")[0] + ".1")
        run("ip", "-6", "route", "replace", "default", "via", v6.rpartition(":")[0] + ":1")  # one may be told already
    return workload


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        bridges = [Bridge(network_id(tenant, place), 1450) for tenant in (1, 2) for place in (1, 2)]
        ports = vif(1, 1, 5), vif(1, 2, 5), vif(2, 2, 5), vif(3, 3, 254, OUTSIDE)
        rig.want(ALL, *bridges, Bridge(OUTSIDE, 1450), *ports, router(1), router(2))
        rig.start()
        names = ("blue", "green", "twin", "outer")
        found = Site(rig, *(plug(rig, name, port) for name, port in zip(names, ports, strict=True)))
        for workload in (found.green, found.outer):
            peers(workload, "tcp", 80)
            peers(workload, "udp", 80)
        yield found


def peers(workload: Workload, protocol: str, number: int) -> None:
    """Start a server that tells each client its address."""
    code = f"""
import socket
kind = socket.SOCK_STREAM if {protocol!r} == "tcp" else socket.SOCK_DGRAM
s = socket.socket(socket.AF_INET6, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::", {number}))
if kind == socket.SOCK_STREAM:
    s.listen()
print("serving", flush=True)
while True:
    if kind == socket.SOCK_STREAM:
        c, where = s.accept()
        c.sendall(where[0].encode())
        c.close()
    else:
        _, where = s.recvfrom(100)
        s.sendto(where[0].encode(), where)
"""
    workload.python(code).wait_for_text("serving", 20)


ASK = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET,
                  socket.SOCK_STREAM if sys.argv[1] == "tcp" else socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[4]))
s.connect((sys.argv[2], int(sys.argv[3])))
s.sendall(b"?")
print(s.recv(100).decode().removeprefix("::ffff:"))
"""


TALK = """
import socket, sys
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(10)
s.connect((sys.argv[1], int(sys.argv[2])))
for _ in range(int(sys.argv[3])):
    s.send(b"?")
    s.recv(100)
print("heard", sys.argv[3])
"""


def seen_as(workload: Workload, address: str, number: int, protocol: str = "tcp", patience_s: float = 10) -> str:
    """Return the address that a server there says a workload has; "" if there is no answer."""
    code = (sys.executable, "-I", "-S", "-c", ASK)
    found = workload.run(*code, protocol, address, str(number), str(patience_s), check=False)
    return found.out.strip() if found.ok else ""


def test_networks_are_joined_and_tenants_are_not(site: Site) -> None:
    assert seen_as(site.blue, "10.2.0.5", 80) == "10.1.0.5"
    assert seen_as(site.blue, "2001:db8:2::5", 80) == "2001:db8:1::5"
    assert seen_as(site.twin, "10.2.0.1", 80, patience_s=0.3) == ""  # its own router, and no server there
    # each tenant has the address of its router for what is outside, and outside nobody knows the way in
    assert seen_as(site.blue, f"{OUTER}.254", 80) == f"{OUTER}.1"
    assert seen_as(site.twin, f"{OUTER}.254", 80) == f"{OUTER}.2"
    assert site.outer.misses("10.1.0.5", 1)
    # an extra route leads to what is behind a port, whose addresses its port security has to allow
    site.green.run("ip", "addr", "add", "10.99.0.7/32", "dev", "lo")
    capture = site.green.sniff()
    assert site.blue.misses("10.99.0.7", 1)
    wait_until("the packet behind the next hop", lambda: "0a630007" in capture.output, 20, lambda: capture.output)
    # what the router has to say of a packet comes back
    told = site.blue.run("ping", "-c", "1", "-W", "2", "-t", "1", "10.2.0.5", check=False).out
    assert "From 10.1.0.1" in told and "exceeded" in told


def test_floating_addresses_and_forwarded_ports(site: Site) -> None:
    out = gateway(1).port_id
    floating = Floating(f"{OUTER}.9", out, "10.2.0.5"), Floating(f"{OUTER}.10", out)
    forwards = (
        Forward(f"{OUTER}.10", "tcp", (8080, 8080), "10.2.0.5", (80, 80)),
        Forward(f"{OUTER}.10", "udp", (79, 81), "10.2.0.5", (79, 81)),
        Forward(f"{OUTER}.10", "tcp", (9000, 9002), "10.2.0.5", (78, 80)),
    )
    site.rig.want(router(1, *floating, forwards=forwards))
    # in: the client keeps its address; out: the floating address, not the router's
    assert seen_as(site.outer, f"{OUTER}.9", 80) == f"{OUTER}.254"
    assert seen_as(site.green, f"{OUTER}.254", 80) == f"{OUTER}.9"
    assert seen_as(site.blue, f"{OUTER}.254", 80) == f"{OUTER}.1"
    assert site.outer.pings(f"{OUTER}.9")
    for protocol, number in (("tcp", 8080), ("udp", 80), ("tcp", 9002)):
        assert seen_as(site.outer, f"{OUTER}.10", number, protocol) == f"{OUTER}.254", (protocol, number)
    assert seen_as(site.outer, f"{OUTER}.10", 8081, patience_s=0.3) == ""
    # from inside, a neighbour of the server's and the server itself, and from another tenant
    assert seen_as(site.blue, f"{OUTER}.9", 80) == f"{OUTER}.1"
    assert seen_as(site.blue, f"{OUTER}.10", 8080) == f"{OUTER}.1"
    assert seen_as(site.green, f"{OUTER}.9", 80) == f"{OUTER}.9"
    assert seen_as(site.twin, f"{OUTER}.9", 80) == f"{OUTER}.2"
    # one that goes to another port takes its connections along
    running = flow(site.outer, f"{OUTER}.9")
    site.rig.want(router(1, Floating(f"{OUTER}.9", out, "10.1.0.5")))
    capture = site.blue.sniff()
    wait_until("the flow at its new end", lambda: f"{0x0A010005:08x}" in capture.output, 20, lambda: running.output)
    running.kill()
    site.rig.want(router(1))
    assert site.outer.misses(f"{OUTER}.9", 1)
    site.rig.want(router(1, snat=False))
    assert seen_as(site.blue, f"{OUTER}.254", 80, patience_s=0.3) == ""
    # address scopes: what is the same outside keeps its address there, others do not meet but by floating addresses
    site.outer.run("ip", "route", "add", "10.2.0.0/24", "via", f"{OUTER}.1")
    site.rig.want(scoped(router(1)))
    assert seen_as(site.green, f"{OUTER}.254", 80) == "10.2.0.5"
    assert seen_as(site.blue, f"{OUTER}.254", 80) == f"{OUTER}.1"
    assert [seen_as(site.blue, address, 80, patience_s=0.3) for address in ("10.2.0.5", "2001:db8:2::5")] == ["", ""]
    site.rig.want(scoped(router(1, floating[0])))
    assert seen_as(site.blue, f"{OUTER}.9", 80) == f"{OUTER}.1"
    site.rig.want(scoped(router(1, Floating(f"{OUTER}.9", out, "10.1.0.5"), snat=False)))
    assert seen_as(site.blue, f"{OUTER}.254", 80) == f"{OUTER}.9"
    site.outer.run("ip", "route", "del", "10.2.0.0/24", "via", f"{OUTER}.1")
    site.rig.want(router(1))


def test_what_passes_the_gateway_is_counted_whatever_else_changes(site: Site) -> None:
    rig, out = site.rig, gateway(1).port_id
    inner = ["ip", "netns", "exec", owner.router_netns("portico", router(1).router_id)]

    def counted() -> dict[str, tuple[int, int]]:
        """Return packets and bytes by the first letter of the label."""
        listed = rig.host.run([*inner, "nft", "list", "counters"]).out
        return {name.split(".")[1][0]: numbers for name, numbers in meter_rules.counters(listed).items()}

    def metered(*meters: Meter, floating: tuple[Floating, ...] = ()) -> Router:
        return msgspec.structs.replace(router(1, *floating), meters=meters)

    def label(letter: str, *rules: MeterRule) -> Meter:
        return Meter(f"{letter}aaaaaaa-0000-4000-8000-000000000000", rules)

    def ping(workload: Workload, address: str, count: int) -> None:
        """Send so many requests, and no more, each of which is answered."""
        assert f" {count} received" in workload.run("ping", "-c", str(count), "-i", "0.1", "-W", "10", address).out

    ping(site.blue, f"{OUTER}.254", 1)  # from now on neighbours are known
    # addresses are those inside, on the way out and in, before and after translation; a packet counts once for a label
    both = MeterRule("egress", "10.1.0.0/24"), MeterRule("ingress", "", "10.1.0.5/32"), MeterRule("egress", "0.0.0.0/0")
    others = label("c", MeterRule("egress", "10.1.0.5/32", excluded=True), MeterRule("egress", "10.1.0.0/24"))
    rig.want(metered(label("a", *both), label("b", MeterRule("ingress", f"{OUTER}.254/32")), others))
    ping(site.blue, f"{OUTER}.254", 3)
    ping(site.blue, "10.2.0.5", 1)
    assert counted() == {"a": (6, 6 * 84), "b": (3, 3 * 84), "c": (0, 0)}
    # what would take the fast path: datagrams both ways of one connection
    said = site.blue.run(sys.executable, "-I", "-S", "-c", TALK, f"{OUTER}.254", "80", "20").out
    assert said == "heard 20\n" and {name: packets for name, (packets, _) in counted().items()} == {
        "a": 46,
        "b": 23,
        "c": 0,
    }
    before = counted()
    # another translation, another rule, another agent, and a label less
    rig.want(metered(label("a", *both), others, floating=(Floating(f"{OUTER}.9", out, "10.1.0.5"),)))
    rig.want(metered(label("a", *both[:1]), others, floating=(Floating(f"{OUTER}.9", out, "10.1.0.5"),)))
    rig.pause()
    rig.start()
    ping(site.outer, f"{OUTER}.9", 2)
    packets, octets = before["a"]
    assert counted() == {"a": (packets + 2, octets + 2 * 84), "c": (0, 0)}
    rig.want(router(1))
    assert "portico_meters" not in rig.host.run([*inner, "nft", "list", "tables"]).out


def test_a_host_that_has_not_the_whole_gateway_leads_floating_addresses_alone(site: Site) -> None:
    one, two, out = router(1).legs
    ranges = (*(f"10.{place}.0.0/24" for place in (1, 2)), "2001:db8:1::/64", "2001:db8:2::/64")
    part = msgspec.structs.replace(out, mac="02:5e:00:53:00:09", addresses=(), snat="", apart=ranges)
    ways = (Way(f"{OUTER}.0/24", "", out.port_id), *router(1).ways)
    forward = Forward(f"{OUTER}.10", "tcp", (8080, 8080), "10.2.0.5", (80, 80))
    site.rig.want(
        msgspec.structs.replace(
            router(1, Floating(f"{OUTER}.9", out.port_id, "10.2.0.5"), Floating(f"{OUTER}.10", out.port_id)),
            legs=(one, two, part),
            ways=ways,
            forwards=(forward,),
        )
    )
    assert seen_as(site.outer, f"{OUTER}.9", 80) == seen_as(site.outer, f"{OUTER}.10", 8080) == f"{OUTER}.254"
    assert seen_as(site.green, f"{OUTER}.254", 80) == f"{OUTER}.9"
    assert "02:5e:00:53:00:09" in site.outer.run("ip", "neigh", "show", f"{OUTER}.9").out
    # who asks from inside, and has none, is answered by whom it asked; to itself a port has its own
    assert seen_as(site.blue, f"{OUTER}.9", 80) == f"{OUTER}.9"
    assert seen_as(site.blue, f"{OUTER}.10", 8080) == f"{OUTER}.10"
    assert seen_as(site.blue, "10.2.0.5", 80) == "10.1.0.5"
    capture = site.outer.sniff()
    assert site.blue.misses(f"{OUTER}.254", 1)
    assert site.green.pings(f"{OUTER}.254")
    wait_until("the one that has", lambda: "cb007109" in capture.output, 20, lambda: capture.output)
    assert "0a010005" not in capture.output, capture.output
    assert differences(site.rig, site.blue.vif.port_id) == []
    site.rig.want(router(1))
    assert seen_as(site.blue, f"{OUTER}.254", 80) == f"{OUTER}.1"


def test_what_cannot_be_translated_does_not_leave(site: Site) -> None:
    """A segment with a wrong checksum is of no connection; the good one after it is translated."""
    capture, leg, payload = site.outer.sniff(), inside(1, 1).mac, b"strayed!"
    stray = frames.ipv4("10.1.0.5", f"{OUTER}.254", 6, bytes(12) + b"\x50\x02" + bytes(6))
    good = frames.ipv4("10.1.0.5", f"{OUTER}.254", 17, frames.udp(4000, 4001, payload))
    site.blue.send(*(frames.ethernet(leg, site.blue.vif.mac, frames.IPV4, packet) for packet in (stray, good)))
    wait_until("the good one", lambda: payload.hex() in capture.output, 20, lambda: capture.output)
    assert "0a010005" not in capture.output, capture.output


def test_a_restart_and_a_killed_agent_lose_no_packet_and_edits_are_mended(site: Site) -> None:
    rig, host = site.rig, site.rig.host
    out = gateway(1).port_id
    rig.want(router(1, Floating(f"{OUTER}.9", out, "10.2.0.5")))
    running = [flow(site.blue, "10.2.0.5"), flow(site.blue, "2001:db8:2::5"), flow(site.outer, f"{OUTER}.9")]
    rig.pause()
    rig.start()
    rig.want(router(2, snat=False))  # another one's change is no matter
    assert [lost(process) for process in running] == [[], [], []]
    name = owner.router_netns("portico", router(1).router_id)
    inner = ["ip", "netns", "exec", name]

    def state() -> str:
        shown = "ip -br address; ip route; ip -6 route; nft list ruleset; sysctl net.ipv4.ip_forward"
        return re.sub(r"@if\d+|pref \w+", "", host.run([*inner, "sh", "-c", shown]).out)

    before = state()
    rig.pause()
    assert differences(rig, site.blue.vif.port_id) == []
    for edit in (
        "nft flush table inet portico",
        "ip route flush proto 80",
        "ip address flush scope global",
        "sysctl -qw net.ipv4.ip_forward=0",
        f"ip link del {owner.leg_link(inside(1, 2).port_id)}",
    ):
        host.run([*inner, *edit.split()])
    assert state() != before
    told = {line.split(" | ")[0] for line in differences(rig, site.blue.vif.port_id)}
    assert told == {f"router {word}" for word in ("legs", "ways", "digest", "set_up")}
    rig.start()
    wait_until("the router as it was", lambda: state() == before, 20, lambda: f"{state()}\n{before}")
    assert seen_as(site.outer, f"{OUTER}.9", 80) == f"{OUTER}.254"
    host.run(["touch", "/run/netns/portico-router-left"])  # as one that was killed while it made a namespace
    host.run(["ip", "netns", "del", name])  # what announces prefixes keeps it, without a name
    rig.pause()
    rig.start()
    wait_until("the router anew", lambda: name in host.run(["ip", "netns"]).out and state() == before, 20)
    assert "router-left" not in host.run(["ls", "/run/netns"]).out
    rig.want(gone=[router(1)])
    assert site.blue.misses("10.2.0.5", 1)
    assert name not in host.run(["ip", "netns"]).out
    rig.want(router(1))


def test_hosts_learn_of_the_router_and_a_killed_announcer_comes_back(site: Site) -> None:
    site.green.run("ip", "-6", "route", "del", "default")
    site.green.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=2")
    site.green.run("ip", "link", "set", "eth0", "down")
    site.green.run("ip", "link", "set", "eth0", "up")

    def learnt() -> bool:
        return "proto ra" in site.green.run("ip", "-6", "route", "show", "default").out

    wait_until("a default route by an advertisement", learnt, 20)
    site.green.run("ip", "addr", "add", "2001:db8:2::5/64", "dev", "eth0", "nodad")
    assert site.green.pings("2001:db8:1::5", 5)
    host = site.rig.host
    pid = host.path(f"/run/portico/router/portico/{owner.short(router(1).router_id)}/pid")
    first = pid.read_text()
    host.run(["kill", "-9", first.strip()])
    # in much less than the 30 s after which the agent looks by itself
    wait_until("another announcer", lambda: pid.exists() and pid.read_text() not in ("", first), 20)
    site.rig.pause()
    host.run([sys.executable, "-m", "portico.cli", "agent", "--purge"])
    assert "router" not in host.run(["ip", "netns"]).out
    assert not pid.parent.exists()
