# SPDX-License-Identifier: Apache-2.0
"""The units, started by a systemd of the lab host's own: with what they may do there, everything still works."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.client import Client
from portico.errors import PorticoError
from portico.testing.lab import LabHost, Process, Result, wait_until

from .conftest import PORTICO, Machine

pytestmark = pytest.mark.lab

PARTS = ("portico-api.service", "portico-agent.service", "portico-docker.service")
# It knows no unit but those below /run/units: Debian's own would set the machine up, and clear its /tmp. Control groups
# have to be below the lab's (systemd leaves its own behind).
BOOT = """
hierarchy=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
test -n "$hierarchy"
cd "$hierarchy"
mkdir -p $LAB
echo 0 > $LAB/cgroup.procs
cd /
exec unshare --fork --pid --kill-child --cgroup --mount --mount-proc sh -ec '
mount -t cgroup2 none /sys/fs/cgroup
exec env container=lab SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/run/none \
    /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=0'
"""
# Targets that systemd wants for itself, and no /tmp of its own for a program that may be below /tmp here.
FURNISH = """
mkdir -p /run/units/portico-api.service.d
cp /run/made/etc/systemd/system/*.service /run/units
for name in sysinit basic shutdown network; do printf '[Unit]\nDefaultDependencies=no\n' > /run/units/$name.target; done
printf '[Service]\nPrivateTmp=no\n' > /run/units/portico-api.service.d/lab.conf
"""


class Booted:
    """A lab host whose services systemd starts, in a mount and a PID namespace below the host's."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self.client = Client(f"unix:{host.path('/run/portico/api.sock')}")
        host.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far"])
        for words in ("address add 198.51.100.9/24 dev eth0", "link set eth0 up", "link set far up"):
            host.run(["ip", *words.split()])
        host.run([*PORTICO, "units", "--to", "/run/made"])
        host.run(["sh", "-ec", FURNISH])
        self.systemd: Process = host.spawn(["sh", "-ec", BOOT], log="systemd", env={"LAB": host.lab})
        wait_until("systemd listens", host.path("/run/systemd/private").exists, 20, self.systemd.tail)
        self._inside = ["nsenter", "--mount", "--pid", "--target", host.run(["pgrep", "-x", "systemd"]).out.strip()]

    def run(self, *words: str) -> Result:
        return self.host.run([*self._inside, *words], timeout_s=60)

    def start(self, *units: str) -> None:
        """Start units and wait until an agent that they started has been heard."""
        before = [agent["started_at"] for agent in self._agents()]
        self.run("systemctl", "start", *units)
        wait_until(
            "another agent",
            lambda: [agent["started_at"] for agent in self._agents()] not in ([], before),
            30,
            self.told,
        )

    def told(self) -> str:
        return self.run("sh", "-c", "systemctl status --no-pager 'portico*' || true").out

    def _agents(self) -> list[dict[str, object]]:
        try:
            return self.client.list("agents")
        except PorticoError:
            return []


@pytest.fixture
def booted(machine: Machine) -> Iterator[Booted]:
    made = Booted(machine.host)
    with made.client:
        yield made


def furnish(client: Client) -> None:
    """Make what lets the agent use all that it may: filter, DHCP, limits, a router, a way out by the host, and BGP."""
    network = client.create("networks", {"name": "blue"})["id"]
    subnet = client.create("subnets", {"network_id": network, "ip_version": 4, "cidr": "10.1.0.0/24"})["id"]
    outside = {"name": "out", "router:external": True, "provider:network_type": "host"}
    out = client.create("networks", outside)["id"]
    client.create("subnets", {"network_id": out, "ip_version": 4, "cidr": "100.65.0.0/24", "enable_dhcp": False})
    router = client.create("routers", {"name": "r", "external_gateway_info": {"network_id": out}})["id"]
    client.put_json(f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
    policy = client.request("POST", "/v2.0/qos/policies", {"policy": {"name": "slow"}})["policy"]["id"]
    limit = {"bandwidth_limit_rule": {"max_kbps": 20_000, "direction": "egress"}}
    client.request("POST", f"/v2.0/qos/policies/{policy}/bandwidth_limit_rules", limit)
    client.create("ports", {"name": "vm", "network_id": network, "qos_policy_id": policy})
    speaker = client.create("bgp-speakers", {"name": "fabric", "local_as": 65000, "ip_version": 4})["id"]
    tor = {"name": "tor", "peer_ip": "198.51.100.1", "remote_as": 65001, "auth_type": "none"}
    peer = client.create("bgp-peers", tor)["id"]
    client.put_json(f"/v2.0/bgp-speakers/{speaker}/add_bgp_peer", {"bgp_peer_id": peer})


def test_the_units_give_a_port_all_that_it_wants_and_its_server_outlives_them(booted: Booted) -> None:
    booted.start("portico.service")
    furnish(booted.client)
    booted.run(*PORTICO, "port", "plug", "vm", "--tap", "tap-vm")
    wait_until("the router", lambda: booted.client.list("routers")[0]["status"] == "ACTIVE", 20)
    states = {port["device_owner"]: port["status"] for port in booted.client.list("ports")}
    assert set(states.values()) == {"ACTIVE"}, states
    assert booted.run(*PORTICO, "port", "explain", "vm").ok
    assert "masquerade" in booted.run("nft", "list", "ruleset").out
    server = booted.run("pgrep", "-x", "dnsmasq").out
    assert server
    whose = "ps -C bird -o user= || true"
    wait_until("a speaker that is not root", lambda: booted.run("sh", "-c", whose).out == "bird\n", 20, booted.told)

    booted.start(*PARTS)
    assert booted.run("sh", "-c", "systemctl is-active portico.service || true").out == "inactive\n"
    assert booted.run("systemctl", "is-active", *PARTS).out == "active\n" * 3
    assert booted.client.list("ports", name="vm")[0]["status"] == "ACTIVE"
    assert booted.run("pgrep", "-x", "dnsmasq").out == server
    wait_until("the plugin", booted.host.path("/run/docker/plugins/portico.sock").exists, 20, booted.told)
    booted.run("systemctl", "stop", *PARTS)
