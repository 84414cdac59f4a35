# SPDX-License-Identifier: Apache-2.0
"""Address scopes: which subnet pools are in one, and which of them a network's subnets are in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_network

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.model.snapshot import IpNetwork
from portico.rules import lookup, sharing
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.transaction import Transaction

_NETWORKS = {4: "ipv4_address_scope", 6: "ipv6_address_scope"}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a scope with no pool in it."""
    made = tx.insert("address_scope", {**body, "id": str(uuid.uuid4())})
    if body.get("shared"):
        sharing.share(tx, "address_scope", made)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a scope; what is shared stays shared.

    Raises:
        BadRequest: it is shared and would not be any more.
    """
    if changes.get("shared"):
        sharing.share(tx, "address_scope", row)
    elif "shared" in changes and present(tx, context, [dict(row)])[0]["shared"]:
        raise BadRequest(
            f"Unable to update address scope {row['id']} : Shared address scope can't be unshared.",
            type="AddressScopeUpdateError",
        )
    return tx.update("address_scope", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a scope that no pool is in.

    Raises:
        Conflict: names a pool that is.
    """
    pools = tx.find("subnetpool", address_scope_id=row["id"])
    if pools:
        raise Conflict(
            f"Unable to complete operation on address scope {row['id']}. There are one or more subnet pools in use on "
            f"the address scope: one is {lookup.named(tx, context, 'subnetpool', pools[0]['id'])}.",
            type="AddressScopeInUse",
        )
    sharing.forget(tx, "address_scope", row["id"])
    tx.delete("address_scope", row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared`."""
    sharing.present(tx, context, "address_scope", rows)
    return rows


def present_networks(tx: Transaction, rows: list[Row]) -> None:
    """Add to networks the scopes that their subnets are in by the pools that these are from."""
    networks = {row["id"]: row for row in rows}
    for row in rows:
        row.update(dict.fromkeys(_NETWORKS.values()))
    subnet, pool = tx.tables.of["subnet"], tx.tables.of["subnetpool"]
    statement = (
        sa.select(subnet.c.network_id, pool.c.ip_version, pool.c.address_scope_id)
        .join_from(subnet, pool, subnet.c.subnetpool_id == pool.c.id)
        .where(pool.c.address_scope_id.is_not(None))
    )
    for part in select.parts(list(networks)):
        found = tx.connection.execute(statement.where(subnet.c.network_id.in_(part)))
        for network_id, version, scope_id in found:
            networks[network_id][_NETWORKS[version]] = scope_id


def check_change(tx: Transaction, context: Context, pool: Row) -> None:
    """Refuse to change a pool in a scope that who asks does not own: the owner relies on its prefixes.

    Raises:
        BadRequest: the scope belongs to another project.
    """
    scope_id = pool["address_scope_id"]
    if scope_id is None or context.is_admin:
        return
    if lookup.get(tx, "address_scope", scope_id)["project_id"] != context.project_id:
        raise BadRequest(
            f"Illegal subnetpool update : subnetpool {pool['id']} cannot be updated when associated with shared "
            f"address scope {scope_id}.",
            type="IllegalSubnetPoolUpdate",
        )


def check_member(tx: Transaction, context: Context, pool: Row) -> None:
    """Refuse a pool, as it would be, that does not fit the scope it names.

    Raises:
        NotFound: there is no such scope for who asks.
        BadRequest: the scope is of the other IP version, or networks would have subnets inside and outside of it.
        Conflict: another pool of the scope has some of the addresses.
    """
    scope_id = pool["address_scope_id"]
    if scope_id is None:
        return
    scope = lookup.visible(tx, context, "address_scope", scope_id)
    if scope["ip_version"] != pool["ip_version"]:
        raise BadRequest(
            f"Illegal subnetpool association: subnetpool {pool['id']} cannot associate with address scope {scope_id} "
            f"because subnetpool ip_version is not {scope['ip_version']}.",
            type="IllegalSubnetPoolIpVersionAssociationToAddressScope",
        )
    _check_networks(tx, pool)
    own = [ip_network(prefix) for prefix in pool["prefixes"]]
    for other in tx.find("subnetpool", address_scope_id=scope_id):
        if other["id"] != pool["id"]:
            _check_apart(tx, context, own, other, pool)


def _check_apart(tx: Transaction, context: Context, own: Sequence[IpNetwork], other: Row, pool: Row) -> None:
    for prefix in (ip_network(text) for text in other["prefixes"]):
        for mine in own:
            if mine.overlaps(prefix):
                theirs = lookup.named(tx, context, "subnetpool", other["id"], f" ({prefix})")
                raise Conflict(
                    "Failed to associate address scope: subnetpools within an address scope must have unique prefixes: "
                    f"{mine} of subnetpool {pool['id']} overlaps {theirs}.",
                    type="AddressScopePrefixConflict",
                )


def _check_networks(tx: Transaction, pool: Row) -> None:
    """Refuse to take a pool into a scope if networks with subnets from it have others that would stay outside."""
    subnet, other = tx.tables.of["subnet"], tx.tables.of["subnetpool"]
    networks = sa.select(subnet.c.network_id).where(subnet.c.subnetpool_id == pool["id"])
    inside = sa.select(other.c.id).where(
        sa.or_(other.c.id == pool["id"], other.c.address_scope_id == pool["address_scope_id"])
    )
    others = sa.select(subnet.c.network_id).where(
        subnet.c.network_id.in_(networks),
        subnet.c.ip_version == pool["ip_version"],
        sa.or_(subnet.c.subnetpool_id.is_(None), subnet.c.subnetpool_id.not_in(inside)),
    )
    network_id = tx.connection.execute(others.limit(1)).scalar()
    if network_id is not None:
        raise _not_one_scope(network_id)


def check_affinity(tx: Transaction, cidr: IpNetwork, pool_id: str | None, siblings: Sequence[Row]) -> None:
    """Refuse a new subnet of a network that is not from the pool, or at least of the address scope, of the others.

    Raises:
        BadRequest: names the other subnet, or the network.
    """
    same = [item for item in siblings if item["ip_version"] == cidr.version]
    pools = {row["id"]: row for row in tx.get_many("subnetpool", sorted(_pool_ids(same, pool_id)))}
    scope_id = next((s for item in same if (s := pools.get(item["subnetpool_id"], _NO_POOL)["address_scope_id"])), None)
    if scope_id is not None and pool_id is not None:
        if pools[pool_id]["address_scope_id"] != scope_id:
            raise _not_one_scope(same[0]["network_id"])
        return
    for item in same:
        if item["subnetpool_id"] != pool_id:
            raise BadRequest(
                f"Subnets hosted on the same network must be allocated from the same subnet pool: {cidr} is from "
                f"{pool_id or 'none'}, subnet {item['id']} from {item['subnetpool_id'] or 'none'}.",
                type="NetworkSubnetPoolAffinityError",
            )


_NO_POOL: Row = {"address_scope_id": None}


def _pool_ids(subnets: Sequence[Row], pool_id: str | None) -> set[str]:
    named = [pool_id, *(item["subnetpool_id"] for item in subnets)]
    return {item for item in named if item is not None}


def _not_one_scope(network_id: str) -> BadRequest:
    return BadRequest(
        "Subnets of the same address family hosted on the same network must all participate in the same address scope: "
        f"those of network {network_id} would not.",
        type="NetworkAddressScopeAffinityError",
    )
