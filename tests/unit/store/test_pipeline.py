# SPDX-License-Identifier: Apache-2.0
"""Statements that go to a real PostgreSQL server together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from portico.errors import Conflict, Unavailable
from portico.model.resource import Registry
from portico.store import pipeline, schema
from portico.store.pipeline import Statement
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.testing.postgresql import PostgresqlServer

ECHO = sa.select(sa.cast(sa.bindparam("given"), sa.Text).label("told"))
NUMBER = sa.select(sa.cast(sa.bindparam("given"), sa.BigInteger).label("told"))
# More than the buffers of a unix socket hold, in either direction.
LARGE = "x" * 300_000


@pytest.fixture(scope="module")
def store(registry: Registry) -> Iterator[Store]:
    with PostgresqlServer() as server:
        store = Store(server.url(), registry)
        schema.ensure(store)
        yield store
        store.close()


def told(store: Store, statement: sa.Select[Any], *values: object) -> list[Any]:
    """Return what the server makes of each value, all asked at once."""
    with store.read() as tx:
        answers = pipeline.exchange(tx.connection, [(statement, {"given": value}) for value in values])
    return [rows[0]["told"] for rows in answers]


def prepared(tx: Transaction) -> int:
    """Return how many statements the server keeps for a connection."""
    return int(tx.connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements").scalar_one())


def test_answers_larger_than_all_buffers_come_while_questions_are_still_sent(store: Store) -> None:
    assert told(store, ECHO, *[LARGE] * 20) == [LARGE] * 20


def test_numbers_of_every_size_go_through_one_prepared_statement(store: Store) -> None:
    numbers = [0, -1, 2**15, 2**31, 2**63 - 1, None]
    assert told(store, NUMBER, *numbers) == numbers


def test_rows_come_back_as_they_were_written_by_either_way(store: Store) -> None:
    port: dict[str, Any] = {"id": "p", "project_id": "red", "network_id": "n", "mac_address": "02:00:00:00:00:01"}
    port |= {"name": "'%s' $1 \N{SNOWMAN}", "binding:profile": {"a": [1, None, "\\"]}, "admin_state_up": False}
    with store.write() as tx:
        made = tx.insert("port", port)
    with store.read() as tx:
        assert tx.get("port", "p") == made
        table = tx.tables.of["port"]
        (row,) = tx.connection.execute(sa.select(table).where(table.c.id == "p")).mappings()
        assert dict(row) == made


def test_a_statement_is_prepared_once_and_outlives_a_transaction_that_was_rolled_back(store: Store) -> None:
    counts: list[int] = []

    def look(*, fails: bool) -> None:
        with store.read() as tx:
            tx.find("network", name="n")
            # By the driver, which might prepare what it is given often, and then forget all when it rolls back.
            tx.connection.execute(sa.select(tx.tables.of["network"]))
            counts.append(prepared(tx))
            if fails:
                raise ZeroDivisionError

    for _ in range(8):
        look(fails=False)
    with pytest.raises(ZeroDivisionError):
        look(fails=True)
    look(fails=False)
    assert len(set(counts)) == 1


def test_what_is_beyond_the_bound_is_done_without_being_prepared(store: Store) -> None:
    with contextlib.closing(Store(str(store.engine.url), store.registry)) as other, other.read() as tx:
        numbers = range(pipeline.MAX_PREPARED + 100)
        statements: list[Statement] = [(sa.text(f"SELECT {number} AS told"), {}) for number in numbers]
        for _ in range(2):
            assert pipeline.exchange(tx.connection, statements) == [[{"told": number}] for number in numbers]
        assert prepared(tx) == pipeline.MAX_PREPARED


def test_a_statement_that_fails_is_told_and_neither_it_nor_those_behind_it_are_taken_for_prepared(store: Store) -> None:
    divided = sa.select((1 / sa.cast(sa.bindparam("given"), sa.Integer)).label("told"))
    unknown: sa.Select[Any] = sa.select(sa.column("nothing")).select_from(sa.table("nowhere"))
    for _ in range(2):
        with pytest.raises(sa.exc.DataError, match="division by zero"):
            told(store, divided, 1, 0, 1)
        with pytest.raises(sa.exc.ProgrammingError, match='"nowhere" does not exist'), store.read() as tx:
            pipeline.exchange(tx.connection, [(unknown, {}), (ECHO, {"given": "a"})])
    assert told(store, ECHO, "a") == ["a"]


def test_a_value_that_no_database_takes_is_refused_before_anything_is_sent(store: Store) -> None:
    with store.read() as tx:
        with pytest.raises(sa.exc.DataError, match="NUL"):
            pipeline.exchange(tx.connection, [(ECHO, {"given": "a"}), (ECHO, {"given": "a\0b"})])
        # The transaction goes on.
        assert pipeline.exchange(tx.connection, [(ECHO, {"given": "c"})]) == [[{"told": "c"}]]


def test_a_write_that_is_given_up_before_it_asks_costs_neither_number_nor_connection(
    store: Store,
) -> None:
    def backend() -> tuple[int, int]:
        with store.write() as tx:
            asked: list[Statement] = [(sa.select(sa.func.pg_backend_pid().label("pid")), {})]
            return tx.revision, int(pipeline.exchange(tx.connection, asked)[0][0]["pid"])

    revision, pid = backend()
    for error in (Conflict("refused"), ValueError("a mistake")):
        with pytest.raises(type(error)), store.write():
            raise error
    assert backend() == (revision + 1, pid)


def test_a_write_whose_turn_does_not_come_is_refused_and_the_next_one_is_done(store: Store) -> None:
    with store.write() as tx:
        tx.connection.exec_driver_sql("SET lock_timeout = '100ms'")
    with store.engine.begin() as other:
        other.exec_driver_sql("SELECT FROM revision FOR UPDATE")
        with pytest.raises(Unavailable, match="lock timeout"), store.write() as tx:
            assert tx.revision
    with store.write() as tx:
        assert tx.revision
