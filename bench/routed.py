# SPDX-License-Identifier: Apache-2.0
"""Routed ports beside the same two namespaces joined by bare veth pairs through a routing namespace, turn about."""

from __future__ import annotations

import json
import os
import re
from functools import partial

from bench import bgp
from bench.containers import PINGS, PLAIN, PORTICO, TRANSFER_S, TRANSFERS, pairs_of
from bench.figure import Figure, median
from portico.hoststate import NEXT_HOPS, ROUTED, Rule, Space
from portico.testing.lab import Lab, LabHost
from portico.testing.rig import ANY, Rig, Workload, group, port

MTU = 1500
SERVERS = {PORTICO: "10.0.0.2", PLAIN: "198.51.100.129"}
"""The server's addresses: the routed port's, and the one behind the bare pairs."""


def measure() -> list[Figure]:
    """Measure TCP and ping between two routed ports of one host, security groups on."""
    with Lab() as lab:
        client, server = _plug(Rig(lab.host("h1")))
        _join(client.host)
        cpu = str(1 % (os.cpu_count() or 1))
        server.spawn("taskset", "-c", cpu, "iperf3", "-s", "--forceflush").wait_for_text("listening", 5)
        speeds = pairs_of(partial(_gigabits, client), TRANSFERS)
        trips = pairs_of(partial(_round_trip_ms, client), TRANSFERS)
    return [
        Figure(
            "TCP, routed port to routed port, security groups on",
            median([ours / theirs for ours, theirs in speeds]),
            "x",
            at_least=0.95,
            beside=f"bare veth pairs and routing: {median([theirs for _, theirs in speeds]):.1f} Gbit/s",
        ),
        Figure(
            "ping, routed port to routed port",
            median([ours / theirs for ours, theirs in trips]),
            "x",
            at_most=1.0,
            beside=f"bare veth pairs and routing: {median([theirs for _, theirs in trips]) * 1e3:.1f} us",
        ),
        *bgp.measure(),
    ]


def _plug(rig: Rig) -> tuple[Workload, Workload]:
    """Start an agent and two routed workloads in a group that lets its own in."""
    everybody = group(1, *ANY, Rule("ingress", "IPv4"))
    vifs = [
        port(number, everybody.group_id, network=ROUTED, routes=(f"10.0.0.{number}/32",), mtu=MTU) for number in (1, 2)
    ]
    rig.want(Space(MTU), everybody, *vifs)
    rig.start()
    workloads = [rig.plug(name, vif, *vif.routes) for name, vif in zip(("client", "server"), vifs, strict=True)]
    for workload in workloads:
        workload.run("ip", "route", "add", NEXT_HOPS[4], "dev", "eth0")
        workload.run("ip", "route", "add", "10.0.0.0/24", "via", NEXT_HOPS[4])
    return workloads[0], workloads[1]


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
