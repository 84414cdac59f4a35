# SPDX-License-Identifier: Apache-2.0
"""What a lab host ran, and what runs there."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

# Time limits are for a machine that executes instructions itself; where it is emulated they are this many times longer.
PATIENCE = float(os.environ.get("PORTICO_LAB_PATIENCE", "1"))


@dataclass(frozen=True, slots=True)
class Result:
    """A command that ended: its exit code, what it wrote, and how long it took."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the exit code is 0."""
        return self.code == 0


class CommandFailed(AssertionError):
    """A command in a lab ended with another exit code than 0, or not in time; the message holds what it wrote."""

    def __init__(self, where: str, result: Result, why: str = "") -> None:
        reason = why or f"exit code {result.code}"
        text = f"{result.out.rstrip()}\n{result.err.rstrip()}".strip()
        super().__init__(f"{where}: {shlex.join(result.argv)}: {reason}\n{text}")
        self.result = result


class NotReady(AssertionError):
    """Something in a lab was not ready in time; the message says what was awaited and what was seen instead."""


def wait_until(what: str, ready: Callable[[], bool], timeout_s: float, seen: Callable[[], str] = str) -> None:
    """Poll `ready` until it is true, backing off from 5 to 100 ms.

    Raises:
        NotReady: after `timeout_s`; names `what` and appends what `seen` returns (such as the end of a log).
    """
    until = time.monotonic() + timeout_s * PATIENCE
    pause_s = 0.005
    while not ready():
        if time.monotonic() > until:
            raise NotReady(f"{what}: not within {timeout_s:g} s\n{seen()}".rstrip())
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)


class Process:
    """A process that runs on a lab host. Its standard output and error go to the file `log`."""

    def __init__(self, argv: Sequence[str], popen: subprocess.Popen[bytes], log: Path) -> None:
        self.argv = tuple(argv)
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        """The process id as the lab's maker sees it."""
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._popen.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs."""
        return self._popen.poll()

    @property
    def output(self) -> str:
        """What the process has written so far; while it runs whole lines only: half of one may say another thing."""
        alive = self.alive  # asked first: what a process that has ended wrote is complete
        written = self._written()
        return written if not alive else written[: written.rfind("\n") + 1]

    def tail(self, lines: int = 20) -> str:
        """Return the last lines that the process has written, for a message."""
        return "\n".join(self._written().splitlines()[-lines:])

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if the process has ended."""
        self._popen.send_signal(number)

    def wait(self, timeout_s: float) -> int:
        """Wait for the end and return the exit code; raises `subprocess.TimeoutExpired`."""
        return self._popen.wait(timeout_s * PATIENCE)

    def stop(self, timeout_s: float = 10.0) -> int:
        """End the process with SIGTERM, or with SIGKILL when it takes longer than `timeout_s`; return the exit code."""
        self._popen.terminate()
        try:
            return self._popen.wait(timeout_s * PATIENCE)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End the process with SIGKILL and return the exit code."""
        self._popen.kill()
        return self._popen.wait()

    def wait_for_text(self, text: str, timeout_s: float) -> None:
        """Wait until a line of the log contains `text`.

        Raises:
            NotReady: it did not in time, or the process ended without it; the message holds the end of the log.
        """
        wait_until(f"{self.argv[0]}: {text!r} in its log", lambda: self._wrote(text), timeout_s, self.tail)

    def _wrote(self, text: str) -> bool:
        alive = self.alive  # asked first: what a process that has ended wrote is complete
        if text in self.output:
            return True
        if not alive:
            raise NotReady(f"{self.argv[0]}: ended with exit code {self.code}\n{self.tail()}")
        return False

    def _written(self) -> str:
        return self.log.read_text(errors="replace")
