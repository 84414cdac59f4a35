# SPDX-License-Identifier: Apache-2.0
"""Temporary folders that outlive nobody: what a killed run left is removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "portico-held-"


class Folder:
    """A new folder below the temporary one, until it is removed. Those whose makers are gone are removed first.

    Its maker holds a lock on it, which the kernel gives free however that process ends (flock(2)): a process id in its
    place would be another process's in another PID namespace.
    """

    def __init__(self, name: str) -> None:
        _sweep()
        self.path, self._lock = _locked(name)

    def remove(self) -> None:
        """Remove it with all that is in it; once is enough."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


@contextlib.contextmanager
def temporary(name: str) -> Iterator[Path]:
    """Yield the path of a new folder, which is removed at the end."""
    folder = Folder(name)
    try:
        yield folder.path
    finally:
        folder.remove()


def _locked(name: str) -> tuple[Path, int]:
    """Return a new folder and the lock on it; one that a sweep took for left behind, before it was locked, is lost."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-"))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _sweep() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Another user's, one that is in use, or one that another run has just removed.
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)
