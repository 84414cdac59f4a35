# SPDX-License-Identifier: Apache-2.0
"""What clients of several API servers were told, held against the journal of the database that the servers share.

What is checked is linearizability by the revision that each write got (Herlihy and Wing 1990): a write takes effect at
one moment between request and answer, so what was answered before another was asked for has the smaller revision.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from portico.store.journal import Entry


@dataclass(frozen=True, slots=True)
class Write:
    """An acknowledged write: what was changed, when it was asked for and answered, and the revision the answer told.

    `revision` is 0 where the answer tells none, as with a delete.
    """

    resource: str
    id: str
    change: str
    asked: float
    answered: float
    revision: int = 0
    addresses: tuple[str, ...] = ()


@dataclass
class History:
    """Acknowledged writes, and refusals by their message; threads may add to both."""

    writes: list[Write] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, *writes: Write) -> None:
        """Add writes."""
        with self._lock:
            self.writes += writes

    def refuse(self, message: str) -> None:
        """Add a refusal."""
        with self._lock:
            self.refusals.append(message)


def faults_of(writes: Sequence[Write], journal: Sequence[Entry]) -> list[str]:
    """Return what is wrong with a journal, given what was acknowledged; nothing if it is exact."""
    places: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for entry in journal:
        places[entry.resource, entry.id, entry.change].append(entry.revision)
    found = [*_lives(places)]
    revisions: dict[Write, int] = {}
    for write in writes:
        present = places[write.resource, write.id, write.change]
        at = [write.revision] if write.revision else present
        if len(at) != 1 or present.count(at[0]) != 1:
            found.append(f"{write}: acknowledged, and in the journal at {present}")
        else:
            revisions[write] = at[0]
    return [*found, *_order(revisions), *_shared_addresses(writes, places)]


def _lives(places: Mapping[tuple[str, str, str], Sequence[int]]) -> Iterable[str]:
    """Yield objects that were created or deleted twice, or changed when they were not there."""
    lives: dict[tuple[str, str], dict[str, Sequence[int]]] = defaultdict(dict)
    for (resource, object_id, change), at in places.items():
        lives[resource, object_id][change] = at
    for (resource, object_id), changes in lives.items():
        created, deleted = changes.get("create", ()), changes.get("delete", ())
        others = [revision for at in changes.values() for revision in at]
        if len(created) > 1 or len(deleted) > 1:
            yield f"{resource} {object_id}: created at {created}, deleted at {deleted}"
        elif (created and min(others) < created[0]) or (deleted and max(others) > deleted[0]):
            yield f"{resource} {object_id}: created at {created}, deleted at {deleted}, changed at {sorted(others)}"


def _order(revisions: Mapping[Write, int]) -> Iterable[str]:
    """Yield writes that were asked for after another one's answer and took effect before it."""
    newest: Write | None = None
    by_answer = sorted(revisions, key=lambda write: write.answered)
    following = 0
    for write in sorted(revisions, key=lambda write: write.asked):
        while following < len(by_answer) and by_answer[following].answered < write.asked:
            done = by_answer[following]
            newest = done if newest is None or revisions[done] > revisions[newest] else newest
            following += 1
        if newest is not None and revisions[newest] >= revisions[write]:
            yield f"{write} at {revisions[write]}: asked for after {newest} at {revisions[newest]} was answered"


def _shared_addresses(writes: Iterable[Write], places: Mapping[tuple[str, str, str], Sequence[int]]) -> Iterable[str]:
    """Yield addresses that two ports held at once."""
    held: dict[str, list[tuple[int, float, str]]] = defaultdict(list)
    for write in writes:
        for address in write.addresses if write.change == "create" else ():
            until = min(places.get((write.resource, write.id, "delete"), ()), default=float("inf"))
            held[address].append((write.revision, until, write.id))
    for address, holders in held.items():
        holders.sort()
        for (_, until, one), (since, _, other) in pairwise(holders):
            if since <= until:
                yield f"{address}: of {one} until revision {until:g}, of {other} since {since}"


def watch_faults(seen: Sequence[Entry], journal: Sequence[Entry]) -> list[str]:
    """Return how what a watcher saw differs from the journal: missed, seen twice, invented, or out of order."""
    times, due = Counter(seen), Counter(journal)
    found = [f"missed: {entry}" for entry in due - times]
    found += [f"seen {times[entry]} times: {entry}" for entry in times - due]
    if not found and list(seen) != list(journal):
        found.append("out of order")
    return found
