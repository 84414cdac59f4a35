# SPDX-License-Identifier: Apache-2.0
"""The agent and the real API, which is killed under it: traffic must not notice, and work goes on when it is back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from portico.agent.feed import BACKOFF_MAX_S
from portico.client import Client
from portico.hoststate import Vif
from portico.testing.lab import Process, wait_until
from portico.testing.rig import Rig, Workload, flow, lost

pytestmark = pytest.mark.lab

PORTICO = [sys.executable, "-m", "portico.cli"]
HOST = "h1"


class Site:
    """A host with an API and an agent, each a process of its own."""

    def __init__(self, rig: Rig, client: Client) -> None:
        self.rig = rig
        self.client = client
        self.api = self.serve()
        self.agent = rig.host.spawn(
            [*PORTICO, "agent", "--host", HOST, "--agent-availability-zone", "west"], log="agent"
        )
        self.network = self.client.create("networks", {"name": "blue"})
        self.client.create("subnets", {"network_id": self.network["id"], "cidr": "10.1.0.0/24", "ip_version": 4})

    def serve(self) -> Process:
        """Start the API and wait until it answers."""
        process = self.rig.host.spawn([*PORTICO, "api"], log=f"api-{time.monotonic_ns()}")
        process.wait_for_text("listening on", 30)
        return process

    def port(self) -> dict[str, Any]:
        """Make a port for a container, bound to the host."""
        body = {"network_id": self.network["id"], "binding:host_id": HOST, "binding:profile": {"plug": "veth"}}
        return self.client.create("ports", body)

    def wait_active(self, port: dict[str, Any], timeout_s: float) -> None:
        wait_until(
            "ACTIVE", lambda: self.client.show("ports", port["id"])["status"] == "ACTIVE", timeout_s, self.agent.tail
        )

    def workload(self, name: str) -> Workload:
        """Plug a new port into a namespace."""
        port = self.port()
        self.wait_active(port, 10)
        link = port["binding:vif_details"]["link_name"]
        address = port["fixed_ips"][0]["ip_address"]
        return self.rig.plug(
            name, Vif(port["id"], self.network["id"], port["mac_address"], 1500, link), f"{address}/24"
        )


@pytest.fixture
def site(rig: Rig) -> Iterator[Site]:
    with Client(f"unix:{rig.host.path('/run/portico/api.sock')}") as client:
        yield Site(rig, client)


def test_traffic_flows_on_while_the_api_is_away_and_work_goes_on_when_it_is_back(site: Site) -> None:
    a, b = site.workload("a"), site.workload("b")
    address = b.run("hostname", "-I").out.strip()
    pings = flow(a, address)
    site.api.kill()
    time.sleep(2)
    site.api = site.serve()
    port = site.port()
    site.wait_active(port, BACKOFF_MAX_S + 1)
    assert site.workload("c").pings(address)
    assert lost(pings) == []
    assert site.agent.alive


def test_the_api_knows_its_agents_zone_and_when_it_started(site: Site) -> None:
    wait_until("the agent reports", lambda: bool(site.client.list("agents")), 20)
    (first,) = site.client.list("agents")
    assert (first["host"], first["availability_zone"], first["alive"]) == (HOST, "west", True)
    assert "availability_zone" not in first["configurations"]
    time.sleep(1)  # times are told in whole seconds
    site.agent.kill()
    site.rig.host.spawn([*PORTICO, "agent", "--host", HOST], log="second")
    wait_until("the second agent", lambda: site.client.list("agents")[0]["started_at"] > first["started_at"], 20)
    assert site.client.list("agents")[0]["availability_zone"] == "default"
