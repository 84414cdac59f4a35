# SPDX-License-Identifier: Apache-2.0
"""A backend from another package that hangs from the start: bridges work on, and its own links wait for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.agent import owner
from portico.client import Client
from portico.hoststate import Vif
from portico.testing.lab import Process, wait_until
from portico.testing.rig import Rig, Workload, flow, lost

pytestmark = pytest.mark.lab

HOST = "h1"
BACKEND = """
import time
from pathlib import Path

import msgspec

from portico.backends.bridge import CAPABILITIES, BridgeBackend

class Hosts:
    def __init__(self, hosts):
        self.hosts = hosts

    def put(self, _backend, *what):
        self.hosts.put("sleepy", *what)

    def replace(self, _backend, *what):
        self.hosts.replace("sleepy", *what)

    def keep(self, _backend, *what):
        self.hosts.keep("sleepy", *what)

class Sleepy(BridgeBackend):
    def __init__(self, hosts, domain):
        super().__init__(Hosts(hosts), domain)

    def describe(self):
        return msgspec.structs.replace(CAPABILITIES, name="sleepy", network_types=("sleepy",))

    def sync(self, want, dirty):
        while Path(__file__).with_name("asleep").exists():
            time.sleep(0.05)
        return super().sync(want, dirty)
"""


class Site:
    """A host whose API has two backends; `bed` is where one of them finds out whether it sleeps."""

    def __init__(self, rig: Rig, client: Client, bed: Path) -> None:
        self.rig, self.client, self.bed = rig, client, bed
        (bed / "sleepy.py").write_text(BACKEND)
        metadata = bed / "sleepy-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[portico.backends]\nsleepy = sleepy:Sleepy\n")
        self.api, self.agent = self.serve(), self.start_agent()
        self.networks = {name: self.network(name) for name in ("bridge", "sleepy")}

    def serve(self) -> Process:
        argv = ["env", f"PYTHONPATH={self.bed}", sys.executable, "-m", "portico.cli", "api"]
        process = self.rig.host.spawn([*argv, "--backends", "bridge,sleepy"], log=f"api-{time.monotonic_ns()}")
        process.wait_for_text("listening on", 30)
        return process

    def start_agent(self) -> Process:
        argv = [sys.executable, "-m", "portico.cli", "agent", "--host", HOST]
        return self.rig.host.spawn(argv, log=f"agent-{time.monotonic_ns()}")

    def network(self, backend: str) -> dict[str, Any]:
        made = self.client.create("networks", {"name": backend, "portico:backend": backend})
        self.client.create("subnets", {"network_id": made["id"], "cidr": "10.1.0.0/24", "ip_version": 4})
        return made

    def workload(self, name: str, backend: str) -> tuple[Workload, str]:
        """Plug a new port of a network into a namespace, and return its address besides."""
        body = {"network_id": self.networks[backend]["id"], "binding:host_id": HOST}
        port = self.client.create("ports", {**body, "binding:profile": {"plug": "veth"}})
        wait_until("ACTIVE", lambda: self.status(port["id"]) == "ACTIVE", 20, self.agent.tail)
        link, address = port["binding:vif_details"]["link_name"], port["fixed_ips"][0]["ip_address"]
        vif = Vif(port["id"], port["network_id"], port["mac_address"], 1500, link)
        return self.rig.plug(name, vif, f"{address}/24"), address

    def status(self, port_id: str) -> str:
        return str(self.client.show("ports", port_id)["status"])

    def links(self) -> str:
        return self.rig.host.run(["ip", "netns", "exec", "portico", "ip", "-o", "link"]).out


@pytest.fixture
def site(rig: Rig, tmp_path: Path) -> Iterator[Site]:
    with Client(f"unix:{rig.host.path('/run/portico/api.sock')}") as client:
        yield Site(rig, client, tmp_path)


def test_bridges_work_while_another_backend_hangs_and_its_links_are_not_swept(site: Site) -> None:
    a, _ = site.workload("a", "bridge")
    b, beside = site.workload("b", "bridge")
    c, _ = site.workload("c", "sleepy")
    d, other = site.workload("d", "sleepy")
    pings, others = flow(a, beside), flow(c, other)
    (site.bed / "asleep").touch()
    site.api.kill()
    site.api = site.serve()
    e, third = site.workload("e", "bridge")
    wait_until("b reaches e", lambda: b.pings(third), 20)
    assert lost(others) == [], "the agent goes on with what it had"

    site.agent.kill()
    site.agent = site.start_agent()
    f, _ = site.workload("f", "bridge")
    wait_until("f reaches e", lambda: f.pings(third), 20)
    assert e.pings(beside) and lost(pings) == []
    for workload in (c, d):
        assert owner.port_link(workload.vif.port_id) in site.links()
    asleep = {"network_id": site.networks["sleepy"]["id"], "binding:host_id": HOST}
    late = site.client.create("ports", asleep)["id"]
    assert site.status(late) == "DOWN"

    (site.bed / "asleep").unlink()
    wait_until("the other backend is in step", lambda: c.pings(other), 20)
    wait_until("its new port is on the host", lambda: owner.port_link(late) in site.links(), 20)
