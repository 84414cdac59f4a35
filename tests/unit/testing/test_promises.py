# SPDX-License-Identifier: Apache-2.0
"""The table of backends and promises says what the tests found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from portico.testing.promises import outcomes, table

SUITES = """
import pytest

class Suite:
    makes_promises = True
    good = True

    @pytest.mark.parametrize("number", [1, 2])
    def test_all_is_well(self, number):
        assert self.good or number == 1

    def test_it_ends(self):
        pass

class TestBridge(Suite):
    pass

class TestRouted(Suite):
    good = False

    def test_of_its_own(self):
        pass

def test_of_nobody():
    pass
"""


def test_a_promise_is_kept_when_all_its_tests_passed(tmp_path: Path) -> None:
    (tmp_path / "test_suites.py").write_text(SUITES)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "portico.testing.promises", "-p", "no:cacheprovider", "."]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stdout.splitlines()
    start = lines.index("promise      bridge  routed")
    assert lines[start + 1 : start + 4] == [
        "all is well  kept    BROKEN",
        "it ends      kept    kept",
        "of its own   -       kept",
    ]


def test_a_failure_is_not_outvoted() -> None:
    found = outcomes((["bridge", "it ends"], outcome) for outcome in ("failed", "passed"))
    assert found == {"it ends": {"bridge": "BROKEN"}}
    assert table({}) == ["promise"]


def test_runs_of_other_tests_have_no_table() -> None:
    assert outcomes([(None, "passed")]) == {}
