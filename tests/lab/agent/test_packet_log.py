# SPDX-License-Identifier: Apache-2.0
"""What ports let in and refuse is written down, by the packets that the kernel tells of."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pytest
from msgspec import structs

from portico.agent.packet_log import PROBE, lack
from portico.hoststate import ROUTED, Log, Rule, Space, Vif
from portico.testing.lab import wait_until
from portico.testing.rig import ANY, Rig, Workload, group, network, port

pytestmark = pytest.mark.lab

Line = dict[str, Any]
FILE = "/var/lib/portico/packets/portico/log.jsonl"
OPEN, SHUT = 80, 81
FLOOD = 1500
_FLOOD = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(int(sys.argv[3])):
    s.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
"""


def logged(vif: Vif, *logs: Log) -> Vif:
    assert vif.guard
    return structs.replace(vif, guard=structs.replace(vif.guard, logs=logs))


def lines(rig: Rig, **wanted: object) -> list[Line]:
    """Return the lines that say what is wanted; one that is being written is left for later."""
    path = rig.host.path(FILE)
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if wanted.items() <= line.items()]


def plug(rig: Rig, name: str, vif: Vif) -> Workload:
    assert vif.guard
    cidrs = [item.cidr.partition("/")[0] for item in vif.guard.sources]
    return rig.plug(name, vif, *(f"{address}/{64 if ':' in address else 24}" for address in cidrs))


def told(rig: Rig, count: int, **wanted: object) -> list[Line]:
    """Return the lines that say what is wanted once there are so many."""
    wait_until(f"{count} of {wanted}", lambda: len(lines(rig, **wanted)) >= count, 20, lambda: str(lines(rig)[-9:]))
    return lines(rig, **wanted)


def test_first_packets_and_refused_ones_are_written_down_at_a_bounded_pace(rig: Rig) -> None:
    me = group(1, *ANY, Rule("ingress", "IPv4", 6, OPEN, OPEN), Rule("ingress", "IPv6", 6, OPEN, OPEN))
    every, only = Log("l-all", "red", "ALL"), Log("l-accept", "blue", "ACCEPT", me.group_id)
    a, b = port(1, me.group_id), logged(port(2, me.group_id), every, only)
    rig.want(network(), me, a, b)
    rig.start()
    one, other = plug(rig, "a", a), plug(rig, "b", b)
    for address in ("10.0.0.2", "2001:db8::2"):
        other.serve("tcp", address, OPEN)
        talk = one.talk(address, OPEN)
        wait_until("many packets", lambda: talk.output.count("answered") > 20, 20, talk.tail)  # noqa: B023
        for log_id, project_id in (("l-all", "red"), ("l-accept", "blue")):
            (line,) = told(rig, 1, log_id=log_id, destination=address)
            assert isinstance(line.pop("source_port"), int) and line.pop("time").endswith("Z") and line.pop("length")
            assert line == {
                "log_id": log_id,
                "project_id": project_id,
                "port_id": b.port_id,
                "action": "ACCEPT",
                "direction": "ingress",
                "source": address[:-1] + "1",
                "destination": address,
                "protocol": "tcp",
                "destination_port": OPEN,
            }
        assert one.is_kept_from("tcp", address, SHUT)
        (line, *_) = told(rig, 1, destination=address, action="DROP")
        assert (line["log_id"], line["destination_port"]) == ("l-all", SHUT)
    assert other.misses("10.0.0.1")
    (line, *_) = told(rig, 1, direction="egress", log_id="l-accept")
    assert (line["action"], line["protocol"], line["icmp_type"]) == ("ACCEPT", "icmp", 8)
    began = time.monotonic()
    one.run(sys.executable, "-I", "-S", "-c", _FLOOD, "10.0.0.2", "9", str(FLOOD))
    assert 25 <= len(told(rig, 25, protocol="udp", action="DROP")) <= 25 + 100 * (time.monotonic() - began) + 1
    rig.want(port(2, me.group_id))
    rules = rig.host.run(["ip", "netns", "exec", "portico", "nft", "list", "ruleset"]).out
    assert "log" not in rules and "ingress-" in rules


def test_routed_ports_are_logged_and_a_new_agent_goes_on_without_a_change_of_the_rules(rig: Rig) -> None:
    rig.host.run(["ip", "addr", "add", "203.0.113.1/32", "dev", "lo"])
    me = group(1, *ANY, Rule("ingress", "IPv4", 6, OPEN, OPEN))
    both = {"routes": ("10.0.0.2/32",), "mtu": 1500}
    vif = logged(port(2, me.group_id, network=ROUTED, **both), Log("l", "red", "ALL"))
    rig.want(Space(1500), me, vif)
    rig.start()
    workload = rig.plug("b", vif, "10.0.0.2/32")
    for way in (["169.254.1.1", "dev", "eth0"], ["default", "via", "169.254.1.1"]):
        workload.run("ip", "route", "add", *way)
    assert workload.pings("203.0.113.1")
    assert told(rig, 1, protocol="icmp", direction="egress", action="ACCEPT")[0]["port_id"] == vif.port_id
    ruleset = rig.host.run(["ip", "netns", "exec", "portico", "nft", "-a", "list", "ruleset"]).out
    rig.pause()
    assert not rig.host.run(["ping", "-c", "1", "-W", "0.3", "10.0.0.2"], check=False).ok, "nobody hears, nothing waits"
    assert workload.pings("203.0.113.1")
    rig.start()
    assert rig.host.run(["ip", "netns", "exec", "portico", "nft", "-a", "list", "ruleset"]).out == ruleset

    def refused() -> bool:
        rig.host.run(["ping", "-c", "1", "-W", "0.1", "10.0.0.2"], check=False)
        return bool(lines(rig, direction="ingress", action="DROP", log_id="l", protocol="icmp"))

    wait_until("the new agent hears", refused, 20)


def test_a_kernel_that_tells_of_no_packets_is_found_by_trying() -> None:
    assert lack() == ""
    assert lack(PROBE.replace("group", "nobody")).startswith("the kernel tells of no packets")
