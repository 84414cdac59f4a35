# SPDX-License-Identifier: Apache-2.0
"""What hosts were given for BGP, and what of it changes: for all hosts at once, as each speaks with all. Pure.

May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from portico import planning
from portico.contract import Dirty
from portico.hoststate import HostObject
from portico.model.snapshot import Snapshot

Objects = Mapping[str, Mapping[str, HostObject]]
"""What hosts must have, by host and key."""


class Memory:
    """What hosts were given last of what `plan` wants, which changes only with an object of a `concerned` resource."""

    def __init__(self, plan: Callable[[Snapshot], Objects], concerned: frozenset[str]) -> None:
        self._plan = plan
        self._concerned = concerned
        self._given: Objects = {}

    def hosts(self) -> list[str]:
        """Return the hosts that were given anything."""
        return [*self._given]

    def objects(self, host: str) -> list[HostObject]:
        """Return what a host was given."""
        return [*self._given.get(host, {}).values()]

    def change(self, want: Snapshot, dirty: Dirty) -> dict[str, planning.ports.Part]:
        """Return what to give to which host now; it counts as given."""
        if not dirty.everything and self._concerned.isdisjoint(dirty.ids):
            return {}
        now = self._plan(want)
        parts = {}
        for name in sorted(now.keys() | self._given.keys()):
            before, after = self._given.get(name, {}), now.get(name, {})
            put = tuple(item for key, item in after.items() if before.get(key) != item)
            gone = tuple(key for key in before if key not in after)
            if put or gone:
                parts[name] = planning.ports.Part(put, gone)
        self._given = {name: objects for name, objects in now.items() if objects}
        return parts
