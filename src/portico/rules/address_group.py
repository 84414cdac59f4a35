# SPDX-License-Identifier: Apache-2.0
"""Address groups: lists of addresses that security group rules name."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from ipaddress import ip_network

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.converters import convert_to_ranges
from portico.rules import lookup, sharing
from portico.rules.context import Context, Row
from portico.store.initial import DEFAULT_RULES
from portico.store.transaction import Transaction


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a group with the given addresses."""
    addresses = convert_to_ranges(body.get("addresses") or [])
    return tx.insert("address_group", {**body, "id": str(uuid.uuid4()), "addresses": _ordered(addresses)})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what people call it."""
    return tx.update("address_group", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a group that no rule names.

    Raises:
        Conflict: names a rule that does.
    """
    kinds = ("security_group_rule", DEFAULT_RULES)
    rules = [rule for kind in kinds for rule in tx.find(kind, remote_address_group_id=row["id"])]
    if rules:
        kind = "security_group_rule" if "security_group_id" in rules[0] else DEFAULT_RULES
        one = lookup.named(tx, context, kind, rules[0]["id"])
        raise Conflict(
            f"Address group {row['id']} is in use on one or more security group rules: one is {one}.",
            type="AddressGroupInUse",
        )
    sharing.forget(tx, "address_group", row["id"])
    tx.delete("address_group", row)


def add_addresses(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Add addresses, all of them or none.

    Raises:
        BadRequest: the group has some of them already.
    """
    had = set(row["addresses"])
    present = [item for item in body["addresses"] if item in had]
    if present:
        raise BadRequest(
            f"Addresses {', '.join(present)} already exist in the address group {row['id']}.",
            type="AddressesAlreadyExist",
        )
    return _set(tx, row, [*row["addresses"], *body["addresses"]])


def remove_addresses(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Remove addresses, all of them or none.

    Raises:
        NotFound: the group has not got some of them.
    """
    had, unwanted = set(row["addresses"]), set(body["addresses"])
    absent = sorted(unwanted - had)
    if absent:
        raise NotFound(
            f"Addresses {', '.join(absent)} not found in the address group {row['id']}.", type="AddressesNotFound"
        )
    return _set(tx, row, had - unwanted)


def _set(tx: Transaction, row: Row, addresses: Iterable[str]) -> Row:
    wanted = _ordered(addresses)
    return row if wanted == row["addresses"] else tx.update("address_group", row, {"addresses": wanted})


def _ordered(addresses: Iterable[str]) -> list[str]:
    networks = [ip_network(item) for item in addresses]
    return [str(item) for item in sorted(networks, key=lambda net: (net.version, int(net[0]), net.prefixlen))]
