# SPDX-License-Identifier: Apache-2.0
"""The API, beside the least that a durable write over HTTP can cost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.figure import Figure, median, percentile
from bench.load import Connect, request, send
from bench.running import Target, connector

CONCURRENCY = 8
PORTS = 20_000
SLICE = 1_000
SHOWS = 300
LISTS = 40
BULKS = 40


@contextlib.contextmanager
def floor() -> Iterator[Connect]:
    """Yield what connects to the floor server."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "floor.sock"
        argv = [sys.executable, "-m", "bench.floor", str(path), f"{folder}/floor.db"]
        process = subprocess.Popen(argv)
        try:
            connect = connector(path)
            for _ in range(500):
                with contextlib.suppress(OSError):
                    connect().close()
                    break
                time.sleep(0.01)
            yield connect
        finally:
            process.terminate()
            process.wait(timeout=10)


def measure(portico: Target) -> list[Figure]:
    """Measure creates from 0 to 20,000 ports, bulks, shows, lists, and a pool filled to the last address."""
    with floor() as floor_connect:
        figures = _creates(portico, floor_connect)
    return [*figures, *_reads(portico), *_bulk(portico), *_exhaustion(portico)]


def _creates(portico: Target, floor_connect: Connect) -> list[Figure]:
    network = portico.network("10.64.0.0/16")
    raw = portico.request("POST", "/v2.0/ports", {"port": {"network_id": network}})
    least = request("POST", "/row", {"port": {"network_id": network}})
    rates: list[float] = []
    ratios: list[float] = []
    seconds: list[float] = []
    for _ in range(PORTS // SLICE):
        bare = send(floor_connect, [least] * (SLICE // 4), CONCURRENCY)
        run = send(portico.connect, [raw] * SLICE, CONCURRENCY)
        if run.refused:
            raise RuntimeError(run.refused[0].decode())
        rates.append(run.per_second)
        ratios.append(run.per_second / bare.per_second)
        seconds += run.seconds
    return [
        Figure("create port, 8 at a time, 0 to 20,000 ports", median(rates), "/s", at_least=300),
        Figure(
            "the same, as a share of a bare durable write over HTTP",
            median(ratios),
            "x",
            beside="Starlette, one INSERT, the same sync",
        ),
        Figure("create port, p99", percentile(seconds, 0.99) * 1e3, "ms", at_most=60),
        Figure(
            "create port, last 2,000 of 20,000 against first 2,000",
            median(rates[-2:]) / median(rates[:2]),
            "x",
            at_least=0.8,
            beside="itself when empty",
        ),
    ]


def _reads(portico: Target) -> list[Figure]:
    listed = portico.request("GET", "/v2.0/ports?limit=1000")
    page = send(portico.connect, [listed], 1, keep=True)
    shown = [
        portico.request("GET", f"/v2.0/ports/{port['id']}") for port in json.loads(page.bodies[0])["ports"][:SHOWS]
    ]
    return [
        *_alone_and_together(portico, "show port", shown, 3),
        *_alone_and_together(portico, "list of 1,000 ports", [listed] * LISTS, 60),
    ]


def _bulk(portico: Target) -> list[Figure]:
    network = portico.network("10.65.0.0/16")
    raw = portico.request("POST", "/v2.0/ports", {"ports": [{"network_id": network}] * 50})
    return _alone_and_together(portico, "bulk create of 50 ports", [raw] * BULKS, 100)


def _alone_and_together(portico: Target, name: str, requests: Sequence[bytes], bound_ms: float) -> list[Figure]:
    """Measure requests of one client, whom the bound is for, and of eight, who wait for each other as well."""
    alone = send(portico.connect, requests, 1)
    together = send(portico.connect, requests, CONCURRENCY)
    return [
        Figure(f"{name}, p50", median(alone.seconds) * 1e3, "ms", at_most=bound_ms),
        Figure(f"{name}, {CONCURRENCY} at a time, p50", median(together.seconds) * 1e3, "ms"),
    ]


def _exhaustion(portico: Target) -> list[Figure]:
    network = portico.network("10.66.0.0/20", gateway_ip=None)
    raw = portico.request("POST", "/v2.0/ports", {"port": {"network_id": network}})
    room = 2**12 - 2
    run = send(portico.connect, [raw] * (room + CONCURRENCY), CONCURRENCY, keep=True)
    given = [json.loads(body)["port"]["fixed_ips"][0]["ip_address"] for body in run.bodies]
    unclear = [body for body in run.refused if b"No more IP addresses available on network" not in body]
    return [
        Figure("8 clients fill a /20: addresses given twice", len(given) - len(set(given)), "", at_most=0),
        Figure("8 clients fill a /20: addresses left over", room - len(set(given)), "", at_most=0),
        Figure("8 clients fill a /20: unclear refusals after", len(unclear), "", at_most=0),
    ]
