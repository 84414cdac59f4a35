# SPDX-License-Identifier: Apache-2.0
"""A BIRD that lives in memory and outlives the agent as a real one does; it fails when told to."""

from __future__ import annotations

import errno
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from portico.agent.netlink import NetlinkError
from portico.agent.speaker import Bird
from portico.testing.faults import Faults, Outcome


@dataclass(slots=True)
class BirdMachine:
    """What a machine has of a BIRD: two files, a process with the text that it has read, routes in the kernel.

    `is_there` False: the program is not installed. `refused` is a text in a configuration that BIRD does not take.
    `hangs`: the process answers nobody.
    """

    faults: Faults
    new: str = ""
    kept: str = ""
    process: tuple[int, str] | None = None
    learnt: bool = False
    is_there: bool = True
    refused: str = "nonsense"
    hangs: bool = False
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class FakeBird(Bird):
    """The BIRD of a `BirdMachine`."""

    def __init__(self, machine: BirdMachine) -> None:
        self.folder = Path("/run/bgp")
        self._machine = machine

    def is_known(self) -> bool:
        """See Bird."""
        return bool(self._machine.new or self._machine.kept)

    def pid(self) -> int | None:
        """See Bird."""
        return self._machine.process[0] if self._machine.process else None

    def config(self) -> str:
        """See Bird."""
        process = self._machine.process
        return process[1] if process and process[1] == self._machine.kept and not self._machine.hangs else ""

    def has_ended(self) -> bool:
        """See Bird; who ends it here tells the loop itself."""
        return False

    def check(self, config: str) -> None:
        """See Bird."""
        self._need_program()
        if self._write("check"):
            self._machine.new = config
        if self._machine.refused in config:
            raise OSError(errno.EINVAL, "syntax error")

    def adopt(self) -> None:
        """See Bird."""
        if self._write("adopt"):
            self._machine.kept, self._machine.new = self._machine.new, ""

    def has_config(self) -> bool:
        """See Bird."""
        return bool(self._machine.kept)

    def configure(self) -> None:
        """See Bird."""
        if self._machine.hangs:
            raise TimeoutError(errno.ETIMEDOUT, "no answer")
        if self._machine.process is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        if self._write("configure"):
            self._machine.process = (self._machine.process[0], self._machine.kept)

    def start(self) -> None:
        """See Bird."""
        self._need_program()
        if self._machine.process is not None:
            raise OSError(errno.EINVAL, "another BIRD runs")
        if self._write("start"):
            self._machine.process = (next(self._machine.numbers), self._machine.kept)
            self._machine.learnt, self._machine.hangs = True, False

    def end(self) -> None:
        """See Bird."""
        if self._machine.process is not None and self._write("end"):
            self._machine.process = None

    def remove(self) -> None:
        """See Bird."""
        if self._machine.learnt and self._write("remove routes"):
            self._machine.learnt = False
        if (self._machine.new or self._machine.kept) and self._write("remove files"):
            self._machine.new = self._machine.kept = ""

    def _need_program(self) -> None:
        if not self._machine.is_there:
            raise FileNotFoundError(errno.ENOENT, "BIRD is not installed (package bird2)")

    def _write(self, call: str) -> bool:
        outcome = self._machine.faults.write(f"bird {call}")
        if outcome is Outcome.REFUSED:
            raise NetlinkError(errno.EIO, f"{call} refused")
        return outcome is Outcome.DONE
