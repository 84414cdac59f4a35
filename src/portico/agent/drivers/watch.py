# SPDX-License-Identifier: Apache-2.0
"""Next hops that are watched: a BIRD in the namespace of each router that has such. It outlives the agent.

It keeps the routes itself, so that they change without the agent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from portico.agent import bird, owner, watch
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.watchers import Watchers
from portico.hoststate import Router


@dataclass(frozen=True, slots=True)
class WatchItem:
    """What watches for a router, as wanted or found; `digest` stands for its configuration."""

    router_id: str
    digest: str
    running: bool = True
    config: str = field(default="", repr=False, compare=False)


class WatchDriver:
    """Keys `router/...` of routers whose next hops are watched. Comes after what makes their namespaces."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self._keys: dict[str, str] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when a BIRD has ended."""
        return self._watchers.fileno()

    def ended(self) -> list[str]:
        """Return the keys of routers whose BIRD has ended since the last call."""
        return [self._keys[short] for short in self._watchers.ended()]

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items: dict[str, Any] = {}
        troubles = {}
        for key in keys:
            router = wanted.objects.get(key)
            if not isinstance(router, Router) or not router.watched:
                continue
            names = {leg.port_id: owner.leg_link(leg.port_id) for leg in router.legs}
            files = self._watchers.files(owner.short(router.router_id))
            try:
                text = watch.config(router, names, str(files))
            except ValueError as error:
                troubles[key] = Trouble(f"watch of next hops: {error}")
                continue
            items[key] = WatchItem(router.router_id, bird.digest(text), config=text)
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and not any(key.startswith("router/") for key in keys):
            return {}
        known = self._watchers.known()
        if keys is not None:
            known &= {owner.short(key.partition("/")[2]) for key in keys if key.startswith("router/")}
        found = {}
        for short in sorted(known):
            one = self._watchers.of(short)
            running = one.pid() is not None
            text = one.config() if running else ""
            router_id = watch.router_of(text) or self._keys.get(short, "").partition("/")[2] or short
            key = self._keys[short] = f"router/{router_id}"
            found[key] = WatchItem(router_id, bird.digest(text), running=running)
        return {key: item for key, item in found.items() if keys is None or key in keys}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in [*delta.gone, *delta.put]:
            try:
                if item := delta.put.get(key):
                    self._put(key, item)
                else:
                    self._remove(delta.before[key])
            except OSError as error:
                troubles[key] = Trouble(f"watch of next hops: {error.strerror or error}")
        return troubles

    def _put(self, key: str, item: WatchItem) -> None:
        short = owner.short(item.router_id)
        self._keys[short] = key
        one = self._watchers.of(short)
        one.put(item.config)
        one.pid()  # from now on its end is heard of

    def _remove(self, item: WatchItem) -> None:
        short = owner.short(item.router_id)
        self._watchers.of(short).end()
        self._watchers.remove(short)
