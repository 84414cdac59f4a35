# SPDX-License-Identifier: Apache-2.0
"""The control groups of a lab: the one thing a container engine leaves that no namespace takes with it.

Everything a lab starts with control groups is put below a directory that carries the lab's name. Source: cgroups(7).
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Container, Iterator
from pathlib import Path

PREFIX = "portico-lab-"
_ROOT = Path("/sys/fs/cgroup")


def of_lab(name: str) -> list[Path]:
    """Return the directories of the lab `name`: one in each hierarchy that has any (cgroup v1), or one (v2)."""
    return [path for path in _candidates() if path.name == name]


def remove(name: str, timeout_s: float = 2.0) -> list[Path]:
    """Remove the directories of the lab `name`, waiting for its last processes to be gone; return what is left."""
    until = time.monotonic() + timeout_s
    while True:
        for top in of_lab(name):
            _remove_tree(top)
        left = of_lab(name)
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.02)


def sweep(running: Container[str]) -> None:
    """Remove the directories of labs that are not `running`: they ended without having cleaned up."""
    for path in _candidates():
        if path.name not in running:
            _remove_tree(path)


def _candidates() -> Iterator[Path]:
    yield from _ROOT.glob(f"{PREFIX}*")
    yield from _ROOT.glob(f"*/{PREFIX}*")


def _remove_tree(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):  # gone already, or a process in it has not finished exiting
            Path(directory).rmdir()
