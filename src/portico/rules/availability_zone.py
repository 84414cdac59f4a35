# SPDX-License-Identifier: Apache-2.0
"""Availability zones: where agents say that they are, and the zone that is always there."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from portico.errors import NotFound
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

DEFAULT_ZONE = "default"


def list_all(tx: Transaction, context: Context) -> list[Row]:
    """Return the zones; one is available while an agent in it is not switched off."""
    agent = tx.tables.of["agent"]
    up = {DEFAULT_ZONE: True}
    for row in tx.connection.execute(sa.select(agent.c.availability_zone, agent.c.admin_state_up)):
        if row.availability_zone:
            up[row.availability_zone] = up.get(row.availability_zone, False) or row.admin_state_up
    return [
        {"name": name, "resource": "network", "state": "available" if up[name] else "unavailable"}
        for name in sorted(up)
    ]


def check_hints(tx: Transaction, context: Context, names: Sequence[str]) -> None:
    """Refuse availability_zone_hints that name a zone which does not exist.

    Raises:
        NotFound: names the first of them.
    """
    known = {row["name"] for row in list_all(tx, context)}
    for name in names:
        if name not in known:
            raise NotFound(
                f"AvailabilityZone {name} could not be found, there are {', '.join(sorted(known))}.",
                type="AvailabilityZoneNotFound",
            )
