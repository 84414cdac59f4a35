# SPDX-License-Identifier: Apache-2.0
"""Routers beside two namespaces joined by bare veth pairs through one that routes, turn about; and many of them."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from functools import partial

from bench.containers import PINGS, PLAIN, PORTICO, TRANSFER_S, TRANSFERS, pairs_of
from bench.figure import Figure, median
from portico.agent import owner
from portico.hoststate import Bridge, Guard, HostObject, Router, Rule, Source, Vif
from portico.hoststate.l3 import Leg, Way
from portico.testing.lab import Lab, LabHost
from portico.testing.rig import ANY, Rig, Workload, flow, group

MTU = 1500
MANY, BATCH = 200, 25
OUTSIDE = "e0000000-0000-4000-8000-000000000000"
SERVERS = {PORTICO: "10.1.0.5", PLAIN: "198.51.100.129"}
"""The server's addresses: that of the port behind the router, and the one behind the bare pairs."""
EVERYBODY = group(1, *ANY, Rule("ingress", "IPv4"))


def measure() -> list[Figure]:
    """Measure TCP and ping across a router, how soon one works, and a restart of the agent with many."""
    with Lab() as lab:
        rig = Rig(lab.host("h1"))
        client, server = _plug(rig)
        first_s = _first_packet_s(rig, client)
        _join(client.host)
        cpu = str(1 % (os.cpu_count() or 1))
        server.spawn("taskset", "-c", cpu, "iperf3", "-s", "--forceflush").wait_for_text("listening", 5)
        speeds = pairs_of(partial(_gigabits, client), TRANSFERS)
        trips = pairs_of(partial(_round_trip_ms, client), TRANSFERS)
    restart_s, missing = _restart()
    return [
        Figure(
            "TCP, network to network by a router with SNAT, security groups on",
            median([ours / theirs for ours, theirs in speeds]),
            "x",
            at_least=0.9,
            beside=f"bare veth pairs and routing: {median([theirs for _, theirs in speeds]):.1f} Gbit/s",
        ),
        Figure(
            "ping, network to network by a router",
            median([ours / theirs for ours, theirs in trips]),
            "x",
            beside=f"bare veth pairs and routing: {median([theirs for _, theirs in trips]) * 1e3:.1f} us",
        ),
        Figure("router with two interfaces and a gateway wanted, to its first packet", first_s, "s", at_most=1.0),
        Figure(
            f"agent started again with {MANY} routers, until it has compared all",
            restart_s,
            "s",
            at_most=5.0,
            beside=f"packets across a router lost meanwhile: {missing}",
        ),
    ]


def _network(number: int) -> str:
    return f"a{number:07x}-0000-4000-8000-000000000000"


def _vif(number: int, network: int) -> Vif:
    """Return a port with the address 10.NETWORK.0.5, the network taken as 0 or 1."""
    port_id = f"b{number:07x}-0000-4000-8000-000000000000"
    mac = f"02:00:00:00:{network // 256:02x}:{network % 256:02x}"
    guard = Guard((Source(mac, f"10.{network % 2}.0.5/32"),), (EVERYBODY.group_id,))
    return Vif(port_id, _network(network), mac, MTU, owner.host_link(port_id), guard=guard)


def _router(number: int) -> Router:
    """Return a router between the networks 2 x NUMBER and the next, and outside."""
    legs = [
        Leg(f"c{number:06x}{side}-0000", _network(2 * number + side), f"02:00:01:{side:02x}:{number // 256:02x}:"
            f"{number % 256:02x}", MTU, (f"10.{side}.0.1/24",))
        for side in (0, 1)
    ]  # fmt: skip
    own = f"203.0.{113 + number // 250}.{1 + number % 250}"
    mac = f"02:00:02:00:{number // 256:02x}:{number % 256:02x}"
    legs.append(Leg(f"d{number:07x}-0000", OUTSIDE, mac, MTU, (f"{own}/16",), outside=True, snat=own))
    router_id = f"f{number:07x}-0000-4000-8000-000000000000"
    return Router(router_id, tuple(legs), (Way("0.0.0.0/0", "203.0.255.254", legs[2].port_id),))


def _plug(rig: Rig, *more: HostObject) -> tuple[Workload, Workload]:
    """Start an agent and two workloads on the networks 0 and 1."""
    vifs = _vif(1, 0), _vif(2, 1)
    rig.want(EVERYBODY, Bridge(OUTSIDE, MTU), *(Bridge(_network(number), MTU) for number in (0, 1)), *vifs, *more)
    rig.start()
    found = []
    for name, vif, side in zip(("client", "server"), vifs, (0, 1), strict=True):
        workload = rig.plug(name, vif, f"10.{side}.0.5/24")
        workload.run("ip", "route", "add", "10.0.0.0/8", "via", f"10.{side}.0.1")
        found.append(workload)
    return found[0], found[1]


def _first_packet_s(rig: Rig, client: Workload) -> float:
    """Have a router wanted; return how long it takes until a ping gets through."""
    waiting = client.spawn("ping", "-i", "0.01", "-D", SERVERS[PORTICO])
    began = time.time()
    rig.want(_router(0))
    waiting.wait_for_text("time=", 10)
    waiting.send_signal(signal.SIGINT)
    waiting.wait(5)
    return min(float(at) for at in re.findall(r"\[([\d.]+)\] \d+ bytes", waiting.output)) - began


def _restart() -> tuple[float, int]:
    """Kill an agent that has many routers; return how long the next one needs, and how many packets were lost."""
    with Lab() as lab:
        rig = Rig(lab.host("h1"))
        client, _ = _plug(rig, _router(0))
        for first in range(1, MANY, BATCH):  # the lab waits 10 s for each change
            some = range(first, min(first + BATCH, MANY))
            rig.want(*(Bridge(_network(2 * number + side), MTU) for number in some for side in (0, 1)))
            rig.want(*(_router(number) for number in some))
        running = flow(client, SERVERS[PORTICO])
        rig.pause()
        began = time.monotonic()
        rig.start()
        took_s = time.monotonic() - began
        running.send_signal(signal.SIGINT)
        running.wait(5)
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", running.output)}
        return took_s, max(answered) - len(answered)


def _join(host: LabHost) -> None:
    """Join the two namespaces by bare pairs and a third one that routes."""
    host.run(["ip", "netns", "add", "bare"])
    for name, net in (("client", 0), ("server", 128)):
        host.run(["ip", "-n", "bare", "link", "add", name, "type", "veth", "peer", "name", "eth1", "netns", name])
        for netns, link, last in (("bare", name, 2), (name, "eth1", 1)):
            host.run(["ip", "-n", netns, "addr", "add", f"198.51.100.{net + last}/25", "dev", link])
            host.run(["ip", "-n", netns, "link", "set", link, "up"])
        host.run(["ip", "-n", name, "route", "add", "198.51.100.0/24", "via", f"198.51.100.{net + 2}"])
    host.run(["ip", "netns", "exec", "bare", "sysctl", "-qw", "net.ipv4.ip_forward=1"])


def _gigabits(client: Workload, way: str) -> float:
    words = ["taskset", "-c", "0", "iperf3", "-c", SERVERS[way], "-t", str(TRANSFER_S), "-J"]
    return float(json.loads(client.run(*words).out)["end"]["sum_received"]["bits_per_second"]) / 1e9


def _round_trip_ms(client: Workload, way: str) -> float:
    out = client.run("taskset", "-c", "0", "ping", "-q", "-c", str(PINGS), "-i", "0.005", SERVERS[way]).out
    found = re.search(r"= [\d.]+/([\d.]+)/", out)
    if found is None:
        raise RuntimeError(f"ping by way of {way} printed no round trip time")
    return float(found[1])
