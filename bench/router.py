# SPDX-License-Identifier: Apache-2.0
"""Routers beside two namespaces joined by bare veth pairs through one that routes, turn about; and many of them."""

from __future__ import annotations

import re
import signal
import time

from bench import bare
from bench.containers import PORTICO
from bench.figure import Figure, median
from portico.agent import owner
from portico.hoststate import Bridge, Guard, HostObject, Router, Rule, Source, Vif
from portico.hoststate.l3 import Leg, Way
from portico.testing.lab import Lab
from portico.testing.rig import ANY, Rig, Workload, flow, group

MTU = 1500
MANY, BATCH = 200, 25
OUTSIDE = "e0000000-0000-4000-8000-000000000000"
SERVER = "10.1.0.5"
EVERYBODY = group(1, *ANY, Rule("ingress", "IPv4"))


def measure() -> list[Figure]:
    """Measure TCP and ping across a router, how soon one works, and a restart of the agent with many."""
    with Lab() as lab:
        rig = Rig(lab.host("h1"))
        client, server = _plug(rig)
        first_s = _first_packet_s(rig, client)
        bare.join(client, server)
        speeds, trips = bare.compare(client, SERVER, PORTICO)
        long_way = bare.without_fast_path(client, rig, SERVER, PORTICO)
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
        *long_way,
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
    waiting = client.spawn("ping", "-i", "0.01", "-D", SERVER)
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
        running = flow(client, SERVER)
        rig.pause()
        began = time.monotonic()
        rig.start()
        took_s = time.monotonic() - began
        running.send_signal(signal.SIGINT)
        running.wait(5)
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", running.output)}
        return took_s, max(answered) - len(answered)
