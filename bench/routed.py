# SPDX-License-Identifier: Apache-2.0
"""Routed ports beside the same two namespaces joined by bare veth pairs through a routing namespace, turn about."""

from __future__ import annotations

from bench import bare, bgp
from bench.containers import PORTICO
from bench.figure import Figure, median
from portico.hoststate import NEXT_HOPS, ROUTED, Rule, Space
from portico.testing.lab import Lab
from portico.testing.rig import ANY, Rig, Workload, group, port

MTU = 1500
SERVER = "10.0.0.2"


def measure() -> list[Figure]:
    """Measure TCP and ping between two routed ports of one host, security groups on."""
    with Lab() as lab:
        rig = Rig(lab.host("h1"))
        client, server = _plug(rig)
        bare.join(client, server)
        speeds, trips = bare.compare(client, SERVER, PORTICO)
        least_speeds, least_trips = bare.least(client)
        long_way = bare.without_fast_path(client, rig, SERVER, PORTICO)
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
        Figure(
            "TCP, bare veth pairs with connection tracking and one rule",
            median([tracked / plain for tracked, plain in least_speeds]),
            "x",
            beside="without either",
        ),
        Figure(
            "ping, bare veth pairs with connection tracking and one rule",
            median([tracked / plain for tracked, plain in least_trips]),
            "x",
            beside="without either",
        ),
        *long_way,
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
