# SPDX-License-Identifier: Apache-2.0
"""Metering labels, their rules, and what hosts have counted for them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from ipaddress import ip_interface

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.hoststate import Count
from portico.model.address import canonical, read_interface
from portico.model.show import show
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.transaction import Transaction, timestamp

LABEL, RULE, COUNT = "metering_label", "metering_label_rule", "metering_count"
_SIDES = ("source_ip_prefix", "destination_ip_prefix")
_PREFIXES = ("remote_ip_prefix", *_SIDES)
KEPT = 16
"""So many counters of one router on one host are remembered; a report may come again that tells of several."""


def create_label(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a label without rules: nothing is counted for it yet.

    Raises:
        Unsupported: no backend has routers that count.
    """
    row = {**body, "id": str(uuid.uuid4())}
    context.broker.admit(LABEL, None, row)
    return tx.insert(LABEL, row)


def delete_label(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a label with its rules and what was counted."""
    for part in (RULE, COUNT):
        for item in tx.find(part, metering_label_id=row["id"]):
            tx.delete(part, item)
    tx.delete(LABEL, row)


def present_labels(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add what was counted, on all hosts together."""
    labels = {row["id"]: row for row in rows}
    for row in rows:
        row.update({"portico:packets": 0, "portico:bytes": 0})
    count = tx.tables.of[COUNT]
    sums = sa.func.sum(count.c.packets), sa.func.sum(count.c.bytes)
    statement = sa.select(count.c.metering_label_id, *sums).group_by(count.c.metering_label_id)
    for part in select.parts(list(labels)):
        for label_id, packets, octets in tx.connection.execute(statement.where(count.c.metering_label_id.in_(part))):
            labels[label_id].update({"portico:packets": int(packets), "portico:bytes": int(octets)})
    return rows


def create_rule(tx: Transaction, context: Context, body: Row) -> Row:
    """Add a rule to a label.

    Raises:
        BadRequest: its prefixes are none, or do not go together.
        NotFound: there is no such label for who asks.
        Conflict: the label has a rule of the same kind whose remote_ip_prefix overlaps with this one's.
    """
    row = {**body, "id": str(uuid.uuid4()), **{name: _prefix(body, name) for name in _PREFIXES}}
    _check_prefixes(row)
    lookup.visible(tx, context, LABEL, row["metering_label_id"])
    _refuse_overlap(tx, row)
    return tx.insert(RULE, row)


def delete_rule(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a rule; what was counted stays."""
    tx.delete(RULE, row)


def _prefix(body: Row, name: str) -> str | None:
    """Return a prefix of a request as it is stored."""
    given = body.get(name)
    if not given:
        return None
    found = read_interface(given)
    if found is None:
        raise _invalid(f"{name}: {show(given)} is invalid [it is no address and no range].")
    return f"{canonical(found.ip)}/{found.network.prefixlen}"


def _check_prefixes(row: Row) -> None:
    given = [name for name in _PREFIXES if row[name]]
    if not given:
        raise _invalid(
            "You must define at least one of the following parameters 'remote_ip_prefix', or 'source_ip_prefix' or "
            "'destination_ip_prefix'."
        )
    if "remote_ip_prefix" in given and len(given) > 1:
        raise _invalid(
            "Cannot use 'remote-ip-prefix' in conjunction with 'source-ip-prefix' or 'destination-ip-prefix'."
        )
    if len({ip_interface(row[name]).version for name in given}) > 1:
        raise _invalid(
            f"source_ip_prefix {row['source_ip_prefix']} and destination_ip_prefix {row['destination_ip_prefix']} are "
            "of two IP versions: no packet is."
        )


def _refuse_overlap(tx: Transaction, row: Row) -> None:
    if not row["remote_ip_prefix"]:
        return
    mine = ip_interface(row["remote_ip_prefix"]).network
    same = {name: row[name] for name in ("metering_label_id", "direction", "excluded")}
    for other in tx.find(RULE, **same):
        theirs = ip_interface(other["remote_ip_prefix"]).network if other["remote_ip_prefix"] else None
        if theirs is not None and theirs.version == mine.version and theirs.overlaps(mine):
            raise Conflict(
                f"Metering label rule with remote_ip_prefix '{row['remote_ip_prefix']}' overlaps another: "
                f"{other['id']} has '{other['remote_ip_prefix']}'.",
                type="MeteringLabelRuleOverlaps",
            )


def _invalid(message: str) -> BadRequest:
    return BadRequest(message, type="Invalid")


def take(tx: Transaction, host: str, counts: Iterable[Count]) -> None:
    """Add what a host tells of its counters to what is known; to be told again what was told before adds nothing."""
    told = {(item.label_id, item.router_id, item.counter): item for item in counts}
    if not told:
        return
    known = {(row["metering_label_id"], row["router_id"]): row for row in tx.find(COUNT, host=host)}
    labels = {row["id"]: row for row in tx.get_many(LABEL, sorted({item.label_id for item in told.values()}))}
    for item in told.values():
        if item.label_id in labels:
            place = item.label_id, item.router_id
            known[place] = _add(tx, host, known.get(place), item, labels[item.label_id]["project_id"])


def _add(tx: Transaction, host: str, row: Row | None, item: Count, project_id: str) -> Row:
    if row is None:
        where = {"metering_label_id": item.label_id, "router_id": item.router_id, "host": host}
        nothing = {"packets": 0, "bytes": 0, "updated_at": timestamp(), "told": {}}
        row = tx.insert(COUNT, {"id": str(uuid.uuid4()), "project_id": project_id, **where, **nothing})
    told = dict(row["told"])
    packets, octets = told.pop(item.counter, (0, 0))
    if (packets, octets) == (item.packets, item.bytes):
        return row
    if packets > item.packets or octets > item.bytes:  # somebody set it back
        packets = octets = 0
    kept = list(told.items())[1 - KEPT :]
    values = {
        "packets": row["packets"] + item.packets - packets,
        "bytes": row["bytes"] + item.bytes - octets,
        "updated_at": timestamp(),
        "told": {**dict(kept), item.counter: (item.packets, item.bytes)},
    }
    # Nobody is told: it is news every few seconds, and no client's doing.
    tx.write_quietly(COUNT, row, values)
    return {**row, **values}
