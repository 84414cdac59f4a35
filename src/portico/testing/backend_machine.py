# SPDX-License-Identifier: Apache-2.0
"""A Hypothesis state machine that changes a world and asks after each step who reaches whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import islice

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from portico.contract import Backend, Dirty
from portico.model.snapshot import Snapshot
from portico.testing import strategies
from portico.testing.faults import Crash
from portico.testing.medium import Medium
from portico.testing.probes import probes
from portico.testing.world import Edit, World
from portico.trace.packet import Packet
from portico.trace.way import verdict

PROBES = 40
ALL = Dirty(everything=True)
EDITS = st.lists(strategies.edits(), min_size=1, max_size=3)


class BackendMachine(RuleBasedStateMachine):
    """Creates, changes, deletes, rebinds, restarts, corrupts, and lets writes fail."""

    def __init__(self, medium: Medium, fit: Callable[[World], World]) -> None:
        super().__init__()
        self._fit = fit
        self._medium = medium
        self._backend: Backend = medium.make()
        self._world = World()
        self._want = Snapshot()
        self._steps = 0

    @initialize(world=strategies.worlds())
    def begin(self, world: World) -> None:
        """Start from a world with something in it."""
        self._world = self._fit(world)
        self._want = self._world.snapshot()
        self._sync(ALL)

    @rule(edits=EDITS)
    def edit(self, edits: list[Edit]) -> None:
        """Change something; the backend gets a hint."""
        self._sync(self._change(edits))

    @rule(edits=EDITS, number=st.integers(1, 8), deadly=st.booleans())
    def edit_with_fault(self, edits: list[Edit], number: int, deadly: bool) -> None:
        """Change something while a write fails or the process dies; one sync of the whole has to mend it."""
        dirty = self._change(edits)
        self._medium.faults.arm(number, deadly=deadly)
        try:
            self._sync(dirty)
        except Crash:
            self._backend = self._medium.make()
        self._medium.faults.disarm()
        self._sync(ALL)

    @rule(edits=st.lists(strategies.edits(), max_size=2))
    def restart(self, edits: list[Edit]) -> None:
        """A new instance finds a world that has changed meanwhile."""
        self._change(edits)
        self._backend = self._medium.make()
        self._sync(ALL)

    @precondition(lambda self: any(port.host for port in self._want.ports.values()))
    @rule(number=st.integers(0, 30))
    def corrupt(self, number: int) -> None:
        """A stranger changes something of ours."""
        self._medium.corrupt(number)
        self._sync(ALL)

    @invariant()
    def reachability_is_the_oracles(self) -> None:
        """Everybody reaches exactly those that the oracle says."""
        self._steps += 1
        assert disagreements(self._medium, self._want, turn=self._steps) == []

    def _change(self, edits: list[Edit]) -> Dirty:
        changed = self._world.apply(*edits)
        self._world.update(self._want, changed)
        return Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()})

    def _sync(self, dirty: Dirty) -> None:
        for _ in self._backend.sync(self._want, dirty):
            pass
        self._medium.settle()


def disagreements(medium: Medium, want: Snapshot, *, turn: int = 0, most: int = PROBES) -> list[str]:
    """Return where medium and oracle differ on some packets of each kind (delivered, or not and why), each turn others.

    `most` bounds how many of a kind are tried.
    """
    kinds: defaultdict[str, list[Packet]] = defaultdict(list)
    for packet in probes(want):
        kinds[verdict(want, packet).reason.partition(":")[0]].append(packet)
    found = []
    for reason, packets in kinds.items():
        stride = len(packets) // most + 1
        found += [
            f"{packet}: {reason or 'nothing forbids it'}"
            for packet in islice(packets, turn % stride, None, stride)
            if medium.delivers(packet) != (reason == "")
        ]
    return found
