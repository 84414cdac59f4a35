# SPDX-License-Identifier: Apache-2.0
"""Blocks: ranges of a routed subnet, each of which belongs to one host.

A host's ports get addresses of its blocks, so that one route leads to all of them. When its blocks are full it takes
another one: a range that is nobody's, else one of another host's without any port. When there is neither, it borrows
single addresses wherever some are free. All of it happens inside the caller's write transaction, which the global
revision serialises; the unique constraint on subnet and range is the second line of defence.
"""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import ip_network
from typing import Any

import msgspec
import sqlalchemy as sa

from portico.model.snapshot import IpAddress
from portico.store import allocate
from portico.store.allocate import Range, digits
from portico.store.tables import Tables
from portico.store.transaction import Transaction

Row = dict[str, Any]

WHOLE = {4: 32, 6: 128}
"""A block of this length would be a single address: then hosts have no blocks."""


class Home(msgspec.Struct, frozen=True):
    """The host of a port on a routed network, and how long its blocks' prefixes are by IP version."""

    host: str
    lengths: Mapping[int, int]


def take_next(tx: Transaction, subnet: Row, home: Home) -> IpAddress | None:
    """Take an address for a port of a host out of the subnet's pools; None when there is none left."""
    version = subnet["ip_version"]
    length = max(home.lengths[version], ip_network(subnet["cidr"]).prefixlen)
    if length == WHOLE[version]:
        return allocate.take_next(tx, subnet["id"], version)
    if free := tx.ask(_free_of_host(tx.tables), {"subnet": subnet["id"], "host": home.host}):
        return allocate.take_lowest(tx, subnet["id"], version, free[0], int(free[0]["low"], 16))
    found = _new(tx, subnet, home.host, 1 << (WHOLE[version] - length)) or _idle(tx, subnet["id"], home.host)
    address = _take_in(tx, found, version) if found is not None else None
    return address or allocate.take_next(tx, subnet["id"], version)


def _take_in(tx: Transaction, block: Row, version: int) -> IpAddress | None:
    return allocate.take_within(tx, block["subnet_id"], version, (int(block["first"], 16), int(block["last"], 16)))


def _new(tx: Transaction, subnet: Row, host: str, size: int) -> Row | None:
    """Give a host the first range of `size` addresses that is nobody's and has a free one, if there is any."""
    taken = sorted((int(row["first"], 16), int(row["last"], 16)) for row in tx.find("block", subnet_id=subnet["id"]))
    first = _gap(allocate.free_ranges(tx, subnet["id"]), taken, size)
    if first is None:
        return None
    length = WHOLE[subnet["ip_version"]] - (size.bit_length() - 1)
    row = {
        "id": str(uuid.uuid4()),
        "host": host,
        "cidr": str(ip_network((allocate.address_of(first, subnet["ip_version"]), length))),
        "subnet_id": subnet["id"],
        "network_id": subnet["network_id"],
        "first": digits(first),
        "last": digits(first + size - 1),
    }
    return tx.insert("block", row)


def _gap(free: Sequence[Range], taken: Sequence[Range], size: int) -> int | None:
    """Return where the first range of `size` numbers begins that touches a `free` one and no `taken` one.

    It begins at a multiple of `size`. Both are in order, and none of either overlaps another of it.
    """
    for first, last in free:
        start = first - first % size
        while start <= last:
            at = bisect_right(taken, (start + size - 1, allocate.MAX_NUMBER)) - 1
            if at < 0 or taken[at][1] < start:
                return start
            start = taken[at][1] + 1
            start += -start % size
    return None


def _idle(tx: Transaction, subnet_id: str, host: str) -> Row | None:
    """Give a host the first block of another one that no port has an address of, if there is any."""
    block = tx.tables.of["block"]
    found = tx.connection.execute(
        sa.select(block.c.id)
        .where(block.c.subnet_id == subnet_id, ~_is_used(tx.tables))
        .order_by(block.c.first)
        .limit(1)
    ).scalar()
    row = tx.get("block", found) if found is not None else None
    return tx.update("block", row, {"host": host}) if row is not None else None


def _is_used(tables: Tables) -> sa.ColumnElement[bool]:
    block, address = tables.of["block"], tables.address
    inside = (address.c.subnet_id == block.c.subnet_id, address.c.address.between(block.c.first, block.c.last))
    return sa.exists().where(*inside)


def give_back(tx: Transaction, subnet_id: str, address: IpAddress) -> None:
    """Give back the block that an address is in which was just released, if no other address of it is in use.

    The host's only block of the subnet stays with it for its next port, until another host wants it.
    """
    for found in tx.ask(_spare(tx.tables), {"subnet": subnet_id, "number": digits(int(address))}):
        row = tx.get("block", found["id"])
        if row is not None:
            tx.delete("block", row)


@cache
def _free_of_host(tables: Tables) -> sa.Select[str, str, str]:
    """Return the statement that finds the first free range in blocks that a `host` has of a `subnet`.

    It may begin before the block, which begins at `low`.
    """
    block, free = tables.of["block"], tables.free_range
    inside = (free.c.subnet_id == block.c.subnet_id, free.c.last >= block.c.first, free.c.first <= block.c.last)
    return (
        sa.select(free.c.first, free.c.last, block.c.first.label("low"))
        .join_from(block, free, sa.and_(*inside))
        .where(block.c.subnet_id == sa.bindparam("subnet"), block.c.host == sa.bindparam("host"))
        .order_by(block.c.first, free.c.first)
        .limit(1)
    )


@cache
def _spare(tables: Tables) -> sa.Select[str]:
    """Return the statement that finds the block of a `subnet` which has the address `number`, if it may go.

    Then no port has an address of it, and its host has another block there.
    """
    block, number = tables.of["block"], sa.bindparam("number", type_=sa.String())
    other = block.alias()
    is_beside = (other.c.subnet_id == block.c.subnet_id, other.c.host == block.c.host, other.c.id != block.c.id)
    inside = (block.c.subnet_id == sa.bindparam("subnet"), block.c.first <= number, block.c.last >= number)
    return sa.select(block.c.id).where(*inside, sa.exists().where(*is_beside), ~_is_used(tables))


def forget(tx: Transaction, subnet_id: str) -> None:
    """Drop the blocks of a subnet that goes away, or is routed no more."""
    for row in tx.find("block", subnet_id=subnet_id):
        tx.delete("block", row)


def forget_host(tx: Transaction, host: str) -> None:
    """Give back the blocks of a host that goes away which no port has an address of."""
    block = tx.tables.of["block"]
    found = (
        tx.connection.execute(sa.select(block.c.id).where(block.c.host == host, ~_is_used(tx.tables))).scalars().all()
    )
    for row in tx.get_many("block", found):
        tx.delete("block", row)
