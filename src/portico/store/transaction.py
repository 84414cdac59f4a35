# SPDX-License-Identifier: Apache-2.0
"""Rows in and out, journalled."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from portico.store import select
from portico.store.query import Query

if TYPE_CHECKING:
    from portico.store.store import Store

Row = dict[str, Any]

# What changes with every write and tells nothing.
_BOOKKEEPING = frozenset({"revision_number", "updated_at"})


class Edit(msgspec.Struct, frozen=True):
    """What became of one object: the attributes that differ, as they were and as they are.

    `verb`: create (nothing before), update or delete (nothing after).
    """

    resource: str
    id: str
    verb: str
    before: Row
    after: Row


def timestamp(moment: float | None = None) -> str:
    """Return a time (seconds since the epoch; default now) as Neutron writes it: UTC, whole seconds, `Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


class Transaction:
    """One transaction. Rows are dictionaries in the API's shape; multi-valued attributes are lists.

    `revision` is this transaction's own number (0 in a read transaction).
    """

    def __init__(self, store: Store, connection: sa.Connection, revision: int) -> None:
        self.connection = connection
        self.tables = store.tables
        self.registry = store.registry
        self.revision = revision
        self.changes: list[dict[str, Any]] = []
        self.edits: list[Edit] = []
        self._keeps_edits = store.is_audited

    def get(self, resource: str, object_id: str) -> Row | None:
        """Return the object, or None."""
        if "\x00" in object_id:
            # PostgreSQL keeps no such text, and refuses even to look for it.
            return None
        table = self.tables.of[resource]
        row = self.connection.execute(select.by_id(table), {"key": object_id}).first()
        return dict(row._mapping) if row is not None else None

    def get_visible(self, resource: str, object_id: str, visible: sa.ColumnElement[bool]) -> Row | None:
        """Return the object if it meets the condition `visible`, or None."""
        if "\x00" in object_id:
            return None
        statement = select.by_id_if(self.tables.of[resource], visible)
        row = self.connection.execute(statement, {"key": object_id}).first()
        return dict(row._mapping) if row is not None else None

    def get_many(self, resource: str, ids: Sequence[str]) -> list[Row]:
        """Return those of the objects that exist, in any order."""
        table = self.tables.of[resource]
        rows: list[Row] = []
        for part in select.parts(ids):
            found = self.connection.execute(select.by_ids(table), {"keys": part})
            rows.extend(dict(row) for row in found.mappings())
        return rows

    def find(self, resource: str, **equal: Any) -> list[Row]:
        """Return the objects whose attributes equal the given values; `_` in a name stands for itself."""
        table = self.tables.of[resource]
        found = self.connection.execute(select.where_equal(table, tuple(equal)), equal)
        return [dict(row) for row in found.mappings()]

    def list(self, resource: str, query: Query, visible: sa.ColumnElement[bool] | None = None) -> list[Row]:
        """Return the page of objects that `query` asks for, of those that meet the condition `visible`.

        Raises:
            LookupError: the marker is no object of this resource, or not visible.
        """
        statement = select.page(self.connection, self.tables, resource, query, visible)
        rows = [dict(row) for row in self.connection.execute(statement).mappings()]
        if query.reverse:
            rows.reverse()
        return rows

    def insert(self, resource: str, row: Row) -> Row:
        """Add an object; fills revision_number, created_at, updated_at where the resource has them.

        Raises:
            sqlalchemy.exc.IntegrityError: a unique constraint of the model is broken.
        """
        table = self.tables.of[resource]
        now = timestamp()
        if "tags" in table.c:
            row.setdefault("tags", [])
        for name, value in (("revision_number", self.revision), ("created_at", now), ("updated_at", now)):
            if name in table.c:
                row[name] = value
        complete = {column.name: row.get(column.name) for column in table.columns}
        self.connection.execute(select.insert(table), complete)
        if row.get("tags"):
            self._write_tags(resource, row["id"], row["tags"])
        self._count(resource, row.get("project_id") or "", 1)
        self.record(resource, row["id"], row.get("project_id") or "", "create")
        self.note_edit(resource, row["id"], "create", {}, complete)
        return complete

    def update(self, resource: str, row: Row, changes: Mapping[str, Any], *, touch: bool = True) -> Row:
        """Change attributes of `row` (as read in this transaction) and return the new row.

        `touch` False leaves revision_number and updated_at alone: for status, which no client wrote.
        """
        table = self.tables.of[resource]
        values = {name: value for name, value in changes.items() if name in table.c}
        if touch and "revision_number" in table.c:
            values |= {"revision_number": self.revision, "updated_at": timestamp()}
        if values:
            key = select.key_column(table)
            self.connection.execute(sa.update(table).where(key == row[key.name]).values(values))
        if "tags" in changes:
            self._write_tags(resource, row["id"], changes["tags"])
        self.record(resource, row["id"], row.get("project_id") or "", "update" if touch else "status")
        if touch:
            self.note_edit(resource, row["id"], "update", row, values)
        return {**row, **values}

    def delete(self, resource: str, row: Row) -> None:
        """Remove the object `row`."""
        table = self.tables.of[resource]
        self.connection.execute(select.delete_by_id(table), {"key": row["id"]})
        if row.get("tags"):
            self._write_tags(resource, row["id"], ())
        if "status" in table.c:
            self.forget_reason(resource, row["id"])
        self._count(resource, row.get("project_id") or "", -1)
        self.record(resource, row["id"], row.get("project_id") or "", "delete")
        self.note_edit(resource, row["id"], "delete", row, {})

    def forget_reason(self, resource: str, object_id: str) -> None:
        """Drop why the object was not as wanted: nobody has tried yet what is wanted now."""
        self.connection.execute(select.forget_reason(self.tables), {"name": resource, "key": object_id})

    def note_reason(self, resource: str, object_id: str, reason: str) -> None:
        """Write down why the object is not as wanted; it has no reason yet."""
        row = {"resource": resource, "id": object_id, "reason": reason}
        self.connection.execute(select.insert(self.tables.status), row)

    def record(self, resource: str, object_id: str, project_id: str, change: str) -> None:
        """Note a change for the journal of this transaction's revision."""
        self.changes.append(
            {
                "revision": self.revision,
                "ordinal": len(self.changes),
                "resource": resource,
                "id": object_id,
                "project_id": project_id,
                "change": change,
            }
        )

    def note_edit(self, resource: str, object_id: str, verb: str, before: Mapping[str, Any], after: Row) -> None:
        """Keep what a client's write did to an object, if somebody is told; `after` of an update is what it named."""
        if not self._keeps_edits:
            return
        names = before if verb == "delete" else after
        differ = [name for name in names if name not in _BOOKKEEPING and before.get(name) != after.get(name)]
        if differ or verb != "update":
            # Copies: what is done with the rows from now on is no part of this write.
            was = {name: before[name] for name in differ if name in before}
            now = {name: after[name] for name in differ if name in after}
            self.edits.append(Edit(resource, object_id, verb, deepcopy(was), deepcopy(now)))

    def write_journal(self) -> None:
        """Write the noted changes; the store calls this last."""
        if self.changes:
            self.connection.execute(select.insert(self.tables.journal), self.changes)

    def used(self, resource: str, project_id: str) -> int:
        """Return how many objects of `resource` the project has."""
        values = {"project": project_id, "name": resource}
        return self.connection.execute(select.used(self.tables), values).scalar() or 0

    def _count(self, resource: str, project_id: str, by: int) -> None:
        values = {"project": project_id, "name": resource, "by": by}
        if self.connection.execute(select.count(self.tables), values).rowcount == 0:
            row = {"project_id": project_id, "resource": resource, "used": by}
            self.connection.execute(self.tables.usage.insert(), row)

    def _write_tags(self, resource: str, object_id: str, tags: Iterable[str]) -> None:
        table = self.tables.tag
        self.connection.execute(sa.delete(table).where(table.c.resource == resource, table.c.id == object_id))
        rows = [{"resource": resource, "id": object_id, "tag": tag} for tag in sorted(set(tags))]
        if rows:
            self.connection.execute(table.insert(), rows)
