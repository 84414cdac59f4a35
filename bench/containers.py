# SPDX-License-Identifier: Apache-2.0
"""Docker on Portico beside Docker's own user-defined bridge, turn and turn about on one engine."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench import transfer
from bench.figure import Figure, median
from bench.running import Site
from portico.testing.lab import IMAGE_WITH_IPERF, DockerEngine, Lab

RUNS = 21
BATCHES = 9
BATCH = 16
AT_A_TIME = 8
NETWORKS = 11
PINGS = 400
SERIES = 15
PLAIN = "plain"
PORTICO = "blue"
ROUTED = "fast"


def measure() -> list[Figure]:
    """Measure container starts, network create and rm, TCP and ping between containers."""
    with Lab() as lab:
        host = lab.host("h1")
        Site(host)
        with DockerEngine(host) as engine:
            engine.load(IMAGE_WITH_IPERF, ["iperf3"])
            create(engine, PLAIN, "10.90.0.0/24")
            create(engine, PORTICO, "10.91.0.0/24")
            create(engine, ROUTED, "10.94.0.0/24", "-o", "portico.backend=routed")
            starts = [*_starts(engine, PORTICO), *_starts(engine, ROUTED)]
            return [*starts, *_published(engine), *_networks(engine), *_traffic(engine)]


def create(engine: DockerEngine, name: str, cidr: str, *options: str) -> None:
    """Make a network, one of Portico's unless it is called plain."""
    driver = ["-d", "portico", "--ipam-driver", "portico"] if not name.startswith(PLAIN) else []
    engine.docker("network", "create", *driver, *options, "--subnet", cidr, name)


def _seconds(engine: DockerEngine, *words: str) -> float:
    start = time.perf_counter()
    engine.docker(*words)
    return time.perf_counter() - start


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return median([ours / theirs for ours, theirs in pairs])


def pairs_of(measure: Callable[[str], float], count: int, ours: str = PORTICO) -> list[tuple[float, float]]:
    """Measure `count` pairs, Portico's value first; who runs first alternates, for that is worth something."""
    pairs = []
    for number in range(count):
        order = (ours, PLAIN) if number % 2 == 0 else (PLAIN, ours)
        found = {network: measure(network) for network in order}
        pairs.append((found[ours], found[PLAIN]))
    return pairs


def _starts(engine: DockerEngine, network: str) -> list[Figure]:
    def run(network: str) -> float:
        return _seconds(engine, "run", "--rm", "--network", network, IMAGE_WITH_IPERF, "true")

    def batch(network: str) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(run, [network] * BATCH))
        return time.perf_counter() - start

    run(PLAIN), run(network)
    single = pairs_of(run, RUNS, network)
    many = pairs_of(batch, BATCHES, network)
    where = " on a routed network" if network == ROUTED else ""
    beside = f"a user-defined bridge: {median([theirs for _, theirs in single]) * 1e3:.0f} ms"
    return [
        Figure(f"docker run --rm IMAGE true{where}", _ratio(single), "x", at_most=1.0, beside=beside),
        Figure(
            f"{BATCH} containers, {AT_A_TIME} at a time{where}",
            _ratio(many),
            "x",
            at_most=1.0,
            beside=f"a user-defined bridge: {median([theirs for _, theirs in many]):.2f} s",
        ),
    ]


def _published(engine: DockerEngine) -> list[Figure]:
    def run(network: str) -> float:
        return _seconds(engine, "run", "--rm", "--network", network, "-p", "8080:80", IMAGE_WITH_IPERF, "true")

    run(PLAIN), run(PORTICO)
    found = pairs_of(run, RUNS)
    beside = f"a user-defined bridge: {median([theirs for _, theirs in found]) * 1e3:.0f} ms"
    return [Figure("docker run --rm -p 8080:80 IMAGE true", _ratio(found), "x", at_most=1.0, beside=beside)]


def _networks(engine: DockerEngine) -> list[Figure]:
    removals: dict[str, list[float]] = {PORTICO: [], PLAIN: []}

    def make(network: str) -> float:
        name, octet = f"{network}-made", 92 if network == PORTICO else 93
        start = time.perf_counter()
        create(engine, name, f"10.{octet}.{len(removals[network])}.0/24")
        seconds = time.perf_counter() - start
        removals[network].append(_seconds(engine, "network", "rm", name))
        return seconds

    made = pairs_of(make, NETWORKS)
    removed = list(zip(removals[PORTICO], removals[PLAIN], strict=True))
    return [
        Figure("docker network create", _ratio(made), "x", at_most=1.0, beside="a user-defined bridge"),
        Figure("docker network rm", _ratio(removed), "x", at_most=1.0, beside="a user-defined bridge"),
    ]


def _traffic(engine: DockerEngine) -> list[Figure]:
    for network in (PLAIN, PORTICO):
        # Where the scheduler puts the two decides more than any network does; so each has its place, on both networks.
        for cpu, (role, command) in enumerate((("client", ["sleep", "1000"]), ("server", ["iperf3", "-s"]))):
            pinned = ["--cpuset-cpus", str(cpu % (os.cpu_count() or 1)), "--sysctl", transfer.UNPACED]
            name = f"{network}-{role}"
            engine.docker("run", "-d", "--name", name, *pinned, "--network", network, IMAGE_WITH_IPERF, *command)
    time.sleep(1)
    speeds = pairs_of(partial(_gigabits, engine), transfer.COUNT)
    trips = pairs_of(partial(_round_trip_ms, engine), SERIES)
    engine.docker("rm", "-f", *(f"{network}-{role}" for network in (PLAIN, PORTICO) for role in ("server", "client")))
    return [
        Figure(
            "TCP container to container, security groups on",
            _ratio(speeds),
            "x",
            at_least=0.95,
            beside=f"a user-defined bridge: {median([theirs for _, theirs in speeds]):.1f} Gbit/s",
        ),
        Figure(
            "ping container to container",
            _ratio(trips),
            "x",
            at_most=1.1,
            beside=f"a user-defined bridge: {median([theirs for _, theirs in trips]):.3f} ms",
        ),
    ]


def _gigabits(engine: DockerEngine, network: str) -> float:
    return transfer.gigabits(engine.docker("exec", f"{network}-client", *transfer.command(f"{network}-server")).out)


def _round_trip_ms(engine: DockerEngine, network: str) -> float:
    words = ["exec", f"{network}-client", "ping", "-c", str(PINGS), "-i", "0.005", f"{network}-server"]
    found = re.search(r"= [\d.]+/([\d.]+)/", engine.docker(*words).out)
    if found is None:
        raise RuntimeError(f"ping on {network} printed no round trip time")
    return float(found[1])
