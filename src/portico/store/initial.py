# SPDX-License-Identifier: Apache-2.0
"""What a new database holds: Neutron's default security group rules."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from portico.store.tables import Tables
from portico.store.transaction import timestamp

DEFAULT_RULES = "default_security_group_rule"
# Stands in a default rule for the group that the rule comes to.
PARENT = "PARENT"


def fill(connection: sa.Connection, tables: Tables) -> None:
    """Write the rules by which a group lets everything out and the default one its own members in."""
    table = tables.of.get(DEFAULT_RULES)
    if table is None:
        return
    now = timestamp()
    rules = [("egress", None, True), ("ingress", PARENT, False)]
    rows = [
        {
            "id": str(uuid.uuid4()),
            "direction": direction,
            "ethertype": ethertype,
            "remote_group_id": remote,
            "used_in_default_sg": True,
            "used_in_non_default_sg": everywhere,
            "description": f"Legacy default SG rule for {direction} traffic",
            "revision_number": 0,
            "created_at": now,
            "updated_at": now,
        }
        for direction, remote, everywhere in rules
        for ethertype in ("IPv4", "IPv6")
    ]
    connection.execute(table.insert(), rows)
