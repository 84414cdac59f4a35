# SPDX-License-Identifier: Apache-2.0
"""Links that go without anyone waiting for them.

The kernel takes a link out of use at once, but holds whoever asked for it until nobody can be looking at the link any
more (`netdev_run_todo` in `net/core/dev.c`): some 20 ms for a veth pair, 50 ms for a bridge. Meanwhile ports that
people wait for could not be made.
"""

from __future__ import annotations

import logging
import queue
import threading

from portico.agent.links import Links

log = logging.getLogger(__name__)


class Removal:
    """Removes links in a thread of its own, which has `links` for itself.

    A link is named by its index, which the kernel gives to no other: one of the same name may be made meanwhile.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._doomed: set[int] = set()
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="removal", daemon=True)
        self._thread.start()

    def __contains__(self, index: int) -> bool:
        """Tell whether a link is on its way out."""
        return index in self._doomed

    def add(self, index: int) -> None:
        """Have a link removed soon. One that the kernel refuses to remove is only logged: it is there to be found."""
        if index not in self._doomed:
            self._doomed.add(index)
            self._queue.put(index)

    def finish(self, within_s: float) -> None:
        """Remove what was given so far and take no more."""
        self._queue.put(None)
        self._thread.join(within_s)

    def _run(self) -> None:
        while (index := self._queue.get()) is not None:
            try:
                self._links.remove_at(index)
            except OSError as error:
                log.warning("link with index %d cannot be removed: %s", index, error)
            self._doomed.discard(index)
