# SPDX-License-Identifier: Apache-2.0
"""A process of somebody else's program that outlives the agent: found again, watched, ended."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

END_MAX_S = 2.0
_SBIN = "/usr/sbin:/sbin"


class Daemon:
    """A process, held by a descriptor, so that its number cannot come to mean another process.

    Who only looks may drop it: the descriptor goes with it.
    """

    _pidfd = -1

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def find(cls, pid_file: Path, netns: Path) -> Self | None:
        """Return the process whose number is in `pid_file`, if it runs in the namespace `netns`."""
        try:
            found = cls(int(pid_file.read_text()))
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            if Path(f"/proc/{found.pid}/ns/net").stat().st_ino == netns.stat().st_ino:
                return found
        found.close()
        return None

    @classmethod
    def all(cls, is_wanted: Callable[[Self], bool]) -> list[Self]:
        """Return every process that is wanted."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                process = cls(int(entry.name))
                if is_wanted(process):  # asked after the process is held, so that it is of the one that is ended
                    found.append(process)
                else:
                    process.close()
        return found

    def arguments(self) -> list[str]:
        """Return its command line, the program first; empty once it has ended."""
        try:
            text = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode(errors="surrogateescape")
        except OSError:
            return []
        return text.split("\0")

    def sees(self, folder: Path) -> bool:
        """Tell whether `folder` is the same one to it: another mount namespace may have another of that name."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/root{folder}").samefile(folder)
        return False

    def send(self, number: int) -> None:
        """Send a signal, which one that has ended does not get."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def end(self) -> None:
        """End the process and wait for that."""
        for number, wait_s in ((signal.SIGTERM, END_MAX_S), (signal.SIGKILL, END_MAX_S)):
            self.send(number)
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if poll.poll(wait_s * 1000):
                break
        self.close()

    def fileno(self) -> int:
        """Return the descriptor; readable when the process has ended."""
        return self._pidfd

    def close(self) -> None:
        """Let go of the process; no error if that was done already."""
        held, self._pidfd = self._pidfd, -1
        if held >= 0:
            os.close(held)

    def __del__(self) -> None:
        self.close()


def program(name: str) -> str | None:
    """Return where a program is, also one for the administrator alone; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


def is_open_to_all(folder: Path) -> bool:
    """Make `folder` unless it is there, and tell whether any user may look into it, and so gets to what is below."""
    folder.mkdir(parents=True, exist_ok=True)
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.resolve().parents))
