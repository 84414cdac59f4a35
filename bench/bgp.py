# SPDX-License-Identifier: Apache-2.0
"""How long a route to a port takes into another host's kernel, beside two BIRDs with next to no configuration.

Hosts have no blocks of addresses here: a port in one that is told of already would be reached before it is there.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.figure import Figure, median
from portico.client import Client
from portico.testing.lab import Lab, LabHost, Process, wait_until

SINGLE = 40
PORTS = 30
MANY = 5_000
SETTLE_S = 0.05
ASN = 65000
COMMAND = [sys.executable, "-m", "portico.cli"]
BARE = """
router id {own};
protocol device {{ }}
protocol kernel {{ learn; netlink rx buffer 8388608; ipv4 {{ import all; export where source = RTS_BGP; }}; }}
protocol bgp {{
  local {own} as 65001; neighbor {other} as 65001; direct; connect delay time 1;
  ipv4 {{ import all; export where source != RTS_BGP; next hop self; }};
}}
"""


class Pair(NamedTuple):
    """The host whose kernel gets a route first, and what the other one's kernel tells of its routes."""

    sender: LabHost
    receiver: LabHost
    events: Process

    def seconds_until(self, address: str, began: float) -> float:
        """Return how long after `began` the other kernel had a route, by that kernel's host's clock."""
        line = re.compile(rf"^\[(\S+)\] {re.escape(address)} via ", re.MULTILINE)
        wait_until(f"route to {address}", lambda: line.search(self.events.output) is not None, 10)
        found = line.search(self.events.output)
        assert found is not None
        return _epoch(found[1]) - began


def measure() -> list[Figure]:
    """Measure single routes and many, with and without Portico, and ports from the API on."""
    with Lab() as lab, tempfile.TemporaryDirectory() as folder:
        socket = f"unix:{folder}/api.sock"
        with Client(socket) as client:
            ours = _portico(lab, socket, client)
            bare = _bare(lab)
            singles = [(_single(ours, number), _single(bare, number)) for number in range(SINGLE)]
            many = [_many(pair) for pair in (ours, bare)]
            after_active, after_request = _ports(ours, client)
    own, theirs = (median(column) * 1e3 for column in zip(*singles, strict=True))
    return [
        Figure(
            "route in one kernel to route in another host's, p50", own, "ms", 30, beside=f"bare BIRD: {theirs:.1f} ms"
        ),
        Figure(f"{MANY:,} routes, first to last", many[0], "s", at_most=1, beside=f"bare BIRD: {many[1]:.2f} s"),
        Figure("port ACTIVE to route in another host's kernel, p50", after_active * 1e3, "ms", at_most=30),
        Figure("request for a bound port sent to route in another host's kernel, p50", after_request * 1e3, "ms"),
    ]


def _portico(lab: Lab, socket: str, client: Client) -> Pair:
    first, second = (lab.host(name, underlay=True) for name in ("h1", "h2"))
    options = {"listen": socket, "api-url": socket, "docker-enabled": "false", "network-block-v4": "32"}
    first.spawn([*COMMAND, "up", *(word for name, value in options.items() for word in (f"--{name}", value))])
    wait_until("the API", Path(socket.removeprefix("unix:")).exists, 30)
    second.spawn([*COMMAND, "agent"], env={"PORTICO_API_URL": socket})
    wait_until("agents", lambda: len(client.list("agents")) == 2, 30)
    client.create("bgp-speakers", {"name": "fabric", "local_as": ASN, "ip_version": 4, "portico:bfd": True})
    pair = Pair(first, second, second.spawn(["ip", "-ts", "monitor", "route"], log="routes"))
    _await_session(pair, client)
    return pair


def _await_session(pair: Pair, client: Client) -> None:
    """Have a port's route told once, for the first takes until the session is up."""
    network = client.create("networks", {"name": "fabric", "provider:network_type": "routed"})["id"]
    subnet = {"network_id": network, "cidr": "10.66.0.0/20", "ip_version": 4, "enable_dhcp": False}
    client.create("subnets", subnet)
    pair.seconds_until(_port(client, network)[0], 0)


def _port(client: Client, network: str) -> tuple[str, float]:
    """Make a port on the first host; return its address, and when it was ACTIVE."""
    body = {"network_id": network, "binding:host_id": "h1", "binding:profile": {"plug": "veth"}}
    port = client.create("ports", body)
    found = client.get_json(f"/portico/v1/ports/{port['id']}/status", wait="ACTIVE", timeout_s=30)
    assert found["status"] == "ACTIVE", found
    return str(port["fixed_ips"][0]["ip_address"]), time.time()


def _bare(lab: Lab) -> Pair:
    hosts = [lab.host(name, underlay=True) for name in ("b1", "b2")]
    addresses = ["198.51.100.3", "198.51.100.4"]
    for host, own, other in zip(hosts, addresses, reversed(addresses), strict=True):
        host.path("/run/bird.conf").write_text(BARE.format(own=own, other=other))
        host.run(["bird", "-c", "/run/bird.conf", "-s", "/run/bird.ctl", "-P", "/run/bird.pid"])
    pair = Pair(hosts[0], hosts[1], hosts[1].spawn(["ip", "-ts", "monitor", "route"], log="routes"))
    _add(hosts[0], ["10.64.0.1"])
    pair.seconds_until("10.64.0.1", 0)
    return pair


def _single(pair: Pair, number: int) -> float:
    time.sleep(SETTLE_S)
    address = f"10.64.1.{number}"
    began = _add(pair.sender, [address])
    return pair.seconds_until(address, began)


def _many(pair: Pair) -> float:
    addresses = [f"10.65.{number // 250}.{number % 250}" for number in range(MANY)]
    began = _add(pair.sender, addresses)
    counted: Callable[[], int] = lambda: pair.receiver.run(["ip", "route", "show", "proto", "bird"]).out.count("10.65.")  # noqa: E731
    wait_until("all routes", lambda: counted() >= MANY, 30, lambda: str(counted()))
    return time.time() - began


def _add(host: LabHost, addresses: list[str]) -> float:
    """Add routes as the agent adds those of ports; return when that began."""
    lines = "".join(f"route add {address} dev lo proto 80\n" for address in addresses)
    program = host.popen(["ip", "-batch", "-"], stdin=-1, text=True)
    assert program.stdin
    time.sleep(SETTLE_S)  # its start is not what is measured
    began = time.time()
    program.stdin.write(lines)
    program.stdin.close()
    program.wait()
    return began


def _ports(pair: Pair, client: Client) -> tuple[float, float]:
    (network,) = (item["id"] for item in client.list("networks", name="fabric"))
    after_active, after_request = [], []
    for _ in range(PORTS):
        began = time.time()
        address, active_at = _port(client, network)
        took = pair.seconds_until(address, began)
        after_request.append(took)
        after_active.append(max(0.0, began + took - active_at))
    return median(after_active), median(after_request)


def _epoch(text: str) -> float:
    seconds, _, fraction = text.partition(".")
    return time.mktime(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction}")
