# SPDX-License-Identifier: Apache-2.0
"""A lab host with Portico and a real Docker Engine on it, whose processes can be killed one by one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from portico.client import Client
from portico.client.connection import unix_connection
from portico.errors import PorticoError
from portico.testing.lab import IMAGE, DockerEngine, LabHost, Process, Result, wait_until

SOCKET = "/run/docker/plugins/portico.sock"
PROCESSES = ("api", "agent", "docker")


class DockerSite:
    """API, agent and Docker plugin as processes of their own, and an engine with the lab's image loaded.

    Args:
        environment: settings as PORTICO_* variables.
        options: of the engine, e.g. `live_restore`.
    """

    def __init__(self, host: LabHost, *, environment: Mapping[str, str] | None = None, **options: Any) -> None:
        self.host = host
        self.environment = {"PORTICO_AGENT_IDLE_BRIDGE_S": "0.2", **(environment or {})}
        self.engine = DockerEngine(host, **options)
        self.processes: dict[str, Process] = {}
        self.api = Client(f"unix:{host.path('/run/portico/api.sock')}")

    def start(self, *names: str) -> None:
        """Start processes of Portico, by default all, and wait until they serve."""
        for name in names or PROCESSES:
            argv = [sys.executable, "-m", "portico.cli", name]
            self.processes[name] = self.host.spawn(argv, log=name, env=self.environment)
            if name == "api":
                wait_until("an answer of the API", self._api_answers, 30, self.processes[name].tail)
            elif name == "docker":
                wait_until("the plugin's socket", self._plugin_answers, 20, self.processes[name].tail)

    def _api_answers(self) -> bool:
        try:
            self.api.get_json("/healthz")
        except PorticoError:
            return False
        return True

    def _plugin_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            return sock.connect_ex(str(self.host.path(SOCKET))) == 0

    def kill(self, *names: str) -> None:
        """End processes of Portico with SIGKILL."""
        for name in names:
            self.processes[name].kill()

    def lose_power(self) -> None:
        """End every process at once, and take away what a machine has in memory only."""
        # kill(2): -1 is every process of this PID namespace but its first and the caller.
        self.host.run([sys.executable, "-I", "-S", "-c", "import os; os.kill(-1, 9)"])
        for process in [self.engine.dockerd, *self.processes.values()]:
            process.kill()
        mounts = [line.split()[1] for line in self.host.run(["cat", "/proc/mounts"]).out.splitlines()]
        volatile = (
            "/run/docker/",
            "/run/containerd/",
            "/run/netns/",
            "/var/lib/docker/overlay2/",
            "/var/lib/docker/containers",
        )
        for mount in reversed(mounts):
            if mount.startswith(volatile):
                self.host.run(["umount", "--lazy", mount], check=False)
        self.host.run(
            ["rm", "-rf", "/run/docker", "/run/containerd", "/run/docker.pid", "/run/portico", "/run/netns/portico"]
        )

    def ask_engine(self, method: str, target: str, body: object = None) -> Any:
        """Send a request to the engine's own API, for what its command line does not offer."""
        connection = unix_connection(str(self.host.path("/run/docker.sock")), 30)
        try:
            headers = {"Content-Type": "application/json"}
            answer = connection.request(method, target, msgspec.json.encode(body), headers).read()
        finally:
            connection.close()
        return msgspec.json.decode(answer) if answer else None

    def sweep(self) -> None:
        """Let the plugin look twice, quickly, for what is left over, and wait until nothing is."""
        usual = self.environment
        self.processes["docker"].stop()
        self.environment = {**usual, "PORTICO_DOCKER_SWEEP_S": "1"}
        self.start("docker")
        self.wait_until_clean()
        self.processes["docker"].stop()
        self.environment = usual
        self.start("docker")

    def stop(self) -> None:
        """End Portico in an orderly way."""
        for name in reversed(PROCESSES):
            if name in self.processes:
                self.processes[name].stop()

    def docker(self, *words: str, check: bool = True, timeout_s: float = 60) -> Result:
        """Run the `docker` command."""
        return self.engine.docker(*words, check=check, timeout_s=timeout_s)

    def create(self, name: str, *options: str) -> str:
        """Create a Docker network of Portico's and return its id."""
        words = ("network", "create", "-d", "portico", "--ipam-driver", "portico", *options, name)
        return self.docker(*words).out.strip()

    def run(self, name: str, network: str, *options: str, command: Sequence[str] = ("sleep", "600")) -> None:
        """Run a container in the background."""
        self.docker("run", "--detach", "--init", "--name", name, "--network", network, *options, IMAGE, *command)

    def execute(self, container: str, *words: str, check: bool = True) -> Result:
        """Run a command in a container."""
        return self.docker("exec", container, *words, check=check)

    def reaches(self, container: str, address: str) -> bool:
        """Tell whether a container pings an address, which it tries for 10 s."""
        return any(not self.misses(container, address) for _ in range(5))

    def misses(self, container: str, address: str) -> bool:
        """Tell whether an address does not answer a container within 2 s."""
        return not self.execute(container, "ping", "-c", "1", "-W", "2", address, check=False).ok

    def serves(self, container: str, address: str, port: int) -> bool:
        """Tell whether a container can open a TCP connection."""
        words = ("nc", "-w", "2", address, str(port), "-e", "true")
        return self.execute(container, *words, check=False).ok

    def network_settings(self, container: str, network: str) -> dict[str, Any]:
        """Return what the engine says of a container on a network."""
        found = msgspec.json.decode(self.docker("inspect", container).out)
        settings: dict[str, Any] = found[0]["NetworkSettings"]["Networks"][network]
        return settings

    def port_of(self, container: str, network: str) -> dict[str, Any]:
        """Return the Portico port of a container on a network; it learns of its endpoint a moment after the start."""
        endpoint = self.network_settings(container, network)["EndpointID"]
        wait_until("the endpoint's port", lambda: bool(self.api.list("ports", device_id=endpoint)), 20)
        return self.api.list("ports", device_id=endpoint)[0]

    def clear(self) -> None:
        """Remove all containers and networks of the engine, and what people made in Portico."""
        if containers := self.docker("ps", "-aq").out.split():
            self.docker("rm", "-f", *containers)
        if networks := self.docker("network", "ls", "-q", "--filter", "driver=portico").out.split():
            self.docker("network", "rm", *networks)

    def left(self) -> dict[str, list[str]]:
        """Return what Portico has in its API and in the kernel; empty when nothing is left."""
        found = {name: [item["id"] for item in self.api.list(name)] for name in ("networks", "subnets", "ports")}
        groups = [group["name"] for group in self.api.list("security_groups")]
        found["security_groups"] = [name for name in groups if name != "default"]
        found["links"] = [line.split()[0] for line in self._links() if line.startswith(("pv", "pb", "br"))]
        return {name: items for name, items in found.items() if items}

    def _links(self) -> list[str]:
        host = self.host.run(["ip", "-br", "link", "show", "type", "veth"]).out
        return [*host.splitlines(), *self.host.run(["ip", "-n", "portico", "-br", "link"]).out.splitlines()]

    def wait_until_clean(self, timeout_s: float = 30) -> None:
        """Wait until nothing is left in API and kernel."""
        wait_until("nothing left of Docker's networks", lambda: not self.left(), timeout_s, lambda: str(self.left()))

    def __enter__(self) -> DockerSite:
        self.start()
        self.engine.start()
        self.engine.load()
        return self

    def __exit__(self, *_: object) -> None:
        """The lab ends everything; this only lets the engine unmount in order."""
        self.engine.__exit__(None, None, None)
        self.api.close()
        self.stop()
