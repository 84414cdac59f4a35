# SPDX-License-Identifier: Apache-2.0
"""A file of users with bcrypt hashes, as `htpasswd -B` of the Apache HTTP server writes it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from portico.errors import SettingsError

# A check at this cost takes 2 s of a processor; who wants more would lock himself out.
MAX_COST = 15
_HASH = re.compile(r"\$2[aby]\$(?P<cost>\d\d)\$[./A-Za-z0-9]{53}")
_MAX_NAME = 255
LOG = logging.getLogger(__name__)


class Users(NamedTuple):
    """The hashes by user name. `cost` is the highest of theirs."""

    hashes: Mapping[str, bytes]
    cost: int


class Htpasswd:
    """A file that is read anew when it changes; while it holds a wrong line the users stay as they were.

    Raises:
        SettingsError: the file cannot be read, or a line is wrong; names the line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = self._read_stamp()
        self.users = read(path)

    def renew(self) -> bool:
        """Read the file if it changed, and return whether the users are others now."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.users = read(self._path)
        except SettingsError as error:
            LOG.error("%s; the users stay as they were", error.message)  # noqa: TRY400 (the message says all)
            return False
        LOG.info("%s: %d users", self._path, len(self.users.hashes))
        return True

    def _read_stamp(self) -> tuple[int, int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0, 0
        return found.st_mtime_ns, found.st_size, found.st_ino


def read(path: Path) -> Users:
    """Return the users of a file.

    Raises:
        SettingsError: it cannot be read, or a line is wrong; names the line.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(f"http_basic.file: {path}: cannot be read: {reason}") from error
    hashes: dict[str, bytes] = {}
    costs = [0]
    # Not splitlines(): it takes characters for ends of lines that may be in a name.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, hashed, cost, problem = _parse(line.rstrip())
        if name in hashes:
            problem = f"user '{name}' has another line already"
        if problem:
            raise SettingsError(f"http_basic.file: {path}, line {number}: {problem}")
        hashes[name] = hashed
        costs.append(cost)
    return Users(hashes, max(costs))


def _parse(line: str) -> tuple[str, bytes, int, str]:
    """Return user name, hash, its cost, and what is wrong with the line; the hash itself is no reader's business."""
    name, colon, hashed = line.partition(":")
    found = _HASH.fullmatch(hashed)
    problem = ""
    if not colon or not name:
        problem = "is not NAME:HASH"
    elif len(name) > _MAX_NAME or not name.isprintable():
        problem = f"the name must be printable text of at most {_MAX_NAME} characters"
    elif found is None:
        problem = f"the hash of user '{name}' is not bcrypt's; `htpasswd -B` makes such"
    elif not 4 <= int(found["cost"]) <= MAX_COST:
        problem = f"the hash of user '{name}' has cost {int(found['cost'])}; it must be 4 to {MAX_COST}"
    return name, hashed.encode(), int(found["cost"]) if found else 0, problem
