# SPDX-License-Identifier: Apache-2.0
"""Segments: every network has one, made and removed with it, that says what the network's provider attributes say."""

from __future__ import annotations

import uuid
from typing import NoReturn

from portico.errors import Conflict, Unsupported
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

_PROVIDER = ("network_type", "physical_network", "segmentation_id")


def attach(tx: Transaction, network: Row) -> None:
    """Make the segment of a new network."""
    row = {"id": str(uuid.uuid4()), "network_id": network["id"], "project_id": network["project_id"], "description": ""}
    tx.insert("segment", row | {name: network.get(f"provider:{name}") for name in _PROVIDER})


def follow(tx: Transaction, network: Row) -> None:
    """Have the segment of a network say what its changed provider attributes say."""
    for row in tx.find("segment", network_id=network["id"]):
        told = {name: network.get(f"provider:{name}") for name in _PROVIDER}
        if any(row[name] != value for name, value in told.items()):
            tx.update("segment", row, told)


def detach(tx: Transaction, network: Row) -> None:
    """Remove the segment of a network that is going."""
    for row in tx.find("segment", network_id=network["id"]):
        tx.delete("segment", row)


def create(tx: Transaction, context: Context, body: Row) -> NoReturn:
    """Refuse another segment: a network of several needs a router between them.

    Raises:
        NotFound: there is no such network.
        Unsupported: it has its segment.
    """
    network = lookup.visible(tx, context, "network", body["network_id"])
    (only,) = tx.find("segment", network_id=network["id"])
    raise Unsupported(
        f"Invalid input for operation: network_id '{network['id']}' names a network that has a segment, {only['id']}: "
        "no backend realises networks of several.",
        type="InvalidInput",
    )


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change name or description."""
    return tx.update("segment", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> NoReturn:
    """Refuse: without its segment a network would be nowhere.

    Raises:
        Conflict: always.
    """
    raise Conflict(
        f"Segment '{row['id']}' cannot be deleted: it is all that network {row['network_id']} consists of.",
        type="SegmentInUse",
    )
