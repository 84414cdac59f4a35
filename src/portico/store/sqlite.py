# SPDX-License-Identifier: Apache-2.0
"""The embedded database: one file, written by one process at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from portico.store.connections import Connections
from portico.store.statement import text as statement_text

if TYPE_CHECKING:
    from portico.store.pipeline import Statement
    from portico.store.written import Row

# How long a transaction waits for another process's write lock before the caller gets 503.
LOCK_TIMEOUT_S = 10
_WAL_PAUSE_S = 0.005
# See `postgresql.HAS_WAY`.
HAS_WAY = False


def make_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """Return the engine for a SQLite URL; `options` go to SQLAlchemy."""
    arguments = {"timeout": LOCK_TIMEOUT_S, "check_same_thread": False}
    engine = sa.create_engine(url, connect_args=arguments, **options)
    sa.event.listen(engine, "connect", _connect)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _connect(connection: sqlite3.Connection, _record: object) -> None:
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
    options = connection.get_execution_options()
    if not options.get("portico_transaction"):  # a transaction of the store says it itself
        _execute(_driver(connection), _begin_words(reads=not options.get("portico_write")))


def _begin_words(*, reads: bool) -> str:
    # IMMEDIATE takes the write lock at once: a deferred transaction that upgrades later could fail half-way.
    return "BEGIN" if reads else "BEGIN IMMEDIATE"


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    return connection.connection.dbapi_connection  # type: ignore[return-value]


def _execute(driver: sqlite3.Connection, words: str) -> None:
    try:
        driver.execute(words)
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(words, None, error, sqlite3.Error) from error


def connections(engine: sa.Engine) -> Connections:
    """Return what transactions take turns with."""
    return Connections(engine, _begin_transaction, _commit, _undo)


def _begin_transaction(connection: sa.Connection, reads: bool) -> None:
    _execute(_driver(connection), _begin_words(reads=reads))


def _commit(connection: sa.Connection) -> None:
    _execute(_driver(connection), "COMMIT")


def _undo(connection: sa.Connection) -> None:
    # SQLite itself ends some that fail; then there is nothing to undo.
    _driver(connection).rollback()


def begin(connection: sa.Connection, statements: Sequence[Statement]) -> None:
    """See `postgresql.begin`; here nothing is gained by it."""
    del connection, statements


def first(*, reads: bool) -> list[Statement]:
    """See `postgresql.first`; here the transaction has begun already, for it costs no journey."""
    del reads
    return []


def exchange(connection: sa.Connection, statements: Sequence[Statement]) -> list[list[Row]]:
    """See `pipeline.exchange`; here there is no way there and back.

    Raises:
        sqlalchemy.exc.DBAPIError: the first statement that failed; those behind it were not done.
    """
    driver = _driver(connection)
    try:
        return [_do(driver, connection.dialect, *item) for item in statements]
    except sqlite3.Error as error:
        raise sa.exc.DBAPIError.instance(None, None, error, sqlite3.Error) from error


def _do(
    driver: sqlite3.Connection,
    dialect: sa.Dialect,
    statement: sa.Executable,
    values: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> list[Row]:
    if isinstance(values, Mapping):
        text = statement_text(statement, tuple(values), dialect)
        cursor = driver.execute(text.sql, text.values(values))
        return _rows(statement, dialect)(cursor) if cursor.description else []
    text = statement_text(statement, tuple(values[0]), dialect)
    driver.executemany(text.sql, [text.values(given) for given in values])
    return []


@lru_cache(2048)
def _rows(statement: Any, dialect: sa.Dialect) -> Callable[[sqlite3.Cursor], list[Row]]:
    """Return what makes rows, as callers get them, of what the driver finds by a statement."""
    columns = tuple(statement.exported_columns)
    names = [column.key for column in columns]
    found = {column.key: column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns}
    readers = [(name, read) for name, read in found.items() if read is not None]

    def rows(cursor: sqlite3.Cursor) -> list[Row]:
        made = [dict(zip(names, values, strict=True)) for values in cursor]
        for row in made:
            for name, read in readers:
                row[name] = read(row[name])
        return made

    return rows


def last(_revision: int, _server: str, *, is_told: bool) -> list[Statement]:
    """See `postgresql.last`; the file has no other servers, and the driver's own COMMIT costs nothing more."""
    del is_told
    return []
