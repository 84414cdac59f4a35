# SPDX-License-Identifier: Apache-2.0
"""What routers have counted: those that are there are asked, those that have gone left it here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping

from portico.agent import meter_rules, owner
from portico.agent.router_space import RouterSpaces
from portico.hoststate import Count, HostObject, Router


class Meters:
    """Counts of the agent called `netns` on their way to whoever reports them; for several threads."""

    def __init__(self, netns: str) -> None:
        self._netns = netns
        self._lock = threading.Lock()
        self._last: list[Count] = []

    def keep(self, router_id: str, found: Mapping[str, tuple[int, int]]) -> None:
        """Keep what a router has counted that is about to go."""
        with self._lock:
            self._last += meter_rules.counts(router_id, found)

    def take(self, wanted: Mapping[str, HostObject], home: int) -> tuple[Count, ...]:
        """Return what was kept, once, and what the routers that are wanted have counted; one being made has not.

        The calling thread goes into their namespaces, from its own, which has the descriptor `home`.
        """
        spaces, found = RouterSpaces(self._netns, home), list[Count]()
        for item in list(wanted.values()):
            if isinstance(item, Router) and item.meters:
                # One that goes meanwhile leaves what it has counted.
                with contextlib.suppress(OSError), spaces.inside(owner.short(item.router_id)) as space:
                    found += meter_rules.counts(item.router_id, space.counters()) if space else ()
        with self._lock:
            kept, self._last = self._last, []
        return (*kept, *found)
