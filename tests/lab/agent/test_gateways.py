# SPDX-License-Identifier: Apache-2.0
"""A router with several gateways, on a real kernel: which of them connections take, that they stay, and who is dead."""

from __future__ import annotations

import ipaddress
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from msgspec import structs

from portico.agent import bird, owner
from portico.hoststate import Bridge, Router, Vif
from portico.hoststate.l3 import Floating, Forward, Leg, Way
from portico.testing import frames
from portico.testing.lab import Lab, Process, wait_until
from portico.testing.rig import Rig, Workload, answered, flow

from .test_explain import differences

pytestmark = pytest.mark.lab

REST = "-0000-4000-8000-000000000000"
INSIDE, NETS = f"1aaaaaaa{REST}", (f"2aaaaaaa{REST}", f"3aaaaaaa{REST}")
OUTER = ("203.0.113", "198.51.100")
WORLD = "192.0.2.7"
"""Somebody whom both networks outside lead to."""
MANY = 40
"""Connections: that all of them take one of two gateways by chance happens to nobody."""

SERVE = """
import socket, threading
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", 80))
s.listen(100)
print("serving")
def echo(c, address):
    c.sendall(address.encode().ljust(20))
    while data := c.recv(10):
        c.sendall(data)
while True:
    c, (address, _) = s.accept()
    threading.Thread(target=echo, args=(c, address), daemon=True).start()
"""
KEEP = """
import socket, sys, time
kept = [socket.create_connection((sys.argv[1], 80), 10) for _ in range(int(sys.argv[2]))]
print("seen", *sorted({one.recv(20, socket.MSG_WAITALL).decode().strip() for one in kept}))
while True:
    for number, one in enumerate(kept):
        one.sendall(b"x")
        try:
            one.recv(10)
        except TimeoutError:
            print("silent", number)
    print("answered")
    time.sleep(0.02)
"""


def port(network_id: str, number: int) -> Vif:
    name = f"{number:x}bbbbbbb{REST}"
    return Vif(name, network_id, f"02:00:00:00:00:{number:02x}", 1450, owner.host_link(name))


def gateway(number: int) -> Leg:
    address = f"{OUTER[number]}.1"
    return Leg(
        port_id=f"{number}0999999{REST}",
        network_id=NETS[number],
        mac=f"02:00:00:ee:00:{number:02x}",
        mtu=1450,
        addresses=(f"{address}/24", f"2001:db8:{number + 1}::1/64"),
        outside=True,
        snat=address,
        beyond=f"{OUTER[number]}.254",
    )


def router(*spread: int, floating: tuple[Floating, ...] = ()) -> Router:
    """Return a router whose defaults are by these gateways."""
    legs = Leg(f"10ffffff{REST}", INSIDE, "02:00:00:ff:00:01", 1450, ("10.1.0.1/24",)), gateway(0), gateway(1)
    ways = [
        Way(everywhere, hop, gateway(number).port_id)
        for number in spread
        for everywhere, hop in (("0.0.0.0/0", f"{OUTER[number]}.254"), ("::/0", f"2001:db8:{number + 1}::fe"))
    ]
    return Router(f"1ccccccc{REST}", legs, tuple(ways), floating)


@dataclass(frozen=True, slots=True)
class Site:
    rig: Rig
    blue: Workload
    outer: tuple[Workload, ...]
    hops: dict[int, Process] = field(default_factory=dict)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Lab() as lab:
        rig = Rig(lab.host("one"))
        ports = port(INSIDE, 5), port(NETS[0], 6), port(NETS[1], 7)
        rig.want(*(Bridge(network_id, 1450) for network_id in (INSIDE, *NETS)), *ports, router(0, 1))
        rig.start()
        blue = rig.plug("blue", ports[0], "10.1.0.5/24")
        blue.run("ip", "route", "add", "default", "via", "10.1.0.1")
        outer = [
            rig.plug(f"outer{number}", ports[number + 1], f"{OUTER[number]}.254/24", f"{WORLD}/32") for number in (0, 1)
        ]
        for workload in (blue, *outer):
            workload.python(SERVE).wait_for_text("serving", 20)
        yield Site(rig, blue, tuple(outer))


def seen(workload: Workload, address: str, count: int = MANY) -> set[str]:
    """Return the addresses that a server saw a workload's connections come from."""
    process = workload.python(KEEP, address, str(count))
    process.wait_for_text("answered", 20)
    process.kill()
    return set(process.output.splitlines()[0].split()[1:])


def has_echoes(process: Process, count: int) -> bool:
    return len(answered(process)) >= count


def has_answered(process: Process, times: int) -> bool:
    return process.output.count("answered") >= times


def test_connections_are_spread_and_each_stays_with_its_gateway(site: Site) -> None:
    rig, own = site.rig, {f"{net}.1" for net in OUTER}
    assert differences(rig, site.blue.vif.port_id) == []
    inside, one, _ = router(0).legs
    rig.want(Router(router().router_id, (inside, structs.replace(one, beyond="")), router(0).ways))
    early = site.blue.python(KEEP, WORLD, str(MANY))
    early.wait_for_text("answered", 20)
    rig.want(router(0, 1))
    kept = site.blue.python(KEEP, WORLD, str(MANY))
    kept.wait_for_text("answered", 20)
    assert set(kept.output.splitlines()[0].split()[1:]) == own
    for number in (1, 0):
        rig.want(router(number))
        enough = kept.output.count("answered") + 3
        wait_until("answers to all", partial(has_answered, kept, enough), 20, kept.tail)
        wait_until("answers to the first", partial(has_answered, early, enough), 20, early.tail)
        assert seen(site.blue, WORLD) == {f"{OUTER[number]}.1"}
    assert "silent" not in kept.output + early.output, (kept.output, early.output)
    kept.kill()
    early.kill()


def test_who_comes_by_a_gateway_is_answered_by_it_and_floating_addresses_leave_by_theirs(site: Site) -> None:
    site.rig.want(router(0, floating=(Floating(f"{OUTER[1]}.9", gateway(1).port_id, "10.1.0.5"),)))
    # by an address that both lead to: the answer would else go to the first
    site.outer[1].run("ip", "route", "add", f"{OUTER[1]}.9", "dev", "eth0", "src", WORLD)
    assert seen(site.outer[1], f"{OUTER[1]}.9", 1) == {WORLD}
    assert seen(site.blue, WORLD, 4) == {f"{OUTER[1]}.9"}
    # the router's own address, too
    site.outer[1].run("ip", "route", "add", f"{OUTER[1]}.1", "dev", "eth0", "src", WORLD)
    assert site.outer[1].pings(f"{OUTER[1]}.1")


def crc32c(data: bytes) -> int:
    """Return the checksum of SCTP (RFC 9260, appendix A)."""
    found = 0xFFFFFFFF
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


def sctp(source: str, destination: str, ports: tuple[int, int], *, answer: bool = False) -> bytes:
    """Return an INIT, or the INIT ACK that answers it (RFC 9260, section 3.3): there are hosts without such sockets."""
    chunk = struct.pack("!BBHIIHHI", 2 if answer else 1, 0, 20, 1, 1500, 1, 1, 1)
    plain = struct.pack("!HHII", *ports, 1 if answer else 0, 0) + chunk
    return frames.ipv4(source, destination, 132, plain[:8] + struct.pack("<I", crc32c(plain)) + plain[12:])


def got(capture: Process, source: str, destination: str, ports: tuple[int, int]) -> None:
    """Wait for a packet of SCTP, and look at its checksum."""
    ends = (ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed).hex()
    start = ends + struct.pack("!HH", *ports).hex()

    def found() -> list[str]:
        # Only whole lines: a process may be halfway through one.
        lines = capture.output.splitlines(keepends=True)
        return [line.strip().partition(ends)[2] for line in lines if start in line and line.endswith("\n")]

    wait_until(f"SCTP from {source} to {destination} {ports}", lambda: bool(found()), 20, lambda: capture.output)
    body = bytes.fromhex(found()[0])
    assert struct.unpack("<I", body[8:12]) == (crc32c(body[:8] + bytes(4) + body[12:]),)


def test_sctp_is_translated_and_forwarded_with_right_checksums(site: Site) -> None:
    out, (inside, *_), fixed, far = gateway(0), router().legs, "10.1.0.5", f"{OUTER[0]}.254"
    whole, shared = f"{OUTER[0]}.9", f"{OUTER[0]}.10"
    wanted = router(0, floating=(Floating(whole, out.port_id, fixed), Floating(shared, out.port_id)))
    site.rig.want(structs.replace(wanted, forwards=(Forward(shared, "sctp", (9000, 9000), fixed, (80, 80)),)))
    site.blue.run("ping", "-c", "1", far)  # both know each other's MAC addresses
    outer, blue = site.outer[0].sniff(), site.blue.sniff()

    def send(workload: Workload, mac: str, packet: bytes) -> None:
        workload.send(frames.ethernet(mac, workload.vif.mac, frames.IPV4, packet))

    for number, (address, asked, meant) in enumerate(((whole, 5060, 5060), (shared, 9000, 80)), 7000):
        send(site.outer[0], out.mac, sctp(far, address, (number, asked)))
        got(blue, far, fixed, (number, meant))
        send(site.blue, inside.mac, sctp(fixed, far, (meant, number), answer=True))
        got(outer, address, far, (asked, number))
    site.rig.want(router(0))
    send(site.blue, inside.mac, sctp(fixed, far, (7002, 5060)))
    got(outer, f"{OUTER[0]}.1", far, (7002, 5060))


def test_what_a_stranger_changes_is_seen_and_mended(site: Site) -> None:
    rig, inner = site.rig, ["ip", "netns", "exec", owner.router_netns("portico", router().router_id)]
    rig.want(router(0, 1))
    rig.pause()
    for edit in (
        "ip rule del pref 1000",
        "ip rule del pref 1001",
        f"ip route replace default via {OUTER[0]}.254 proto 80",
        "sysctl -qw net.ipv4.fib_multipath_hash_policy=0",
    ):
        rig.host.run([*inner, *edit.split()])
    told = {line.split(" | ")[0] for line in differences(rig, site.blue.vif.port_id)}
    assert told == {f"router {word}" for word in ("kept", "ways", "set_up")}
    rig.start()
    wait_until("it as it was", lambda: differences(rig, site.blue.vif.port_id) == [], 20)
    assert seen(site.blue, WORLD) == {f"{net}.1" for net in OUTER}
    inside, one, _ = router().legs
    rig.want(Router(router().router_id, (inside, structs.replace(one, beyond=""))))
    left = rig.host.run([*inner, "ip", "rule"]).out
    assert "fwmark" not in left and "suppress" not in left, left


HOP = """
router id 192.0.2.{number};
protocol device {{ }}
protocol bfd {{
  interface "eth0" {{ min rx interval 50 ms; min tx interval 50 ms; idle tx interval 50 ms; }};
  neighbor {own4} dev "eth0"; neighbor {own6} dev "eth0";
}}
"""
FILES = f"/run/portico/bfd/{owner.router_netns('portico', router().router_id)}"


def join(site: Site, number: int) -> None:
    """Have who is at the next hop of a gateway on the network, with its address of IPv6 and a route back."""
    run = site.outer[number].run
    run("ip", "link", "set", "eth0", "up")
    run("ip", "addr", "replace", f"2001:db8:{number + 1}::fe/64", "dev", "eth0", "nodad")
    run("ip", "route", "replace", "10.1.0.0/24", "via", f"{OUTER[number]}.1")


def begin(site: Site, *numbers: int) -> None:
    """Have who is at the next hops of these gateways, and at no others, answer BFD."""
    for number in (0, 1):
        process = site.hops.pop(number, None) if number not in numbers else None
        if process is not None:
            process.kill()
        elif number in numbers and number not in site.hops:
            join(site, number)
            own4, own6 = (address.partition("/")[0] for address in gateway(number).addresses)
            text = HOP.format(number=number + 1, own4=own4, own6=own6)
            site.rig.host.path(f"/run/hop{number}.conf").write_text(text)
            files = ["-c", f"/run/hop{number}.conf", "-s", f"/run/hop{number}.ctl"]
            site.hops[number] = site.outer[number].spawn("bird", "-f", *files)


def watching(*, spreads: bool, hidden: bool = True, floating: tuple[Floating, ...] = ()) -> Router:
    """Return a router that watches both next hops; if not `hidden`, it translates nothing."""
    wanted, both = router(*((0, 1) if spreads else (0,)), floating=floating), router(0, 1)
    legs = [leg if hidden else structs.replace(leg, snat="", beyond="") for leg in wanted.legs]
    return structs.replace(wanted, legs=tuple(legs), watched=both.ways, spreads=spreads)


def live(site: Site) -> set[str]:
    """Return the next hops of which BIRD has routes, of all four halves."""
    netns = owner.router_netns("portico", router().router_id)
    texts = [site.rig.host.run(["ip", "-n", netns, it, "route", "show", "proto", "bird"]).out for it in ("-4", "-6")]
    hops = {f"{OUTER[number]}.254": f"2001:db8:{number + 1}::fe" for number in (0, 1)}
    return {v4 for v4, v6 in hops.items() if texts[0].count(f"via {v4} ") == texts[1].count(f"via {v6} ") == 2}


def wait_live(site: Site, *numbers: int) -> None:
    wanted = {f"{OUTER[number]}.254" for number in numbers}
    wait_until(f"{wanted} alive", lambda: live(site) == wanted, 30, lambda: str(live(site)))


def bird_pid(site: Site) -> str:
    """Return the number of the router's BIRD; empty while that is being written."""
    text = site.rig.host.path(f"{FILES}/{bird.PID}").read_text()
    return text.strip() if text.endswith("\n") else ""


def wait_seen(site: Site, number: int) -> None:
    """Wait until new connections go by a gateway."""
    own = {f"{OUTER[number]}.1"}
    wait_until(f"connections by {own}", lambda: seen(site.blue, WORLD, 4) == own, 30)


def test_a_next_hop_that_is_dead_is_left_out_until_it_lives_also_without_an_agent(site: Site) -> None:
    rig = site.rig
    begin(site, 0, 1)
    rig.want(watching(spreads=True, hidden=False))
    wait_live(site, 0, 1)
    assert differences(rig, site.blue.vif.port_id) == []
    rig.pause()
    echoes = flow(site.blue, WORLD)
    for number in (0, 1):  # one of them is the one by which the echoes go
        site.outer[number].run("ip", "link", "set", "eth0", "down")
        wait_live(site, 1 - number)
        enough = len(answered(echoes)) + 20
        wait_until("echoes", partial(has_echoes, echoes, enough), 20, echoes.tail)
        join(site, number)
        wait_live(site, *((0, 1) if number == 0 else (0,)))
    echoes.kill()
    rig.start()


def test_the_first_next_hop_that_lives_is_taken_and_answers_go_where_questions_came_from(site: Site) -> None:
    rig, second = site.rig, f"{OUTER[1]}.1"
    begin(site, 0, 1)
    floating = Floating(f"{OUTER[1]}.9", gateway(1).port_id, "10.1.0.6")
    rig.want(watching(spreads=False, floating=(floating,)))
    wait_live(site, 0)
    wait_seen(site, 0)
    site.outer[1].run("ip", "route", "replace", second, "dev", "eth0", "src", WORLD)
    assert site.outer[1].pings(second)
    begin(site, 1)
    wait_live(site, 1)
    wait_seen(site, 1)
    begin(site)
    wait_live(site)
    wait_seen(site, 0)  # while none lives it is as if none were watched


def test_what_watches_is_there_again_when_it_has_ended_and_leaves_nothing(site: Site) -> None:
    rig = site.rig
    begin(site, 1)
    rig.want(watching(spreads=False))
    wait_live(site, 1)
    before = bird_pid(site)
    rig.host.run(["kill", "-9", before])
    wait_until("another one", lambda: bird_pid(site) not in ("", before), 20)
    wait_live(site, 1)
    rig.pause()
    rig.host.run(["kill", "-9", bird_pid(site)])
    rig.want(router(0))
    rig.start()
    assert not rig.host.path(FILES).exists()
    assert live(site) == set()
    wait_seen(site, 0)
    begin(site)


def test_purge_ends_what_watches(site: Site) -> None:
    rig, purge = site.rig, [sys.executable, "-m", "portico.cli", "agent", "--purge"]
    rig.want(watching(spreads=True))
    number = bird_pid(site)
    rig.pause()
    assert f"watch of router {owner.short(router().router_id)}\n" in rig.host.run(purge).out
    assert not rig.host.path(FILES).exists() and not rig.host.run(["ps", "-p", number], check=False).ok
    assert rig.host.run(purge).out == ""
