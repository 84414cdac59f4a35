# SPDX-License-Identifier: Apache-2.0
"""Tables of other packages' resources: made and extended from the models themselves.

A package cannot add to our chain of migrations. The database remembers instead which columns each resource has and of
which version of its model they are. What a newer version adds is added; nothing else is ever done but by `drop`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from portico.errors import Unavailable
from portico.model.resource import Resource
from portico.store import postgresql
from portico.store.store import Store

_METADATA = sa.MetaData()
RECORD = sa.Table(
    "package_model",
    _METADATA,
    sa.Column("resource", sa.String(64), primary_key=True),
    sa.Column("package", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("columns", sa.JSON, nullable=False),
    sa.Column("unique", sa.JSON, nullable=False),
)


class Known(msgspec.Struct, frozen=True):
    """What the database remembers of a resource. `columns` maps names to what the model calls their types."""

    package: str
    version: int
    columns: dict[str, str]
    unique: list[list[str]]


class Finding(msgspec.Struct, frozen=True):
    """How the database stands to a resource. `lacks` is what an upgrade adds: None for the whole table.

    `trouble` says why it cannot be used, and what to do.
    """

    resource: str
    version: int
    lacks: tuple[str, ...] | None = ()
    trouble: str = ""
    is_orphan: bool = False

    def __str__(self) -> str:
        if self.is_orphan:
            return (
                "no installed package has its model: its objects are kept until `portico db drop` is told to remove it"
            )
        if self.trouble:
            return self.trouble
        if self.lacks is None:
            return "it has no table yet: `portico db upgrade` makes it, as does the API when it starts"
        if self.lacks:
            return f"the table lacks {', '.join(self.lacks)}: `portico db upgrade` adds that, as does the API's start"
        return f"version {self.version}"


def findings(store: Store) -> list[Finding]:
    """Return how the database stands to every resource of other packages, those that are gone too."""
    with store.engine.connect() as connection:
        known = _known(connection)
    installed = {one.name: one for one in store.registry.services}
    found = [_compare(one, known.get(one.name)) for one in installed.values()]
    return found + [Finding(name, one.version, is_orphan=True) for name, one in known.items() if name not in installed]


def bring(store: Store) -> None:
    """Make the tables that are missing and add the columns that newer models have.

    Raises:
        Unavailable: a model has changed otherwise; names resource, attribute, and what to do.
    """
    found = findings(store)
    if trouble := next((item for item in found if item.trouble), None):
        raise Unavailable(f"database {store.engine.url!r}: resource {trouble.resource}: {trouble.trouble}")
    if all(item.lacks == () for item in found):
        return
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        if not store.is_embedded:
            postgresql.one_at_a_time(connection)
        RECORD.create(connection, checkfirst=True)
        known = _known(connection)
        for resource in store.registry.services:
            # Again, for another server may have done it meanwhile.
            now = _compare(resource, known.get(resource.name))
            table = store.tables.of[resource.name]
            if now.lacks is None:
                table.create(connection, checkfirst=True)
            for name in now.lacks or ():
                _add_column(connection, table.c[name], resource)
            if now.lacks != ():
                _remember(connection, resource)


def drop(store: Store, name: str, *, force: bool) -> int:
    """Remove the table of a package's resource with all that belongs to it; return how many objects it had.

    Raises:
        Unavailable: there is none of this name, or it has objects and it is not said by force.
    """
    with store.engine.connect().execution_options(portico_write=True) as connection, connection.begin():
        if name not in _known(connection):
            raise Unavailable(f"database {store.engine.url!r}: no table of another package is called '{name}'")
        table = sa.Table(name, sa.MetaData())
        count = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        if count and not force:
            raise Unavailable(
                f"{name}: {count} objects would go with it: end all API servers, back up, then use --force"
            )
        table.drop(connection)
        connection.execute(sa.delete(RECORD).where(RECORD.c.resource == name))
        for kept in (store.tables.status, store.tables.tag, store.tables.usage):
            connection.execute(sa.delete(kept).where(kept.c.resource == name))
    return int(count)


def _known(connection: sa.Connection) -> dict[str, Known]:
    if not sa.inspect(connection).has_table(RECORD.name):
        return {}
    rows = connection.execute(sa.select(RECORD)).mappings()
    return {
        row["resource"]: msgspec.convert({name: row[name] for name in Known.__struct_fields__}, Known) for row in rows
    }


def _columns(resource: Resource) -> dict[str, str]:
    return {one.name: one.column for one in resource.attributes.values() if one.column}


def _compare(resource: Resource, known: Known | None) -> Finding:
    def trouble(text: str) -> Finding:
        return Finding(resource.name, resource.version, trouble=text)

    if known is None:
        return Finding(resource.name, resource.version, lacks=None)
    ways_out = f"put it back, or remove the table with all its objects: `portico db drop {resource.name}`"
    columns = _columns(resource)
    if known.version > resource.version:
        return trouble(
            f"its table is of version {known.version} of the model, the installed package {resource.package} has "
            f"{resource.version}: install the newer one again"
        )
    for name, kind in known.columns.items():
        if name not in columns:
            return trouble(f"attribute {name} is gone from the model, but the table has it: {ways_out}")
        if columns[name] != kind:
            return trouble(f"attribute {name} has become {columns[name]}, the table has {kind}: {ways_out}")
    if known.unique != [list(names) for names in resource.unique]:
        return trouble(f"`unique` has become {resource.unique}, the table has {known.unique}: {ways_out}")
    lacks = tuple(name for name in columns if name not in known.columns)
    if lacks and known.version == resource.version:
        return trouble(f"attribute {lacks[0]} is new, but version is still {known.version}: raise it in the model")
    return Finding(resource.name, resource.version, lacks=lacks)


def _add_column(connection: sa.Connection, column: sa.Column[Any], resource: Resource) -> None:
    """Add a column, with the attribute's default in what exists."""
    quote = connection.dialect.identifier_preparer.quote
    described = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {quote(column.table.name)} ADD COLUMN {described}")
    attribute = resource.attributes[column.name]
    if attribute.has_default:
        connection.execute(sa.update(column.table).values({column.name: attribute.default}))
    for index in column.table.indexes:
        if column.name in index.columns:
            index.create(connection, checkfirst=True)


def _remember(connection: sa.Connection, resource: Resource) -> None:
    connection.execute(sa.delete(RECORD).where(RECORD.c.resource == resource.name))
    row = {
        "resource": resource.name,
        "package": resource.package,
        "version": resource.version,
        "columns": _columns(resource),
        "unique": [list(names) for names in resource.unique],
    }
    connection.execute(RECORD.insert(), row)
