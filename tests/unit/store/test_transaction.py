# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa

from portico.store import journal, select
from portico.store.store import Store
from portico.store.written import Edit, Row, Written
from portico.testing.lab import wait_until


class Refused(Exception):
    """What a rule raises in the middle of a transaction."""


def everything(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Return the contents of all tables."""
    with store.read() as tx:
        tables = store.tables.metadata.sorted_tables
        return {table.name: [tuple(row) for row in tx.connection.execute(sa.select(table))] for table in tables}


def test_a_transaction_that_fails_leaves_nothing_and_uses_no_revision(store: Store) -> None:
    told: list[int] = []
    store.on_commit(told.append)

    def fail() -> None:
        with store.write() as tx:
            tx.insert("network", {"id": "n1", "project_id": "red", "tags": ["a"]})
            raise Refused

    # On a server it is written down who listens.
    wait_until("it to listen", lambda: store.is_embedded or told == [0], 10)
    before = everything(store)
    with pytest.raises(Refused):
        fail()
    assert everything(store) == before
    assert not any(told)  # 0: some may have been missed
    with store.write() as tx:
        tx.insert("network", {"id": "n1", "project_id": "red"})
    assert 1 in told


def test_nobody_is_told_of_a_transaction_without_a_change(store: Store) -> None:
    told: list[int] = []
    store.on_commit(told.append)
    with store.write() as tx:
        tx.find("network")
    assert not any(told)  # 0: some may have been missed


def test_what_is_written_is_told_in_order_with_the_objects_as_they_are_then(store: Store) -> None:
    told: list[Written] = []
    store.on_write(told.append)

    def work(number: int) -> None:
        for step in range(10):
            name = f"n{number}-{step}"
            with store.write() as tx:
                row = tx.insert("network", {"id": name, "project_id": "red"})
                first = tx.update("network", row, {"name": "a"})
                # Of what was read before the first change, only what the second one names counts.
                tx.update("network", row, {"description": "b"})
                tx.update("network", first, {"status": "ACTIVE"}, touch=False)
            with store.write() as tx:
                if step % 2:
                    tx.delete("network", row)
                tx.find("network", name="z")

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [written.revision for written in told] == list(range(1, 81))
    assert all(written.is_whole for written in told)
    now: dict[tuple[str, str], Row | None] = {}
    for written in told:
        assert set(written.objects) == set(written.keys)
        now |= written.objects
    with store.read() as tx:
        kept = {("network", row["id"]): row for row in tx.find("network")}
    assert {key: row for key, row in now.items() if row is not None} == kept
    assert len(now) == 2 * len(kept) == 40


def test_what_the_database_alone_knows_is_not_told_as_if_it_were_whole(store: Store) -> None:
    told: list[Written] = []
    store.on_write(told.append)
    with store.write() as tx:
        tx.record("network", "n", "red", "update")
    with store.write() as tx:
        tx.record("network", "n", "red", "status")
    assert [(written.keys, dict(written.objects), written.is_whole) for written in told] == [
        ((("network", "n"),), {}, False),
        ((("network", "n"),), {}, True),
    ]


def test_a_reader_sees_one_state_however_long_it_reads(store: Store) -> None:
    with store.read() as reader:
        assert reader.find("network") == []
        with store.write() as tx:
            tx.insert("network", {"id": "n1", "project_id": "red"})
        assert reader.find("network") == []
        assert journal.newest(reader) == 0
    with store.read() as reader:
        assert [row["id"] for row in reader.find("network")] == ["n1"]


def test_what_was_asked_ahead_or_read_before_is_asked_anew_after_a_write(store: Store) -> None:
    with store.write() as tx:
        tx.foresee([tx.finding("network", name="blue"), tx.finding("network", name="green")])
        assert tx.find("network", name="green") == []
        written = tx.insert("network", {"id": "n1", "project_id": "red", "name": "blue"})
        assert tx.find("network", name="blue") == [written]
        row = tx.get("network", "n1")
        assert row is not None
        row["name"] = "the caller's own"
        assert tx.get_many("network", ["n1", "n1", "n2"]) == [written]
        tx.update("network", row, {"name": "green"})
        assert [found["name"] for found in (tx.get("network", "n1"), *tx.get_many("network", ["n1"])) if found] == [
            "green",
            "green",
        ]
        tx.delete("network", row)
        assert tx.get("network", "n1") is None and tx.used("network", "red") == 0


def test_what_is_put_off_before_anything_is_asked_is_done_once(store: Store) -> None:
    with store.write() as tx:
        tx.later(select.COUNT, {"project": "red", "name": "network", "by": 1})
    with store.read() as tx:
        assert tx.used("network", "red") == 1


def test_what_was_visible_is_not_looked_for_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table = store.tables.of["network"]
    red, blue = table.c.project_id == "red", table.c.project_id == "blue"
    with store.write() as tx:
        written = tx.insert("network", {"id": "n1", "project_id": "red"})
    with store.write() as tx:
        asked: list[object] = []
        ask = tx.ask

        def count(statement: Any, values: Any) -> Any:
            asked.append(statement)
            return ask(statement, values)

        monkeypatch.setattr(tx, "ask", count)
        assert [tx.get_visible("network", "n1", red) for _ in range(3)] == [written] * 3
        assert len(asked) == 1
        assert tx.get_visible("network", "n1", blue) is None
        tx.update("network", written, {"name": "new"})
        again = tx.get_visible("network", "n1", red)
        assert again is not None and again["name"] == "new"


def test_writes_that_break_a_constraint_are_told_as_such_and_leave_nothing(store: Store) -> None:
    def write() -> None:
        with store.write() as tx:
            for _ in range(2):
                tx.insert("network", {"id": "n1", "project_id": "red"})
            tx.settle()

    with pytest.raises(sa.exc.IntegrityError):
        write()
    with store.read() as tx:
        assert tx.find("network") == [] and tx.used("network", "red") == 0 and journal.newest(tx) == 0


def test_what_is_committed_is_there_after_the_store_is_opened_again(store: Store) -> None:
    row = {"id": "p1", "project_id": "red", "network_id": "n", "mac_address": "02:00:00:00:00:01",
           "fixed_ips": [{"subnet_id": "s", "ip_address": "192.0.2.1"}], "binding:profile": {"plug": "tap"},
           "admin_state_up": True, "tags": ["é"]}  # fmt: skip
    with store.write() as tx:
        written = tx.insert("port", row)
    store.close()
    again = Store(str(store.engine.url), store.registry)
    with again.read() as tx:
        assert tx.get("port", "p1") == written
    again.close()


def test_only_a_change_by_a_client_gives_an_object_a_new_revision(store: Store) -> None:
    with store.write() as tx:
        network = tx.insert("network", {"id": "n1", "project_id": "red"})
        assert network["revision_number"] == 1
    with store.write() as tx:
        assert tx.update("network", network, {"status": "DOWN"}, touch=False)["revision_number"] == 1
    with store.write() as tx:
        assert tx.update("network", network, {"name": "blue"})["revision_number"] == 3
        found = tx.get("network", "n1")
        assert found is not None
        assert (found["status"], found["name"], found["revision_number"]) == ("DOWN", "blue", 3)


def test_objects_are_counted_per_project_and_kind(store: Store) -> None:
    with store.write() as tx:
        for name, project in (("n1", "red"), ("n2", "red"), ("n3", "blue")):
            tx.insert("network", {"id": name, "project_id": project})
        network = tx.get("network", "n1")
        assert network is not None
        tx.delete("network", network)
        assert [tx.used("network", project) for project in ("red", "blue", "green")] == [1, 1, 0]
        assert tx.used("subnet", "red") == 0


def test_many_objects_are_read_by_their_ids_beyond_what_one_statement_takes(store: Store) -> None:
    ids = [f"n{number}" for number in range(12_000)]
    with store.write() as tx:
        rows = [{"id": name, "project_id": "red"} for name in ids]
        tx.connection.execute(tx.tables.of["network"].insert(), rows)
        assert {row["id"] for row in tx.get_many("network", [*ids, "missing"])} == set(ids)


def test_transactions_are_timed_committed_or_not(store: Store) -> None:
    timed: list[tuple[str, float, float]] = []
    store.on_transaction(lambda *one: timed.append(one))
    with store.read():
        time.sleep(0.02)
    with pytest.raises(Refused), store.write():
        raise Refused
    assert [kind for kind, _, _ in timed] == ["read", "write"]
    assert timed[0][1] == 0 and 0.02 <= timed[0][2] < 5


def test_a_write_is_told_how_long_it_waited_for_another(store: Store) -> None:
    timed: list[tuple[str, float, float]] = []
    store.on_transaction(lambda *one: timed.append(one))
    begun = threading.Event()

    def hold() -> None:
        with store.write():
            begun.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(10)
    with store.write():
        pass
    thread.join()
    (_, first_wait_s, first_took_s), (_, second_wait_s, _) = timed
    assert first_took_s >= 0.2 and second_wait_s >= 0.1 > first_wait_s


def test_an_auditor_is_told_of_commits_alone_and_of_copies(store: Store) -> None:
    told: list[tuple[int, list[Edit]]] = []
    store.audit(lambda revision, edits, _: told.append((revision, list(edits))))

    def fail() -> None:
        with store.write() as tx:
            tx.insert("network", {"id": "n1", "project_id": "red"})
            raise Refused

    with pytest.raises(Refused):
        fail()
    assert told == []
    with store.write() as tx:
        row = tx.insert("network", {"id": "n1", "project_id": "red", "availability_zone_hints": ["a"]})
        row["availability_zone_hints"].append("b")
        revision = tx.revision
    [(number, [edit])] = told
    assert (number, edit.verb, edit.before) == (revision, "create", {})
    assert edit.after["availability_zone_hints"] == ["a"]
    with store.write() as tx:
        tx.update("network", tx.get("network", "n1") or {}, {"status": "DOWN"}, touch=False)
    assert len(told) == 1
