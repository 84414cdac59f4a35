# SPDX-License-Identifier: Apache-2.0
"""Profiles of requests."""

from __future__ import annotations

import pstats
from pathlib import Path

import pytest

from portico.telemetry.current import CURRENT, Asking
from portico.telemetry.profile import Profiler


def work() -> int:
    return sum(range(1000))


def test_the_work_of_a_request_is_written_under_its_id(tmp_path: Path) -> None:
    profiler = Profiler(tmp_path / "profiles")
    token = CURRENT.set(Asking("req-1", {"method": "GET"}))
    assert profiler.run(work) == 499500
    # An interpreter has one profiler.
    assert profiler.run(lambda: profiler.run(work)) == 499500
    CURRENT.reset(token)
    files = sorted((tmp_path / "profiles").iterdir())
    assert len(files) == 2 and all("ms-GET-none-req-1-" in path.name for path in files)
    assert any(name == "work" for _, _, name in pstats.Stats(str(files[0])).stats)  # type: ignore[attr-defined]


def test_an_error_gets_through(tmp_path: Path) -> None:
    token = CURRENT.set(Asking("req-1", {"method": "GET"}))
    with pytest.raises(ZeroDivisionError):
        Profiler(tmp_path).run(lambda: 1 // 0)
    CURRENT.reset(token)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_no_request_asked_for_is_not_written(tmp_path: Path) -> None:
    assert Profiler(tmp_path).run(work) == 499500
    assert list(tmp_path.iterdir()) == []
