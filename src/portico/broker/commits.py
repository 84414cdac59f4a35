# SPDX-License-Identifier: Apache-2.0
"""What has been committed since the broker looked: of this process what it wrote, of others only that there is some."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from portico.store.store import Store
from portico.store.written import Written

# Older ones than so many are dropped, and then read from the journal.
MOST = 200
# Attributes of a port that say who uses it and how it is called.
_ABOUT = frozenset({"device_id", "device_owner", "name", "description", "revision_number", "updated_at"})


class Commits:
    """Keeps what it is told, by threads that commit or listen, until the broker's thread takes it.

    `is_behind`: the journal is to be read, until it has no more. `hurry` is set by a commit that somebody waits for.
    """

    def __init__(self, store: Store, wake: Callable[[], None]) -> None:
        self.is_behind = True
        self.hurry = threading.Event()
        self._told: deque[Written | int] = deque(maxlen=MOST)
        self._wake = wake
        # Commits of this process that only told of statuses, and those that can wait a little.
        self._quiet: set[int] = set()
        self._patient: set[int] = set()
        store.on_write(self._take)
        store.on_commit(self._hear)

    def __len__(self) -> int:
        """Return how much it was told that was not taken yet."""
        return len(self._told)

    def _take(self, written: Written) -> None:
        self._told.append(written)
        if written.keys and written.is_whole:
            if not written.objects:
                self._quiet.add(written.revision)
            elif _can_wait(written):
                self._patient.add(written.revision)

    def _hear(self, revision: int) -> None:
        # Of a commit of this process, what it wrote has been told before.
        self._told.append(revision)
        is_quiet, is_patient = revision in self._quiet, revision in self._patient
        self._quiet.discard(revision)
        self._patient.discard(revision)
        is_much = len(self._told) > MOST // 2
        if is_much or not (is_quiet or is_patient):
            self.hurry.set()
        if is_much or not is_quiet:
            self._wake()

    def after(self, revision: int) -> list[Written] | None:
        """Return the commits since `revision` if all are of this process; None: the journal has to be read."""
        ours: list[Written] = []
        for told in [self._told.popleft() for _ in range(len(self._told))]:
            number = told if isinstance(told, int) else told.revision
            if isinstance(told, Written) and told.is_whole and number == revision + 1:
                ours.append(told)
                revision = number
            elif number > revision or not number:
                self.is_behind = True
        return None if self.is_behind else ours


def _can_wait(written: Written) -> bool:
    """Tell whether a commit only ends ports, whose consumers have let go of them, or says who uses them."""
    return all(
        resource == "port" and (row is None or written.names[resource, key] <= _ABOUT)
        for (resource, key), row in written.objects.items()
    )
