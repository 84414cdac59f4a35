# SPDX-License-Identifier: Apache-2.0
"""What a backend is tested on: the seam between the conformance suite and a kernel, or what stands for one."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Protocol

from portico.contract import Backend, ObjectStatus
from portico.testing.faults import Faults
from portico.trace.packet import Packet


class Medium(Protocol):
    """Where a backend's networks come to be, seen from behind the backend's back.

    A medium outlives the backend instances that work on it, as a kernel outlives a process. Its `faults` are asked
    before each write; the subject holds the id of the network or port that the write is about, where there is one.
    """

    faults: Faults

    def make(self) -> Backend:
        """Return a new instance without memory; the one before, and its agents, are as good as killed."""

    def settle(self) -> Mapping[str, ObjectStatus]:
        """Let what works behind `sync` (agents, daemons) come to rest; return the statuses it gave, by port id."""

    def peek(self) -> Mapping[str, object]:
        """Return what is really there, comparable: equal networks give equal mappings, whatever their history."""

    def delivers(self, packet: Packet) -> bool:
        """Return whether what is there delivers `packet`."""

    def plant(self) -> Set[str]:
        """Put objects that are not the backend's beside its own; return their keys in `peek`."""

    def corrupt(self, number: int) -> None:
        """Change or remove something of the backend's behind its back; `number` chooses what."""
