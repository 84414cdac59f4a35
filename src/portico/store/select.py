# SPDX-License-Identifier: Apache-2.0
"""SQL for reading resources: by id, by equality, and pages with filters and order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa

from portico.store import sharing
from portico.store.query import Filter, Query
from portico.store.tables import Tables

# Databases bound the number of parameters in one statement (SQLite: 32,766; PostgreSQL: 65,535).
MAX_IN = 5000
# Of ids whose statement is kept: to have one built for so many takes longer than it does.
FEW = 8
# Of a filter whose statement is kept: with more values it hardly comes again.
MAX_KEPT = 8


def parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """Yield the ids in lots that one statement takes."""
    for start in range(0, len(ids), MAX_IN):
        yield list(ids[start : start + MAX_IN])


@cache
def by_id(table: sa.Table) -> sa.Select[Any]:
    """Return the statement that finds one row by the parameter `key`."""
    return sa.select(table).where(key_column(table) == sa.bindparam("key"))


@lru_cache(4096)
def by_id_if(table: sa.Table, visible: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the statement that finds one row by the parameter `key` if it meets a condition, which callers keep."""
    return by_id(table).where(visible)


@cache
def by_ids(table: sa.Table) -> sa.Select[Any]:
    """Return the statement that finds rows by the list parameter `keys`."""
    return sa.select(table).where(key_column(table).in_(sa.bindparam("keys", expanding=True)))


def few(ids: Sequence[str]) -> dict[str, str]:
    """Return the parameters of a kept statement that takes one to `FEW` ids: the last comes again."""
    return {f"key{number}": ids[min(number, len(ids) - 1)] for number in range(FEW)}


def _is_of_few(column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return column.in_([sa.bindparam(f"key{number}", type_=column.type) for number in range(FEW)])


@cache
def by_few_ids(table: sa.Table) -> sa.Select[Any]:
    """Return the statement that finds rows by the parameters that `few` gives."""
    return sa.select(table).where(_is_of_few(key_column(table)))


@cache
def delete_by_id(table: sa.Table) -> sa.Delete:
    """Return the statement that deletes one row by the parameter `key`."""
    return sa.delete(table).where(key_column(table) == sa.bindparam("key"))


@cache
def update_by_id(table: sa.Table) -> sa.Update:
    """Return the statement that changes one row by the parameter `row_key`; it sets the other parameters' columns."""
    return sa.update(table).where(key_column(table) == sa.bindparam("row_key"))


@cache
def insert(table: sa.Table) -> sa.Insert:
    """Return the statement that adds whole rows."""
    return sa.insert(table)


@cache
def reason(tables: Tables) -> sa.Select[str]:
    """Return the statement that reads why the object `key` of the resource `name` is not as wanted."""
    status = tables.status
    which = (status.c.resource == sa.bindparam("name"), status.c.id == sa.bindparam("key"))
    return sa.select(status.c.reason).where(*which)


@cache
def reasons(tables: Tables) -> sa.Select[str, str, str]:
    """Return the statement that reads why objects are not as wanted, by the list parameters `names` and `keys`."""
    status = tables.status
    return sa.select(status).where(
        status.c.resource.in_(sa.bindparam("names", expanding=True)),
        status.c.id.in_(sa.bindparam("keys", expanding=True)),
    )


@lru_cache(256)
def reasons_of(tables: Tables, names: tuple[str, ...]) -> sa.Select[str, str, str]:
    """Return the statement that reads why few objects of the resources `names` are not as wanted; see `few`."""
    status = tables.status
    return sa.select(status).where(status.c.resource.in_(names), _is_of_few(status.c.id))


@cache
def forget_reason(tables: Tables) -> sa.Delete:
    """Return the statement that drops why the object `key` of the resource `name` is not as wanted."""
    status = tables.status
    return sa.delete(status).where(status.c.resource == sa.bindparam("name"), status.c.id == sa.bindparam("key"))


@cache
def forget_tags(tables: Tables) -> sa.Delete:
    """Return the statement that drops the tags of the object `key` of the resource `name`."""
    tag = tables.tag
    return sa.delete(tag).where(tag.c.resource == sa.bindparam("name"), tag.c.id == sa.bindparam("key"))


@cache
def used(tables: Tables) -> sa.Select[int]:
    """Return the statement that reads how many objects of the resource `name` the `project` has."""
    usage = tables.usage
    return sa.select(usage.c.used).where(
        usage.c.project_id == sa.bindparam("project"), usage.c.resource == sa.bindparam("name")
    )


COUNT = sa.text(
    "INSERT INTO usage (project_id, resource, used) VALUES (:project, :name, :by) "
    "ON CONFLICT (project_id, resource) DO UPDATE SET used = usage.used + excluded.used"
)
"""The statement that adds `by` to how many objects of the resource `name` the `project` has."""


@cache
def limit(tables: Tables) -> sa.Select[int]:
    """Return the statement that reads the `project`'s own limit of the resource `name`."""
    quota = tables.quota
    return sa.select(quota.c.limit).where(
        quota.c.project_id == sa.bindparam("project"), quota.c.resource == sa.bindparam("name")
    )


@cache
def where_equal(table: sa.Table, names: tuple[str, ...]) -> sa.Select[Any]:
    """Return the statement that finds rows by equality of the named columns with parameters of the same names."""
    return sa.select(table).where(*(table.c[name] == sa.bindparam(name) for name in names))


def key_column(table: sa.Table) -> sa.Column[Any]:
    """Return the table's one primary key column."""
    (column,) = table.primary_key.columns
    return column


def page(
    connection: sa.Connection,
    tables: Tables,
    resource: str,
    query: Query,
    visible: sa.ColumnElement[bool] | None = None,
) -> sa.Select[Any]:
    """Return the statement for a list request; `visible` is the condition on what may be in it at all.

    Raises:
        LookupError: the marker is no object of this resource, or not visible.
    """
    table = tables.of[resource]
    key = key_column(table)
    seen = [visible] if visible is not None else []
    statement = sa.select(table).where(*seen, *(condition(tables, resource, item, query) for item in query.filters))
    order = _order(tables, resource, query)
    if query.marker is not None:
        place = sa.select(*(column for column, _ in order)).where(key == query.marker, *seen)
        values = connection.execute(place).first()
        if values is None:
            raise LookupError(query.marker)
        statement = statement.where(_beyond(order, tuple(values)))
    return _in_order(statement, order, query)


def kept_page(
    tables: Tables, resource: str, query: Query, visible: sa.ColumnElement[bool] | None
) -> tuple[sa.Select[Any], dict[str, Any]] | None:
    """Return what `page` returns as a statement that is kept, with its parameters' values; None if it cannot be.

    That is what most lists are: without a marker, and of what has one of few values.
    """
    if query.marker is not None or not all(_is_kept(tables.of[resource], item) for item in query.filters):
        return None
    filters: list[Filter] = []
    values: dict[str, Any] = {}
    for number, item in enumerate(query.filters):
        named = {f"value_{number}_{place}": value for place, value in enumerate(item.values)}
        filters.append(Filter(item.attribute, tuple(named)))
        values |= named
    return _first_page(tables, resource, msgspec.structs.replace(query, filters=tuple(filters)), visible), values


def _is_kept(table: sa.Table, item: Filter) -> bool:
    return (
        item.operator == "equal"
        and 0 < len(item.values) <= MAX_KEPT
        and None not in item.values
        and not isinstance(table.c[item.attribute].type, sa.JSON)
    )


@lru_cache(1024)
def _first_page(tables: Tables, resource: str, query: Query, visible: sa.ColumnElement[bool] | None) -> sa.Select[Any]:
    """Return the statement for the first page of a list; the filters of `query` hold names of parameters."""
    table = tables.of[resource]
    statement = sa.select(table).where(*([visible] if visible is not None else []))
    for item in query.filters:
        column = table.c[item.attribute]
        statement = statement.where(sa.or_(*(column == sa.bindparam(name) for name in item.values)))
    return _in_order(statement, _order(tables, resource, query), query)


def _order(tables: Tables, resource: str, query: Query) -> list[tuple[sa.ColumnElement[Any], bool]]:
    """Return what a list is sorted by, the key last, each with whether it descends."""
    key = key_column(tables.of[resource])
    names = list(query.sort)
    if not any(name == key.name for name, _ in names):
        names.append((key.name, False))
    return [(_sortable(tables, resource, name, query), descending != query.reverse) for name, descending in names]


def _in_order(
    statement: sa.Select[Any], order: list[tuple[sa.ColumnElement[Any], bool]], query: Query
) -> sa.Select[Any]:
    statement = statement.order_by(*(column.desc() if descending else column.asc() for column, descending in order))
    return statement.limit(query.limit) if query.limit is not None else statement


def _sortable(tables: Tables, resource: str, name: str, query: Query) -> sa.ColumnElement[Any]:
    """Return what stands for an attribute in an order.

    NULL sorts as the empty string, so that databases agree and a marker with NULL has a place; booleans are numbers.
    """
    table = tables.of[resource]
    if name not in table.c:
        return sa.case((sharing.shared_with(tables, resource, query.project_id), 1), else_=0)
    column = table.c[name]
    if isinstance(column.type, sa.Boolean):
        return sa.func.coalesce(sa.cast(column, sa.Integer), 0)
    if isinstance(column.type, sa.JSON):
        return sa.func.coalesce(sa.cast(column, sa.Text), "")
    if not column.nullable:
        return column
    return sa.func.coalesce(column, 0 if isinstance(column.type, sa.Integer) else "")


def _beyond(order: list[tuple[sa.ColumnElement[Any], bool]], marker: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    """Return the condition "sorts after `marker`": (a > x) or (a = x and b > y) or ..."""
    alternatives = []
    for position, (column, descending) in enumerate(order):
        equal = [one == value for (one, _), value in zip(order[:position], marker, strict=False)]
        value = marker[position]
        alternatives.append(sa.and_(*equal, column < value if descending else column > value))
    return sa.or_(*alternatives)


def condition(tables: Tables, resource: str, item: Filter, query: Query) -> sa.ColumnElement[bool]:
    """Return one filter of `query` as SQL."""
    table = tables.of[resource]
    match item.operator:
        case "equal":
            return _equal(table.c[item.attribute], item.values)
        case "contains":
            return sa.or_(*(table.c[item.attribute].contains(value, autoescape=True) for value in item.values))
        case "prefix":
            return sa.or_(*(table.c[item.attribute].startswith(value, autoescape=True) for value in item.values))
        case "after":
            return sa.and_(*(table.c[item.attribute] >= value for value in item.values))
        case "before":
            return sa.and_(*(table.c[item.attribute] < value for value in item.values))
        case "group":
            links = tables.port_group
            return table.c.id.in_(sa.select(links.c.port_id).where(links.c.group_id.in_(item.values)))
        case "shared" | "network_shared":
            return _shared(tables, resource, item, query.project_id)
        case "address" | "address_contains" | "subnet":
            return _fixed_ip(tables, table, item)
        case _:
            return _tags(tables, resource, table, item)


def _shared(tables: Tables, resource: str, item: Filter, project_id: str) -> sa.ColumnElement[bool]:
    owner = "network" if item.operator == "network_shared" else resource
    found = sharing.shared_with(tables, owner, project_id)
    if item.operator == "network_shared":
        network, table = tables.of["network"], tables.of[resource]
        found = table.c.network_id.in_(sa.select(network.c.id).where(found))
    return sa.or_(*(found if value else sa.not_(found) for value in item.values))


def _equal(column: sa.Column[Any], values: tuple[Any, ...]) -> sa.ColumnElement[bool]:
    known = [value for value in values if value is not None]
    choices: list[sa.ColumnElement[bool]] = [column.in_(known)] if known else []
    if len(known) < len(values):
        choices.append(column.is_(None))
    return sa.or_(*choices) if choices else sa.false()


def _fixed_ip(tables: Tables, table: sa.Table, item: Filter) -> sa.ColumnElement[bool]:
    address = tables.address
    which: sa.ColumnElement[bool]
    if item.operator == "address":
        which = address.c.ip.in_(item.values)
    elif item.operator == "subnet":
        which = address.c.subnet_id.in_(item.values)
    else:
        which = sa.or_(*(address.c.ip.contains(value, autoescape=True) for value in item.values))
    return table.c.id.in_(sa.select(address.c.port_id).where(which))


def _tags(tables: Tables, resource: str, table: sa.Table, item: Filter) -> sa.ColumnElement[bool]:
    tag = tables.tag

    def having(names: tuple[Any, ...]) -> sa.ColumnElement[bool]:
        return table.c.id.in_(sa.select(tag.c.id).where(tag.c.resource == resource, tag.c.tag.in_(names)))

    found: sa.ColumnElement[bool]
    if item.operator in ("tags_any", "not_tags_any"):
        found = having(item.values)
    else:
        found = sa.and_(*(having((name,)) for name in item.values))
    return sa.not_(found) if item.operator.startswith("not_") else found
