# SPDX-License-Identifier: Apache-2.0
"""Statements that go to PostgreSQL together, and whose answers come back together.

Each is prepared once on each connection, and sent by libpq itself: all else that drivers do for a statement costs more
than the statement. Sources: PostgreSQL 15 documentation, 34.4 and 34.5 (asynchronous commands and pipeline mode of
libpq), 55.8 (severities); psycopg's documentation of `psycopg.pq` and `psycopg.adapt`.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import abc, pq
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from portico.store.statement import text as statement_text
from portico.store.written import Row

# A statement that is kept by whoever built it, and the values of its parameters; several of them do it several times.
Statement = tuple[sa.Executable, Mapping[str, Any] | Sequence[Mapping[str, Any]]]

# Statements are written as libpq takes them, with $1 for the first parameter.
_DIALECT: Any = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
# Statements beyond so many are parsed anew each time.
MAX_PREPARED = 500
# Where the dictionary of a connection has what we know of it.
_KEPT = "portico_kept"
# With these words a server hangs up.
_LAST_WORDS = (b"FATAL", b"PANIC")


class _Message(msgspec.Struct, frozen=True):
    """What the server answers with one result: to prepare `sql` under a `name`, or to do what has one."""

    number: int
    sql: bytes
    name: bytes = b""
    prepares: bool = False


class _Begun(msgspec.Struct, frozen=True):
    """What a server is doing of which nothing has been heard yet: so many statements, by these messages."""

    count: int
    messages: Sequence[_Message]


_NOTHING = _Begun(0, ())


class _Kept:
    """What is known of one connection: what is prepared on it, by SQL, and what columns it gives."""

    def __init__(self, driver: psycopg.Connection[Any]) -> None:
        self.server = driver.pgconn
        self.transformer = Transformer.from_context(driver)
        self.prepared: dict[bytes, bytes] = {}
        self.columns: dict[bytes, list[str]] = {}
        self.begun = _NOTHING


def begin(connection: sa.Connection, statements: Sequence[Statement]) -> None:
    """Have the server do statements while we go on: `exchange` is to be given them again, with others behind them.

    Raises:
        sqlalchemy.exc.DBAPIError: the server cannot be told.
    """
    with _translated(connection) as kept:
        questions = [_question(kept.transformer, *item) for item in statements]
        kept.server.enter_pipeline_mode()
        messages = _send(kept, questions)
        kept.server.flush()
        kept.begun = _Begun(len(questions), messages)


def exchange(connection: sa.Connection, statements: Sequence[Statement]) -> list[list[Row]]:
    """Do statements in their order, all on one way to the server and back, and return the rows of each.

    Raises:
        sqlalchemy.exc.DBAPIError: the first statement that failed; those behind it were not done.
    """
    with _translated(connection) as kept:
        # All values before anything is sent: one that cannot be written costs a refusal, and no connection.
        questions = [_question(kept.transformer, *item) for item in statements[kept.begun.count :]]
        return _talk(kept, questions)


def undo(connection: sa.Connection) -> None:
    """End a transaction that has not ended, whatever was begun in it.

    Raises:
        psycopg.Error: the server has gone.
    """
    if _kept(connection).begun.count:
        # What was begun may have failed, and is undone all the same.
        with suppress(sa.exc.DBAPIError):
            exchange(connection, ())
    driver: Any = connection.connection.driver_connection if not connection.invalidated else None
    if driver is not None and driver.pgconn.transaction_status != pq.TransactionStatus.IDLE:
        driver.rollback()


def _kept(connection: sa.Connection) -> _Kept:
    found: _Kept | None = connection.info.get(_KEPT)
    if found is None:
        found = connection.info[_KEPT] = _Kept(connection.connection.driver_connection)  # type: ignore[arg-type]
    return found


@contextmanager
def _translated(connection: sa.Connection) -> Iterator[_Kept]:
    """Raise SQLAlchemy's errors for the driver's; a connection that is lost is given up."""
    kept = _kept(connection)
    try:
        yield kept
    except psycopg.Error as error:
        is_talking = kept.server.pipeline_status != pq.PipelineStatus.OFF and not kept.begun.count
        is_lost = kept.server.status != pq.ConnStatus.OK or is_talking
        if is_lost:
            # The other connections ended with it.
            connection.invalidate(error)
            connection.engine.dispose()
        raise sa.exc.DBAPIError.instance(None, None, error, psycopg.Error, connection_invalidated=is_lost) from error


_Question = tuple[bytes, Sequence[Sequence[Any]]]


def _question(
    transformer: abc.Transformer, statement: sa.Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> _Question:
    times = [values] if isinstance(values, Mapping) else values
    text = statement_text(statement, tuple(times[0]), _DIALECT)
    formats = [PyFormat.TEXT] * len(text.names)
    return text.sql.encode(), [transformer.dump_sequence(text.values(given), formats) for given in times]


def _talk(kept: _Kept, questions: Sequence[_Question]) -> list[list[Row]]:
    server, begun, kept.begun = kept.server, kept.begun, _NOTHING
    if not begun.count:
        server.enter_pipeline_mode()
    messages = _send(kept, questions, begun.messages, begun.count)
    server.pipeline_sync()
    found: list[list[Row]] = [[] for _ in range(begun.count + len(questions))]
    failed: pq.abc.PGresult | None = None
    for message, result in zip(messages, _answers(server), strict=True):
        if result.status == pq.ExecStatus.TUPLES_OK:
            found[message.number] += _rows(kept, message.sql, result)
        elif result.status == pq.ExecStatus.FATAL_ERROR:
            failed = failed or result
        elif message.prepares and result.status == pq.ExecStatus.COMMAND_OK:
            kept.prepared[message.sql] = message.name
    server.exit_pipeline_mode()
    if failed is not None:
        raise _error(failed)
    return found


def _send(
    kept: _Kept, questions: Sequence[_Question], before: Sequence[_Message] = (), count: int = 0
) -> list[_Message]:
    """Queue what the server is asked, and return what it will answer; `before` it there were `count` statements."""
    server, prepared = kept.server, kept.prepared
    fresh = {item.sql: item.name for item in before if item.prepares}
    messages = [*before]
    for number, (sql, times) in enumerate(questions, count):
        name = prepared.get(sql) or fresh.get(sql, b"")
        if not name and len(prepared) + len(fresh) < MAX_PREPARED:
            name = fresh[sql] = b"portico_%d" % (len(prepared) + len(fresh))
            server.send_prepare(name, sql)
            messages.append(_Message(number, sql, name, prepares=True))
        for values in times:
            if name:
                server.send_query_prepared(name, values)
            else:
                server.send_query_params(sql, values)
            messages.append(_Message(number, sql))
    return messages


def _answers(server: pq.abc.PGconn) -> Iterator[pq.abc.PGresult]:
    """Send what is queued, and yield the result of each message.

    Raises:
        psycopg.OperationalError: the server hung up.
    """
    unsent = server.flush()
    while True:
        while server.is_busy():
            poll = select.poll()
            poll.register(server.socket, select.POLLIN | (select.POLLOUT if unsent else 0))
            poll.poll()
            unsent = unsent and server.flush()
            server.consume_input()
        result = server.get_result()
        if result is None:
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return
        if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) in _LAST_WORDS:
            raise _error(result)
        yield result


def _rows(kept: _Kept, sql: bytes, result: pq.abc.PGresult) -> list[Row]:
    if not result.ntuples:
        return []
    names = kept.columns.get(sql)
    if names is None:
        names = [(result.fname(number) or b"").decode() for number in range(result.nfields)]
        if sql in kept.prepared:
            kept.columns[sql] = names
    kept.transformer.set_pgresult(result)
    return kept.transformer.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))


def _error(result: pq.abc.PGresult) -> psycopg.Error:
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
    try:
        kind = psycopg.errors.lookup(state.decode())
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(message.decode(errors="replace"))
