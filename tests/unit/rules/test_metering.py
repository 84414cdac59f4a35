# SPDX-License-Identifier: Apache-2.0
"""What hosts tell of their counters adds up to what has passed, however often it comes."""

from __future__ import annotations

import uuid

from hypothesis import given, settings
from hypothesis import strategies as st

from portico.hoststate import Count
from portico.rules import metering
from portico.store.store import Store

ROUTER = "1ccccccc-0000-4000-8000-000000000000"
RESTART, TELL, AGAIN = -1, -2, -3


class Host:
    """A router on a host: what passes is counted, and what its counters said when it left is told until it arrived."""

    def __init__(self, label_id: str) -> None:
        self._label_id = label_id
        self._number = self._packets = 0
        self._owed: list[Count] = []
        self.report: list[Count] = []

    def _said(self) -> Count:
        return Count(ROUTER, self._label_id, f"{self._number:x}", self._packets, 100 * self._packets)

    def count(self, packets: int) -> None:
        self._packets += packets

    def restart(self) -> None:
        self._owed.append(self._said())
        self._number, self._packets = self._number + 1, 0

    def tell(self) -> None:
        self.report, self._owed = [*self._owed, self._said()], []


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.integers(0, 9) | st.sampled_from([RESTART, TELL, AGAIN]), max_size=14))
def test_what_is_told_adds_up_to_what_has_passed(lasting_store: Store, steps: list[int]) -> None:
    with lasting_store.write() as tx:
        label = tx.insert("metering_label", {"id": str(uuid.uuid4()), "project_id": "red", "shared": False})
        host, passed = Host(label["id"]), 0
        for step in [*steps, TELL, AGAIN]:
            if step == RESTART:
                host.restart()
            elif step == TELL:
                host.tell()
            elif step >= 0:
                host.count(step)
                passed += step
            metering.take(tx, label["id"], host.report if step in (TELL, AGAIN) else ())
        rows = tx.find("metering_count", metering_label_id=label["id"])
        assert [(row["packets"], row["bytes"]) for row in rows] == [(passed, 100 * passed)]
        assert len(rows[0]["told"]) <= metering.KEPT
