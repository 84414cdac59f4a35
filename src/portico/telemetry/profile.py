# SPDX-License-Identifier: Apache-2.0
"""Where the time of requests goes, for a developer to look at with `python -m pstats` or snakeviz."""

from __future__ import annotations

import cProfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from portico.telemetry.current import CURRENT

T = TypeVar("T")
# Of a server that somebody forgot.
MAX_FILES = 10_000


class Profiler:
    """Writes a profile of the work behind each request into a folder: rules, policy and database, not HTTP.

    One is profiled at a time, for an interpreter has one profiler; what comes meanwhile runs as always.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._written = 0
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def run(self, function: Callable[[], T]) -> T:
        """Return what `function` returns, and write what it did."""
        asking = CURRENT.get()
        if asking is None or self._written >= MAX_FILES or not self._lock.acquire(blocking=False):
            return function()
        try:
            profile = cProfile.Profile()
            begun = time.perf_counter()
            try:
                return profile.runcall(function)
            finally:
                took_ms = 1000 * (time.perf_counter() - begun)
                name = asking.route.strip("/").replace("/", "-") or "root"
                # A request may work several times.
                self._written += 1
                words = f"{took_ms:08.1f}ms-{asking.method}-{name}-{asking.request_id}-{self._written}.prof"
                profile.dump_stats(self._folder / words)
        finally:
            self._lock.release()
