# SPDX-License-Identifier: Apache-2.0
"""How many addresses each network and subnet has and uses.

Both are exact: a subnet has the addresses of its allocation pools, and uses those that ports hold. As in Neutron,
addresses that ports hold outside the pools count as used, too.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address, ip_network
from typing import Any

import sqlalchemy as sa

from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction


def list_all(
    tx: Transaction,
    context: Context,
    *,
    network_ids: Collection[str] | None = None,
    network_names: Collection[str] | None = None,
    project_ids: Collection[str] | None = None,
    ip_versions: Collection[int] | None = None,
) -> list[Row]:
    """Return one entry per network, in the order of their ids; each argument that is not None is a filter.

    `ip_versions` leaves out the subnets of other versions, and the networks that have none of these.
    """
    network, subnet = tx.tables.of["network"], tx.tables.of["subnet"]
    filters = [
        column.in_(wanted)
        for column, wanted in (
            (network.c.id, network_ids),
            (network.c.name, network_names),
            (network.c.project_id, project_ids),
            (subnet.c.ip_version, ip_versions),
        )
        if wanted is not None
    ]
    answer: dict[str, Row] = {}
    for row in tx.connection.execute(_statement(tx).where(*filters)):
        start = {
            "network_id": row.network_id,
            "network_name": row.network_name,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "subnet_ip_availability": [],
            "total_ips": 0,
            "used_ips": 0,
        }
        entry = answer.setdefault(row.network_id, start)
        if row.subnet_id is not None:
            _add_subnet(entry, row)
    return list(answer.values())


def show(tx: Transaction, context: Context, network_id: str) -> Row:
    """Return the entry of one network.

    Raises:
        NotFound: there is no such network.
    """
    lookup.get(tx, "network", network_id)
    (found,) = list_all(tx, context, network_ids=(network_id,))
    return found


def _statement(tx: Transaction) -> sa.Select[Any]:
    """Return the query for networks, each with each of its subnets and how many addresses of that are in use."""
    network, subnet, address = tx.tables.of["network"], tx.tables.of["subnet"], tx.tables.address
    used = sa.select(sa.func.count()).where(address.c.subnet_id == subnet.c.id).scalar_subquery()
    return (
        sa.select(
            network.c.id.label("network_id"),
            network.c.name.label("network_name"),
            network.c.project_id,
            subnet.c.id.label("subnet_id"),
            subnet.c.name.label("subnet_name"),
            subnet.c.cidr,
            subnet.c.ip_version,
            subnet.c.allocation_pools,
            used.label("used_ips"),
        )
        .select_from(network.outerjoin(subnet, subnet.c.network_id == network.c.id))
        .order_by(network.c.id, subnet.c.id)
    )


def _add_subnet(entry: Row, row: Any) -> None:
    # Sums of IPv6 pools are larger than any integer type of a database.
    total = sum(int(ip_address(pool["end"])) - int(ip_address(pool["start"])) + 1 for pool in row.allocation_pools)
    subnet = {
        "subnet_id": row.subnet_id,
        "subnet_name": row.subnet_name,
        "cidr": row.cidr,
        "ip_version": row.ip_version,
        "total_ips": total or ip_network(row.cidr).num_addresses,
        "used_ips": row.used_ips,
    }
    entry["subnet_ip_availability"].append(subnet)
    for name in ("total_ips", "used_ips"):
        entry[name] += subnet[name]
