# SPDX-License-Identifier: Apache-2.0
"""Temporary folders that outlive nobody: what a killed run left is removed by the next one."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "portico-conformance-"
_LOCK = "in-use"


@contextlib.contextmanager
def temporary(name: str) -> Iterator[Path]:
    """Yield a new folder, removed at the end. Folders whose maker is gone are removed first.

    Whoever made a folder holds a lock on a file in it, which the kernel gives free however that process ends
    (flock(2)).
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-"))
    try:
        with (folder / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # A folder without the file is one that another run is just making.
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
