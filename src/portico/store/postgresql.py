# SPDX-License-Identifier: Apache-2.0
"""The shared database: several API servers on one PostgreSQL.

Writers take turns by the row lock of the global revision; a commit tells every server with NOTIFY. Sources: PostgreSQL
15 documentation, 13.2 (isolation), 20.11 (timeouts), NOTIFY, LISTEN; libpq's connection parameters (34.1.2).
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    import psycopg

LOG = logging.getLogger(__name__)

CHANNEL = "portico_revision"
POOL_SIZE = 8
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
    return sa.create_engine(url, connect_args=arguments, pool_size=POOL_SIZE, max_overflow=POOL_SIZE, **options)


def one_at_a_time(connection: sa.Connection) -> None:
    """Wait until no other server is making or upgrading the schema; holds until the transaction ends."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(CHANNEL))))


def notify(connection: sa.Connection, revision: int) -> None:
    """Have every server told of `revision` when this transaction commits, and only then."""
    connection.execute(sa.select(sa.func.pg_notify(CHANNEL, str(revision))))


class Listener:
    """Calls `told(revision)` for each commit of any server, from a thread of its own.

    After a lost connection it is called with 0: whoever follows looks for itself what is new.
    """

    def __init__(self, engine: sa.Engine, told: Callable[[int], None]) -> None:
        self._engine = engine
        self._told = told
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

    def _listen(self, connection: psycopg.Connection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        if self._is_deaf:
            LOG.warning("database: commits of other servers are heard of again")
            self._is_deaf = False
        self._told(0)
        while not self._stopping.is_set():
            select.select([connection.fileno(), self._ended.fileno()], [], [])
            for note in connection.notifies(timeout=0):
                self._told(int(note.payload))
