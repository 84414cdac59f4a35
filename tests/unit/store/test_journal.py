# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import RevisionGone
from portico.store import journal
from portico.store.journal import Entry
from portico.store.store import Store


def follow(store: Store, start: int, limit: int) -> list[list[Entry]]:
    """Read the journal from `start` to its end as a watcher does."""
    answers: list[list[Entry]] = []
    while True:
        with store.read() as tx:
            entries, may_be_more = journal.part(tx, start, limit)
        if entries:
            answers.append(entries)
            start = entries[-1].revision
        if not may_be_more:
            return answers


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 6), max_size=8), limit=st.integers(1, 8))
def test_a_watcher_sees_every_change_once_in_order_and_no_revision_in_parts(
    lasting_store: Store, sizes: list[int], limit: int
) -> None:
    with lasting_store.read() as tx:
        start = journal.newest(tx)
    written: list[tuple[int, str]] = []
    for size in sizes:
        with lasting_store.write() as tx:
            for _ in range(size):
                network = tx.insert("network", {"id": str(uuid.uuid4()), "project_id": "red"})
                written.append((tx.revision, network["id"]))
    answers = follow(lasting_store, start, limit)
    assert [(entry.revision, entry.id) for entries in answers for entry in entries] == written
    ends = [entries[-1].revision for entries in answers]
    starts = [entries[0].revision for entries in answers]
    assert all(end < begin for end, begin in zip(ends, starts[1:], strict=False))


def test_an_entry_says_what_happened_to_which_object_of_which_project(store: Store) -> None:
    with store.write() as tx:
        network = tx.insert("network", {"id": "n1", "project_id": "red"})
        network = tx.update("network", network, {"name": "blue"})
        tx.update("network", network, {"status": "ERROR"}, touch=False)
        tx.delete("network", network)
    (entries,) = follow(store, 0, 1000)
    assert entries == [Entry(1, "network", "n1", "red", change) for change in ("create", "update", "status", "delete")]


def test_revisions_of_concurrent_writers_have_neither_gaps_nor_ties(store: Store) -> None:
    def write(name: str) -> int:
        with store.write() as tx:
            tx.insert("network", {"id": name, "project_id": "red"})
            return tx.revision

    with ThreadPoolExecutor(8) as pool:
        revisions = list(pool.map(write, [f"n{number}" for number in range(40)]))
    assert sorted(revisions) == list(range(1, 41))
    entries = [entry for answer in follow(store, 0, 7) for entry in answer]
    assert {entry.id: entry.revision for entry in entries} == {f"n{n}": rev for n, rev in enumerate(revisions)}
    assert [revision for revision, _ in groupby(entries, lambda entry: entry.revision)] == list(range(1, 41))


def test_a_watcher_from_before_what_is_kept_is_told_so_and_one_from_after_is_served(store: Store) -> None:
    for _ in range(20):
        with store.write() as tx:
            tx.insert("network", {"id": str(uuid.uuid4()), "project_id": "red"})
    whole = [entry for entries in follow(store, 0, 1000) for entry in entries]
    with store.write() as tx:
        journal.prune(tx, keep=6)  # of 21 revisions, one of them this
        oldest = tx.revision - 6
    assert [entry for entries in follow(store, oldest, 4) for entry in entries] == whole[oldest:]
    with store.read() as tx:
        for since in (0, oldest - 1):
            with pytest.raises(RevisionGone, match=f"revision {since} .* watched from is {oldest}"):
                journal.since(tx, since)
        assert not journal.is_long(tx, keep=0)


def test_pruning_goes_on_in_steps_until_the_journal_is_at_its_bound(store: Store) -> None:
    with store.write() as tx:
        rows = [
            {"revision": -number, "ordinal": 0, "resource": "network", "id": "n", "project_id": "", "change": "update"}
            for number in range(2 * journal.BATCH + 5)
        ]
        tx.connection.execute(tx.tables.journal.insert(), rows)
    steps = 0
    while True:
        with store.read() as tx:
            if not journal.is_long(tx, keep=1):
                break
        with store.write() as tx:
            journal.prune(tx, keep=1)
        steps += 1
    assert steps == 2
    with store.read() as tx:
        assert len(tx.connection.execute(tx.tables.journal.select()).all()) <= journal.BATCH + 5
