# SPDX-License-Identifier: Apache-2.0
"""docs/write-a-backend.md, taken at its word: its files make a package, which keeps the suite and copies packets."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.client import Client
from portico.errors import Conflict, NotFound, Unsupported
from portico.hoststate import Vif
from portico.testing.lab import Lab, wait_until
from portico.testing.rig import Rig, Workload

pytestmark = pytest.mark.lab

DOCUMENT = (Path(__file__).parents[3] / "docs" / "write-a-backend.md").read_text()
FILE = re.compile(r"^`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_LINES = 150
HOST = "h1"
BIN = Path(sys.executable).parent
MIRROR = "mirrors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the document's files, and the package that they make in `installed`."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, text in FILE.findall(DOCUMENT):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", folder / "installed", "."], cwd=folder, check=True, timeout=60)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(folder / "installed"), "PATH": f"{BIN}:/usr/sbin:/usr/bin:/sbin:/bin"}


def test_it_is_short() -> None:
    lines = [line for _, text in FILE.findall(DOCUMENT) for line in text.splitlines() if line.strip()]
    assert 100 < len(lines) < MOST_LINES


def test_it_keeps_the_suite(folder: Path) -> None:
    plugins = ["-p", "no:cacheprovider", "-p", "portico.testing.promises"]
    argv = [sys.executable, "-m", "pytest", "-q", *plugins, "-W", "error", "test_mirror.py"]
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, **environment(folder)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
    assert "13 passed" in done.stdout
    _, _, table = done.stdout.partition("promises of backends")
    assert re.search(r"^promise +mirror$", table, re.MULTILINE) and "BROKEN" not in table
    assert len(re.findall(r"^\S.* kept$", table, re.MULTILINE)) == 12, "one of them is tried twice"


class Site:
    """A host with API and agent, and workloads on one network."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self._rig = rig
        self._env = environment(folder)
        portico = [sys.executable, "-m", "portico.cli", "--set", "backends=bridge,mirror"]
        rig.host.spawn([*portico, "api"], log="api", env=self._env).wait_for_text("listening on", 30)
        self.agent = rig.host.spawn([*portico, "agent", "--host", HOST], log="agent", env=self._env)
        self.client = Client(f"unix:{rig.host.path('/run/portico/api.sock')}")
        self.network = self.client.create("networks", {"name": "blue"})
        self.client.create("subnets", {"network_id": self.network["id"], "cidr": "10.1.0.0/24", "ip_version": 4})

    def workload(self, name: str) -> tuple[dict[str, Any], Workload]:
        """Plug a port of this name into a namespace."""
        body = {"name": name, "network_id": self.network["id"], "binding:host_id": HOST}
        port = self.client.create("ports", {**body, "binding:profile": {"plug": "veth"}})
        self.wait("ports", port["id"])
        link = port["binding:vif_details"]["link_name"]
        vif = Vif(port["id"], self.network["id"], port["mac_address"], 1500, link)
        return port, self._rig.plug(name, vif, f"{port['fixed_ips'][0]['ip_address']}/24")

    def wait(self, collection: str, object_id: str, status: str = "ACTIVE") -> None:
        """Wait until an object has a status."""
        wait_until(status, lambda: self.client.show(collection, object_id)["status"] == status, 10, self.agent.tail)

    def run(self, script: str) -> str:
        """Run shell commands on the host."""
        return self._rig.host.run(["sh", "-e", "-c", script], env=self._env, timeout_s=30).out


@pytest.fixture
def site(folder: Path) -> Iterator[Site]:
    with Lab() as lab:
        made = Site(Rig(lab.host("one")), folder)
        with made.client:
            yield made


def test_it_copies_packets_and_stops(site: Site) -> None:
    web, client, probe = (site.workload(name) for name in ("web", "client", "probe"))
    sniffer = probe[1].sniff()

    def copied() -> tuple[int, int]:
        """Ping once, and count the frames that come to the probe: of requests to `web`, and of its answers."""
        mark = len(sniffer.output)
        assert client[1].pings(web[0]["fixed_ips"][0]["ip_address"])
        client[1].run("sleep", "0.1")
        frames = sniffer.output[mark:].split()
        ends = [(frame[:12], frame[12:24]) for frame in frames if frame[24:28] == "0800"]
        there, back = (port["mac_address"].replace(":", "") for port in (web[0], client[0]))
        return ends.count((there, back)), ends.count((back, there))

    assert copied() == (0, 0)
    body = {"source_port_id": web[0]["id"], "target_port_id": probe[0]["id"], "direction": "in"}
    with pytest.raises(Unsupported, match="its own mirror"):
        site.client.create(MIRROR, {**body, "target_port_id": web[0]["id"]})
    mirror = site.client.create(MIRROR, body)
    site.wait(MIRROR, mirror["id"])
    assert copied() == (1, 0)
    with pytest.raises(Conflict, match="copied twice"):
        site.client.create(MIRROR, {"source_port_id": probe[0]["id"], "target_port_id": client[0]["id"]})
    site.client.delete(MIRROR, mirror["id"])
    wait_until("no filter", lambda: copied() == (0, 0), 20)

    [commands] = COMMANDS.findall(DOCUMENT)
    listed = site.run(commands)
    assert '"direction": "both"' in listed
    [mirror] = site.client.list(MIRROR)
    site.wait(MIRROR, mirror["id"])
    assert copied() == (1, 1)
    assert "mirror: version 1" in site.run("portico db check")
    assert '| `direction` | `"in"`, `"out"`, `"both"` |' in site.run("portico reference mirror")
    assert "/v2.0/mirrors" in site.client.get_json("/openapi.json")["paths"]

    site.client.delete("ports", probe[0]["id"])
    with pytest.raises(NotFound):
        site.client.show(MIRROR, mirror["id"])
