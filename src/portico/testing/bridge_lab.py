# SPDX-License-Identifier: Apache-2.0
"""The bridge backend on a lab host: the real agent, the real kernel, real packets. Needs root."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import msgspec

from portico.agent import owner
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend
from portico.hoststate import Group, HostObject, Report, Status, Update, key_of
from portico.model.snapshot import IpAddress, Snapshot
from portico.testing import agent_on_file, frames
from portico.testing.lab import LabHost, Process
from portico.trace.packet import ICMP, ICMPV6, TCP, UDP, Packet

NAME = "host-a"
FEED = "/run/update.json"
QUIET_S = 0.15
"""A packet that has not come this long after the last one will not come."""

TRIES = 5

_ETH_P_ALL = 3
_SYN = 0x02
_REDIRECT = 137


class LabSite:
    """One host, the broker's states for it, and its agent. `settle` returns when the agent has seen to everything."""

    def __init__(self, host: LabHost) -> None:
        self.host = host
        self._objects: dict[str, HostObject] = {}
        self._revision = 0
        self._states = HostStates()
        self._agent: Process | None = None
        self._backend: Backend | None = None
        for path in ("all", "default"):
            host.run(["sysctl", "-qw", f"net.ipv6.conf.{path}.disable_ipv6=1"])  # the host itself is to keep silent

    def make(self) -> Backend:
        """Return a new backend with new states, and kill the agent; what it made stays, and `settle` starts another."""
        if self._agent is not None:
            self._agent.kill()
            self._agent = None
        self._states = HostStates()
        self._states.follow(NAME, self._take)
        self._backend = self.backend(self._states)
        return self._backend

    def current(self) -> Backend:
        """Return the backend that was made last; the first one if there is none yet."""
        return self._backend or self.make()

    def backend(self, states: HostStates) -> Backend:
        """Return a new backend that puts what it wants into `states`."""
        return BridgeBackend(states)

    def settle(self) -> dict[str, Status]:
        """Publish the states, wait until the agent has realised them, and return its statuses by key."""
        self._revision += 1
        marker = Group(group_id=f"marker-{self._revision}", rules=())
        self._states.replace("marker", NAME, [marker])
        self._states.publish(self._revision)
        update = Update(self._revision, tuple(self._objects.values()), complete=True)
        self.host.path(FEED).write_bytes(msgspec.json.encode(update))
        if self._agent is None:
            self._agent = self.host.spawn(agent_on_file.command(FEED), log=f"agent-{self._revision}")
        else:
            self._agent.send_signal(signal.SIGHUP)
        agent = self._agent
        agent.wait_for_text(key_of(marker), timeout_s=10)
        return _statuses(agent.output)

    def _take(self, update: Update) -> None:
        if update.complete:
            self._objects.clear()
        self._objects |= {key_of(item): item for item in update.objects}
        for key in update.gone:
            del self._objects[key]

    def delivered(self, want: Snapshot, packets: Iterable[Packet]) -> dict[Packet, bool]:
        """Send packets from the links of their senders, and return which came out of their receivers'."""
        macs = {packet: (want.ports[packet.receiver].mac,) for packet in packets}
        return {packet: bool(came) for packet, came in self.host.call(lambda: try_all(want, macs)).items()}


def _statuses(output: str) -> dict[str, Status]:
    """Return the newest status of each key that an agent printed."""
    reports = [msgspec.json.decode(line, type=Report) for line in output.splitlines() if line.startswith("{")]
    return {status.key: status for report in reports for status in report.statuses}


Seen = tuple[IpAddress, IpAddress, int]
"""What is read of a packet that has come: source, destination, and destination port, or ICMP code."""


def try_all(want: Snapshot, macs: Mapping[Packet, Iterable[str]]) -> dict[Packet, set[Seen]]:
    """Send packets, each to some MAC addresses, from this namespace; return as what they came to their receivers."""
    links = {port_id: _open(owner.host_link(port_id)) for port_id in _plugged(want)}
    found: dict[Packet, set[Seen]] = {}
    try:
        numbered = {number.to_bytes(4, "big"): packet for number, packet in enumerate(macs)}
        for number, packet in numbered.items():
            found[packet] = set()
            if packet.sender in links and packet.receiver in links:
                for mac in macs[packet]:
                    _send(links[packet.sender], _frame(mac, packet, number))
        for port_id, number, seen in _arrivals(links):
            packet = numbered[number]
            if port_id == packet.receiver:
                found[packet].add(seen)
    finally:
        for link in links.values():
            link.close()
    return found


def _plugged(want: Snapshot) -> list[str]:
    return [port_id for port_id in want.ports_of_host.get(NAME, ()) if want.ports[port_id].plug == "veth"]


def _open(name: str) -> socket.socket:
    _bring_up(name)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    link.bind((name, _ETH_P_ALL))
    return link


def _send(link: socket.socket, frame: bytes) -> None:
    """Send a frame; again when the kernel, which others keep busy too, has no room for it just then."""
    for _ in range(TRIES):
        try:
            link.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            time.sleep(0.01)
        else:
            return


def _bring_up(name: str) -> None:
    """Set IFF_UP by ioctl (netdevice(7)), as the port's consumer would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", name.encode(), 1))


def _arrivals(links: dict[str, socket.socket]) -> Iterable[tuple[str, bytes, Seen]]:
    """Yield (port id, number, what is read) of our packets until none has come for a while."""
    owners = {link.fileno(): port_id for port_id, link in links.items()}
    poll = select.poll()
    for descriptor in owners:
        poll.register(descriptor, select.POLLIN)
    last = time.monotonic()
    while (left_s := last + QUIET_S - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left_s * 1000):
            data, address = links[owners[descriptor]].recvfrom(2048)
            at = data.rfind(_MARK)
            if address[2] != socket.PACKET_OUTGOING and at >= 0 and not _is_complaint(data):
                last = time.monotonic()
                yield owners[descriptor], data[at + len(_MARK) : at + len(_MARK) + 4], _seen(data)


def _seen(frame: bytes) -> Seen:
    at, length = (26, 4) if frame[12:14] == b"\x08\x00" else (22, 16)
    source, destination = (ip_address(frame[start : start + length]) for start in (at, at + length))
    body, is_echo = frame[at + 2 * length :], frame[23 if length == 4 else 20] in (ICMP, ICMPV6)
    return source, destination, body[1] if is_echo else int.from_bytes(body[2:4], "big")


def _is_complaint(frame: bytes) -> bool:
    """Return whether a frame is an ICMP error, which quotes the packet that it is about (RFC 792, 4443), or
    a redirect, which does so, too (RFC 4861)."""
    if frame[12:14] == b"\x08\x00":
        return frame[23] == ICMP and frame[34] in (3, 5, 11)
    return frame[20] == ICMPV6 and (frame[54] < 128 or frame[54] == _REDIRECT)


_MARK = b"portico-probe:"


def _frame(receiver: str, packet: Packet, number: bytes) -> bytes:
    payload = _MARK + number
    source, destination = str(packet.source), str(packet.destination)
    match packet.protocol:
        case protocol if protocol == TCP:
            body = struct.pack("!HHIIBBHHH", packet.low, packet.high, 1, 0, 5 << 4, _SYN, 1024, 0, 0) + payload
            body = frames.summed(source, destination, TCP, body, 16)
        case protocol if protocol == UDP:
            body = frames.summed(source, destination, UDP, frames.udp(packet.low, packet.high, payload), 6)
        case protocol if protocol == ICMP:
            body = struct.pack("!BBH", packet.low, packet.high, 0) + os.urandom(4) + payload
            body = body[:2] + struct.pack("!H", frames.checksum(body)) + body[4:]
        case protocol if protocol == ICMPV6:
            body = struct.pack("!BBH", packet.low, packet.high, 0) + os.urandom(4) + payload
            body = frames.summed(source, destination, ICMPV6, body, 2)
        case _:
            body = payload
    if packet.source.version == 4:
        return frames.ethernet(
            receiver, packet.mac, frames.IPV4, frames.ipv4(source, destination, packet.protocol, body)
        )
    return frames.ethernet(receiver, packet.mac, frames.IPV6, frames.ipv6(source, destination, packet.protocol, body))
