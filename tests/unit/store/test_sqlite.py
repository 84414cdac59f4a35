# SPDX-License-Identifier: Apache-2.0
"""Statements that go to the embedded database past SQLAlchemy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from portico.errors import Unavailable
from portico.model.resource import Registry
from portico.store import schema
from portico.store.store import Store
from portico.store.transaction import Transaction

PORT: dict[str, Any] = {
    "id": "p",
    "project_id": "red",
    "network_id": "n",
    "mac_address": "02:00:00:00:00:01",
    "name": "'%s' ? :name \N{SNOWMAN}",
    "binding:profile": {"a": [1, None, "\\"]},
    "admin_state_up": False,
    "fixed_ips": [{"subnet_id": "s", "ip_address": "192.0.2.1"}],
}


@pytest.fixture
def store(registry: Registry, tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path}/portico.db", registry)
    schema.ensure(store)
    yield store
    store.close()


def by_sqlalchemy(store: Store) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(store.tables.of["port"])).mappings()]


def test_rows_are_read_and_written_as_sqlalchemy_would(store: Store) -> None:
    with store.write() as tx:
        made = tx.insert("port", dict(PORT))
    assert by_sqlalchemy(store) == [made]
    with store.write() as tx:
        (row,) = tx.find("port", network_id="n")
        assert row == made
        changed = tx.update("port", row, {"admin_state_up": True, "binding:profile": {}})
    assert by_sqlalchemy(store) == [changed]
    with store.write() as tx:
        tx.delete("port", changed)
    assert by_sqlalchemy(store) == []


def test_transactions_take_turns_with_connections_that_sqlalchemy_does_not_get_back(store: Store) -> None:
    lent: list[object] = []
    sa.event.listen(store.engine, "checkout", lambda *told: lent.append(told))
    for number in range(3):
        with store.write() as tx:
            tx.insert("port", {**PORT, "id": f"p{number}", "mac_address": f"02:00:00:00:00:0{number}"})
            with store.read() as beside:
                assert len(beside.find("port")) == number
        with contextlib.suppress(ZeroDivisionError), store.write() as tx:
            tx.delete("port", tx.find("port")[0])
            tx.settle()
            raise ZeroDivisionError
    assert len(lent) <= 2
    assert len(by_sqlalchemy(store)) == 3


def test_a_connection_that_broke_is_not_used_again(store: Store) -> None:
    def lose(tx: Transaction) -> None:
        driver = tx.connection.connection.dbapi_connection
        assert driver is not None
        driver.close()
        tx.find("port")

    with pytest.raises(sa.exc.ProgrammingError), store.write() as tx:
        lose(tx)
    with store.write() as tx:
        tx.insert("port", dict(PORT))
    assert len(by_sqlalchemy(store)) == 1


def test_none_of_the_statements_of_a_transaction_costs_what_sqlalchemy_does(store: Store) -> None:
    asked: list[str] = []

    @sa.event.listens_for(store.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    with store.write() as tx:
        tx.insert("port", {**PORT, "tags": ["a", "b"]})
        tx.note_reason("port", "p", "why")
        tx.settle()
        row = tx.find("port", network_id="n")[0]
        tx.used("port", "red")
        assert [found["id"] for found in tx.get_many("port", ["q", "p", "q", "p"])] == ["p"]
        tx.delete("port", row)
    with store.write() as tx:
        tx.note_reason("port", "p", "why")
        tx.note_reason("network", "q", "so")
    with store.read() as tx:
        tx.read_reasons(("port", "network"), ["p", "q"])
        assert [tx.reason(*key) for key in (("port", "p"), ("network", "q"), ("network", "p"))] == ["why", "so", ""]
    assert asked == []


def test_a_refusal_is_sqlalchemys_and_what_comes_behind_it_is_not_done(store: Store) -> None:
    def insert_twice() -> None:
        with store.write() as tx:
            for _ in range(2):
                tx.insert("port", dict(PORT))

    with pytest.raises(sa.exc.IntegrityError, match="UNIQUE"):
        insert_twice()
    assert by_sqlalchemy(store) == []
    with store.write() as tx:
        tx.insert("port", dict(PORT))
    assert len(by_sqlalchemy(store)) == 1


def test_a_damaged_file_is_no_error_of_the_servers(store: Store, tmp_path: Path) -> None:
    with store.engine.connect() as connection:
        root = connection.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'network'").scalar_one()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    store.close()
    with (tmp_path / "portico.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"?" * size)
    with pytest.raises(Unavailable, match=r"^database: database disk image is malformed$"), store.read() as tx:
        tx.find("network")
    with pytest.raises(Unavailable, match="malformed"):
        schema.faults(store)
