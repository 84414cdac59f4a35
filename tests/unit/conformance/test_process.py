# SPDX-License-Identifier: Apache-2.0
"""Programs beside the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conformance import process
from portico.testing.lab.process import NotReady, wait_until

ROOT = Path(__file__).parents[3]
START = """
import sys
from pathlib import Path
from conformance import process
folder = Path(sys.argv[1])
started = process.start(["sleep", "600"], folder / "log", {}, folder=folder)
print(started.pid, flush=True)
sys.stdin.read()
"""


def runs(pid: int) -> bool:
    try:
        # Not yet while it is setpriv that is to become it.
        return Path(f"/proc/{pid}/cmdline").read_text().startswith("sleep")
    except OSError:
        return False


def test_a_program_ends_with_whoever_started_it(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", START, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        pid = int(starter.stdout.readline())
        wait_until("the program", lambda: runs(pid), 5)
        starter.kill()
    wait_until("its end", lambda: not runs(pid), 5)


def test_one_that_ends_before_it_answers_shows_its_log(tmp_path: Path) -> None:
    started = process.start(["sh", "-c", "echo no such file; exit 3"], tmp_path / "log", {}, folder=tmp_path)
    with pytest.raises(NotReady, match=r"(?s)exit code 3.*no such file"):
        process.await_answer(started, lambda: False, 5)


def test_one_that_fails_shows_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"(?s)exit code 1.*to standard output.*to standard error"):
        process.run(
            ["sh", "-c", "echo to standard output; echo to standard error >&2; exit 1"],
            {},
            folder=tmp_path,
            timeout_s=5,
        )


def test_a_program_gets_the_environment_and_what_is_added_to_it(tmp_path: Path) -> None:
    argv = ["sh", "-c", 'echo "$ADDED $PATH"']
    assert process.run(argv, {"ADDED": "x"}, folder=tmp_path, timeout_s=5) == f"x {os.environ['PATH']}\n"
