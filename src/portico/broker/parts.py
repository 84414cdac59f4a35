# SPDX-License-Identifier: Apache-2.0
"""Everything that is wanted, and the part of each backend in it. Pure.

A backend's part is its own networks with their subnets and ports, and all that is on no network, such as groups of both
kinds with their rules. Together the parts are the whole but for networks whose backend is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from portico.model.snapshot import RESOURCES, Network, Port, Snapshot, Subnet, Value

# A resource and an object's id.
Key = tuple[str, str]


class Parts:
    """Divides what is wanted among `backends`, by name."""

    def __init__(self, backends: Collection[str]) -> None:
        self.want = Snapshot()
        self._backends = tuple(backends)

    def load(self, want: Snapshot) -> dict[str, dict[Key, Value]]:
        """Replace everything by `want`, and return each backend's part."""
        self.want = want
        parts: dict[str, dict[Key, Value]] = {name: {} for name in self._backends}
        for resource in RESOURCES:
            for object_id, value in want.objects(resource).items():
                for name in self.concerned(value):
                    parts[name][resource, object_id] = value
        return parts

    def change(self, rows: Mapping[Key, Mapping[str, Any] | None]) -> dict[str, dict[Key, Value | None]]:
        """Take over rows (None: the object is gone), and return what that changes in which backend's part.

        An object that changes its backend is gone for the one and new for the other.
        """
        keys = {*rows, *(key for row_key, row in rows.items() for key in self._moved(row_key, row))}
        before = {key: self._holders(key) for key in keys}
        for resource in RESOURCES:
            for (kind, object_id), row in rows.items():
                if kind == resource and row is not None:
                    self.want.put(kind, row)
                elif kind == resource:
                    self.want.remove(kind, object_id)
        parts: dict[str, dict[Key, Value | None]] = {}
        for key in keys:
            after = self._holders(key)
            for name in {*before[key], *after}:
                parts.setdefault(name, {})[key] = _find(self.want, key) if name in after else None
        return parts

    def concerned(self, value: Value | None) -> tuple[str, ...]:
        """Return the backends whose part an object belongs to."""
        match value:
            case None:
                return ()
            case Network():
                network: Network | None = value
            case Subnet() | Port():
                network = self.want.networks.get(value.network_id)
            case _:
                return self._backends
        return (network.backend,) if network is not None and network.backend in self._backends else ()

    def _holders(self, key: Key) -> tuple[str, ...]:
        return self.concerned(_find(self.want, key))

    def _moved(self, key: Key, row: Mapping[str, Any] | None) -> Iterator[Key]:
        """Yield what is on a network whose backend changes."""
        network = self.want.networks.get(key[1]) if key[0] == "network" else None
        if network is not None and row is not None and (row["portico:backend"] or "") != network.backend:
            yield from (("subnet", item) for item in self.want.subnets_of_network.get(network.id, ()))
            yield from (("port", item) for item in self.want.ports_of_network.get(network.id, ()))


def _find(want: Snapshot, key: Key) -> Value | None:
    return want.objects(key[0]).get(key[1])
