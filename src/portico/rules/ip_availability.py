# SPDX-License-Identifier: Apache-2.0
"""How many addresses each network and subnet has and uses.

Both are exact: a subnet has the addresses of its allocation pools, and uses those that ports hold. As in Neutron,
addresses that ports hold outside the pools count as used, too; `ip_availability_details` tells these apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from ipaddress import ip_address, ip_network
from typing import Any

import sqlalchemy as sa

from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

DETAILS = "ip_availability_details"
_DETAILS = (
    "total_ips_in_subnet",
    "total_ips_in_allocation_pool",
    "used_ips_in_subnet",
    "used_ips_in_allocation_pool",
)


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
    free = _free(tx, filters)
    for row in tx.connection.execute(_statement(tx).where(*filters)):
        start = {
            "network_id": row.network_id,
            "network_name": row.network_name,
            "project_id": row.project_id,
            "tenant_id": row.project_id,
            "subnet_ip_availability": [],
            "total_ips": 0,
            "used_ips": 0,
            DETAILS: dict.fromkeys(_DETAILS, 0),
        }
        entry = answer.setdefault(row.network_id, start)
        if row.subnet_id is not None:
            _add_subnet(entry, row, free[row.subnet_id])
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


def _free(tx: Transaction, filters: Collection[sa.ColumnElement[bool]]) -> Counter[str]:
    """Return how many addresses of the pools of each subnet nobody holds; sums of IPv6 pools fit no database's type."""
    network, subnet, free = tx.tables.of["network"], tx.tables.of["subnet"], tx.tables.free_range
    asked = sa.select(subnet.c.id).join_from(subnet, network, subnet.c.network_id == network.c.id).where(*filters)
    found: Counter[str] = Counter()
    for row in tx.connection.execute(sa.select(free).where(free.c.subnet_id.in_(asked))):
        found[row.subnet_id] += int(row.last, 16) - int(row.first, 16) + 1
    return found


def _add_subnet(entry: Row, row: Any, free: int) -> None:
    size = ip_network(row.cidr).num_addresses
    total = sum(int(ip_address(pool["end"])) - int(ip_address(pool["start"])) + 1 for pool in row.allocation_pools)
    # As in Neutron, but that both addresses of a point-to-point link, and the one of a host, count (RFC 3021).
    hosts = size - 2 if row.ip_version == 4 and size > 2 else size
    subnet = {
        "subnet_id": row.subnet_id,
        "subnet_name": row.subnet_name,
        "cidr": row.cidr,
        "ip_version": row.ip_version,
        "total_ips": total or size,
        "used_ips": row.used_ips,
        DETAILS: dict(zip(_DETAILS, (hosts, total, row.used_ips, total - free), strict=True)),
    }
    entry["subnet_ip_availability"].append(subnet)
    for name in ("total_ips", "used_ips"):
        entry[name] += subnet[name]
    for name in _DETAILS:
        entry[DETAILS][name] += subnet[DETAILS][name]
