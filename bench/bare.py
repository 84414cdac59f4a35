# SPDX-License-Identifier: Apache-2.0
"""The client's and server's namespaces joined by bare veth pairs through one that routes, beside Portico's way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial

from bench import transfer
from bench.containers import PINGS, PLAIN, SERIES, pairs_of
from bench.figure import Figure, median
from portico.testing.lab import LabHost
from portico.testing.rig import Rig, Workload

SERVER = "198.51.100.129"
Pairs = list[tuple[float, float]]
TRACKED = "tracked"

_TRACKING = """
add table inet tracked
add chain inet tracked forward { type filter hook forward priority 0; policy drop; }
add rule inet tracked forward ct state established,related accept
add rule inet tracked forward ct state new accept
"""


def join(client: Workload, server: Workload) -> None:
    """Join the two namespaces by the bare way too, and start the server that both ways lead to."""
    _join(client.host)
    client.run("sysctl", "-qw", transfer.UNPACED)
    cpu = str(1 % (os.cpu_count() or 1))
    server.spawn("taskset", "-c", cpu, "iperf3", "-s", "--forceflush").wait_for_text("listening", 5)


def compare(client: Workload, address: str, ours: str, share: float = 1) -> tuple[Pairs, Pairs]:
    """Return pairs of TCP throughputs (Gbit/s) and of round trips (ms), by Portico's way and the bare one.

    Args:
        client: of two that are joined by both ways (`join`).
        address: the server's by the way that is called `ours`.
        share: of how many pairs it takes for a bound.
    """
    servers = {ours: address, PLAIN: SERVER}
    speeds = pairs_of(partial(_gigabits, client, servers), int(transfer.COUNT * share))
    return speeds, pairs_of(partial(_round_trip_ms, client, servers), int(SERIES * share))


def without_fast_path(client: Workload, rig: Rig, address: str, ours: str) -> list[Figure]:
    """Return what the same costs without the fast path, which packets to other hosts do not take."""
    rig.pause()
    rig.command = [*rig.command, "--long-way"]
    rig.start()
    speeds, trips = compare(client, address, ours, share=1 / 3)  # no bound hangs on it
    return [
        Figure(f"{what}, without the fast path", median([mine / bare for mine, bare in pairs]), "x")
        for what, pairs in (("TCP", speeds), ("ping", trips))
    ]


def least(client: Workload) -> tuple[Pairs, Pairs]:
    """Return the same pairs for the bare way with connection tracking and one rule, beside the bare way without.

    That is the least that a stateful filter costs, whoever puts it there. `join` has made the way.
    """

    def switched(measure: Callable[[Workload, Mapping[str, str], str], float], way: str) -> float:
        table = _TRACKING if way == TRACKED else "add table inet tracked\ndelete table inet tracked\n"
        client.host.run(["ip", "netns", "exec", "bare", "nft", "-f", "-"], stdin=table)
        return measure(client, {way: SERVER}, way)

    speeds = pairs_of(partial(switched, _gigabits), transfer.COUNT, TRACKED)
    return speeds, pairs_of(partial(switched, _round_trip_ms), SERIES, TRACKED)


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


def _gigabits(client: Workload, servers: Mapping[str, str], way: str) -> float:
    return transfer.gigabits(client.run("taskset", "-c", "0", *transfer.command(servers[way])).out)


def _round_trip_ms(client: Workload, servers: Mapping[str, str], way: str) -> float:
    out = client.run("taskset", "-c", "0", "ping", "-q", "-c", str(PINGS), "-i", "0.005", servers[way]).out
    found = re.search(r"= [\d.]+/([\d.]+)/", out)
    if found is None:
        raise RuntimeError(f"ping by way of {way} printed no round trip time")
    return float(found[1])
