# SPDX-License-Identifier: Apache-2.0
"""A lab host with `portico up` on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from portico.testing.lab import Lab, LabHost, Process, wait_until

PORTICO = [sys.executable, "-m", "portico.cli"]


class Machine:
    """A host where commands are given."""

    def __init__(self, host: LabHost) -> None:
        self.host = host

    def portico(self, *words: str) -> tuple[int, str, str]:
        """Run a command: exit code, output, errors."""
        done = self.host.run([*PORTICO, *words], timeout_s=60, check=False)
        return done.code, done.out, done.err

    def json(self, *words: str) -> Any:
        code, out, err = self.portico(*words, "-f", "json")
        assert code == 0, err
        return json.loads(out)

    def up(self, *options: str) -> Process:
        """Start `portico up` and wait until it answers."""
        process = self.host.spawn([*PORTICO, "up", *options], log="up")
        wait_until("the API answers", lambda: self.portico("network", "list")[0] == 0, 30, process.tail)
        return process

    def processes(self) -> dict[int, str]:
        """Return the command lines of Portico's processes and of what they started, by id."""
        lines = self.host.run(["ps", "-ww", "-eo", "pid,args", "--no-headers"]).out.splitlines()
        rows = {int(line.split()[0]): line.strip().partition(" ")[2].strip() for line in lines}
        return {pid: args for pid, args in rows.items() if "portico.cli" in args or "dnsmasq" in args}


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Lab() as lab:
        yield Machine(lab.host("h1"))
