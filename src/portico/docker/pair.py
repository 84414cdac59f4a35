# SPDX-License-Identifier: Apache-2.0
"""Which IPv4 address an IPv6 address belongs to.

For a container on a network of both address families the engine asks for an IPv4 address and, when it has the answer,
for an IPv6 address (moby, libnetwork/endpoint.go, assignAddress), and says neither time for whom. Both are to be on one
port from the beginning, because the API cannot move an address from port to port. So whoever asks for an IPv4 address
waits until the one before has its IPv6 address, and an IPv6 address belongs to the only IPv4 address without one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

import msgspec

from portico.docker.api import Object, seconds_left

# How long others wait; the engine takes some ms between its two calls.
PAIR_WITHIN_S = 0.5


class Half(msgspec.Struct, eq=False):
    """An IPv4 address, empty until it is given, whose IPv6 address is still to be asked for.

    `port` was reserved for it; None if a port that nothing uses has it (`portico.port` may name that one).
    """

    begun_s: float
    address: str = ""
    port: Object | None = None


class Pairs:
    """The halves of each Docker network of both address families. Thread-safe."""

    def __init__(self, within_s: float = PAIR_WITHIN_S) -> None:
        self._within_s = within_s
        self._changed = threading.Condition()
        self._halves: dict[str, list[Half]] = {}

    def begin(self, docker_id: str) -> Half:
        """Wait, though not for ever, until the half before has become a pair, and begin a new one."""
        end_s = time.monotonic() + min(self._within_s, seconds_left())
        with self._changed:
            while halves := self._halves.get(docker_id):
                now = time.monotonic()
                # A half that is older was left by a call that broke off.
                left_s = min(end_s, halves[-1].begun_s + self._within_s) - now
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            half = Half(time.monotonic())
            self._halves.setdefault(docker_id, []).append(half)
        return half

    def take(self, docker_id: str) -> Half | None:
        """Return the half that the next IPv6 address belongs to; None when there is none or it cannot be told."""
        with self._changed:
            halves = self._halves.get(docker_id, [])
            if len(halves) != 1 or halves[0].port is None:
                return None
            del self._halves[docker_id]
            self._changed.notify_all()
            return halves[0]

    def end(self, docker_id: str, addresses: Collection[str]) -> None:
        """Forget the halves with these addresses: their IPv6 address is not asked for any more."""
        self._keep(docker_id, lambda half: half.address not in addresses)

    def give_up(self, docker_id: str, half: Half) -> None:
        """Forget a half that came to nothing."""
        self._keep(docker_id, lambda other: other is not half)

    def _keep(self, docker_id: str, stays: Callable[[Half], bool]) -> None:
        with self._changed:
            left = [half for half in self._halves.pop(docker_id, []) if stays(half)]
            if left:
                self._halves[docker_id] = left
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget all."""
        with self._changed:
            self._halves.clear()
            self._changed.notify_all()
