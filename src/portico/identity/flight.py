# SPDX-License-Identifier: Apache-2.0
"""Questions that many have at once and that are asked once, in a few threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Runs what blocks in `threads` threads; who asks for a key that is asked for already gets the same answer.

    Args:
        name: of the threads.
        threads: how many questions are asked at once.
        longest: how many different questions should wait or be asked at most.
    """

    def __init__(self, name: str, threads: int, longest: int) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._longest = longest
        self._under_way: dict[bytes, asyncio.Future[T]] = {}

    def is_full(self, key: bytes) -> bool:
        """Tell whether one more question, which is not asked yet, would be too many."""
        return key not in self._under_way and len(self._under_way) >= self._longest

    async def once(self, key: bytes, ask: Callable[[], T], timeout_s: float) -> T:
        """Return what `ask` returns, or raise what it raises.

        Raises:
            TimeoutError: there is no answer after `timeout_s`.
        """
        future = self._under_way.get(key)
        if future is None:
            future = asyncio.get_running_loop().run_in_executor(self._threads, ask)
            self._under_way[key] = future
            future.add_done_callback(lambda done: self._land(key, done))
        # One who goes away must not take the answer from the others.
        return await asyncio.wait_for(asyncio.shield(future), timeout_s)

    def _land(self, key: bytes, done: asyncio.Future[T]) -> None:
        del self._under_way[key]
        if not done.cancelled():
            done.exception()  # asked for, so that asyncio does not complain when everybody has gone away
