# SPDX-License-Identifier: Apache-2.0
"""Drivers in memory for tests of the agent's loop: they keep what they are given, and fail when told to.

`fakekernel` stands one floor lower, beneath the real drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from portico.agent.delta import Delta, Driver, Forgotten, Trouble, Wanted

LAYERS = {"bridge": ("bridge",), "pair": ("vif",), "filter": ("bridge", "vif", "group", "member"), "carrier": ("vif",)}
"""Each driver and the kinds of objects that it makes something for, in the agent's order."""


class Killed(BaseException):
    """The agent's process ends here: no `except` of the agent's may see it."""


@dataclass(slots=True)
class FakeDrivers:
    """What is there, by layer and key, and the calls that changed it, in order.

    `fail` is asked before each change, with layer, verb ("put" or "remove") and key; it may return a reason to
    refuse, or raise `Killed`. `forget` makes the next partial read of a layer raise `Forgotten`. `ignored` keys are
    taken and not kept.
    """

    state: dict[str, dict[str, Any]] = field(default_factory=lambda: {layer: {} for layer in LAYERS})
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    fail: Callable[[str, str, str], str | None] = lambda *_: None
    forget: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)

    def drivers(self) -> list[Driver]:
        """Return drivers as a newly started agent makes them."""
        return [_Layer(self, name) for name in LAYERS]

    def open_ports(self) -> Iterator[str]:
        """Yield the ports through which packets pass without rules: there must never be one."""
        yield from (key for key in self.state["carrier"] if key not in self.state["filter"])

    def show(self) -> str:
        """Return everything that is there, a line each."""
        return "\n".join(f"{layer} {key} {item}" for layer, items in self.state.items() for key, item in items.items())


class _Layer:
    def __init__(self, all_of: FakeDrivers, name: str) -> None:
        self._all = all_of
        self._name = name

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        mine = [key for key in keys if key in wanted.objects and key.partition("/")[0] in LAYERS[self._name]]
        return {key: wanted.objects[key] for key in mine}, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        if keys is not None and self._name in self._all.forget:
            self._all.forget.discard(self._name)
            raise Forgotten
        state = self._all.state[self._name]
        return dict(state) if keys is None else {key: state[key] for key in keys if key in state}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        troubles = {}
        for verb, keys in (("remove", delta.gone), ("put", delta.put)):
            for key in sorted(keys):
                reason = self._all.fail(self._name, verb, key)
                if reason is not None:
                    troubles[key] = Trouble(reason)
                    continue
                self._all.calls.append((self._name, verb, key))
                if verb == "remove":
                    self._all.state[self._name].pop(key, None)
                elif key not in self._all.ignored:
                    self._all.state[self._name][key] = delta.put[key]
        return troubles
