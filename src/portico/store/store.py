# SPDX-License-Identifier: Apache-2.0
"""The database: one global revision, transactions, and who is told of commits."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from portico.errors import Unavailable
from portico.model.resource import Registry
from portico.store.tables import Tables
from portico.store.transaction import Transaction

# How long a transaction waits for another process's write lock before the caller gets 503.
LOCK_TIMEOUT_S = 10
_WAL_PAUSE_S = 0.005


def _sqlite_connect(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction control would begin late and not at all for reads; ours is explicit (_begin).
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_wal(cursor)
    # FULL: an acknowledged write survives a power cut (NORMAL would lose the newest ones in WAL mode).
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA cache_size=-8000")
    # As on PostgreSQL, and as Python compares.
    cursor.execute("PRAGMA case_sensitive_like=ON")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    # The change to WAL upgrades a lock, for which SQLite refuses at once instead of waiting (it could be a deadlock):
    # of servers that open a new database at the same moment, all but one would fail.
    give_up = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # Not sqlite_errorcode: extended codes of SQLITE_BUSY differ between versions.
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
        time.sleep(_WAL_PAUSE_S)


def _begin(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: a deferred transaction that upgrades later could fail half-way.
    write = connection.get_execution_options().get("portico_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


class Store:
    """The wanted state of everything, on SQLite or PostgreSQL.

    Every write transaction takes the next number of one global revision and records in the journal what it changed, so
    that `watch since N` is exact. Thread-safe.
    """

    def __init__(self, url: str, registry: Registry) -> None:
        self.registry = registry
        self.tables = Tables(registry)
        options: dict[str, Any] = {
            "json_serializer": lambda value: msgspec.json.encode(value).decode(),
            "json_deserializer": msgspec.json.decode,
        }
        if url.startswith("sqlite"):
            options["connect_args"] = {"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}
        self.engine = sa.create_engine(url, **options)
        self.is_embedded = self.engine.dialect.name == "sqlite"
        self._writer = threading.Lock()
        self._listeners: list[Callable[[int], None]] = []
        if self.is_embedded:
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _begin)
        self._next_revision = (
            sa.update(self.tables.revision)
            .values(number=self.tables.revision.c.number + 1)
            .returning(self.tables.revision.c.number)
        )

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call `listener(revision)` after every commit of this process, in the committing thread; it must be quick."""
        self._listeners.append(listener)

    @property
    def is_writing(self) -> bool:
        """Whether a thread of this process holds the write lock: who comes now must wait."""
        return self._writer.locked()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a write transaction that commits when the block ends, or leaves nothing when it raises.

        Raises:
            Unavailable: the database does not answer, or stays locked by another process.
        """
        # SQLite's own lock is taken by polling; this one is fair among the threads of this process.
        with self._writer:
            try:
                with self.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
                    transaction = Transaction(self, connection, self._take_revision(connection))
                    yield transaction
                    transaction.write_journal()
            except sa.exc.OperationalError as error:
                raise Unavailable(f"database: {error.orig}") from error
        if transaction.changes:
            for listener in self._listeners:
                listener(transaction.revision)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that sees one committed state throughout.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            with self.engine.connect() as connection, connection.begin():
                yield Transaction(self, connection, 0)
        except sa.exc.OperationalError as error:
            raise Unavailable(f"database: {error.orig}") from error

    def _take_revision(self, connection: sa.Connection) -> int:
        return int(connection.execute(self._next_revision).scalar_one())
