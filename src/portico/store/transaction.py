# SPDX-License-Identifier: Apache-2.0
"""Rows in and out, journalled."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from portico.errors import Conflict
from portico.model.resource import Attribute
from portico.store import select
from portico.store.query import Query
from portico.store.written import Edit, Key, Row, Written

if TYPE_CHECKING:
    from portico.store.pipeline import Statement
    from portico.store.store import Store

_Select = sa.Select[*tuple[Any, ...]]
# A statement and its parameters' values.
Read = tuple[_Select, Mapping[str, Any]]
_Question = tuple[_Select, frozenset[tuple[str, Any]]]

# What changes with every write and tells nothing.
_BOOKKEEPING = frozenset({"revision_number", "updated_at"})


class WriteNeeded(Exception):
    """A read transaction came to where it would write."""


def timestamp(moment: float | None = None) -> str:
    """Return a time (seconds since the epoch; default now) as Neutron writes it: UTC, whole seconds, `Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _question(read: Read) -> _Question:
    return read[0], frozenset(read[1].items())


class Transaction:
    """One transaction. Rows are dictionaries in the API's shape; multi-valued attributes are lists.

    Writes are put off until something is asked, at the latest until the end: those that come one after the other then
    go to the database together. So an error of the database may come later than the write that it is about.

    `has_written`: something was to be written.
    """

    def __init__(self, store: Store, connection: sa.Connection, *, reads: bool = False) -> None:
        self._connection = connection
        self._database = store.database
        self._server = store.server
        self._reads = reads
        # What has to be said before all else: a write takes its turn among all writers first.
        self._first: list[Statement] = store.first(reads=reads)
        self._revision, self._others_listen = 0, True
        # How long that took, which is to wait for writers of other servers.
        self.turn_s = 0.0
        self._waiting: list[Statement] = []
        # Objects as they were read, so that nothing is asked twice.
        self._known: dict[Key, Row] = {}
        # What was found to be visible, by which question: no request takes its own right to see something away.
        self._seen: set[tuple[_Select, str]] = set()
        self._reasons: dict[tuple[str, str], str] = {}
        self._foreseen: dict[_Question, list[Row]] = {}
        self.tables = store.tables
        self.registry = store.registry
        self.has_written = False
        self.changes: list[dict[str, Any]] = []
        self.edits: list[Edit] = []
        self._keeps_edits = store.is_audited
        # Objects as they were written, if somebody follows.
        self._written: dict[Key, Row | None] | None = {} if store.is_followed else None
        self._names: defaultdict[Key, set[str]] = defaultdict(set)

    @property
    def revision(self) -> int:
        """This transaction's own number; 0 in a read transaction."""
        if self._first:
            self._exchange()
        return self._revision

    @property
    def connection(self) -> sa.Connection:
        """What statements are executed with; what was put off is done."""
        self._foreseen.clear()
        if self._waiting or self._first:
            self._exchange()
        return self._connection

    def later(self, statement: sa.Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:
        """Put a write off whose outcome nobody asks for; `statement` is kept by whoever built it, `values` stay.

        Raises:
            WriteNeeded: this is a read transaction.
        """
        if self._reads:
            raise WriteNeeded
        self.has_written = True
        self._foreseen.clear()
        self._waiting.append((statement, values))

    def settle(self) -> None:
        """Do what was put off.

        Raises:
            sqlalchemy.exc.IntegrityError: a unique constraint of the model is broken.
        """
        if self._waiting:
            self._exchange()

    def _exchange(self, *reads: Statement) -> list[list[Row]]:
        """Do what was put off, and return what `reads` find then."""
        first, waiting, self._first, self._waiting = self._first, self._waiting, [], []
        asked = time.perf_counter()
        answers: list[list[Row]] = self._database.exchange(self._connection, [*first, *waiting, *reads])
        if first and not self._reads:
            self.turn_s = time.perf_counter() - asked
            ours = answers[len(first) - 1][0]
            self._revision = int(ours["number"])
            self._others_listen = ours["only_listener"] != self._server
        return answers[len(first) + len(waiting) :]

    def ask(self, statement: _Select, values: Mapping[str, Any]) -> list[Row]:
        """Return the rows of a statement with parameters, which is kept by whoever built it."""
        foreseen = self._foreseen.pop(_question((statement, values)), None) if self._foreseen else None
        return self._exchange((statement, values))[0] if foreseen is None else foreseen

    def foresee(self, reads: Iterable[Read]) -> None:
        """Ask what `ask` is about to be asked, where asking together is quicker; the first write makes it void."""
        if self._database.HAS_WAY:
            asked = list(reads)
            self._foreseen = dict(zip(map(_question, asked), self._exchange(*asked), strict=True))

    def finish(self) -> None:
        """Write the journal, and all that was put off; the store calls this last."""
        if self.changes:
            self.later(select.insert(self.tables.journal), self.changes)
        revision, is_told = self.revision, bool(self.changes) and self._others_listen
        self._waiting += self._database.last(revision, self._server, is_told=is_told)
        self.settle()

    def get(self, resource: str, object_id: str) -> Row | None:
        """Return the object, or None."""
        if "\x00" in object_id:
            # PostgreSQL keeps no such text, and refuses even to look for it.
            return None
        known = self._known.get((resource, object_id))
        if known is not None:
            return dict(known)
        return self._get(select.by_id(self.tables.of[resource]), resource, object_id)

    def _get(self, statement: _Select, resource: str, object_id: str) -> Row | None:
        rows = self.ask(statement, {"key": object_id})
        if not rows:
            return None
        self._known[resource, object_id] = rows[0]
        return dict(rows[0])

    def getting(self, resource: str, object_id: str) -> Iterator[Read]:
        """Yield what `get` asks, which is nothing of an object that is known."""
        if (resource, object_id) not in self._known:
            yield select.by_id(self.tables.of[resource]), {"key": object_id}

    def get_visible(self, resource: str, object_id: str, visible: sa.ColumnElement[bool]) -> Row | None:
        """Return the object if it meets the condition `visible`, or None."""
        if "\x00" in object_id:
            return None
        statement = select.by_id_if(self.tables.of[resource], visible)
        if (statement, object_id) in self._seen:
            return self.get(resource, object_id)
        found = self._get(statement, resource, object_id)
        if found is not None:
            self._seen.add((statement, object_id))
        return found

    def get_many(self, resource: str, ids: Sequence[str]) -> list[Row]:
        """Return those of the objects that exist, in any order."""
        if len(ids) == 1:
            found = self.get(resource, ids[0])
            return [found] if found is not None else []
        table = self.tables.of[resource]
        known = [key for key in dict.fromkeys(ids) if (resource, key) in self._known]
        rows = [dict(self._known[resource, key]) for key in known]
        for row in self._by_ids(table, [key for key in dict.fromkeys(ids) if (resource, key) not in self._known]):
            rows.append(dict(row))
            self._known[resource, row[select.key_column(table).name]] = row
        return rows

    def _by_ids(self, table: sa.Table, ids: Sequence[str]) -> Iterator[Row]:
        if 0 < len(ids) <= select.FEW:
            yield from self.ask(select.by_few_ids(table), select.few(ids))
            return
        for part in select.parts(ids):
            yield from map(dict, self.connection.execute(select.by_ids(table), {"keys": part}).mappings())

    def find(self, resource: str, **equal: Any) -> list[Row]:
        """Return the objects whose attributes equal the given values; `_` in a name stands for itself."""
        statement, values = self.finding(resource, **equal)
        return self.ask(statement, values)

    def finding(self, resource: str, **equal: Any) -> Read:
        """Return what `find` asks."""
        return select.where_equal(self.tables.of[resource], tuple(equal)), equal

    def list(self, resource: str, query: Query, visible: sa.ColumnElement[bool] | None = None) -> list[Row]:
        """Return the page of objects that `query` asks for, of those that meet the condition `visible`.

        Raises:
            LookupError: the marker is no object of this resource, or not visible.
        """
        if (kept := select.kept_page(self.tables, resource, query, visible)) is not None:
            rows = self.ask(*kept)
        else:
            statement = select.page(self.connection, self.tables, resource, query, visible)
            rows = [dict(row) for row in self.connection.execute(statement).mappings()]
        if query.reverse:
            rows.reverse()
        return rows

    def insert(self, resource: str, row: Row) -> Row:
        """Add an object; fills revision_number, created_at, updated_at where the resource has them.

        Whether a unique constraint of the model is broken is known when the transaction is settled.
        """
        table = self.tables.of[resource]
        now = timestamp()
        if "tags" in table.c:
            row.setdefault("tags", [])
        for name, value in (("revision_number", self.revision), ("created_at", now), ("updated_at", now)):
            if name in table.c:
                row[name] = value
        complete = {column.name: row.get(column.name) for column in table.columns}
        # A copy: callers add to what they get.
        values = dict(complete)
        self.later(select.insert(table), values)
        self._keep(resource, row["id"], values)
        self._names[resource, row["id"]].update(values)
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
            self.write_quietly(resource, row, values)
        if "tags" in changes:
            self._write_tags(resource, row["id"], changes["tags"])
        self.record(resource, row["id"], row.get("project_id") or "", "update" if touch else "status")
        if touch:
            self.note_edit(resource, row["id"], "update", row, values)
        return {**row, **values}

    def write_quietly(self, resource: str, row: Row, values: Mapping[str, Any]) -> None:
        """Write attributes of `row` of which nobody is told, neither watchers nor the audit log."""
        table = self.tables.of[resource]
        key = row[select.key_column(table).name]
        self._known.pop((resource, key), None)
        self._keep(resource, key, {**row, **values}, values)
        self._names[resource, key].update(name for name, value in values.items() if row.get(name) != value)
        self.later(select.update_by_id(table), {**values, "row_key": key})

    def _keep(self, resource: str, key: str, row: Row | None, values: Mapping[str, Any] | None = None) -> None:
        """Keep what becomes of an object; of `values` alone if something else of it was written before."""
        if self._written is not None:
            before = self._written.get((resource, key))
            self._written[resource, key] = {**before, **values} if before and values else row

    def written(self) -> Written:
        """Return what this transaction changed, for whoever follows."""
        kept = self._written or {}
        keys = tuple((item["resource"], item["id"]) for item in self.changes)
        changed = {key for key, item in zip(keys, self.changes, strict=True) if item["change"] != "status"}
        objects = {key: kept[key] for key in changed if key in kept}
        return Written(self.revision, keys, objects, self._names, is_whole=len(objects) == len(changed))

    def delete(self, resource: str, row: Row) -> None:
        """Remove the object `row`, and what the models of other packages say goes along with it.

        Raises:
            Conflict: an object of another package references it.
        """
        table = self.tables.of[resource]
        for other, attribute in self.tables.referrers.get(resource, ()):
            self._release(resource, row, other, attribute)
        self._known.pop((resource, row["id"]), None)
        self._keep(resource, row["id"], None)
        self.later(select.delete_by_id(table), {"key": row["id"]})
        if row.get("tags"):
            self._write_tags(resource, row["id"], ())
        if "status" in table.c:
            self.forget_reason(resource, row["id"])
        self._count(resource, row.get("project_id") or "", -1)
        self.record(resource, row["id"], row.get("project_id") or "", "delete")
        self.note_edit(resource, row["id"], "delete", row, {})

    def reason(self, resource: str, object_id: str) -> str:
        """Return why the object is not as wanted, or ""."""
        known = self._reasons.get((resource, object_id))
        if known is None:
            found = self.ask(select.reason(self.tables), {"name": resource, "key": object_id})
            known = self._reasons[resource, object_id] = found[0]["reason"] if found else ""
        return known

    def read_reasons(self, resources: Sequence[str], ids: Sequence[str]) -> None:
        """Read why objects are not as wanted, which `reason` is about to be asked for each."""
        self._reasons |= {(resource, key): "" for resource in resources for key in ids}
        if 0 < len(ids) <= select.FEW:
            found = self.ask(select.reasons_of(self.tables, tuple(resources)), select.few(ids))
            self._reasons |= {(row["resource"], row["id"]): row["reason"] for row in found}
            return
        for part in select.parts(ids):
            for row in self.connection.execute(select.reasons(self.tables), {"names": list(resources), "keys": part}):
                self._reasons[row.resource, row.id] = row.reason

    def _release(self, resource: str, row: Row, other: str, attribute: Attribute) -> None:
        holders = self.find(other, **{attribute.name: row["id"]})
        if holders and not attribute.goes_along:
            raise Conflict(
                f"{resource} {row['id']} is in use: {attribute.name} of {other} {holders[0]['id']} names it.",
                type=f"{resource.title().replace('_', '')}InUse",
            )
        for holder in holders:
            self.delete(other, holder)

    def forget_reason(self, resource: str, object_id: str) -> None:
        """Drop why the object was not as wanted: nobody has tried yet what is wanted now."""
        if self._reasons.get((resource, object_id)) == "":
            return
        self._reasons[resource, object_id] = ""
        self.later(select.forget_reason(self.tables), {"name": resource, "key": object_id})

    def note_reason(self, resource: str, object_id: str, reason: str) -> None:
        """Write down why the object is not as wanted; it has no reason yet."""
        self._reasons[resource, object_id] = reason
        row = {"resource": resource, "id": object_id, "reason": reason}
        self.later(select.insert(self.tables.status), row)

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
            self.edits.append(Edit(resource, object_id, verb, *(self._told(resource, row) for row in (was, now))))

    def _told(self, resource: str, row: Row) -> Row:
        """Return a copy of a row for a log: of a secret it tells only whether there is one."""
        found = self.registry.resources.get(resource)
        hidden = {one.name for one in found.attributes.values() if one.secret} if found else ()
        return {name: "***" if name in hidden and value else deepcopy(value) for name, value in row.items()}

    def used(self, resource: str, project_id: str) -> int:
        """Return how many objects of `resource` the project has."""
        found = self.ask(select.used(self.tables), {"project": project_id, "name": resource})
        return int(found[0]["used"]) if found else 0

    def _count(self, resource: str, project_id: str, by: int) -> None:
        self.later(select.COUNT, {"project": project_id, "name": resource, "by": by})

    def _write_tags(self, resource: str, object_id: str, tags: Iterable[str]) -> None:
        self.later(select.forget_tags(self.tables), {"name": resource, "key": object_id})
        rows = [{"resource": resource, "id": object_id, "tag": tag} for tag in sorted(set(tags))]
        if rows:
            self.later(select.insert(self.tables.tag), rows)
