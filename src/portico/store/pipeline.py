# SPDX-License-Identifier: Apache-2.0
"""Statements that go to PostgreSQL together, and whose answers come back together.

Each is prepared once on each connection, and sent by libpq itself: all else that drivers do for a statement costs more
than the statement. Sources: PostgreSQL 15 documentation, 34.4 and 34.5 (asynchronous commands and pipeline mode of
libpq), 55.8 (severities); psycopg's documentation of `psycopg.pq` and `psycopg.adapt`.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
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
# Where the dictionary of a connection has the names of what is prepared on it.
_PREPARED = "portico_prepared"
# With these words a server hangs up.
_LAST_WORDS = (b"FATAL", b"PANIC")


class _Message(msgspec.Struct, frozen=True):
    """What the server answers with one result: to prepare `sql` under a `name`, or to do what has one."""

    number: int
    sql: bytes
    name: bytes = b""
    prepares: bool = False


def exchange(connection: sa.Connection, statements: Sequence[Statement]) -> list[list[Row]]:
    """Do statements in their order, all on one way to the server and back, and return the rows of each.

    Raises:
        sqlalchemy.exc.DBAPIError: the first statement that failed; those behind it were not done.
    """
    driver: Any = connection.connection.driver_connection
    try:
        transformer = Transformer.from_context(driver)
        # All values before anything is sent: one that cannot be written costs a refusal, and no connection.
        questions = [_question(transformer, *item) for item in statements]
        return _talk(driver.pgconn, transformer, questions, connection.info.setdefault(_PREPARED, {}))
    except psycopg.Error as error:
        is_lost = driver.pgconn.status != pq.ConnStatus.OK or driver.pgconn.pipeline_status != pq.PipelineStatus.OFF
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


def _talk(
    server: pq.abc.PGconn, transformer: abc.Transformer, questions: Sequence[_Question], prepared: dict[bytes, bytes]
) -> list[list[Row]]:
    server.enter_pipeline_mode()
    messages = list(_send(server, questions, prepared))
    server.pipeline_sync()
    found: list[list[Row]] = [[] for _ in questions]
    failed: pq.abc.PGresult | None = None
    for message, result in zip(messages, _answers(server), strict=True):
        if result.status == pq.ExecStatus.TUPLES_OK:
            found[message.number] += _rows(transformer, result)
        elif result.status == pq.ExecStatus.FATAL_ERROR:
            failed = failed or result
        elif message.prepares and result.status == pq.ExecStatus.COMMAND_OK:
            prepared[message.sql] = message.name
    server.exit_pipeline_mode()
    if failed is not None:
        raise _error(failed)
    return found


def _send(server: pq.abc.PGconn, questions: Sequence[_Question], prepared: Mapping[bytes, bytes]) -> Iterator[_Message]:
    """Queue what the server is asked, and yield what it will answer."""
    names = dict(prepared)
    for number, (sql, times) in enumerate(questions):
        name = names.get(sql, b"")
        if not name and len(names) < MAX_PREPARED:
            name = names[sql] = b"portico_%d" % len(names)
            server.send_prepare(name, sql)
            yield _Message(number, sql, name, prepares=True)
        for values in times:
            if name:
                server.send_query_prepared(name, values)
            else:
                server.send_query_params(sql, values)
            yield _Message(number, sql)


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


def _rows(transformer: abc.Transformer, result: pq.abc.PGresult) -> list[Row]:
    names = [(result.fname(number) or b"").decode() for number in range(result.nfields)]
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, lambda values: dict(zip(names, values, strict=True)))


def _error(result: pq.abc.PGresult) -> psycopg.Error:
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
    try:
        kind = psycopg.errors.lookup(state.decode())
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(message.decode(errors="replace"))
