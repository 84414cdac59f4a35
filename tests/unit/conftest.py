# SPDX-License-Identifier: Apache-2.0
"""A real store, for whatever needs one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portico.model.load import load
from portico.model.resource import Registry
from portico.store import initial, schema
from portico.store.store import Store
from portico.store.tables import Tables
from portico.testing.postgresql import PostgresqlServer


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load()


class Databases:
    """Makes databases with all tables and nothing in them: making those takes longer than most tests.

    So do statements, which are kept with the tables that they name: all stores have the same.
    """

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.registry = registry
        self.tables = Tables(registry)
        self._path = folder / "empty.db"
        self._fill(f"sqlite:///{self._path}")

    @contextmanager
    def empty(self, folder: Path) -> Iterator[Store]:
        """Yield a store on a database of its own."""
        store = Store(f"sqlite:///{shutil.copy(self._path, folder / 'portico.db')}", self.registry, self.tables)
        yield store
        store.close()

    def _fill(self, url: str) -> None:
        store = Store(url, self.registry, self.tables)
        schema.ensure(store)
        store.close()


class PostgresqlDatabases(Databases):
    """The same, on a server of its own; databases are emptied and used again."""

    def __init__(self, server: PostgresqlServer, registry: Registry) -> None:
        self.registry = registry
        self.tables = Tables(registry)
        self._server = server
        self._made = 0
        self._free: list[str] = []
        self._fill(server.url())

    @contextmanager
    def empty(self, folder: Path) -> Iterator[Store]:
        """Yield a store on a database of its own."""
        del folder
        name = self._free.pop() if self._free else self._create()
        store = Store(self._server.url(name), self.registry, self.tables)
        tables = [table.name for table in store.tables.metadata.sorted_tables if table.name != "revision"]
        with store.engine.begin() as connection:
            # Much quicker than to truncate, with so few rows.
            connection.exec_driver_sql("; ".join(f"DELETE FROM {name}" for name in tables))  # noqa: S608
            connection.exec_driver_sql("UPDATE revision SET number = 0")
            initial.fill(connection, store.tables)
        yield store
        store.close()
        self._free.append(name)

    def _create(self) -> str:
        self._made += 1
        name = f"test{self._made}"
        self._server.create(name, template="portico")
        return name


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Databases]:
    """SQLite, or with PORTICO_TEST_DATABASE=postgresql a PostgreSQL server."""
    match os.environ.get("PORTICO_TEST_DATABASE", "sqlite"):
        case "sqlite":
            yield Databases(tmp_path_factory.mktemp("database"), registry)
        case "postgresql":
            with PostgresqlServer() as server:
                yield PostgresqlDatabases(server, registry)
        case other:
            raise ValueError(f"PORTICO_TEST_DATABASE = {other!r}: neither sqlite nor postgresql")


@pytest.fixture
def embedded_store(tmp_path: Path, registry: Registry) -> Iterator[Store]:
    """A store on SQLite, whatever the others are on: for what only its tools can measure."""
    with Databases(tmp_path, registry).empty(tmp_path) as made:
        yield made


@pytest.fixture
def store(databases: Databases, tmp_path: Path) -> Iterator[Store]:
    with databases.empty(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def lasting_store(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all tests of a module, which must not see each other's objects."""
    with databases.empty(tmp_path_factory.mktemp("store")) as made:
        yield made
