# SPDX-License-Identifier: Apache-2.0
"""The audit log: one line of JSON for each object that a write changed, in the order of the revisions."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from portico.errors import SettingsError
from portico.telemetry.current import CURRENT

LOG = logging.getLogger(__name__)


class Edit(Protocol):
    """What became of one object; see `portico.store.written.Edit`."""

    @property
    def resource(self) -> str: ...

    @property
    def id(self) -> str: ...

    @property
    def verb(self) -> str: ...

    @property
    def before(self) -> Mapping[str, Any]: ...

    @property
    def after(self) -> Mapping[str, Any]: ...


class AuditLog:
    """Appends to a file, which may be renamed or removed while it is in use: the next line begins a new one.

    Raises:
        SettingsError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            self._file = _open(path)
        except OSError as error:
            raise SettingsError(f"log.audit_file = '{path}': cannot be written: {error.strerror}") from error
        self._is_torn = False

    def write(self, revision: int, edits: Sequence[Edit], certain: bool = True) -> None:
        """Write what one transaction did, or, if that is not certain, may have done.

        What cannot be written is in the log, for the write itself is done.
        """
        with self._lock:
            found = _lines(revision, edits, {} if certain else {"certain": False})
            lines = b"".join(msgspec.json.encode(line, enc_hook=str) + b"\n" for line in found)
            try:
                self._append(lines)
            except OSError as error:
                LOG.error("audit: %s: %s; not written: %s", self._path, error.strerror, lines.decode())  # noqa: TRY400

    def _append(self, lines: bytes) -> None:
        if self._is_moved():
            os.close(self._file)
            self._file = _open(self._path)
            self._is_torn = False
        # What a full disk cut off must not spoil the line after it.
        rest = b"\n" + lines if self._is_torn else lines
        self._is_torn = True
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._is_torn = False

    def _is_moved(self) -> bool:
        try:
            found, own = self._path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return True
        return (found.st_dev, found.st_ino) != (own.st_dev, own.st_ino)

    def close(self) -> None:
        """Write no more."""
        with self._lock, contextlib.suppress(OSError):
            os.close(self._file)


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lines(revision: int, edits: Sequence[Edit], more: Mapping[str, Any]) -> list[dict[str, Any]]:
    asking = CURRENT.get()
    head: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "revision": revision}
    # The server's own doing has no request.
    head |= asking.described() if asking is not None else {"request_id": ""}
    return [
        head | {"resource": kind, "id": object_id, "verb": verb, "before": before, "after": after, **more}
        for (kind, object_id), (verb, before, after) in _merged(edits).items()
    ]


def _merged(edits: Sequence[Edit]) -> dict[tuple[str, str], tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return one change of each object: what it was before the first edit, and is after the last."""
    found: dict[tuple[str, str], tuple[str, dict[str, Any], dict[str, Any]]] = {}
    for edit in edits:
        key = edit.resource, edit.id
        verb, before, after = found.get(key, (edit.verb, {}, {}))
        match verb, edit.verb:
            case "create", "delete":
                # Came and went: nobody ever saw it.
                del found[key]
            case _, "delete":
                found[key] = "delete", {**edit.before, **before}, {}
            case "create", _:
                found[key] = "create", {}, {**after, **edit.after}
            case _:
                found[key] = verb, {**edit.before, **before}, {**after, **edit.after}
    return found
