# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from portico.errors import Unavailable
from portico.model.resource import Registry
from portico.store import schema
from portico.store.store import Store

# What no two rows have in common.
TOLD_APART = ("id", "created_at", "updated_at")


@pytest.fixture
def nothing(tmp_path: Path, registry: Registry) -> Iterator[Store]:
    """A store on a database that does not exist yet, in a folder that does not either."""
    made = Store(f"sqlite:///{tmp_path}/new/portico.db", registry)
    yield made
    made.close()


def migrated(folder: Path, registry: Registry) -> Store:
    store = Store(f"sqlite:///{folder}/migrated.db", registry)
    schema.upgrade(store)
    return store


def shape(store: Store) -> dict[str, object]:
    """Return all that the database says of its tables."""
    with store.engine.connect() as connection:
        inspector = sa.inspect(connection)
        return {
            table: (
                # A migration adds columns at the end: nothing may depend on their order.
                sorted((item["name"], str(item["type"]), item["nullable"]) for item in inspector.get_columns(table)),
                inspector.get_pk_constraint(table)["constrained_columns"],
                sorted(str((item["name"], item["column_names"])) for item in inspector.get_unique_constraints(table)),
                sorted(str((item["name"], item["column_names"])) for item in inspector.get_indexes(table)),
            )
            for table in inspector.get_table_names()
            if table != schema.VERSION_TABLE
        }


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_migrations_lead_to_the_tables_that_the_registry_asks_for(tmp_path: Path, registry: Registry) -> None:
    store = migrated(tmp_path, registry)
    with store.engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, store.tables.metadata) == []
    store.close()


def test_a_new_database_is_the_same_whether_made_or_migrated(
    tmp_path: Path, registry: Registry, nothing: Store
) -> None:
    schema.ensure(nothing)
    other = migrated(tmp_path, registry)
    assert shape(nothing) == shape(other)
    assert schema.version(nothing) == schema.version(other) == schema.HEAD
    for store in (nothing, other):
        with store.write() as tx:
            assert tx.revision == 1
    other.close()


def test_what_was_made_earlier_gets_what_came_with_segments_and_links(tmp_path: Path, registry: Registry) -> None:
    store = Store(f"sqlite:///{tmp_path}/migrated.db", registry)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        config.attributes |= {"connection": connection, "metadata": store.tables.metadata}
        command.upgrade(config, "0002")
        connection.exec_driver_sql("INSERT INTO port (id) VALUES ('p1')")
        for number in (1, 2):
            row = {"id": f"n{number}", "project_id": "red", "revision_number": number, "created_at": "early",
                   "updated_at": "late", "provider:network_type": "local"}  # fmt: skip
            connection.execute(sa.insert(sa.table("network", *map(sa.column, row))), row)
    schema.upgrade(store)
    with store.read() as tx:
        port, segments = tx.get("port", "p1"), tx.find("segment", network_type="local")
    assert port is not None and port["propagate_uplink_status"] is True
    segments.sort(key=lambda row: row["network_id"])
    assert [(row["network_id"], row["revision_number"]) for row in segments] == [("n1", 1), ("n2", 2)]
    assert {(row["project_id"], row["created_at"], row["description"]) for row in segments} == {("red", "early", "")}
    assert len({row["id"] for row in segments}) == 2
    store.close()


def test_a_new_database_holds_what_a_migrated_one_does(tmp_path: Path, registry: Registry, nothing: Store) -> None:
    schema.ensure(nothing)
    other = migrated(tmp_path, registry)
    contents = []
    for store in (nothing, other):
        with store.read() as tx:
            rules = tx.find("default_security_group_rule")
            contents.append(
                sorted(sorted((k, str(v)) for k, v in rule.items() if k not in TOLD_APART) for rule in rules)
            )
    assert contents[0] == contents[1] and len(contents[0]) == 4
    other.close()


def test_rules_of_default_groups_are_marked_in_an_older_database(tmp_path: Path, registry: Registry) -> None:
    store = Store(f"sqlite:///{tmp_path}/older.db", registry)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        config.attributes |= {"connection": connection, "metadata": store.tables.metadata}
        command.upgrade(config, "0001")
        for group, name in (("g1", "default"), ("g2", "web")):
            connection.exec_driver_sql(f"INSERT INTO security_group (id, name) VALUES ('{group}', '{name}')")  # noqa: S608
            statement = f"INSERT INTO security_group_rule (id, security_group_id) VALUES ('r{group}', '{group}')"  # noqa: S608
            connection.exec_driver_sql(statement)
    schema.ensure(store)
    with store.read() as tx:
        found = {row["id"]: row["belongs_to_default_sg"] for row in tx.find("security_group_rule")}
    assert found == {"rg1": True, "rg2": False}
    store.close()


def test_what_counters_said_last_is_kept_in_an_older_database(tmp_path: Path, registry: Registry) -> None:
    store = Store(f"sqlite:///{tmp_path}/older.db", registry)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        config.attributes |= {"connection": connection, "metadata": store.tables.metadata}
        command.upgrade(config, "0020")
        names = "id, host, counter, last_packets, last_bytes"
        connection.exec_driver_sql(f"INSERT INTO metering_count ({names}) VALUES ('c', 'h', 'a', 3, 9)")  # noqa: S608
    schema.ensure(store)
    with store.read() as tx:
        assert tx.find("metering_count", host="h")[0]["told"] == {"a": [3, 9]}
    store.close()


def test_ensure_makes_a_database_once_and_keeps_what_is_in_it(nothing: Store) -> None:
    schema.ensure(nothing)
    with nothing.write() as tx:
        tx.insert("network", {"id": "n1", "project_id": "red"})
    schema.ensure(nothing)
    with nothing.read() as tx:
        assert tx.get("network", "n1") is not None


@pytest.mark.parametrize("attempt", range(25))
def test_servers_that_start_at_the_same_moment_make_one_database(
    tmp_path: Path, registry: Registry, attempt: int
) -> None:
    stores = [Store(f"sqlite:///{tmp_path}/portico.db", registry) for _ in range(4)]
    together = threading.Barrier(len(stores))

    def ensure(store: Store) -> None:
        together.wait(timeout=10)
        schema.ensure(store)

    threads = [threading.Thread(target=ensure, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        with store.write() as tx:
            tx.insert("network", {"id": str(uuid.uuid4()), "project_id": "red"})
    with stores[0].read() as tx:
        assert [schema.version(store) for store in stores] == [schema.HEAD] * 4
        assert len(tx.find("network", project_id="red")) == 4
    for store in stores:
        store.close()


def test_a_database_of_a_newer_portico_is_refused_and_left_alone(nothing: Store) -> None:
    schema.ensure(nothing)
    with nothing.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Unavailable, match=f"9999, newer than .* {schema.HEAD}"):
        schema.ensure(nothing)
    assert schema.version(nothing) == "9999"


def test_what_is_no_database_is_refused_with_one_line(tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "portico.db").write_text("this is no database, and longer than a header of one would be" * 20)
    store = Store(f"sqlite:///{tmp_path}/portico.db", registry)
    with pytest.raises(Unavailable) as caught:
        schema.ensure(store)
    assert "portico.db" in str(caught.value) and "\n" not in str(caught.value)
    store.close()


def test_a_backup_of_a_running_database_is_one_committed_state(tmp_path: Path, nothing: Store) -> None:
    schema.ensure(nothing)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with nothing.write() as tx:
                for _ in range(3):
                    tx.insert("network", {"id": str(uuid.uuid4()), "project_id": "red"})

    thread = threading.Thread(target=write)
    thread.start()
    for number in range(5):
        schema.backup(nothing, tmp_path / f"{number}.db")
    stop.set()
    thread.join()
    with pytest.raises(Unavailable, match="exists already"):
        schema.backup(nothing, tmp_path / "0.db")
    for number in range(5):
        copy = Store(f"sqlite:///{tmp_path}/{number}.db", nothing.registry)
        schema.ensure(copy)
        with copy.read() as tx:
            rows = tx.find("network", project_id="red")
            assert len(rows) % 3 == 0 and tx.used("network", "red") == len(rows)
            entries = tx.connection.execute(sa.select(sa.func.count()).select_from(tx.tables.journal)).scalar_one()
            assert entries == len(rows)
        copy.close()


def test_a_current_database_is_opened_without_the_migration_tool(tmp_path: Path, nothing: Store) -> None:
    schema.ensure(nothing)
    code = (
        "import sys; from portico.model.load import load; from portico.store import schema; "
        "from portico.store.store import Store; schema.ensure(Store(sys.argv[1], load())); "
        "sys.exit('alembic' in sys.modules)"
    )
    url = f"sqlite:///{tmp_path}/new/portico.db"
    assert subprocess.run([sys.executable, "-c", code, url], timeout=60).returncode == 0
