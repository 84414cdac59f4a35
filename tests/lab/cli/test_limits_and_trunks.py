# SPDX-License-Identifier: Apache-2.0
"""What docs/qos.md, docs/trunks.md and docs/logging.md tell to type: from commands to the kernel, and back."""

from __future__ import annotations

import json
import sys

import pytest

from portico.agent import owner
from portico.testing import frames
from portico.testing.lab import wait_until

from .conftest import Machine

pytestmark = pytest.mark.lab


def test_a_machines_tap_is_limited_and_has_a_port_on_another_network(machine: Machine) -> None:
    machine.up("--docker-enabled", "false", "--agent-bandwidth-kbps", "1000")
    machine.json("qos-policy", "create", "slow")
    machine.json("bandwidth-limit-rule", "create", "--qos-policy", "slow", "--max-kbps", "20000")
    rule = machine.json(
        *("bandwidth-limit-rule", "create", "--qos-policy", "slow", "--max-kbps", "50000", "--direction", "ingress")
    )
    for name in ("blue", "green"):
        machine.json("network", "create", name)
    machine.json("network", "set", "blue", "--qos-policy", "slow")
    own = machine.json("port", "create", "vm", "--network", "blue")["id"]
    sub = machine.json("port", "create", "vm-green", "--network", "green")["id"]
    item = f"port_id={sub},segmentation_type=vlan,segmentation_id=7"
    machine.json("trunk", "create", "--port", "vm", "t")
    machine.json("trunk", "add-subports", "t", "--sub-port", item)
    assert machine.portico("port", "plug", "vm", "--tap", "tap-vm")[0] == 0
    wait_until("the trunk is active", lambda: machine.json("trunk", "show", "t")["status"] == "ACTIVE", 15)
    assert machine.json("port", "show", "vm-green")["device_owner"] == "trunk:subport"

    def rates() -> set[tuple[str, str]]:
        told = machine.host.run(["tc", "-n", "portico", "qdisc", "show"]).out
        return {
            (words[4], words[words.index("rate") + 1])
            for line in told.splitlines()
            if "rate" in (words := line.split())
        }

    waits, link = owner.limit_link(own), owner.port_link(own)
    assert rates() == {(waits, "20Mbit"), (link, "50Mbit")}
    assert "portico-tag-off-7-" in machine.host.run(["tc", "filter", "show", "dev", "tap-vm", "ingress"]).out
    machine.json("bandwidth-limit-rule", "set", rule["id"], "--qos-policy", "slow", "--max-kbps", "60000")
    wait_until("the rule's change is in force", lambda: (link, "60Mbit") in rates(), 15)
    least = ("minimum-bandwidth-rule", "create", "--qos-policy", "slow", "--min-kbps")
    code, _, err = machine.portico(*least, "1001")
    assert code != 0 and "it carries 1000 (agent.bandwidth_kbps)" in err
    floats_within_limits(machine)
    counts_what_leaves(machine)


def floats_within_limits(machine: Machine) -> None:
    """Give the machine's port a floating IP with the policy, and the gateway beside it another one."""
    machine.json("network", "create", "public", "--router-external")
    machine.json("subnet", "create", "--network", "public", "--no-enable-dhcp", "203.0.113.0/24")
    machine.json("subnet", "create", "--name", "blue4", "--network", "blue", "10.1.0.0/24")
    machine.json("port", "set", "vm", "--fixed-ip", "subnet-id=blue4")
    machine.json("router", "create", "r", "--external-gateway-info", "network=public")
    machine.json("router", "add-router-interface", "r", "--subnet", "blue4")
    wanted = ("--floating-network", "public", "--port", "vm", "--qos-policy", "slow")
    floating = machine.json("floatingip", "create", *wanted)["id"]
    gateway = next(port for port in machine.json("port", "list") if port["device_owner"] == "network:router_gateway")
    names = {owner.leg_link(gateway["id"]): "60Mbit", owner.share_link(gateway["id"]): "20Mbit"}

    def shares() -> set[tuple[str, str]]:
        show = ("tc", "-n", "portico", "class", "show", "dev")
        told = {name: machine.host.run([*show, name], check=False).out for name in names}
        return {(name, line.split("rate ")[1].split()[0]) for name, out in told.items() for line in out.splitlines()}

    wait_until("the floating IP has its share", lambda: shares() == {*names.items()}, 15, lambda: str(shares()))
    machine.json("floatingip", "set", "--no-qos-policy", floating)
    wait_until("it has none", lambda: not shares(), 15, lambda: str(shares()))


SEND = """
import fcntl, os, struct, sys
f = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(f, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x1002))
os.write(f, bytes.fromhex(sys.argv[2]))
"""


def lines_about(machine: Machine, destination: str) -> list[dict[str, object]]:
    """Return what has been written down of packets to somebody, as far as whole lines are there."""
    path = machine.host.path("/var/lib/portico/packets/portico/log.jsonl")
    text = path.read_text() if path.exists() else ""
    lines = (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [line for line in lines if line.get("destination") == destination]


def counts_what_leaves(machine: Machine) -> None:
    """Have a packet counted that the machine sends out by its router, and read from the API what was counted."""
    label = machine.json("metering-label", "create", "out")["id"]
    rule = ("metering-label-rule", "create", "--metering-label", "out", "--direction", "egress")
    machine.json(*rule, "--source-ip-prefix", "10.1.0.0/24")
    port, router = machine.json("port", "show", "vm"), machine.json("router", "show", "r")["id"]
    inner = ["ip", "netns", "exec", owner.router_netns("portico", router), "nft", "list", "ruleset"]
    wait_until("the rule is in force", lambda: "ip saddr 10.1.0.0/24 counter" in machine.host.run(inner).out, 20)
    (leg,) = (row for row in machine.json("port", "list") if row["device_owner"] == "network:router_interface")
    (own,) = (item["ip_address"] for item in port["fixed_ips"] if item["ip_address"].startswith("10.1."))
    packet = frames.ipv4(own, "203.0.113.200", 17, frames.udp(4000, 4001, b"counted!"))
    frame = frames.ethernet(leg["mac_address"], port["mac_address"], frames.IPV4, packet)
    send = [sys.executable, "-I", "-S", "-c", SEND, "tap-vm", frame.hex()]
    log_id = machine.json("log", "create", "--resource-type", "security_group", "--target", "vm")["id"]
    rules = ["ip", "netns", "exec", "portico", "nft", "list", "ruleset"]
    wait_until("the log is in force", lambda: f"log-accept-egress-{log_id}" in machine.host.run(rules).out, 20)
    machine.host.run(send)

    def found() -> tuple[int, int]:
        row = machine.json("metering-label", "show", "out")
        return row["portico:packets"], row["portico:bytes"]

    wait_until("the host's next heartbeat", lambda: found() == (1, len(packet)), 30, lambda: str(found()))
    wait_until("it is written down", lambda: bool(lines_about(machine, "203.0.113.200")), 20)
    (line,) = lines_about(machine, "203.0.113.200")
    assert (line["log_id"], line["action"], line["source_port"]) == (log_id, "ACCEPT", 4000)
    (row,) = machine.json("metering-count", "list")
    assert (row["metering_label_id"], row["router_id"], row["host"]) == (label, router, "h1"), row
    machine.host.run(send)
    machine.json("router", "set", "r", "--no-admin-state-up")
    wait_until("the last of a router that went", lambda: found() == (2, 2 * len(packet)), 30, lambda: str(found()))
