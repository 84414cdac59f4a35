# SPDX-License-Identifier: Apache-2.0
"""The reference backend keeps the contract."""

from __future__ import annotations

from collections.abc import Mapping, Set

from portico.backends.memory import MemoryBackend
from portico.backends.memory.fabric import Endpoint, Fabric, Frame, Piece, Segment
from portico.contract import Backend, ObjectStatus
from portico.errors import KernelError
from portico.testing.faults import Faults, Outcome
from portico.testing.medium import Medium
from portico.testing.router_suite import RouterSuite
from portico.trace.packet import Packet


class FabricMedium:
    """A fabric whose writes may fail."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.fabric = Fabric(self._gate)

    def make(self) -> Backend:
        return MemoryBackend(self.fabric)

    def settle(self) -> Mapping[str, ObjectStatus]:
        return {}

    def peek(self) -> Mapping[str, Piece]:
        return dict(self.fabric.pieces)

    def delivers(self, packet: Packet) -> bool:
        frame = Frame(packet.mac, packet.source, packet.destination, packet.protocol, packet.low, packet.high)
        return self.fabric.delivers(packet.sender, packet.receiver, frame)

    def plant(self) -> Set[str]:
        self.fabric.pieces["segment/foreign"] = Segment("somebody", 1500)
        self.fabric.pieces["endpoint/foreign"] = Endpoint("somebody", "foreign", "host-a", True, None, ())
        return {"segment/foreign", "endpoint/foreign"}

    def corrupt(self, number: int) -> None:
        pieces = self.fabric.pieces
        key = sorted(pieces)[number % len(pieces)]
        piece = pieces.pop(key)
        if number % 2 and isinstance(piece, Endpoint):
            pieces[key] = Endpoint(piece.owner, piece.network_id, piece.host, not piece.up, None, ())

    def _gate(self, key: str) -> bool:
        outcome = self.faults.write(key)
        if outcome is Outcome.REFUSED:
            raise KernelError(key, "write", "refused")
        return outcome is Outcome.DONE


class TestMemory(RouterSuite):
    def medium(self) -> Medium:
        return FabricMedium()
