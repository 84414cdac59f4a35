# SPDX-License-Identifier: Apache-2.0
"""A machine whose BIRD a driver of the agent looks after."""

from __future__ import annotations

from collections.abc import Callable, Collection

from portico.agent.delta import Driver, Trouble, Wanted, difference
from portico.hoststate import HostObject
from portico.testing.fakebird import BirdMachine
from portico.testing.faults import Faults


class BirdHost:
    """A machine with a driver; `work` is one pass of it, `restart` gives a new one.

    Args:
        make: a driver of such a machine.
        keys: what is planned besides what is wanted.
    """

    def __init__(self, make: Callable[[BirdMachine], Driver], keys: Collection[str] = ()) -> None:
        self.machine = BirdMachine(Faults())
        self._make, self._keys = make, keys
        self._wanted = Wanted()
        self.restart()

    def restart(self) -> None:
        """Have a driver that knows nothing."""
        self._driver = self._make(self.machine)

    def work(self, *objects: HostObject) -> dict[str, Trouble]:
        """Want just these objects, and return the troubles."""
        self._wanted.change(objects, (), whole=True)
        items, troubles = self._driver.plan(self._wanted, {*self._wanted.objects, *self._keys})
        actual = self._driver.read(None)
        return {**troubles, **self._driver.apply(difference(items, actual, {*items, *actual} - troubles.keys()))}

    def running(self) -> str:
        """Return the configuration that the process has."""
        assert self.machine.process is not None
        return self.machine.process[1]
