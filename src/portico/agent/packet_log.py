# SPDX-License-Identifier: Apache-2.0
"""What security groups let in and refuse on this host, written down: one JSON object a line, in files of bounded size.

A thread of its own reads what the kernel tells, so that it holds up nothing: neither the agent's loop nor any packet.
"""

from __future__ import annotations

import itertools
import logging
import os
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from portico.agent import kernel, netlink, nflog, owner
from portico.agent.drivers.libnftables import Nft, NftError
from portico.agent.nflog import Packet
from portico.agent.policies import NFLOG_GROUP, Pace
from portico.agent.rules import ICMP, ICMPV6
from portico.hoststate import HostObject, Vif

log = logging.getLogger(__name__)

FOLDER = "packets"
AT_ONCE = 500
"""So many packets are written together at most."""
AGAIN_S = 1.0
"""After this time it is tried again to hear of packets: the agent before may not be gone yet."""
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "ipv6-icmp", 132: "sctp", 136: "udplite"}
MODULES = ("nft_log", "nfnetlink_log")
PROBE = f"""
table bridge portico-probe {{
  chain c {{
    log prefix "x" group {NFLOG_GROUP}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is written down: packets (see `Pace`), and files, which are begun anew when they are full."""

    rate: int = 100
    burst: int = 25
    file_bytes: int = 16 << 20
    files: int = 4

    @property
    def pace(self) -> Pace:
        """The part that is the kernel's."""
        return Pace(self.rate, self.burst)


def lack(probe: str = PROBE) -> str:
    """Return why this kernel cannot tell of packets, or "": it takes a rule that asks for it."""
    nft = Nft()
    try:
        for module in MODULES:
            try:
                nft.check(probe)
            except NftError:
                kernel.load_module(module)
            else:
                return ""
        nft.check(probe)
    except NftError as error:
        return f"the kernel tells of no packets (modprobe -a {' '.join(MODULES)}): {error}"
    finally:
        nft.close()
    return ""


def path_of(state_dir: Path, netns: str) -> Path:
    """Return the file that is written now; older ones have a number besides, the oldest the highest."""
    return state_dir / FOLDER / netns / "log.jsonl"


class Pages:
    """Files that are written one after the other: when `path` is full it gets another name, and the oldest goes."""

    def __init__(self, path: Path, file_bytes: int, files: int) -> None:
        self._path = path
        self._file_bytes = file_bytes
        self._files = files

    def write(self, text: bytes) -> None:
        """Append to the newest file.

        Raises:
            OSError: it cannot be.
        """
        self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if self._path.stat().st_size + len(text) > self._file_bytes:
                self._turn()
        # Opened each time, so that who moves it away, or removes it, gets a new one.
        with open(self._path, "ab", opener=lambda path, flags: os.open(path, flags, 0o640)) as file:
            file.write(text)

    def _turn(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{number}") for number in range(1, self._files))]
        names[-1].unlink(missing_ok=True)
        for older, newer in itertools.pairwise(reversed(names)):
            with suppress(FileNotFoundError):
                newer.rename(older)


class Teller:
    """Makes lines of packets: finds out whose they are."""

    def __init__(self, wanted: Callable[[], Iterable[HostObject]], name_of: Callable[[int], str]) -> None:
        self._wanted = wanted
        self._name_of = name_of
        self._vifs: dict[str, Vif] = {}

    def lines(self, packets: Iterable[Packet], moment: datetime) -> Iterator[bytes]:
        """Yield a line for each packet whose port and log are wanted; what has just gone is nobody's any more."""
        is_fresh = False
        for packet in packets:
            verdict, _, rest = packet.prefix.partition(" ")
            direction, _, log_id = rest.partition(" ")
            name = self._name_of(packet.leaves_by if direction == "ingress" else packet.came_by)
            told = self._line(name, verdict, direction, log_id, packet, moment)
            if told is None and not is_fresh:
                self._vifs = {owner.port_link(item.port_id): item for item in self._wanted() if isinstance(item, Vif)}
                is_fresh = True
                told = self._line(name, verdict, direction, log_id, packet, moment)
            if told is not None:
                yield msgspec.json.encode(told) + b"\n"

    def _line(
        self, name: str, verdict: str, direction: str, log_id: str, packet: Packet, moment: datetime
    ) -> dict[str, Any] | None:
        vif = self._vifs.get(name)
        logs = vif.guard.logs if vif is not None and vif.guard is not None else ()
        found = next((item for item in logs if item.log_id == log_id), None)
        if vif is None or found is None:
            return None
        return {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log_id": log_id,
            "project_id": found.project_id,
            "port_id": vif.port_id,
            "action": verdict,
            "direction": direction,
            **_shown(packet),
        }


def _shown(packet: Packet) -> dict[str, Any]:
    """Return what a line says of a packet itself; what it has not is not in it."""
    names = ("icmp_type", "icmp_code") if packet.protocol in (ICMP, ICMPV6) else ("source_port", "destination_port")
    number = packet.protocol
    shown: dict[str, Any] = {
        "source": packet.source or None,
        "destination": packet.destination or None,
        "protocol": None if number is None else _PROTOCOLS.get(number, str(number)),
        names[0]: packet.low,
        names[1]: packet.high,
        "length": packet.length or None,
    }
    return {name: value for name, value in shown.items() if value is not None}


class PacketLog:
    """The thread that writes down what the kernel tells in the namespace `netns`, a descriptor.

    Args:
        wanted: returns the host's wanted objects; called from the thread.
    """

    def __init__(self, netns: int, pages: Pages, wanted: Callable[[], Iterable[HostObject]]) -> None:
        self._netns = netns
        self._pages = pages
        self._teller = Teller(wanted, _name_of)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="packet log", daemon=True)
        self._trouble = ""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with what was told so far written down."""
        os.eventfd_write(self._stop, 1)
        self._thread.join()
        os.close(self._stop)

    def _run(self) -> None:
        kernel.enter(self._netns)
        while not self._is_over(0):
            try:
                with nflog.listen(NFLOG_GROUP) as listener:
                    self._follow(listener)
            except OSError as error:
                self._warn(f"no packets are written down: {error}")
                if self._is_over(AGAIN_S):
                    return

    def _follow(self, listener: netlink.Socket) -> None:
        poll = select.poll()
        for source in (listener.fileno(), self._stop):
            poll.register(source, select.POLLIN)
        while not self._is_over(0):
            poll.poll()
            self._take(listener)

    def _is_over(self, wait_s: float) -> bool:
        """Return whether it is to end, which is waited for at most so long."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        return bool(poll.poll(wait_s * 1000))

    def _take(self, listener: netlink.Socket) -> None:
        """Write down what has been told; a full disk costs lines, never the rest of the agent."""
        lines = self._teller.lines(nflog.packets(listener), datetime.now(UTC))
        while text := b"".join(itertools.islice(lines, AT_ONCE)):
            try:
                self._pages.write(text)
            except OSError as error:
                self._warn(f"packets that were to be written down are lost: {error}")
            else:
                self._trouble = ""

    def _warn(self, trouble: str) -> None:
        """Say once what is wrong, however often it is."""
        if trouble != self._trouble:
            log.warning(trouble)
        self._trouble = trouble


def _name_of(link: int) -> str:
    """Return the name of a link of the calling thread's namespace; "" if it has gone."""
    try:
        return socket.if_indextoname(link)
    except OSError:
        return ""
