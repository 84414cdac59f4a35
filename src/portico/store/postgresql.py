# SPDX-License-Identifier: Apache-2.0
"""The shared database: several API servers on one PostgreSQL.

Writers take turns by the row lock of the global revision; a commit tells the other servers with NOTIFY, if there are
any. Sources: PostgreSQL 15 documentation, 9.27.10 (advisory locks), 13.2 (isolation), 20.11 (timeouts), 54.12
(pg_locks), NOTIFY, LISTEN; libpq's connection parameters (34.1.2).
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from portico.store.connections import Connections

if TYPE_CHECKING:
    import psycopg

    from portico.store.pipeline import Statement
    from portico.store.written import Row

LOG = logging.getLogger(__name__)

CHANNEL = "portico_revision"
WORDS = "portico_word"
POOL_SIZE = 8
# Whether statements go somewhere, so that fewer journeys are quicker.
HAS_WAY = True
_RETRY_S = 0.5
_PARAMETERS = {
    "connect_timeout": "5",
    # A server that vanished without a word is given up after 5 + 3 * 3 s.
    "keepalives_idle": "5",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "application_name": "portico",
    # A client that stops in the middle of a transaction, or a query gone wrong, must not keep the others from writing.
    "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=30s",
}


def make_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """Return the engine for a PostgreSQL URL, whose query goes before our parameters; `options` go to SQLAlchemy."""
    arguments = {name: value for name, value in _PARAMETERS.items() if name not in url.query}
    url = url.set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, connect_args=arguments, pool_size=POOL_SIZE, max_overflow=POOL_SIZE, **options)
    sa.event.listen(engine, "connect", _connect)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _connect(connection: psycopg.Connection, _record: object) -> None:
    # The driver's own BEGIN goes alone and is waited for.
    connection.autocommit = True
    # It would forget ours with its own when a transaction is rolled back (see `pipeline`).
    connection.prepare_threshold = None


def _begin(connection: sa.Connection) -> None:
    # A transaction of the store says it itself, together with its first statements.
    if not connection.get_execution_options().get("portico_transaction"):
        connection.exec_driver_sql("BEGIN")


def connections(engine: sa.Engine) -> Connections:
    """Return what transactions take turns with, which begin with `first` and end with `last`."""
    return Connections(engine, lambda _connection, _reads: None, lambda _connection: None, _undo)


def _undo(connection: sa.Connection) -> None:
    from portico.store import pipeline

    pipeline.undo(connection)


_BEGIN = sa.text("BEGIN")
_BEGIN_READING = sa.text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


def first(*, reads: bool) -> list[Statement]:
    """Return the first statements of a transaction; one that reads sees one state throughout."""
    return [(_BEGIN_READING if reads else _BEGIN, {})]


def begin(connection: sa.Connection, statements: Sequence[Statement]) -> None:
    """Have `first` statements of a write done while its rules are at work; see `pipeline.begin`."""
    from portico.store import pipeline

    pipeline.begin(connection, statements)


def exchange(connection: sa.Connection, statements: Sequence[Statement]) -> list[list[Row]]:
    """See `pipeline.exchange`."""
    # With it comes the driver, which is there only where PostgreSQL is used.
    from portico.store import pipeline

    return pipeline.exchange(connection, statements)


def one_at_a_time(connection: sa.Connection) -> None:
    """Wait until no other server is making or upgrading the schema; holds until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(CHANNEL))))


_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, sa.bindparam("news")))
_COMMIT = sa.text("COMMIT")


def last(revision: int, server: str, *, is_told: bool) -> list[Statement]:
    """Return the last statements of a write of `server`.

    If it `is_told`, all servers hear of `revision` when it commits, and only then.
    """
    told: list[Statement] = []
    if is_told:
        told.append((_NOTIFY, {"news": f"{revision} {server}"}))
    return [*told, (_COMMIT, {})]


_SAY = sa.select(sa.func.pg_notify(WORDS, sa.bindparam("word")))


def say(connection: sa.Connection, server: str, words: Sequence[str]) -> None:
    """Tell the other servers words of `server`, each less than 8,000 bytes, when the transaction commits."""
    for word in words:
        connection.execute(_SAY, {"word": f"{server} {word}"})


# Who listens holds this lock as long as its connection lasts.
_LISTENING = "hashtext('portico_listener'), 0"
_TAKE_PLACE = """
UPDATE revision SET only_listener = CASE WHEN EXISTS (
    SELECT FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
    WHERE locktype = 'advisory' AND classid = hashtext('portico_listener')::oid AND objid = 0 AND objsubid = 2
        AND datname = current_database() AND pid <> pg_backend_pid()
) THEN NULL ELSE %s END
"""


class Listener:
    """Calls `told(revision)` for each commit of a server other than `server`, from a thread of its own.

    After a lost connection it is called with 0: whoever follows looks for itself what is new. It calls `heard` with
    the others' words; those that were said meanwhile are lost.
    """

    def __init__(
        self, engine: sa.Engine, server: str, told: Callable[[int], None], heard: Callable[[str], None]
    ) -> None:
        self._engine = engine
        self._server = server
        self._told = told
        self._heard = heard
        self._stopping = threading.Event()
        self._is_deaf = False
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._end.close()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        self._ended.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with contextlib.closing(self._connect()) as connection:
                    self._listen(connection)
            except (sa.exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error) as error:
                # Once, however long it lasts.
                level = logging.DEBUG if self._is_deaf else logging.WARNING
                LOG.log(level, "database: commits of other servers are not heard of: %s", str(error).partition("\n")[0])
                self._is_deaf = True
                self._stopping.wait(_RETRY_S)

    def _connect(self) -> psycopg.Connection:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        # Out of the pool for good: a connection that listens is of no use to others.
        pooled.detach()
        connection.rollback()
        connection.autocommit = True
        return connection  # type: ignore[no-any-return]

    def _take_place(self, connection: psycopg.Connection) -> None:
        """Have all who write from now on know whether this server alone is to be told, and wait for who writes now.

        A commit of the only listener need tell nobody, which saves as much as a tenth of its processor time. That one
        is gone is not noticed until another one comes: then more is told than need be.
        """
        connection.execute(f"SELECT pg_advisory_lock_shared({_LISTENING})")
        with connection.transaction():
            connection.execute("SELECT FROM revision FOR UPDATE")
            connection.execute(_TAKE_PLACE, [self._server])

    def _listen(self, connection: psycopg.Connection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        connection.execute(f"LISTEN {WORDS}")
        self._take_place(connection)
        if self._is_deaf:
            LOG.warning("database: commits of other servers are heard of again")
            self._is_deaf = False
        self._told(0)
        while not self._stopping.is_set():
            select.select([connection.fileno(), self._ended.fileno()], [], [])
            # libpq's own: most news are of this server's commits, which nobody waits for, and come while it is at work.
            connection.pgconn.consume_input()
            while (note := connection.pgconn.notifies()) is not None:
                first, _, rest = note.extra.decode().partition(" ")
                if note.relname.decode() == WORDS:
                    if first != self._server:
                        self._heard(rest)
                elif rest != self._server:
                    self._told(int(first))
