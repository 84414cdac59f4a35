# SPDX-License-Identifier: Apache-2.0
"""A real store on a SQLite file, for whatever needs one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portico.model.load import load
from portico.model.resource import Registry
from portico.store.store import Store


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Path:
    """A database with all tables and nothing in them, to copy: making it takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    store = Store(f"sqlite:///{path}", registry)
    store.tables.metadata.create_all(store.engine)
    with store.engine.begin() as connection:
        connection.execute(store.tables.revision.insert(), {"id": 1, "number": 0})
    store.close()
    return path


@contextmanager
def copied_store(empty_database: Path, folder: Path, registry: Registry) -> Iterator[Store]:
    store = Store(f"sqlite:///{shutil.copy(empty_database, folder / 'portico.db')}", registry)
    yield store
    store.close()


@pytest.fixture
def store(empty_database: Path, tmp_path: Path, registry: Registry) -> Iterator[Store]:
    with copied_store(empty_database, tmp_path, registry) as made:
        yield made


@pytest.fixture(scope="module")
def lasting_store(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory, registry: Registry
) -> Iterator[Store]:
    """One store for all tests of a module, which must not see each other's objects."""
    with copied_store(empty_database, tmp_path_factory.mktemp("store"), registry) as made:
        yield made
