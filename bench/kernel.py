# SPDX-License-Identifier: Apache-2.0
"""From the commit to the kernel, a full host, and what Portico needs of the machine."""

from __future__ import annotations

import re
import time
from typing import Any

from bench.figure import Figure, median
from bench.load import request, send
from bench.running import Site, site

STARTS = 5
SINGLE = 40
PORTS = 1_000
NETWORKS = 10
COMPARISONS = 5


def measure() -> list[Figure]:
    """Measure the way of single ports, 1,000 ports on one host, and memory with ten networks that serve DHCP."""
    figures = [_start()]
    with site() as portico:
        figures += _single(portico)
    with site(PORTICO_AGENT_RECONCILE_S="3", PORTICO_LOG_LEVEL="debug") as portico:
        figures += _full_host(portico)
    with site() as portico:
        figures += _memory(portico)
    return figures


def _start() -> Figure:
    """Measure the start on fresh hosts, where the database has to be made too."""
    seconds = []
    for _ in range(STARTS):
        with site() as portico:
            seconds.append(portico.started_s)
    return Figure(f"`portico up` serves, median of {STARTS}", median(seconds), "s", at_most=2)


def _bound(network: str, **profile: object) -> dict[str, Any]:
    return {"network_id": network, "binding:host_id": "h1", "binding:profile": {"plug": "veth", **profile}}


def _await_active(portico: Site, port: str) -> None:
    found = portico.call("GET", f"/portico/v1/ports/{port}/status?wait=ACTIVE&timeout_s=30")
    if found["status"] != "ACTIVE":
        raise RuntimeError(f"port {port}: {found}")


def _single(portico: Site) -> list[Figure]:
    network = portico.network("10.70.0.0/24")
    _await_active(portico, portico.call("POST", "/v2.0/ports", {"port": _bound(network)})["port"]["id"])
    seconds = []
    for _ in range(SINGLE):
        # From before the request is sent: the commit comes before its answer, and the agent does not wait for that.
        start = time.perf_counter()
        port = portico.call("POST", "/v2.0/ports", {"port": _bound(network)})["port"]["id"]
        _await_active(portico, port)
        seconds.append(time.perf_counter() - start)
    return [
        Figure(
            "request for a bound port sent to port ACTIVE in the kernel, p50", median(seconds) * 1e3, "ms", at_most=30
        )
    ]


def _full_host(portico: Site) -> list[Figure]:
    network = portico.network("10.71.0.0/20")
    raw = request("POST", "/v2.0/ports", {"ports": [_bound(network)] * 50})
    run = send(portico.connect, [raw] * (PORTS // 50), 1, keep=True)
    last = portico.call("GET", f"/v2.0/ports?network_id={network}&limit=1000&fields=id")["ports"]
    for port in last:
        _await_active(portico, port["id"])
    before = portico.up.output.count("wanted objects with the kernel")
    figures = [
        Figure("1,000 ports on one host: created, 50 at a time", run.elapsed_s, "s"),
        Figure(
            "1,000 ports on one host: a comparison that finds nothing to do",
            _full_pass_s(portico, before + 1),
            "s",
            at_most=1,
        ),
    ]
    group = portico.call("GET", "/v2.0/security-groups?name=default")["security_groups"][0]["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp", "port_range_min": 8080,
            "port_range_max": 8080}  # fmt: skip
    start = time.perf_counter()
    portico.call("POST", "/v2.0/security-group-rules", {"security_group_rule": rule})
    listing = ["ip", "netns", "exec", "portico", "nft", "list", "table", "bridge", "portico"]
    while "8080" not in portico.host.run(listing, timeout_s=30).out:
        if time.perf_counter() - start > 30:
            raise RuntimeError("the rule does not appear in the kernel")
    return [*figures, Figure("security group rule applied to 1,000 ports", time.perf_counter() - start, "s", at_most=1)]


def _full_pass_s(portico: Site, first: int) -> float:
    """Return the median of how long the agent's comparisons with the kernel take, but for the first `first` ones."""
    for _ in range(600):
        found = re.findall(r"compared (\d+) wanted objects with the kernel in ([\d.]+) s", portico.up.output)
        if len(found) >= first + COMPARISONS:
            return median([float(seconds) for _, seconds in found[first:]])
        time.sleep(0.1)
    raise RuntimeError("the agent does not tell how long its comparisons take")


def _memory(portico: Site) -> list[Figure]:
    for number in range(NETWORKS):
        network = portico.network(f"10.72.{number}.0/24")
        body = {**_bound(network), "binding:profile": {"plug": "tap", "make_tap": True}}
        _await_active(portico, portico.call("POST", "/v2.0/ports", {"port": body})["port"]["id"])
    time.sleep(1)
    return [
        Figure(
            "memory of all processes, 10 networks with DHCP", portico.memory_mb(), "MB", at_most=150,
            beside="Neutron: 1.3 GB",
        )
    ]  # fmt: skip
