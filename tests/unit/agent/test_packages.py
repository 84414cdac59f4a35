# SPDX-License-Identifier: Apache-2.0
"""Drivers of other packages in the agent's loop: what they make, and that they harm nobody else."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from portico.agent.delta import Delta, Driver, Trouble, Wanted
from portico.agent.loop import Loop
from portico.agent.packages import Missing, PackageDriver
from portico.hoststate import Bridge, Custom, Status, Update

ONE = Custom("echo", "1", {"word": "a"}, needs=("bridge/n",))
ALIEN = Custom("alien", "1")


class Echo:
    """Makes words in a dictionary; fails where it is told to."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {"echo/left": "over"}
        self.fails = ""
        self.planned: list[Collection[str]] = []

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        self._may("plan")
        self.planned.append(keys)
        found = {key: item.data["word"] for key in keys if isinstance(item := wanted.objects[key], Custom)}
        return found, {}

    def read(self, _keys: Collection[str] | None) -> dict[str, Any]:
        self._may("read")
        return {**self.there, "vif/not-its-own": "x"}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        self._may("apply")
        self.there |= delta.put
        for key in delta.gone:
            del self.there[key]
        return {}

    def _may(self, verb: str) -> None:
        if self.fails == verb:
            raise ValueError(f"no {verb}")


class Nets:
    """Makes nothing of every bridge."""

    def plan(self, _wanted: Wanted, _keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        return {}, {}

    def read(self, _keys: Collection[str] | None) -> dict[str, Any]:
        return {}

    def apply(self, _delta: Delta) -> dict[str, Trouble]:
        return {}


class Site:
    def __init__(self, echo: Echo) -> None:
        self.now_s = 0.0
        self.statuses: dict[str, Status] = {}
        package = PackageDriver("echo", lambda: lambda: echo)
        drivers: list[Driver] = [Nets(), package, Missing({"echo"})]
        self.loop = Loop(drivers, clock=lambda: self.now_s, report=self._take)

    def _take(self, _revision: int, statuses: Collection[Status]) -> None:
        self.statuses |= {item.key: item for item in statuses}

    def want(self, *objects: Any, complete: bool = False) -> None:
        self.loop.accept(Update(1, objects, complete=complete))
        self.loop.step()


def test_a_package_s_objects_come_and_its_leftovers_go() -> None:
    echo = Echo()
    site = Site(echo)
    site.want(Bridge("n", 1500), ONE, ALIEN, complete=True)
    assert echo.there == {"echo/1": "a"}
    assert {key: item.state for key, item in site.statuses.items()} == {
        "bridge/n": "active", "echo/1": "active", "echo/left": "gone", "alien/1": "error",
    }  # fmt: skip
    assert "no driver" in site.statuses["alien/1"].reason


def test_what_needs_another_object_is_looked_at_with_it() -> None:
    echo = Echo()
    site = Site(echo)
    site.want(Bridge("n", 1500), Bridge("m", 1500), ONE, complete=True)
    echo.there.clear()
    site.want(Bridge("m", 1400))
    assert echo.there == {}
    site.want(Bridge("n", 1400))
    assert echo.there == {"echo/1": "a"}
    echo.there.clear()
    site.loop.suspect(["bridge/n"])
    site.loop.step()
    assert echo.there == {"echo/1": "a"}


@pytest.mark.parametrize("verb", ["plan", "read", "apply"])
def test_what_a_driver_raises_is_the_trouble_of_its_own_objects(verb: str) -> None:
    echo = Echo()
    site = Site(echo)
    echo.fails = verb
    site.want(Bridge("n", 1500), ONE, complete=True)
    assert site.statuses["bridge/n"].state == "active"
    assert (site.statuses["echo/1"].state, site.statuses["echo/1"].reason) == ("error", f"driver echo: no {verb}")
    echo.fails = ""
    site.now_s += 1.0
    site.loop.step()
    assert site.statuses["echo/1"].state == "active"


def test_a_driver_that_cannot_be_loaded_is_told() -> None:
    def load() -> Any:
        raise ImportError("no module")

    wanted = Wanted()
    wanted.change([ONE], ())
    driver = PackageDriver("echo", load)
    assert driver.read(None) == {}
    assert driver.plan(wanted, ["echo/1"]) == ({}, {"echo/1": Trouble("driver echo: no module")})
