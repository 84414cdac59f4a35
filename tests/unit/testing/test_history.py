# SPDX-License-Identifier: Apache-2.0
"""The checker of histories finds each kind of fault that it is there for, and none in what is exact."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.store.journal import Entry
from portico.testing.history import Write, faults_of, watch_faults

JOURNAL = [
    Entry(1, "port", "a", "", "create"),
    Entry(1, "port", "b", "", "create"),
    Entry(2, "port", "a", "", "update"),
    Entry(3, "port", "a", "", "delete"),
    Entry(4, "port", "c", "", "create"),
]
WRITES = [
    Write("port", "a", "create", 0.0, 1.0, 1, ("10.0.0.1",)),
    Write("port", "b", "create", 0.0, 1.0, 1, ("10.0.0.2",)),
    Write("port", "a", "update", 1.5, 2.0, 2),
    Write("port", "a", "delete", 2.5, 3.0),
    Write("port", "c", "create", 2.7, 4.0, 4, ("10.0.0.1",)),
]


def test_an_exact_history_has_no_faults() -> None:
    assert faults_of(WRITES, JOURNAL) == []
    assert watch_faults(JOURNAL, JOURNAL) == []


@pytest.mark.parametrize("lost", range(len(JOURNAL)))
def test_an_acknowledged_write_that_is_lost_is_found(lost: int) -> None:
    assert any("acknowledged" in fault for fault in faults_of(WRITES, JOURNAL[:lost] + JOURNAL[lost + 1 :]))


def test_a_write_that_took_effect_twice_is_found() -> None:
    assert any("created at" in fault for fault in faults_of(WRITES, [*JOURNAL, Entry(5, "port", "c", "", "create")]))


def test_a_change_after_the_delete_is_found() -> None:
    assert any("changed at" in fault for fault in faults_of(WRITES, [*JOURNAL, Entry(5, "port", "a", "", "status")]))


def test_a_write_that_took_effect_before_one_that_was_answered_earlier_is_found() -> None:
    late = [*WRITES[:-1], replace(WRITES[-1], asked=0.1, answered=0.2)]
    [fault, *_] = faults_of(late, JOURNAL)
    assert "asked for after" in fault


def test_an_address_of_two_ports_at_once_is_found() -> None:
    twice = [*WRITES[:-1], replace(WRITES[-1], addresses=("10.0.0.2",))]
    assert [fault.partition(":")[0] for fault in faults_of(twice, JOURNAL)] == ["10.0.0.2"]


def test_a_watcher_that_missed_repeated_or_mixed_up_something_is_found() -> None:
    assert watch_faults(JOURNAL[1:], JOURNAL) == [f"missed: {JOURNAL[0]}"]
    assert watch_faults([*JOURNAL, JOURNAL[4]], JOURNAL) == [f"seen 2 times: {JOURNAL[4]}"]
    assert watch_faults(JOURNAL[::-1], JOURNAL) == ["out of order"]
