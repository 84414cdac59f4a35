# SPDX-License-Identifier: Apache-2.0
"""What each revision changed."""

from __future__ import annotations

import sys
from functools import cache

import msgspec
import sqlalchemy as sa

from portico.errors import RevisionGone
from portico.store.tables import Tables
from portico.store.transaction import Transaction

# How many of the newest revisions are kept at least. A change is about 150 bytes.
KEEP = 100_000
# How many revisions one transaction drops at most: others wait for it.
BATCH = 2_000
# The change of the one entry that stands where older ones were dropped: no reader gets past it unnoticed.
PRUNED = "pruned"


class Entry(msgspec.Struct, frozen=True):
    """One change. `change`: create, update, delete, or status (written by an agent, not by a client)."""

    revision: int
    resource: str
    id: str
    project_id: str
    change: str


def since(transaction: Transaction, revision: int, limit: int = 1000) -> list[Entry]:
    """Return the entries after `revision`, oldest first: whole revisions only, about `limit` entries.

    Nothing newer is committed when the answer is empty; an answer shorter than `limit` may have been cut.

    Raises:
        RevisionGone: entries after `revision` are no longer kept.
    """
    return part(transaction, revision, limit)[0]


def part(transaction: Transaction, revision: int, limit: int = 1000) -> tuple[list[Entry], bool]:
    """Return the entries as `since` does, and whether there may be more.

    Raises:
        RevisionGone: entries after `revision` are no longer kept.
    """
    run, statement = transaction.connection.execute, _after(transaction.tables)
    rows = run(statement, {"after": revision, "until": sys.maxsize, "most": limit}).all()
    if rows and rows[0].change == PRUNED:
        raise RevisionGone(
            f"Journal: revision {revision} is no longer kept; the oldest that can be watched from is "
            f"{rows[0].revision}."
        )
    is_cut = len(rows) == limit
    if is_cut:
        # The last revision may be cut in two: leave it for the next call, or take it whole if it is the only one.
        last = rows[-1].revision
        whole = [row for row in rows if row.revision < last]
        rows = whole or run(statement, {"after": revision, "until": last, "most": sys.maxsize}).all()
    return [Entry(*row) for row in rows], is_cut


@cache
def _after(tables: Tables) -> sa.Select[int, str, str, str, str]:
    journal = tables.journal
    return (
        sa.select(journal.c.revision, journal.c.resource, journal.c.id, journal.c.project_id, journal.c.change)
        .where(journal.c.revision > sa.bindparam("after"), journal.c.revision <= sa.bindparam("until"))
        .order_by(journal.c.revision, journal.c.ordinal)
        .limit(sa.bindparam("most"))
    )


def is_long(transaction: Transaction, keep: int = KEEP) -> bool:
    """Tell whether there are so many entries beyond the newest `keep` revisions that dropping some pays."""
    oldest = transaction.connection.execute(sa.select(sa.func.min(transaction.tables.journal.c.revision))).scalar()
    return oldest is not None and oldest < newest(transaction) - keep - BATCH


def prune(transaction: Transaction, keep: int = KEEP) -> None:
    """Drop entries that are older than the newest `keep` revisions, the oldest first and a bounded number of them."""
    journal, run = transaction.tables.journal, transaction.connection.execute
    oldest = int(run(sa.select(sa.func.min(journal.c.revision))).scalar_one())
    until = min(newest(transaction) - keep, oldest + BATCH)
    run(sa.delete(journal).where(journal.c.revision <= until))
    mark = {"revision": until, "ordinal": 0, "resource": "", "id": "", "project_id": "", "change": PRUNED}
    run(journal.insert(), mark)


def newest(transaction: Transaction) -> int:
    """Return the newest committed revision."""
    return int(transaction.connection.execute(sa.select(transaction.tables.revision.c.number)).scalar_one())


def newest_entry(transaction: Transaction) -> int:
    """Return the newest revision that has an entry: a write that changed nothing takes a number all the same."""
    newest_kept = sa.select(sa.func.max(transaction.tables.journal.c.revision))
    return int(transaction.connection.execute(newest_kept).scalar() or 0)
