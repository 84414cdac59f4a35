# SPDX-License-Identifier: Apache-2.0
"""The database's schema: made, upgraded, checked.

Alembic is imported only when there is something to upgrade: a server on a current database never pays for it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from portico.errors import Unavailable
from portico.store import extend, initial, postgresql
from portico.store.store import Store, first_line

# The newest migration in migrations/versions; a test proves it.
HEAD = "0027"
VERSION_TABLE = "alembic_version"
MIGRATIONS = Path(__file__).with_name("migrations")
# Of a damaged file it is enough to know a few.
MAX_FAULTS = 10


def version(store: Store) -> str | None:
    """Return the migration that the database is at; None for an empty database.

    Raises:
        Unavailable: the database does not answer, or is none.
    """
    if _is_missing(store):
        return None
    try:
        with store.engine.connect() as connection:
            if not sa.inspect(connection).has_table(VERSION_TABLE):
                return None
            return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except sa.exc.DatabaseError as error:
        raise Unavailable(f"database {store.engine.url!r}: {first_line(error)}") from error


def _is_missing(store: Store) -> bool:
    """Tell whether the file of an embedded database does not exist: to look into it would make it."""
    name = store.engine.url.database
    return store.is_embedded and bool(name) and not Path(name or "").exists()


def ensure(store: Store) -> None:
    """Make the schema in an empty database, or upgrade an older one, tables of other packages' resources too.

    Raises:
        Unavailable: the database does not answer, or comes from a newer Portico, or is another program's; a package's
            model does not fit it.
    """
    if store.is_embedded and store.engine.url.database:
        Path(store.engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    found = version(store)
    if found is None:
        _create(store)
    elif found > HEAD:
        raise Unavailable(f"database {store.engine.url!r} is at schema {found}, newer than this Portico's {HEAD}")
    elif found < HEAD:
        upgrade(store)
    extend.bring(store)


def _create(store: Store) -> None:
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        if not store.is_embedded:
            postgresql.one_at_a_time(connection)
        names = set(sa.inspect(connection).get_table_names())
        if VERSION_TABLE in names:
            return
        ours = _ours(store)
        if taken := sorted(names.intersection(table.name for table in ours)):
            raise Unavailable(
                f"database {store.engine.url!r} has a table {taken[0]} and no schema version: it is another program's"
            )
        store.tables.metadata.create_all(connection, ours)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
        connection.execute(store.tables.revision.insert(), {"id": 1, "number": 0})
        initial.fill(connection, store.tables)


def _ours(store: Store) -> list[sa.Table]:
    """Return all tables but those of other packages' resources."""
    packages = {store.tables.of[one.name] for one in store.registry.services}
    return [table for table in store.tables.metadata.sorted_tables if table not in packages]


def faults(store: Store) -> list[str]:
    """Return what is wrong with a database at HEAD: damage of its file, or else what should be there and is not.

    Raises:
        Unavailable: the database does not answer, or is damaged so much that it tells nothing.
    """
    try:
        with store.engine.connect() as connection:
            if store.is_embedded:
                said = connection.exec_driver_sql(f"PRAGMA integrity_check({MAX_FAULTS})").scalars().all()
                if list(said) != ["ok"]:
                    return list(said)
            found = _missing(connection, _ours(store))
            rows = 0 if found else connection.exec_driver_sql("SELECT count(*) FROM revision").scalar_one()
    except sa.exc.DatabaseError as error:
        raise Unavailable(f"database {store.engine.url!r}: {first_line(error)}") from error
    return found or ([] if rows == 1 else [f"table revision has {rows} rows instead of one"])


def _missing(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[str]:
    inspector = sa.inspect(connection)
    names, found = set(inspector.get_table_names()), []
    for table in tables:
        if table.name not in names:
            found.append(f"table {table.name} is missing")
        else:
            there = {column["name"] for column in inspector.get_columns(table.name)}
            found += [f"column {table.name}.{column.name} is missing" for column in table.c if column.name not in there]
    return found


def upgrade(store: Store) -> None:
    """Run the migrations that the database lacks."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        if not store.is_embedded:
            postgresql.one_at_a_time(connection)
        config.attributes["connection"] = connection
        config.attributes["metadata"] = store.tables.metadata
        command.upgrade(config, "head")


def backup(store: Store, target: Path) -> None:
    """Write a consistent copy of a running SQLite database; under its name it is there whole or not at all.

    Raises:
        Unavailable: the database is another server's business to back up or does not exist, or the target does or
            cannot be written.
    """
    if not store.is_embedded:
        raise Unavailable(f"database {store.engine.url!r}: back it up with its own server's tools")
    if _is_missing(store):
        raise Unavailable(f"database {store.engine.url!r}: there is none")
    if target.exists():
        raise Unavailable(f"backup {target} exists already")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        # Whoever may not read the database may not read its copy.
        part.touch(0o600, exist_ok=False)
        with store.engine.connect() as connection:
            connection.rollback()
            raw: Any = connection.connection.driver_connection
            raw.execute("VACUUM INTO ?", (str(part),))
        with part.open("rb") as written:
            os.fsync(written.fileno())
        # Unlike a rename, this never replaces what has come meanwhile.
        os.link(part, target)
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"backup {target}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
