# SPDX-License-Identifier: Apache-2.0
"""Lists of ids of any length reach the database."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portico.store import select


@given(count=st.integers(0, 3 * select.MAX_IN))
def test_parts_hold_every_id_once_in_order_and_none_holds_too_many(count: int) -> None:
    ids = [str(number) for number in range(count)]
    parts = list(select.parts(ids))
    assert [one for part in parts for one in part] == ids
    assert all(0 < len(part) <= select.MAX_IN for part in parts)
