# SPDX-License-Identifier: Apache-2.0
"""What is left of a run that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conformance.folder import temporary

ROOT = Path(__file__).parents[3]
MAKE = """
import sys
from conformance.folder import temporary
with temporary("unit") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_lives_as_long_as_its_maker() -> None:
    with temporary("unit") as folder:
        with temporary("unit"):
            assert folder.is_dir()
        assert folder.is_dir()
    assert not folder.exists()


def test_the_next_run_removes_what_a_killed_one_left() -> None:
    argv = [sys.executable, "-c", MAKE]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout
        left = Path(maker.stdout.readline().strip())
        with temporary("unit"):
            assert left.is_dir()
        maker.kill()
    assert left.is_dir()
    with temporary("unit"):
        assert not left.exists()
