# SPDX-License-Identifier: Apache-2.0
"""A lab host with an agent that realises what a test wants, and workloads plugged into its ports."""

from __future__ import annotations

import itertools
import re
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from portico.agent import owner
from portico.hoststate import (
    Bridge,
    Group,
    Guard,
    HostObject,
    Member,
    Report,
    Rule,
    Source,
    Status,
    Update,
    Vif,
    key_of,
)
from portico.testing import agent_on_file
from portico.testing.lab import LabHost, Process, Result, wait_until

ANY = (Rule("egress", "IPv4"), Rule("egress", "IPv6"))
NET_A = "aaaaaaaa-0000-4000-8000-000000000001"
NET_B = "bbbbbbbb-0000-4000-8000-000000000002"


_NUMBERS = itertools.count()
# How many packets of a flow are answered before it counts as begun.
FLOW_BEGINS = 20
# The sequence numbers of echo requests (RFC 792), after which they begin anew.
ICMP_NUMBERS = 1 << 16
_ANSWER = re.compile(r"icmp_seq=(\d+) ttl")

_SERVE = """
import socket, sys, threading
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[2], int(sys.argv[3])))
def echo(c):
    while data := c.recv(2000):
        c.sendall(data)
if kind == socket.SOCK_STREAM:
    s.listen()
print("serving")
while True:
    if kind == socket.SOCK_STREAM:
        threading.Thread(target=echo, args=s.accept()[:1], daemon=True).start()
    else:
        s.sendto(*s.recvfrom(2000))
"""
_ASK = """
import socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET, kind)
s.settimeout(float(sys.argv[4]))
s.connect((sys.argv[2], int(sys.argv[3])))
s.sendall(b"hello")
assert s.recv(10) == b"hello"
"""
_TALK = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
s.settimeout(1)
while True:
    s.sendall(b"x")
    try:
        print("answered" if s.recv(100) else "closed")
    except TimeoutError:
        print("silent")
    time.sleep(0.02)
"""
_SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
for frame in sys.argv[1:]:
    s.send(bytes.fromhex(frame))
"""
_SNIFF = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind(("eth0", 3))
s.setsockopt(263, 1, __import__("struct").pack("IHH8s", socket.if_nametoindex("eth0"), 1, 0, b""))
print("sniffing")
while True:
    frame, where = s.recvfrom(2000)
    if where[2] != socket.PACKET_OUTGOING:
        print(frame.hex())
"""


@dataclass(frozen=True, slots=True)
class Workload:
    """A process to be: a namespace with the link of a port in it."""

    name: str
    vif: Vif
    host: LabHost

    def run(self, *argv: str, check: bool = True, timeout_s: float = 20.0) -> Result:
        """Run a command inside."""
        return self.host.run(["ip", "netns", "exec", self.name, *argv], check=check, timeout_s=timeout_s)

    def spawn(self, *argv: str) -> Process:
        """Start a command inside."""
        return self.host.spawn(["ip", "netns", "exec", self.name, *argv], log=f"{self.name}-{next(_NUMBERS)}")

    def python(self, code: str, *arguments: str) -> Process:
        """Start a small Python program inside."""
        return self.spawn(sys.executable, "-I", "-S", "-u", "-c", code, *arguments)

    def serve(self, protocol: str, address: str, number: int) -> None:
        """Start a server ("tcp" or "udp") that says back what it hears."""
        self.python(_SERVE, protocol, address, str(number)).wait_for_text("serving", 20)

    def reaches(self, protocol: str, address: str, number: int, patience_s: float = 10.0) -> bool:
        """Return whether a server there answers."""
        argv = (sys.executable, "-I", "-S", "-c", _ASK, protocol, address, str(number), str(patience_s))
        return self.run(*argv, check=False).ok

    def is_kept_from(self, protocol: str, address: str, number: int) -> bool:
        """Return whether a server there does not answer within 0.4 s."""
        return not self.reaches(protocol, address, number, 0.4)

    def talk(self, address: str, number: int) -> Process:
        """Start a TCP client that says something every 20 ms; it writes "answered" or "silent" each time."""
        process = self.python(_TALK, address, str(number))
        process.wait_for_text("answered", 20)
        return process

    def send(self, *frames: bytes) -> None:
        """Send raw frames."""
        self.run(sys.executable, "-I", "-S", "-c", _SEND, *(frame.hex() for frame in frames))

    def sniff(self) -> Process:
        """Start to write every frame that arrives, in hexadecimal."""
        process = self.python(_SNIFF)
        process.wait_for_text("sniffing", 20)
        return process

    def pings(self, address: str, count: int = 1) -> bool:
        """Return whether `count` echo requests are answered; one is sent each 0.1 s until they are, 10 s at most."""
        end_s = time.monotonic() + 10
        # ping(8) gives up as soon as a neighbour is said to be unreachable, which one may be for a moment.
        while not self.run("ping", "-c", str(count), "-i", "0.1", "-w", "10", address, check=False).ok:
            if time.monotonic() >= end_s:
                return False
        return True

    def misses(self, address: str, count: int = 2) -> bool:
        """Return whether none of `count` echo requests is answered within 0.4 s."""
        return not self.run("ping", "-c", str(count), "-i", "0.1", "-W", "0.4", address, check=False).ok


def flow(workload: Workload, address: str, interval_s: float = 0.01) -> Process:
    """Start a steady ping."""
    process = workload.spawn("ping", "-i", str(interval_s), address)
    wait_until("answers", lambda: len(answered(process)) >= FLOW_BEGINS, 20, process.tail)
    return process


def answered(process: Process) -> list[int]:
    """Return the numbers of a flow's packets that were answered so far, in the order of the answers."""
    return [int(number) for number in _ANSWER.findall(process.output)]


def lost(process: Process) -> list[int]:
    """Stop a flow when it has been answered once more, and return which packets before that were not."""
    before = len(answered(process))
    wait_until("another answer", lambda: len(answered(process)) > before, 20, process.tail)
    process.send_signal(signal.SIGINT)
    process.wait(20)
    pairs = itertools.pairwise([0, *answered(process)])
    return [number for one, next_one in pairs for number in range(one + 1, one + (next_one - one) % ICMP_NUMBERS)]


class Rig:
    """What is wanted of one host, and the agent that sees to it."""

    def __init__(self, host: LabHost, netns: str = "portico") -> None:
        self.host = host
        self.command = agent_on_file.command(f"/run/{netns}.json", netns)
        self._feed = host.path(f"/run/{netns}.json")
        self.objects: dict[str, HostObject] = {}
        self.revision = 0
        self.agent: Process | None = None

    def start(self) -> None:
        """Start the agent on what is wanted now, and wait for its first report."""
        self._write()
        self.agent = self.host.spawn(self.command, log=f"agent-{next(_NUMBERS)}")
        self._wait_revision()

    def want(self, *items: HostObject, gone: Iterable[HostObject] = ()) -> float:
        """Change what is wanted and, if the agent runs, wait until it has been done; return how long that took."""
        for item in gone:
            del self.objects[key_of(item)]
        self.objects |= {key_of(item): item for item in items}
        if self.agent is None:
            return 0.0
        began = time.monotonic()
        self._write()
        self.agent.send_signal(signal.SIGHUP)
        self._wait_revision()
        return time.monotonic() - began

    def statuses(self) -> dict[str, Status]:
        """Return the newest status of each key."""
        assert self.agent is not None
        found: dict[str, Status] = {}
        for report in self._reports():
            found |= {status.key: status for status in report.statuses}
        return found

    def wait_status(self, key: str, state: str, timeout_s: float = 20.0) -> Status:
        """Wait until `key` is `state`."""
        wait_until(
            f"{key} {state}",
            lambda: key in self.statuses() and self.statuses()[key].state == state,
            timeout_s,
            lambda: str(self.statuses().get(key)),
        )
        return self.statuses()[key]

    def plug(self, name: str, vif: Vif, *addresses: str) -> Workload:
        """Move a port's link into a new namespace, bring it up and give it addresses."""
        run = self.host.run
        run(["ip", "netns", "add", name])
        run(["ip", "link", "set", vif.link_name, "netns", name])
        run(["ip", "-n", name, "link", "set", "lo", "up"])
        run(["ip", "-n", name, "link", "set", vif.link_name, "name", "eth0", "up"])
        for address in addresses:
            run(["ip", "-n", name, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else [])])
        return Workload(name, vif, self.host)

    def _write(self) -> None:
        self.revision += 1
        update = Update(self.revision, tuple(self.objects.values()), complete=True)
        self._feed.write_bytes(msgspec.json.encode(update))

    def _reports(self) -> list[Report]:
        assert self.agent is not None
        lines = [line for line in self.agent.output.splitlines() if line.startswith("{")]
        return [msgspec.json.decode(line, type=Report) for line in lines]

    def _wait_revision(self) -> None:
        """Wait for the report of the revision; the agent reports nothing when nothing has changed."""
        assert self.agent is not None
        agent = self.agent
        wait_until(
            f"report of revision {self.revision}",
            lambda: any(report.revision >= self.revision for report in self._reports()),
            30.0,
            lambda: agent.output,
        )

    def pause(self) -> None:
        """End the agent with SIGKILL."""
        assert self.agent is not None
        self.agent.kill()
        self.agent = None


def port(number: int, *groups: str, network: str = NET_A, **options: Any) -> Vif:
    """Return a port with the addresses 10.0.0.NUMBER and 2001:db8::NUMBER, guarded unless `guard` is given."""
    port_id = f"{network[0] * 4}{number:04x}-0000-4000-8000-00000000{number:04x}"
    mac = f"00:00:5e:00:53:{number + (0 if network == NET_A else 128):02x}"
    guard = Guard((Source(mac, f"10.0.0.{number}/32"), Source(mac, f"2001:db8::{number:x}/128")), groups)
    fields: dict[str, Any] = {"mac": mac, "mtu": 1450, "link_name": owner.host_link(port_id), "guard": guard, **options}
    return Vif(port_id, network, **fields)


def members(group_id: str, *vifs: Vif) -> list[Member]:
    """Return the addresses of ports as members of a group."""
    sources = [(vif, source) for vif in vifs if vif.guard for source in vif.guard.sources]
    return [Member(group_id, vif.network_id, source.cidr) for vif, source in sources]


def group(number: int, *rules: Rule, stateful: bool = True) -> Group:
    """Return a group with an id made of `number`."""
    return Group(f"{number:08x}-0000-4000-8000-000000000000", rules, stateful)


def network(network_id: str = NET_A) -> Bridge:
    """Return a network's bridge."""
    return Bridge(network_id, 1450)
