# SPDX-License-Identifier: Apache-2.0
"""Conntrack helpers of routers. Errors are those of Neutron's service."""

from __future__ import annotations

import uuid

from portico.errors import BadRequest
from portico.model.l3 import HELPERS
from portico.rules import lookup, router_port
from portico.rules.context import Context, Row
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction

HELPER, SHOWN = "conntrack_helper", "conntrack_helpers"


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Have a router help connections to a port.

    Raises:
        BadRequest: there is no such helper, or not for the protocol, or the router has just this one.
        Unsupported: the backend of one of the router's networks does not do it.
    """
    router = lookup.get(tx, "router", body["router_id"])
    row = {**body, "id": str(uuid.uuid4()), "project_id": router["project_id"]}
    _check(tx, row)
    networks = {port["network_id"] for port in router_port.of_router(tx, router["id"])}
    for network in tx.get_many("network", sorted(networks)):
        context.broker.admit("router", router, {**router, SHOWN: [router_port.shown_helper(row)]}, network)
    made = tx.insert(HELPER, row)
    tx.update("router", router, {})
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what connections are helped, or how; see `create` for what is refused."""
    _check(tx, {**row, **changes})
    changed = tx.update(HELPER, row, changes)
    tx.update("router", lookup.get(tx, "router", row["router_id"]), {})
    return changed


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Have new connections helped no more."""
    tx.delete(HELPER, row)
    tx.update("router", lookup.get(tx, "router", row["router_id"]), {})


def delete_all(tx: Transaction, router: Row) -> None:
    """Remove the helpers of a router, which is about to go."""
    for row in of_router(tx, router["id"]):
        tx.delete(HELPER, row)


def of_router(tx: Transaction, router_id: str) -> list[Row]:
    """Return the helpers of a router."""
    return tx.find(HELPER, router_id=router_id)


def present(tx: Transaction, rows: list[Row]) -> None:
    """Put into routers what clients see of their helpers."""
    shown: dict[str, list[Row]] = {row["id"]: [] for row in rows}
    found = tx.list(HELPER, Query(filters=(Filter("router_id", tuple(shown)),))) if shown else []
    for item in found:
        shown[item["router_id"]].append(router_port.shown_helper(item))
    for row in rows:
        row[SHOWN] = shown[row["id"]]


def _check(tx: Transaction, row: Row) -> None:
    """Refuse a helper that there is not, and one that the router has already."""
    if row["helper"] not in HELPERS:
        raise BadRequest(f"Conntrack Helper {row['helper']} is not allowed.", type="ConntrackHelperNotAllowed")
    protocols = HELPERS[row["helper"]]
    if row["protocol"] not in protocols:
        raise BadRequest(
            f"Conntrack Helper {row['helper']} does not support: {row['protocol']}. Supported protocols are: "
            f"{', '.join(protocols)}",
            type="InvalidProtocolForHelper",
        )
    same = {name: row[name] for name in ("router_id", *router_port.HELPER)}
    for other in tx.find(HELPER, **same):
        if other["id"] != row["id"]:
            raise BadRequest(
                "Bad conntrack_helper request: A duplicate conntrack helper entry with same attributes already exists, "
                f"conflicting values are {same}: {other['id']} is one.",
                type="BadRequest",
            )
