# SPDX-License-Identifier: Apache-2.0
"""The page at `/ui/` with 1,000 ports, in Chromium: from opening it to seeing it, and from a change to seeing that.

There are routers and floating IPs, too: what is drawn anew with each change are more than marks.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from bench.browser import chromium
from bench.figure import Figure, median, percentile
from bench.running import Target, connector, wait_for

PORTS = 1000
NETWORKS = 10
FLOATING_IPS = 30
LOADS = 7
CHANGES = 40
TIMEOUT_MS = 60_000
# Resolves with when the first text or image was painted, in ms since the page was asked for.
PAINTED = """() => new Promise((resolve) => {
    const told = (list) => list.getEntriesByName("first-contentful-paint").map((entry) => resolve(entry.startTime));
    new PerformanceObserver(told).observe({ type: "paint", buffered: true });
})"""
# Resolves when the frame after the one that drew the next change begins, with the ms since 1970.
SHOWN = """() => {
    window.shown = new Promise((resolve) => {
        const now = () => resolve(performance.timeOrigin + performance.now());
        const drawn = () => requestAnimationFrame(() => requestAnimationFrame(now));
        new PerformanceObserver(drawn).observe({ type: "measure" });
    });
}"""


def measure() -> list[Figure]:
    """Measure loads and changes."""
    with _api() as (url, api), chromium() as browser:
        ports = _fill(api)
        loads = []
        for _ in range(LOADS):
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            loads.append(_load(page, url))
            if len(loads) < LOADS:
                page.close()
        changes = [_change(page, api, ports[number]["id"]) for number in range(CHANGES)]
    first, drawn = (median(values) for values in zip(*loads, strict=True))
    what = f"page with {PORTS:,} ports"
    return [
        Figure(f"{what}: first paint, median of {LOADS}", first, "s", at_most=1),
        Figure(f"{what}: topology drawn, median of {LOADS}", drawn, "s", at_most=1),
        Figure(f"{what}: report of an agent sent to change seen, p50 of {CHANGES}", median(changes), "ms", at_most=100),
        Figure(f"{what}: the same, p90", percentile(changes, 0.9), "ms"),
    ]


def _load(page: Page, url: str) -> tuple[float, float]:
    """Open the page with nothing in the browser's cache; return when it was painted, and when with all ports."""
    page.goto(f"{url}/ui/")
    page.wait_for_selector("body[data-revision]", timeout=TIMEOUT_MS)
    drawn = page.evaluate("performance.getEntriesByName('portico:drawn')[0].startTime")
    marks = page.locator("#diagram .item[data-key^='port/']").count()
    if marks != PORTS:
        raise RuntimeError(f"the page shows {marks} ports of {PORTS}")
    return page.evaluate(PAINTED) / 1000, drawn / 1000


def _change(page: Page, api: Target, port_id: str) -> float:
    """Let an agent report that a port has failed; return after how many ms the page shows it."""
    page.evaluate(SHOWN)
    start = time.time()
    api.call("PUT", "/portico/v1/hosts/h1/status", _report([(port_id, "error")]))
    seen: float = page.evaluate("window.shown")
    if page.locator(f"#diagram [data-key='port/{port_id}'] .state.bad").count() != 1:
        raise RuntimeError(f"the page does not show that port {port_id} failed")
    return seen - start * 1000


def _report(states: list[tuple[str, str]]) -> dict[str, Any]:
    statuses = [{"key": f"vif/{port_id}", "state": state, "reason": "measured"} for port_id, state in states]
    return {"revision": 0, "statuses": statuses, "facts": {"able": "bridge"}}


def _fill(api: Target) -> list[dict[str, Any]]:
    api.call("PUT", "/portico/v1/hosts/h1/status", _report([]))
    outside = api.network("198.51.100.0/24", enable_dhcp=False)
    api.call("PUT", f"/v2.0/networks/{outside}", {"network": {"router:external": True}})
    ports: list[dict[str, Any]] = []
    for number in range(NETWORKS):
        network = api.network(f"10.{number}.0.0/16", enable_dhcp=False)
        _route(api, network, outside)
        port = {"network_id": network, "binding:host_id": "h1"}
        wanted = [{**port, "device_id": f"app-{number}-{each}"} for each in range(PORTS // NETWORKS)]
        ports += api.call("POST", "/v2.0/ports", {"ports": wanted})["ports"]
    for port in ports[:: PORTS // FLOATING_IPS][:FLOATING_IPS]:
        floating = {"floating_network_id": outside, "port_id": port["id"]}
        api.call("POST", "/v2.0/floatingips", {"floatingip": floating})
    api.call("PUT", "/portico/v1/hosts/h1/status", _report([(port["id"], "active") for port in ports]))
    return ports


def _route(api: Target, network: str, outside: str) -> None:
    """Give a network a router to the one outside."""
    body = {"router": {"external_gateway_info": {"network_id": outside}}}
    router = api.call("POST", "/v2.0/routers", body)["router"]["id"]
    [subnet] = api.call("GET", f"/v2.0/networks/{network}")["network"]["subnets"]
    api.call("PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})


@contextmanager
def _api() -> Iterator[tuple[str, Target]]:
    """Yield the URL of an API of its own on loopback, and a client of its unix socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = ["--state-dir", name, "--run-dir", name, "--listen", f"{address},unix:{name}/api.sock"]
        command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *places, "--quota-port", "-1"]
        connect = connector(folder / "api.sock")
        with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
            try:
                wait_for(connect, (folder / "log").read_text)
                yield f"http://{address}", Target(connect)
            finally:
                process.terminate()
