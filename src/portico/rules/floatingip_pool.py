# SPDX-License-Identifier: Apache-2.0
"""Pools of floating IPs: the IPv4 subnets of external networks that who asks may see."""

from __future__ import annotations

from portico.rules.context import Context, Row
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction


def list_all(tx: Transaction, context: Context) -> list[Row]:
    """Return all pools; whoever may see the network may have addresses of it, the subnet itself seen or not."""
    external = Query(filters=(Filter("router:external", (True,)),))
    networks = tx.list("network", external, context.policy.visible(tx.tables, context, "network"))
    return [
        {
            "subnet_id": subnet["id"],
            "subnet_name": subnet["name"],
            "network_id": network["id"],
            "cidr": subnet["cidr"],
            "project_id": context.project_id,
            "tenant_id": context.project_id,
        }
        for network in networks
        for subnet in tx.find("subnet", network_id=network["id"], ip_version=4)
    ]
