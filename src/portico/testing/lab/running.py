# SPDX-License-Identifier: Apache-2.0
"""Which labs run on this machine: read from the process table, which cannot be out of date."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from portico.testing.lab import cgroups

HOLDER = Path(__file__).with_name("holder.py")
NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid")  # of a lab host, as nsenter(1) calls them


def labs() -> dict[str, dict[str, int]]:
    """Return the running labs: the process id of each host's holder, by lab and host name."""
    found: dict[str, dict[str, int]] = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
            status = (directory / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(HOLDER) in words and _is_first(status):
            lab, host = words[words.index(str(HOLDER)) + 1 :][:2]
            found.setdefault(lab, {})[host] = int(directory.name)
    return found


def end(name: str) -> None:
    """End every host of the lab `name`, and remove its control groups."""
    for pid in labs().get(name, {}).values():
        os.kill(pid, signal.SIGKILL)
    cgroups.remove(name)


def _is_first(status: str) -> bool:
    """Whether a process is number 1 of a process namespace below ours: `NSpid` lists its number in each, ours first."""
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) == 2 and numbers[1] == "1"
    return False
