# SPDX-License-Identifier: Apache-2.0
"""The agent's loop: makes the kernel equal to the wanted state, and keeps it so.

One pass compares, removes in reverse order and puts in order, for the dirty keys or for all. First run, restart, a
crash between two steps and a stranger's edit are the same pass. Nothing is removed before the first complete Update.
While an Update leaves parts of what is wanted unknown, only what was told to go is removed: all else may be theirs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from portico.agent.delta import Delta, Driver, Forgotten, Trouble, Wanted, difference
from portico.agent.lingering import Lingering
from portico.hoststate import HostObject, Status, Update, key_of

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_MAX_S = 30.0


class Loop:
    """Owns the wanted state. Not for two threads.

    Args:
        drivers: in the order in which things are made; removed in reverse.
        clock: seconds that never go back, e.g. `time.monotonic`.
        report: called with statuses that changed, or whose wanted object did, and the revision they take into account.
        full_interval_s: how often everything is compared with the kernel although nothing seems to have changed.
        linger_s: how long what has lost its last port stays; see `lingering`.
        changed: called whenever a driver has changed anything.
    """

    def __init__(
        self,
        drivers: Sequence[Driver],
        *,
        clock: Callable[[], float],
        report: Callable[[int, Collection[Status]], None],
        full_interval_s: float = 30.0,
        linger_s: float = 0.0,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._drivers = drivers
        self._clock = clock
        self._report = report
        self._changed = changed
        self._full_interval_s = full_interval_s
        self._lingering = Lingering(clock, linger_s)
        # What came back while it lingered: it is as it was, and so is its status.
        self._back: set[str] = set()
        self._wanted = Wanted()
        self._dirty: set[str] = set()
        self._owed: set[str] = set()
        self._statuses: dict[str, Status] = {}
        self._retries: dict[str, tuple[float, float]] = {}
        self._full_at: float | None = None
        self._complete = False
        # Whose parts of the wanted state are unknown, and what was told to go meanwhile.
        self._unknown: tuple[str, ...] = ()
        self._told_gone: set[str] = set()
        self._passes = 0
        self._pass_s = 0.0
        self.revision = 0

    @property
    def wanted(self) -> Wanted:
        """The wanted state; not to be changed from outside."""
        return self._wanted

    @property
    def has_compared(self) -> bool:
        """Whether everything has been compared with the kernel once: the first pass is over all."""
        return self._passes > 0

    def measures(self) -> dict[str, float]:
        """Return numbers about its work so far, by the names that metrics know."""
        errors = sum(status.state == "error" for status in list(self._statuses.values()))
        return {"passes": self._passes, "pass_seconds": self._pass_s, "errors": errors}

    def troubles(self, *kinds: str) -> list[str]:
        """Return why objects of some kinds are not as wanted, in the order of their keys; from any thread."""
        found = sorted((key, status.reason) for key, status in list(self._statuses.items()) if status.state == "error")
        return [reason for key, reason in found if key.partition("/")[0] in kinds]

    def learn_zones(self, zones: dict[str, int]) -> None:
        """Take over the zones that a former agent gave; before the first Update."""
        self._wanted.learn(zones)

    def accept(self, update: Update) -> None:
        """Take in an Update; the next `step` acts on it. Updates before the first complete one are ignored."""
        if not update.complete and not self._complete:
            return
        gone: Collection[str] = update.gone
        back: set[str] = set()
        if update.complete:
            self._lingering.clear()
            self._learn_unknown(update.unknown)
        else:
            gone, back = self._lingering.take(self._wanted, update)
            back &= self._statuses.keys()
        dirty = self._change(update.objects, gone, whole=update.complete and not update.unknown)
        if not update.complete:
            # What is told again although it is as it was: the API wants to know what became of it.
            dirty |= {key_of(item) for item in update.objects} - back
        self._back |= back
        self._dirty |= dirty
        self._owed |= dirty
        self.revision = update.revision
        if update.complete:
            self._complete = True
            self._full_at = self._clock()

    def _learn_unknown(self, unknown: tuple[str, ...]) -> None:
        if unknown:
            log.warning("nothing unknown is removed: what is wanted of %s is still to come", ", ".join(unknown))
        self._unknown = unknown
        self._told_gone.clear()

    def _change(self, objects: Collection[HostObject], gone: Collection[str], *, whole: bool = False) -> set[str]:
        """Change the wanted state; return the keys to look at again."""
        if self._unknown:
            self._told_gone.update(gone)
        return self._wanted.change(objects, gone, whole=whole, keep_zones=bool(self._unknown))

    def _may_touch(self, keys: Collection[str]) -> Collection[str]:
        """Return those of `keys` that are wanted or were told to go; of others nothing may be known."""
        if not self._unknown:
            return keys
        known = {key for key in keys if key in self._wanted.objects or key in self._told_gone}
        for key in keys:
            if key not in known:
                self._retries.pop(key, None)
        return known

    def _end_lingering(self) -> None:
        if over := self._lingering.over():
            dirty = self._change((), over)
            self._dirty |= dirty
            self._owed |= dirty

    def suspect(self, keys: Iterable[str] | None = None, *, delay_s: float = 0.0) -> None:
        """Look in `delay_s` again at `keys`, or at everything, because something in the kernel has changed."""
        at = self._clock() + delay_s
        if keys is not None:
            for key in keys:
                self._retries.setdefault(key, (at, RETRY_FIRST_S / 2))
        elif self._full_at is not None:
            self._full_at = min(self._full_at, at)

    def resend(self) -> None:
        """Report every status again, for the receiver may have lost them."""
        if self._statuses:
            self._report(self.revision, tuple(self._statuses.values()))

    def next_s(self) -> float | None:
        """Return in how many seconds `step` has something to do; None when only an Update can give it something."""
        if self._dirty or self._back:
            return 0.0
        times = [*self._lingering.ends(), *(at for at, _ in self._retries.values())]
        if self._full_at is not None:
            times.append(self._full_at)
        return max(0.0, min(times) - self._clock()) if times else None

    def step(self) -> None:
        """Do what is due: one pass over all keys or the dirty ones; nothing if nothing is due."""
        if not self._complete:
            return
        now = self._clock()
        self._end_lingering()
        if self._full_at is not None and self._full_at <= now:
            self._pass(None)
            took_s = self._clock() - now
            log.debug("compared %d wanted objects with the kernel in %.4f s", len(self._wanted.objects), took_s)
            return
        due = {key for key, (at, _) in self._retries.items() if at <= now}
        keys = self._dirty | due
        if not (keys or self._back):
            return
        keys = keys | self._wanted.needing(keys)
        try:
            self._pass(keys)
        except Forgotten:
            self._pass(None)

    def _pass(self, keys: set[str] | None) -> None:
        begun = self._clock()
        try:
            self._make_equal(keys)
        finally:
            self._passes += 1
            self._pass_s += self._clock() - begun

    def _make_equal(self, keys: set[str] | None) -> None:
        if keys is None:
            self._full_at = self._clock() + self._full_interval_s
        self._dirty = set()
        troubles: dict[str, Trouble] = {}
        actual = {driver: driver.read(keys) for driver in self._drivers}
        existing = {key for found in actual.values() for key in found}
        every = self._may_touch(keys if keys is not None else existing | self._wanted.objects.keys())
        plans = {}
        for driver in self._drivers:
            plans[driver], unplanned = driver.plan(self._wanted, every)
            _note(troubles, unplanned)
        for driver in reversed([driver for driver in self._drivers if actual[driver]]):
            delta = difference(plans[driver], actual[driver], every - troubles.keys())
            if delta.gone:
                _note(troubles, self._apply(driver, Delta(gone=delta.gone, before=delta.before)))
        for driver in [driver for driver in self._drivers if plans[driver]]:
            delta = difference(plans[driver], actual[driver], every - troubles.keys())
            if delta.put:
                _note(troubles, self._apply(driver, Delta(put=delta.put, before=delta.before)))
                _note(troubles, self._read_back(driver, delta.put, troubles.keys()))
        self._settle(every, existing, troubles)

    def _apply(self, driver: Driver, delta: Delta) -> dict[str, Trouble]:
        try:
            return driver.apply(delta)
        finally:
            self._changed()

    def _read_back(self, driver: Driver, put: Mapping[str, Any], known: Collection[str]) -> dict[str, Trouble]:
        """Return the keys, but for `known` troubles, under which the kernel has other than what was put there."""
        try:
            found = driver.read(put.keys())
        except Forgotten:
            self._full_at = self._clock()
            return {key: Trouble("changed by someone else at the same time") for key in put}
        return {
            key: Trouble(f"the kernel has {found.get(key)} where {item} was put")
            for key, item in put.items()
            if key not in known and found.get(key) != item
        }

    def _settle(self, keys: Collection[str], existing: Collection[str], troubles: dict[str, Trouble]) -> None:
        """Turn the outcome of a pass into statuses and retries; `existing` keys were in the kernel before it."""
        changed = [self._statuses[key] for key in self._back.difference(keys) if key in self._statuses]
        self._back = set()
        for key in keys:
            status = self._status(key, troubles.get(key))
            if status.state == "error":
                _, wait_s = self._retries.get(key, (0.0, RETRY_FIRST_S / 2))
                wait_s = min(2 * wait_s, RETRY_MAX_S)
                self._retries[key] = (self._clock() + wait_s, wait_s)
            else:
                self._retries.pop(key, None)
            if key not in self._owed and self._statuses.get(key) == status:
                continue
            if status.state == "gone" and not (key in self._owed or key in self._statuses or key in existing):
                continue
            self._owed.discard(key)
            changed.append(status)
            if status.state == "gone":
                self._told_gone.discard(key)
                self._statuses.pop(key, None)
            else:
                self._statuses[key] = status
            if status.state == "error":
                log.warning("%s: %s (revision %d)", key, status.reason, self.revision)
        if changed:
            self._report(self.revision, changed)

    def _status(self, key: str, trouble: Trouble | None) -> Status:
        if trouble is not None:
            return Status(key, "waiting" if trouble.waiting else "error", trouble.reason)
        return Status(key, "active" if key in self._wanted.objects else "gone")


def _note(troubles: dict[str, Trouble], more: Mapping[str, Trouble]) -> None:
    """Add troubles; the first one of a key is the cause and stays."""
    for key, trouble in more.items():
        troubles.setdefault(key, trouble)
