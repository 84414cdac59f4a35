# SPDX-License-Identifier: Apache-2.0
"""Children of `portico up`: started again, ended with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portico.cli.children import Child

# Writes a line when it starts, and lives until it is told to end.
LIVES = "import os,sys,time; open(sys.argv[1],'a').write(f'{os.getpid()}\\n'); time.sleep(60)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + LIVES


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_until(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_child_that_is_killed_starts_again(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    child = Child("sleeper", [sys.executable, "-c", LIVES, str(file)], os.environ)
    child.start()
    wait_until(lambda: len(pids(file)) == 1)
    os.kill(pids(file)[0], signal.SIGKILL)
    wait_until(lambda: len(pids(file)) == 2)
    child.stop(5)
    assert [pid for pid in pids(file) if is_alive(pid)] == []


def test_a_child_that_ends_at_once_is_not_started_in_a_busy_loop(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    child = Child(
        "ends", [sys.executable, "-c", "import sys; open(sys.argv[1],'a').write('1\\n')", str(file)], os.environ
    )
    child.start()
    time.sleep(1.2)
    child.stop(5)
    assert 1 <= len(pids(file)) <= 2


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    child = Child("deaf", [sys.executable, "-c", DEAF, str(file)], os.environ)
    child.start()
    wait_until(lambda: len(pids(file)) == 1)
    child.stop(0.3)
    assert not is_alive(pids(file)[0])


def test_a_program_that_is_not_there_can_be_stopped_too() -> None:
    child = Child("absent", ["/nonexistent/program"], os.environ)
    child.start()
    child.stop(5)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    in_child = (
        "import os; from portico.cli.children import *; die_with_parent(int(os.environ[PARENT_VARIABLE])); " + LIVES
    )
    in_parent = (
        "import os, sys, time; from portico.cli.children import Child; "
        f"Child('c', [sys.executable, '-c', {in_child!r}, sys.argv[1]], os.environ).start(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", in_parent, str(file)]) as parent:
        wait_until(lambda: len(pids(file)) == 1)
        parent.kill()
    wait_until(lambda: not is_alive(pids(file)[0]))


@pytest.mark.parametrize("process", ["agent", "docker"])
def test_children_do_without_the_model_and_the_database(process: str) -> None:
    program = f"import sys, portico.cli.main, portico.cli.serve, portico.{process}.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"asyncio", "importlib.metadata", "portico.model.load", "sqlalchemy", "yaml"} & {*done.stdout.split()}
