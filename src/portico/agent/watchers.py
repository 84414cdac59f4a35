# SPDX-License-Identifier: Apache-2.0
"""What watches routers' next hops has of the machine: a BIRD in each such router's namespace.

A router goes by as much of its id as its namespace's name has (`owner.short`).
"""

from __future__ import annotations

import select
from pathlib import Path

from portico.agent import kernel, owner
from portico.agent.learnt import LearntElsewhere
from portico.agent.speaker import Bird

FOLDER = "bfd"


class Watchers:
    """Those of the agent whose namespace is called `netns`."""

    def __init__(self, netns: str, *, run_dir: Path) -> None:
        self._prefix = owner.router_netns_prefix(netns)
        self._run_dir = run_dir
        self._birds: dict[str, Bird] = {}
        self._ends = select.epoll()

    def known(self) -> set[str]:
        """Return the routers whose BIRD there is anything of."""
        folder = self._run_dir / FOLDER
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)}

    def files(self, short: str) -> Path:
        """Return the folder of a router's BIRD."""
        return self._run_dir / FOLDER / f"{self._prefix}{short}"

    def of(self, short: str) -> Bird:
        """Return a router's BIRD, there or not."""
        if short not in self._birds:
            netns = kernel.NETNS_FOLDER / f"{self._prefix}{short}"
            found = Bird(self.files(short), netns, run_dir=self._run_dir, learnt=LearntElsewhere(netns))
            self._birds[short] = found
            self._ends.register(found.fileno(), select.EPOLLIN)
        return self._birds[short]

    def remove(self, short: str) -> None:
        """Remove what a router's BIRD, which has ended, leaves."""
        found = self.of(short)
        found.remove()
        self._ends.unregister(found.fileno())
        self._birds.pop(short).close()

    def fileno(self) -> int:
        """Return a descriptor that is readable when a BIRD has ended."""
        return self._ends.fileno()

    def ended(self) -> list[str]:
        """Return the routers whose BIRD has ended since the last call."""
        if not self._ends.poll(0):
            return []
        return [short for short, found in self._birds.items() if found.has_ended()]
