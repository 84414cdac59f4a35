# SPDX-License-Identifier: Apache-2.0
"""What need not be done before the engine gets its answer."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from portico.errors import PorticoError, Unavailable

LOG = logging.getLogger(__name__)


# How long to wait for an API that is away before it is asked again; after the last the sweep has to do it.
PAUSES_S = (0.1, 0.5, 1, 2, 5, 10, 30)


class Later:
    """Carries out one thing after another in a thread of its own; what fails is logged.

    A thing for which the API is away is done again, and those after it wait: it is away for them as well.
    """

    def __init__(self, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self._pauses_s = pauses_s
        self._things: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="later", daemon=True).start()

    def __call__(self, thing: Callable[[], None]) -> None:
        """Have a thing done soon."""
        self._things.put(thing)

    def flush(self, within_s: float) -> None:
        """Wait until everything that was given so far is done, but no longer than `within_s`."""
        done = threading.Event()
        self._things.put(done.set)
        if not done.wait(within_s):
            LOG.warning("something that was to be done later is left to the sweep")

    def _run(self) -> None:
        while True:
            thing = self._things.get()
            try:
                self._do(thing)
            except PorticoError as error:
                LOG.warning("later: %s", error.message)
            except Exception:
                LOG.exception("later")

    def _do(self, thing: Callable[[], None]) -> None:
        for pause_s in self._pauses_s:
            try:
                return thing()
            except Unavailable as error:
                LOG.info("later: %s; again in %g s", error.message, pause_s)
                time.sleep(pause_s)
        return thing()
