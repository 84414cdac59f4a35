# SPDX-License-Identifier: Apache-2.0
"""Everything that is wanted, and the part of each backend in it. Pure.

A backend's part is its own networks with their subnets and ports, and all that is on no network, such as groups of both
kinds with their rules. Together the parts are the whole but for networks whose backend is not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from portico.model.snapshot import Network, Port, ServiceObject, Subnet, Value
from portico.model.values import read

# A resource and an object's id.
Key = tuple[str, str]
Row = Mapping[str, Any]


class Parts:
    """Divides what is wanted among `backends`, by name. Without the indexes that only who plans needs."""

    def __init__(self, backends: Collection[str], services: Mapping[str, str] | None = None) -> None:
        self._backends = tuple(backends)
        # The backend of each resource of another package.
        self._services = dict(services or {})
        self._of_services = tuple(dict.fromkeys(self._services.values()))
        self._values: dict[Key, Value] = {}
        self._networks: dict[str, Network] = {}

    def load(self, rows: Mapping[Key, Row]) -> dict[str, dict[Key, Value]]:
        """Replace everything by what `rows` describe, and return each backend's part."""
        self._values = {key: read(key[0], row) for key, row in rows.items()}
        self._networks = {item.id: item for item in self._values.values() if isinstance(item, Network)}
        parts: dict[str, dict[Key, Value]] = {name: {} for name in self._backends}
        for key, value in self._values.items():
            for name in self._concerned(value):
                parts[name][key] = value
        return parts

    def change(self, rows: Mapping[Key, Row | None]) -> dict[str, dict[Key, Value | None]]:
        """Take over rows (None: the object is gone), and return what that changes in which backend's part.

        An object that changes its backend is gone for the one and new for the other.
        """
        keys = {*rows, *self._moved(rows)}
        before = {key: self._concerned(self._values.get(key)) for key in keys}
        for key, row in rows.items():
            self._take(key, row)
        parts: dict[str, dict[Key, Value | None]] = {}
        for key in keys:
            value = self._values.get(key)
            after = self._concerned(value)
            for name in after:
                parts.setdefault(name, {})[key] = value
            for name in before[key]:
                if name not in after:
                    parts.setdefault(name, {})[key] = None
        return parts

    def value(self, key: Key) -> Value | None:
        """Return what is wanted of an object; None if it is not there."""
        return self._values.get(key)

    def elsewhere(self) -> set[str]:
        """Return the backends that networks name and that are none of those here."""
        return {network.backend for network in self._networks.values()}.difference(self._backends)

    def _take(self, key: Key, row: Row | None) -> None:
        if row is None:
            self._values.pop(key, None)
            self._networks.pop(key[1], None)
            return
        value = self._values[key] = read(key[0], row)
        if isinstance(value, Network):
            self._networks[value.id] = value

    def _concerned(self, value: Value | None) -> tuple[str, ...]:
        """Return the backends whose part an object belongs to."""
        match value:
            case None:
                return ()
            case Network():
                network: Network | None = value
            case Subnet() | Port():
                network = self._networks.get(value.network_id)
            case ServiceObject():
                return (self._services[value.resource],) if value.resource in self._services else ()
            case _:
                return self._backends
        if network is None or network.backend not in self._backends or network.backend in self._of_services:
            return self._of_services
        return (network.backend, *self._of_services)

    def _moved(self, rows: Mapping[Key, Row | None]) -> Iterator[Key]:
        """Yield what is on networks whose backend changes."""
        moved = {
            object_id
            for (resource, object_id), row in rows.items()
            if resource == "network" and row is not None and object_id in self._networks
            if self._networks[object_id].backend != (row["portico:backend"] or "")
        }
        if moved:
            for key, value in self._values.items():
                if isinstance(value, Subnet | Port) and value.network_id in moved:
                    yield key
