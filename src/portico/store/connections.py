# SPDX-License-Identifier: Apache-2.0
"""Connections to the database, which transactions take turns with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa


class Connections:
    """What transactions take turns with. SQLAlchemy takes each for one in a transaction that never ends.

    To have it lend a connection, begin, end and take it back costs as much as the statements of a small transaction.

    Args:
        begin: begins a transaction; it is told whether that only reads.
        commit: ends it.
        undo: ends it without effect if it has not ended.
    """

    def __init__(
        self,
        engine: sa.Engine,
        begin: Callable[[sa.Connection, bool], None],
        commit: Callable[[sa.Connection], None],
        undo: Callable[[sa.Connection], None],
    ) -> None:
        self._engine = engine
        self._begin = begin
        self._commit = commit
        self._undo = undo
        self._idle: list[sa.Connection] = []
        self._is_closed = False

    @contextmanager
    def transaction(self, *, reads: bool) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, which is undone if the block raises."""
        connection = self._take()
        try:
            self._begin(connection, reads)
            yield connection
            self._commit(connection)
        finally:
            self._give_back(connection)

    def _take(self) -> sa.Connection:
        with suppress(IndexError):
            return self._idle.pop()
        connection = self._engine.connect().execution_options(portico_transaction=True)
        connection.begin()
        return connection

    def _give_back(self, connection: sa.Connection) -> None:
        if not connection.invalidated:
            try:
                self._undo(connection)
            except (sa.exc.DBAPIError, self._engine.dialect.loaded_dbapi.Error):
                connection.invalidate()
        is_lost = connection.invalidated
        self._idle.append(connection)
        if is_lost or self._is_closed:
            # The server has gone, or the file is not to be read: the others are of no use either.
            self._close_idle()

    def close(self) -> None:
        """Close all; those that somebody has, when they are given back."""
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                # Not only given back to SQLAlchemy, which may have another pool by now.
                connection.invalidate()
                connection.close()
