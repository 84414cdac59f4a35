# SPDX-License-Identifier: Apache-2.0
"""Temporary folders: whose lives, and what is left of a run that was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portico.testing.folder import PREFIX, temporary
from portico.testing.remote_portico import RemotePortico

MAKE = """
import sys
from portico.testing.folder import temporary
with temporary("unit") as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory that nobody else uses, for this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_lives_as_long_as_its_maker(place: Path) -> None:
    with temporary("unit") as folder:
        with temporary("unit"):
            assert folder.is_dir()
        assert folder.is_dir() and folder.parent == place
    assert list(place.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_left(place: Path) -> None:
    (place / "portico-other").mkdir()
    argv = [sys.executable, "-c", MAKE]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout
        left = Path(maker.stdout.readline().strip())
        (left / "data").write_text("much")
        with temporary("unit"):
            assert (left / "data").exists()
        maker.kill()
    assert left.is_dir()
    with temporary("other"):
        assert not left.exists()
    assert [path.name for path in place.iterdir()] == ["portico-other"]


def test_runs_that_start_at_once_do_not_take_each_others_folders(place: Path) -> None:
    def make(_number: int) -> bool:
        with temporary("unit") as folder:
            (folder / "data").write_text("mine")
            return (folder / "data").read_text() == "mine"

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(make, range(400)))
    assert list(place.iterdir()) == []


def test_databases_of_a_second_portico_are_in_such_a_folder() -> None:
    path = RemotePortico().store.engine.url.database
    assert path and Path(path).parents[1].name.startswith(PREFIX)
