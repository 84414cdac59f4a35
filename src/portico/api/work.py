# SPDX-License-Identifier: Apache-2.0
"""Where what blocks runs: the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio
from anyio import to_thread

from portico.store.store import Store
from portico.telemetry.profile import Profiler

P = ParamSpec("P")
T = TypeVar("T")


class Workers:
    """Runs database work beside the event loop, or in it where that is quicker.

    Threads come in two bounded lots, so that writers waiting for their turn never keep readers from theirs; writes are
    serialised by the global revision anyway. Handing one object's work to a thread and back costs as much as the
    work itself on an embedded database, and far more on a busy machine: there it runs in the event loop.
    """

    def __init__(self, store: Store, readers: int = 4, writers: int = 1) -> None:
        self.profiler: Profiler | None = None
        self._store = store
        self._readers = anyio.CapacityLimiter(readers)
        self._writers = anyio.CapacityLimiter(writers)

    def _run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self.profiler is not None:
            return self.profiler.run(lambda: function(*args, **kwargs))
        return function(*args, **kwargs)

    async def read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what reads any number of objects."""
        return await to_thread.run_sync(lambda: self._run(function, *args, **kwargs), limiter=self._readers)

    async def write(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what writes any number of objects."""
        return await to_thread.run_sync(lambda: self._run(function, *args, **kwargs), limiter=self._writers)

    async def read_one(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what reads one object."""
        if self._store.is_embedded:
            return self._run(function, *args, **kwargs)
        return await self.read(function, *args, **kwargs)

    async def write_one(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run what writes one object; behind others if a thread is writing."""
        if self._store.is_embedded and self._writers.borrowed_tokens == 0 and not self._store.is_writing:
            return self._run(function, *args, **kwargs)
        return await self.write(function, *args, **kwargs)
