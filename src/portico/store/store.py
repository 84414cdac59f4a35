# SPDX-License-Identifier: Apache-2.0
"""The database: one global revision, transactions, and who is told of commits."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from portico.errors import SettingsError, Unavailable
from portico.model.resource import Registry
from portico.store import postgresql, sqlite
from portico.store.tables import Tables
from portico.store.transaction import Transaction, WriteNeeded
from portico.store.written import Edit, Written

if TYPE_CHECKING:
    from portico.store.pipeline import Statement

_DATABASES: Mapping[str, ModuleType] = {"sqlite": sqlite, "postgresql": postgresql}


# Is told a revision, what it changed, and whether that is certain.
Auditor = Callable[[int, Sequence[Edit], bool], None]


class _NothingWritten(Exception):
    """Undoes a write transaction in which there was nothing to write."""


class Store:
    """The wanted state of everything, on SQLite or PostgreSQL.

    Every write transaction takes the next number of one global revision and records in the journal what it changed, so
    that `watch since N` is exact. Thread-safe.

    Args:
        url: of the database, as in the settings.
        registry: what it holds.
        tables: the registry's, from another store. Statements are kept with the tables that they name.
    """

    def __init__(self, url: str, registry: Registry, tables: Tables | None = None) -> None:
        self.registry = registry
        self.tables = Tables(registry) if tables is None else tables
        self.engine = _make_engine(url)
        self.database = _DATABASES[self.engine.dialect.name]
        self.is_embedded = self.database is sqlite
        self.connections = self.database.connections(self.engine)
        # What tells this process's commits from those of others on one database.
        self.server = uuid.uuid4().hex
        self._writer = threading.Lock()
        self._listeners: list[Callable[[int], None]] = []
        self._timers: list[Callable[[str, float, float], None]] = []
        self._takers: list[Callable[[Written], None]] = []
        self._hearers: list[Callable[[str], None]] = []
        self._auditor: Auditor | None = None
        self._other_servers: postgresql.Listener | None = None
        row = self.tables.revision.c
        self._next_revision = (
            sa.update(self.tables.revision).values(number=row.number + 1).returning(row.number, row.only_listener)
        )

    def close(self) -> None:
        """Give back all connections."""
        if self._other_servers is not None:
            self._other_servers.stop()
        self.connections.close()
        self.engine.dispose()

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call `listener(revision)` after every commit; it must be quick.

        It is called in the committing thread for commits of this process. On a shared database it is called from
        another thread for those of other processes, and with 0 when some may have been missed.
        """
        self._listeners.append(listener)
        self._listen()

    def on_word(self, hearer: Callable[[str], None]) -> None:
        """Call `hearer(word)` for what other servers on a shared database `say`, from another thread; be quick."""
        self._hearers.append(hearer)
        self._listen()

    def _listen(self) -> None:
        if not self.is_embedded and self._other_servers is None:
            self._other_servers = postgresql.Listener(self.engine, self.server, self._tell, self._hear)
            self._other_servers.start()

    def say(self, words: Sequence[str]) -> None:
        """Tell the other servers on a shared database something that is kept nowhere, all of it or nothing.

        Raises:
            Unavailable: the database does not answer.
        """
        with _answering(), self.engine.begin() as connection:
            postgresql.say(connection, self.server, words)

    def on_write(self, taker: Callable[[Written], None]) -> None:
        """Call `taker` with what was written after each commit of this process, in the revisions' order.

        It is called in the committing thread while other writers wait; it must be quick.
        """
        self._takers.append(taker)

    @property
    def is_followed(self) -> bool:
        """Whether transactions have to keep what they write."""
        return bool(self._takers)

    def on_transaction(self, timer: Callable[[str, float, float], None]) -> None:
        """Call `timer(kind, waited_s, took_s)` after each transaction, "read" or "write", committed or not.

        It waited for other writers, and then took its time. The call must be quick.
        """
        self._timers.append(timer)

    def _time(self, kind: str, asked: float, begun: float | None) -> None:
        ended = time.perf_counter()
        begun = ended if begun is None else begun
        for timer in self._timers:
            timer(kind, begun - asked, ended - begun)

    def audit(self, auditor: Auditor) -> None:
        """Call `auditor(revision, edits, certain)` after each commit with what it changed in objects, in their order.

        It is called in the committing thread while other writers wait. It is not `certain` that there was a commit if
        the database went away in the middle of it.
        """
        self._auditor = auditor

    @property
    def is_audited(self) -> bool:
        """Whether transactions have to keep what was before."""
        return self._auditor is not None

    def _hear(self, word: str) -> None:
        for hearer in self._hearers:
            hearer(word)

    def _tell(self, revision: int) -> None:
        for listener in self._listeners:
            listener(revision)

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
        asked = time.perf_counter()
        begun: float | None = None
        try:
            # SQLite's own lock is taken by polling; this one is fair among the threads of this process.
            with self._writer:
                with _answering(), self._transaction(reads=False) as transaction:
                    begun = time.perf_counter()
                    yield transaction
                    try:
                        transaction.finish()
                    except sa.exc.DBAPIError as error:
                        if error.connection_invalidated:
                            self._audit(transaction, certain=False)
                        raise
                    begun += transaction.turn_s
                # Before the next writer's turn, for the order of the lines is to be that of the revisions.
                self._audit(transaction, certain=True)
                for taker in self._takers:
                    taker(transaction.written())
        except Unavailable:
            self._tell(0)  # the answer alone may be lost, and the commit be there
            raise
        finally:
            self._time("write", asked, begun)
        if transaction.changes:
            self._tell(transaction.revision)

    def _audit(self, transaction: Transaction, *, certain: bool) -> None:
        if self._auditor is not None and transaction.edits:
            self._auditor(transaction.revision, transaction.edits, certain)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Yield a transaction that sees one committed state throughout.

        Raises:
            Unavailable: the database does not answer.
        """
        asked = time.perf_counter()
        try:
            with _answering(), self._transaction(reads=True) as transaction:
                yield transaction
        finally:
            self._time("read", asked, asked)

    def write_news(self, change: Callable[[Transaction], None], *, likely: bool = False) -> None:
        """Call `change` in a write transaction, or only in a read transaction if it has nothing to write.

        So it takes no turn among the writers and no revision; it may be called twice. If it is `likely` that there is
        something to write, it takes its turn at once, and gives the revision back if there was nothing after all.

        Raises:
            Unavailable: the database does not answer, or stays locked by another process.
        """
        if not likely:
            with suppress(WriteNeeded), self.read() as transaction:
                change(transaction)
                return
        with suppress(_NothingWritten), self.write() as transaction:
            change(transaction)
            if not transaction.has_written:
                raise _NothingWritten

    @contextmanager
    def _transaction(self, *, reads: bool) -> Iterator[Transaction]:
        with self.connections.transaction(reads=reads) as connection:
            if not reads:
                self.database.begin(connection, self.first(reads=False))
            yield Transaction(self, connection, reads=reads)

    def first(self, *, reads: bool) -> list[Statement]:
        """Return the first statements of a transaction; the last of them gives a write its revision."""
        begin: list[Statement] = self.database.first(reads=reads)
        return begin if reads else [*begin, (self._next_revision, {})]


def _make_engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise SettingsError(f"database: {error}") from error
    database = _DATABASES.get(parsed.get_backend_name())
    if database is None:
        raise SettingsError(
            f"database = '{parsed.render_as_string(hide_password=True)}': must be one of "
            f"{', '.join(f'{name}://' for name in _DATABASES)}"
        )
    engine: sa.Engine = database.make_engine(
        parsed,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    return engine


@contextmanager
def _answering() -> Iterator[None]:
    """Raise `Unavailable` for a database that does not answer, closes the connection, or is not fit to serve.

    PostgreSQL has an internal error for one that only reads (SQLSTATE class 25) or is damaged (XX); SQLite's module
    has the root of all errors for a damaged file.
    """
    try:
        yield
    except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.InternalError) as error:
        raise Unavailable(f"database: {first_line(error)}") from error
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated or type(error) is sa.exc.DatabaseError:
            raise Unavailable(f"database: {first_line(error)}") from error
        raise
    except sa.exc.TimeoutError as error:
        raise Unavailable("database: all connections are in use") from error


def first_line(error: sa.exc.DBAPIError) -> str:
    """Return what the database's driver said, without its hints."""
    return str(error.orig).partition("\n")[0]
