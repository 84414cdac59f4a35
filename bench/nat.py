# SPDX-License-Identifier: Apache-2.0
"""Containers and what is beyond the host: SNAT and published ports beside Docker's own, turn and turn about.

Docker's userland proxy is off: it would carry nothing here, for what comes from beyond the host is translated by the
kernel anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from bench import transfer
from bench.containers import PLAIN, PORTICO, create, pairs_of
from bench.figure import Figure, median
from bench.running import Site
from portico.testing.lab import IMAGE_WITH_IPERF, DockerEngine, Lab, LabHost, wait_until

WAN, BEYOND = "198.51.100.1", "198.51.100.2"
PORTS = {PLAIN: "5301", PORTICO: "5302"}
SENDER, RECEIVER = "0", str(1 % (os.cpu_count() or 1))


def measure() -> list[Figure]:
    """Measure TCP from containers to beyond the host, and from there to ports that containers publish."""
    with Lab() as lab:
        host = lab.host("h1")
        _join(host)
        Site(host)
        with DockerEngine(host, options=["--userland-proxy=false"]) as engine:
            engine.load(IMAGE_WITH_IPERF, ["iperf3"])
            create(engine, PLAIN, "10.90.0.0/24")
            create(engine, PORTICO, "10.91.0.0/24")
            for network, port in PORTS.items():
                _run(engine, network, "server", RECEIVER, "-p", f"{port}:5201", IMAGE_WITH_IPERF, "iperf3", "-s")
                _run(engine, network, "client", SENDER, "--sysctl", transfer.UNPACED, IMAGE_WITH_IPERF, "sleep", "1000")
            return [
                _figure("TCP from a container to beyond the host, by SNAT", partial(_out, engine)),
                _figure("TCP from beyond the host to a published port", partial(_in, host)),
            ]


def _join(host: LabHost) -> None:
    """Have a namespace beyond the host, with a server."""
    host.run(["ip", "netns", "add", "beyond"])
    host.run(["ip", "netns", "exec", "beyond", "sysctl", "-qw", transfer.UNPACED])
    host.run(["ip", "link", "add", "wan", "type", "veth", "peer", "name", "eth0", "netns", "beyond"])
    for where, link, address in (([], "wan", WAN), (["-n", "beyond"], "eth0", BEYOND)):
        host.run(["ip", *where, "addr", "add", f"{address}/24", "dev", link])
        host.run(["ip", *where, "link", "set", link, "up"])
    server = host.spawn(["ip", "netns", "exec", "beyond", "taskset", "-c", RECEIVER, "iperf3", "-s", "--forceflush"])
    server.wait_for_text("listening", 20)


def _run(engine: DockerEngine, network: str, role: str, cpu: str, *words: str) -> None:
    engine.docker("run", "-d", "--name", f"{network}-{role}", "--cpuset-cpus", cpu, "--network", network, *words)


def _figure(what: str, gigabits: Callable[[str], float]) -> Figure:
    for network in PORTS:  # ways are there soon after `docker run`, not before it
        wait_until(f"{what}: an answer by way of {network}", partial(_is_there, gigabits, network), 30)
    found = pairs_of(gigabits, transfer.COUNT)
    return Figure(
        what,
        median([ours / theirs for ours, theirs in found]),
        "x",
        at_least=1.0,
        beside=f"a user-defined bridge: {median([theirs for _, theirs in found]):.1f} Gbit/s",
    )


def _is_there(gigabits: Callable[[str], float], network: str) -> bool:
    return gigabits(network) > 0


def _out(engine: DockerEngine, network: str) -> float:
    return transfer.gigabits(engine.docker("exec", f"{network}-client", *transfer.command(BEYOND), check=False).out)


def _in(host: LabHost, network: str) -> float:
    words = ["taskset", "-c", SENDER, *transfer.command(WAN, PORTS[network])]
    return transfer.gigabits(host.run(["ip", "netns", "exec", "beyond", *words], check=False).out)
