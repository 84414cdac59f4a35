# SPDX-License-Identifier: Apache-2.0
"""MAC addresses."""

from __future__ import annotations

import secrets
from functools import cache

import sqlalchemy as sa

from portico.errors import BadRequest
from portico.store.tables import Tables
from portico.store.transaction import Read, Transaction


def generate(base: str) -> str:
    """Return a random MAC address under `base`, its first three octets, e.g. `fa:16:3e`."""
    return base + "".join(f":{octet:02x}" for octet in secrets.token_bytes(3))


def is_taken(tx: Transaction, network_id: str, address: str) -> bool:
    """Tell whether a port of the network has the address."""
    found = tx.ask(*first_from(tx, network_id, address))
    return found == [{"network_id": network_id, "mac_address": address}]


def first_from(tx: Transaction, network_id: str, address: str) -> Read:
    """Return what `is_taken` asks: which address of a network is the first in their order that is not before this."""
    return _first_from(tx.tables), {"network": network_id, "address": address}


@cache
def _first_from(tables: Tables) -> sa.Select[str, str]:
    port = tables.of["port"]
    order = (port.c.network_id, port.c.mac_address)
    # By an order that one index alone has. While PostgreSQL has no statistics of a table, for a minute after its first
    # rows, it takes all indexes that begin with the network for equal, and went through all ports of the network.
    given = [sa.bindparam(name, type_=column.type) for name, column in zip(("network", "address"), order, strict=True)]
    return sa.select(*order).where(sa.tuple_(*order) >= sa.tuple_(*given)).order_by(*order).limit(1)


def refuse_group(address: str) -> None:
    """Refuse an address of many stations: no interface can have it (IEEE 802, section 8.2.2: the I/G bit).

    Raises:
        BadRequest: the lowest bit of its first octet is set.
    """
    if int(address[:2], 16) & 1:
        raise BadRequest(
            f"Invalid input for operation: mac_address '{address}' is a group address, which no port can have: the "
            "lowest bit of its first octet is set.",
            type="InvalidInput",
        )
