# SPDX-License-Identifier: Apache-2.0
"""What the demo sets up: a lab host with Portico and a Docker Engine, networks, containers and a virtual machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from demo import cast
from demo.beyond import Beyond
from demo.cast import (
    ANN_ROUTED,
    CAST,
    GIL,
    GREEN,
    GREEN_CAST,
    GREEN_SUBNET,
    GUS,
    PEER,
    RANGES,
    ROUTED_SUBNET,
    SUBNET,
    VM,
    VM_ROUTED,
    Workload,
)
from demo.screen import Screen
from demo.ways import HOST, OUTSIDE, PUBLISHED
from portico.testing.lab import IMAGE, DockerEngine, Lab, LabHost, Process, Result, VirtualMachine, wait_until
from portico.testing.lab.lab import UNDERLAY_V4

PORTICO = Path(sys.executable).with_name("portico")
AS, PEER_AS = 65001, 65010
TAP, ROUTED_TAP = "tap-vm", "tap-vm-routed"

# Each workload serves its own name on both ports, so that an answer also tells who gave it.
SERVE = "mkdir -p /www && hostname > /www/index.html && for port in {ports}; do httpd -p $port -h /www; done"


class Stage:
    """Everything that the demo runs. `addresses` fills while the workloads start, and so does `floating`, gus's."""

    def __init__(self, lab: Lab, screen: Screen) -> None:
        self.addresses: dict[Workload, str] = {}
        self.floating = ""
        self._screen = screen
        self._host: LabHost = lab.host("demo", underlay=True)
        # An engine that finds it off has its firewall drop what is forwarded for others (docs/docker.md).
        self._host.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
        self._beyond = Beyond(lab.host("peer", underlay=True))
        self._engine = DockerEngine(self._host)
        self._portico: Process | None = None
        self._vm: VirtualMachine | None = None
        self._vm_network = ""

    def build(self) -> None:
        """Start everything, step by step."""
        self._start_portico()
        self._start_engine()
        self._make_group()
        self._make_networks()
        self._make_router()
        self._run_containers()
        self._boot_vm()
        self._speak()

    def portico_log(self) -> str:
        """Return the end of what `portico up` has written."""
        return self._portico.tail(15) if self._portico else ""

    def portico(self, *words: str) -> Any:
        """Run the `portico` command and return what it prints as JSON."""
        return json.loads(self._host.run([PORTICO, *words, "-f", "json"]).out)

    def run(self, workload: Workload, argv: list[str], *, check: bool = False, timeout_s: float = 30) -> Result:
        """Run a command inside a workload."""
        if workload.kind == "vm" and self._vm is not None:
            return self._vm.run(argv, check=check, timeout_s=timeout_s)
        if workload is HOST:
            return self._host.run(argv, check=check, timeout_s=timeout_s)
        if workload.kind == "host":
            return self._beyond.run(argv, check=check, timeout_s=timeout_s)
        return self._engine.docker("exec", workload.name, *argv, check=check, timeout_s=timeout_s)

    def _start_portico(self) -> None:
        with self._screen.step("portico up: API, broker, agent and Docker plugin"):
            self._portico = self._host.spawn([PORTICO, "up"])
            wait_until("portico up: an answer", self._portico_answers, 20, self._portico.tail)

    def _portico_answers(self) -> bool:
        plugin = self._host.path("/run/docker/plugins/portico.sock")
        return plugin.exists() and self._host.run([PORTICO, "network", "list"], check=False).ok

    def _start_engine(self) -> None:
        with self._screen.step("a Docker Engine and an image made of busybox and iperf3") as step:
            self._engine.start()
            self._engine.load(IMAGE, ["iperf3"])
            step.detail = self._engine.docker("version", "--format", "{{.Server.Version}}").out.strip()

    def _make_group(self) -> None:
        with self._screen.step(f"security group web: TCP port {cast.OPEN_PORT} open, everything else closed"):
            self.portico("security-group", "create", "web")
            ports = ["--port-range-min", str(cast.OPEN_PORT), "--port-range-max", str(cast.OPEN_PORT)]
            direction = ["--direction", "ingress", "--protocol", "tcp"]
            self.portico("security-group-rule", "create", "--security-group", "web", *direction, *ports)

    def _make_networks(self) -> None:
        driver = ["-d", "portico", "--ipam-driver", "portico"]
        for name, addresses in RANGES.items():
            words = ["network", "create", *driver, "--internal", "--subnet", SUBNET, "--ip-range", addresses, name]
            with self._screen.step(f"docker {' '.join(words)}"):
                self._engine.docker(*words)
            if name == VM.network:
                [self._vm_network] = [network["id"] for network in self.portico("network", "list")]
        kind = ["-o", "portico.backend=routed", "-o", "portico.security-groups=web"]
        words = ["network", "create", *driver, *kind, "--subnet", ROUTED_SUBNET, "routed"]
        with self._screen.step(f"docker {' '.join(words)}"):
            self._engine.docker(*words)

    def _make_router(self) -> None:
        words = ["network", "create", "-d", "portico", "--ipam-driver", "portico", "--subnet", GREEN_SUBNET, GREEN]
        others = [router["id"] for router in self.portico("router", "list")]
        with self._screen.step(f"docker {' '.join(words)}") as step:
            self._engine.docker(*words)
            [router] = [each for each in self.portico("router", "list") if each["id"] not in others]
            outside = [each["ip_address"] for each in router["external_gateway_info"]["external_fixed_ips"]]
            step.detail = f"its router is {', '.join(outside)} outside"
        with self._screen.step("portico router add-router-interface: blue, too"):
            [subnet] = [each for each in self.portico("subnet", "list") if each["network_id"] == self._vm_network]
            self.portico("router", "add-router-interface", router["id"], "--subnet", subnet["id"])

    def trace(self, source: Workload, target: Workload, port: int) -> Any:
        """Return what `portico trace` says of TCP from a workload to a port of another one."""
        ends = [self._port_of(source), self._port_of(target)]
        return json.loads(self._host.run([PORTICO, "trace", *ends, f"tcp/{port}", "-f", "json"], check=False).out)

    def _port_of(self, workload: Workload) -> str:
        """Return the id of a workload's port."""
        has = {each["ip_address"]: row["id"] for row in self.portico("port", "list") for each in row["fixed_ips"]}
        return str(has[self.addresses[workload]])

    def _run_containers(self) -> None:
        containers = [workload for workload in (*CAST, *GREEN_CAST) if workload.kind == "container"]
        with self._screen.step("containers") as step:
            for workload in containers:
                self._run_container(workload)
                step.detail = ", ".join(f"{each.name} {address}" for each, address in self.addresses.items())
        with self._screen.step("portico floatingip create, for gus") as step:
            [outside] = [each["id"] for each in self.portico("network", "list") if each["router:external"]]
            made = self.portico("floatingip", "create", "--floating-network", outside, "--port", self._port_of(GUS))
            self.floating = step.detail = made["floating_ip_address"]
        with self._screen.step("docker network connect routed ann") as step:
            self._engine.docker("network", "connect", ANN_ROUTED.network, ANN_ROUTED.name)
            step.detail = self._note_address(ANN_ROUTED)

    def _run_container(self, workload: Workload) -> None:
        network = f"name={workload.network}"
        if workload.group != "default":
            network += f",driver-opt=portico.security-groups={workload.group}"
        script = SERVE.format(ports=f"{cast.OPEN_PORT} {cast.CLOSED_PORT}") + " && exec sleep 1000000"
        published = ["-p", f"{PUBLISHED}:{cast.OPEN_PORT}"] if workload is GIL else []
        options = [
            "--detach",
            *published,
            "--init",
            "--name",
            workload.name,
            "--hostname",
            workload.name,
            "--network",
            network,
        ]
        self._engine.docker("run", *options, IMAGE, "sh", "-c", script)
        self._note_address(workload)

    def _note_address(self, workload: Workload) -> str:
        form = f"{{{{.NetworkSettings.Networks.{workload.network}.IPAddress}}}}"
        self.addresses[workload] = self._engine.docker("inspect", "--format", form, workload.name).out.strip()
        return self.addresses[workload]

    def _plug_vm(self, name: str, tap: str, *options: str) -> Any:
        with self._screen.step(f"portico port create {name}; portico port plug {name} --tap {tap}"):
            self.portico("port", "create", *options, name)
            self._host.run([PORTICO, "port", "plug", name, "--tap", tap])
            return self.portico("port", "show", name)

    def _boot_vm(self) -> None:
        [routed] = [each["id"] for each in self.portico("network", "list") if each["portico:backend"] == "routed"]
        port = self._plug_vm("vm", TAP, "--network", self._vm_network)
        second = self._plug_vm("vm-routed", ROUTED_TAP, "--network", routed, "--security-group", "web")
        with self._screen.step("a virtual machine boots on them, address from DHCP") as step:
            more = [(ROUTED_TAP, second["mac_address"])]
            self._vm = VirtualMachine(self._host, VM.name, tap=TAP, mac=port["mac_address"], more=more)
            self._vm.start()
            found, wanted = self._vm.wait_for_address(), port["fixed_ips"][0]["ip_address"]
            if found != wanted:
                raise AssertionError(f"vm: DHCP gave it {found}, its port has {wanted}")
            self.addresses[VM] = step.detail = found
            self._vm.run(["sh", "-c", SERVE.format(ports=f"{cast.OPEN_PORT} {cast.CLOSED_PORT}")])
        with self._screen.step("its second link, as the port says") as step:
            self.addresses[VM_ROUTED] = step.detail = second["fixed_ips"][0]["ip_address"]
            next_hop = second["binding:vif_details"]["next_hop_v4"]
            for words in (
                ["link", "set", "eth1", "up"],
                ["address", "add", f"{step.detail}/32", "dev", "eth1"],
                ["route", "add", next_hop, "dev", "eth1"],
                # The default route is that of its first link, by the router.
                ["route", "add", str(UNDERLAY_V4), "via", next_hop, "dev", "eth1"],
                ["route", "add", ROUTED_SUBNET, "via", next_hop, "dev", "eth1"],
            ):
                self._vm.run(["ip", *words])

    def _speak(self) -> None:
        with self._screen.step("portico bgp-speaker create; an FRR on another host learns the routes") as step:
            self.portico("bgp-speaker", "create", "--local-as", str(AS), "--ip-version", "4", "fabric")
            peer = ["--peer-ip", self._beyond.address, "--remote-as", str(PEER_AS), "--auth-type", "none"]
            self.portico("bgp-peer", "create", *peer, "frr")
            self.portico("bgp-speaker", "add-bgp-peer", "fabric", "--bgp-peer", "frr")
            self.addresses[PEER] = self._beyond.address
            wanted = [self.addresses[ANN_ROUTED], self.addresses[VM_ROUTED]]
            self._beyond.speak(AS, PEER_AS, OUTSIDE)
            wait_until("routes by BGP", lambda: self._beyond.has_routes(wanted), 20, self._beyond.routes)
            step.detail = self._beyond.routes()
