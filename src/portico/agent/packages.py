# SPDX-License-Identifier: Apache-2.0
"""Drivers of other packages: what the entry point group `portico.drivers` names, kept from harming ours.

An entry point's name is what objects of kind "custom" are `of`; its value is called without arguments in the thread,
and so in the namespace, that the driver works in. What it raises is the trouble of its own objects alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Any

from portico.agent.delta import Delta, Driver, Forgotten, Trouble, Wanted
from portico.hoststate import Custom
from portico.model.packages import is_mentioned

log = logging.getLogger(__name__)

GROUP = "portico.drivers"


def drivers() -> list[Driver]:
    """Return the driver of each installed package, in the order of names, and what tells of objects without one."""
    found: dict[str, Driver] = {}
    if is_mentioned(GROUP):
        from importlib.metadata import entry_points

        for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
            found[entry.name] = PackageDriver(entry.name, entry.load)
    return [*found.values(), Missing(found)]


class PackageDriver:
    """A package's driver, asked for nothing but its own objects; see `Driver`."""

    def __init__(self, name: str, load: Callable[[], Callable[[], Driver]]) -> None:
        self._name = name
        self._load = load
        self._driver: Driver | None = None
        # Why it could not be asked the last time: until it can, nothing of its own is planned.
        self._trouble = ""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See `Driver`."""
        own = {key for key in keys if _is_of(wanted, key, self._name)}
        if not own:
            return {}, {}
        if self._driver is not None and not self._trouble:
            try:
                return self._driver.plan(wanted, own)
            except Exception as error:  # noqa: BLE001 (a stranger's code: whatever it raises is about its own objects)
                self._trouble = self._failed(error)
        return {}, dict.fromkeys(own, Trouble(self._trouble))

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See `Driver`."""
        own = None if keys is None else [key for key in keys if key.startswith(f"{self._name}/")]
        if own == []:
            return {}
        try:
            if self._driver is None:
                self._driver = self._load()()
            found = self._driver.read(own)
        except Forgotten:
            raise
        except Exception as error:  # noqa: BLE001 (a stranger's code: whatever it raises is about its own objects)
            self._trouble = self._failed(error)
            return {}
        self._trouble = ""
        return {key: item for key, item in found.items() if key.startswith(f"{self._name}/")}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See `Driver`."""
        if self._driver is None:
            return {}
        try:
            return self._driver.apply(delta)
        except Exception as error:  # noqa: BLE001 (a stranger's code: whatever it raises is about its own objects)
            return dict.fromkeys([*delta.put, *delta.gone], Trouble(self._failed(error)))

    def _failed(self, error: Exception) -> str:
        log.warning("driver %s has failed", self._name, exc_info=error)
        return f"driver {self._name}: {error or type(error).__name__}"


class Missing:
    """Tells of objects that no installed package has a driver for; see `Driver`."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See `Driver`."""
        found = {key: item for key in keys if isinstance(item := wanted.objects.get(key), Custom)}
        text = "this host has no driver of that name: install the package that brings it, and start the agent again"
        return {}, {key: Trouble(f"{item.of}: {text}") for key, item in found.items() if item.of not in self._known}

    def read(self, _keys: Collection[str] | None) -> dict[str, Any]:
        """See `Driver`."""
        return {}

    def apply(self, _delta: Delta) -> dict[str, Trouble]:
        """See `Driver`."""
        return {}


def _is_of(wanted: Wanted, key: str, name: str) -> bool:
    item = wanted.objects.get(key)
    return isinstance(item, Custom) and item.of == name
