# SPDX-License-Identifier: Apache-2.0
"""Networks."""

from __future__ import annotations

import uuid

from portico.errors import Conflict
from portico.model.snapshot import DHCP_OWNER
from portico.rules import address_scope, agent, availability_zone, mtu, port, quota, segment, sharing, subnet
from portico.rules.context import Context, Row
from portico.store.sharing import EXTERNAL, SHARED
from portico.store.transaction import Transaction

# Attributes that stand for a policy for every project.
_SHARED_BY = {"shared": SHARED, "router:external": EXTERNAL}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a network; provider attributes that are not given are chosen."""
    quota.check(tx, context, "network", body["project_id"])
    availability_zone.check_hints(tx, context, body.get("availability_zone_hints") or [])
    row = {
        **body,
        "id": str(uuid.uuid4()),
        "status": "ACTIVE",
        "subnets": [],
        "mtu": body.get("mtu") or context.limits.mtu,
        "provider:network_type": body.get("provider:network_type") or context.broker.network_types()[0],
        "availability_zone_hints": body.get("availability_zone_hints") or [],
    }
    mtu.check(row, row["mtu"], [])
    context.broker.admit("network", None, row)
    made = tx.insert("network", row)
    segment.attach(tx, made)
    for name, action in _SHARED_BY.items():
        if body.get(name):
            sharing.share(tx, "network", made, action)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a network."""
    if "mtu" in changes:
        changes["mtu"] = changes["mtu"] or context.limits.mtu
        mtu.check(row, changes["mtu"], tx.find("subnet", network_id=row["id"]))
    context.broker.admit("network", row, {**row, **changes})
    for name, action in _SHARED_BY.items():
        if name in changes:
            (sharing.share if changes[name] else sharing.unshare)(tx, "network", row, action)
    return tx.update("network", row, changes)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared`, the address scopes, and availability_zones: where its ports can be bound now, of its hints."""
    sharing.present(tx, context, "network", rows)
    address_scope.present_networks(tx, rows)
    zones = agent.zones(tx)
    for row in rows:
        hints = row["availability_zone_hints"]
        row["availability_zones"] = [zone for zone in zones if not hints or zone in hints]
    return rows


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a network, its subnets and the DHCP server's port; any other port is in the way."""
    ports = tx.find("port", network_id=row["id"])
    others = [item["id"] for item in ports if item["device_owner"] != DHCP_OWNER]
    if others:
        named = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise Conflict(
            f"Unable to complete operation on network {row['id']}. There are one or more ports still in use on the "
            f"network: {named}.",
            type="NetworkInUse",
        )
    for item in ports:
        port.remove(tx, item)
    for item in tx.find("subnet", network_id=row["id"]):
        subnet.remove(tx, item)
    segment.detach(tx, row)
    sharing.forget(tx, "network", row["id"])
    tx.delete("network", row)
