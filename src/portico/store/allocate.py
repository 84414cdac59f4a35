# SPDX-License-Identifier: Apache-2.0
"""Reservation of addresses.

A subnet's free addresses are kept as disjoint, non-adjacent ranges inside its allocation pools, so that finding the
next one costs the same with one port and with a million. A cursor makes addresses come round in turn: one that was
just given back is not given out again at once, while caches of neighbors still know its old owner. All of it happens
inside the caller's write transaction, which the global revision serialises; the primary key of `address` is the
second line of defence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from ipaddress import ip_address

import sqlalchemy as sa

from portico.model.snapshot import IpAddress
from portico.store import select
from portico.store.tables import ADDRESS_DIGITS, Tables
from portico.store.transaction import Read, Transaction

Range = tuple[int, int]
MAX_NUMBER = 2**128 - 1


def digits(number: int) -> str:
    """Return an address number as the store's sortable text."""
    return f"{number:0{ADDRESS_DIGITS}x}"


def set_pools(tx: Transaction, subnet_id: str, pools: Iterable[tuple[IpAddress, IpAddress]]) -> None:
    """Make the free ranges of a subnet anew: everything inside `pools` that no port holds."""
    _clear(tx, subnet_id)
    address = tx.tables.address
    taken = tx.connection.execute(
        sa.select(address.c.address).where(address.c.subnet_id == subnet_id).order_by(address.c.address)
    )
    used = [int(row.address, 16) for row in taken]
    ranges: list[Range] = []
    for first, last in pools:
        start = int(first)
        for number in used:
            if start <= number <= int(last):
                if start < number:
                    ranges.append((start, number - 1))
                start = number + 1
        if start <= int(last):
            ranges.append((start, int(last)))
    if ranges:
        rows = [{"subnet_id": subnet_id, "first": digits(a), "last": digits(b)} for a, b in ranges]
        tx.connection.execute(tx.tables.free_range.insert(), rows)
    tx.connection.execute(tx.tables.cursor.insert(), {"subnet_id": subnet_id, "next": digits(0)})


def forget(tx: Transaction, subnet_id: str) -> None:
    """Drop all that is kept about a subnet that goes away."""
    _clear(tx, subnet_id)
    tx.connection.execute(sa.delete(tx.tables.address).where(tx.tables.address.c.subnet_id == subnet_id))


def _clear(tx: Transaction, subnet_id: str) -> None:
    for table in (tx.tables.free_range, tx.tables.cursor):
        tx.connection.execute(sa.delete(table).where(table.c.subnet_id == subnet_id))


def take_next(tx: Transaction, subnet_id: str, version: int, free: Mapping[str, str] | None = None) -> IpAddress | None:
    """Take the next free address of the pools out of them; None when there is none left.

    `free` is the subnet's range of `next_ranges`, if that was asked.
    """
    values = {"subnet": subnet_id}
    ranges = [free] if free else tx.ask(_range_at_cursor(tx.tables), values) or tx.ask(_first_range(tx.tables), values)
    if not ranges:
        return None
    first, last, wanted = ranges[0]["first"], ranges[0]["last"], ranges[0]["next"]
    number = int(max(first, wanted), 16) if wanted <= last else int(first, 16)
    _split(tx, subnet_id, (int(first, 16), int(last, 16)), number)
    # Beyond the last number of all, the search begins anew.
    following = number + 1 if number < MAX_NUMBER else 0
    tx.later(_move_cursor(tx.tables), {"subnet": subnet_id, "value": digits(following)})
    return address_of(number, version)


def next_ranges(tx: Transaction, network_id: str) -> Read:
    """Return what finds the free ranges that the next addresses of a network's subnets are in."""
    return _ranges_at_cursors(tx.tables), {"network": network_id}


def take_within(tx: Transaction, subnet_id: str, version: int, bounds: Range) -> IpAddress | None:
    """Take the lowest free address inside `bounds` out of the pools; None when there is none."""
    values = {"subnet": subnet_id, "low": digits(bounds[0]), "high": digits(bounds[1])}
    found = tx.ask(_range_within(tx.tables), values)
    return take_lowest(tx, subnet_id, version, found[0], bounds[0]) if found else None


def take_lowest(tx: Transaction, subnet_id: str, version: int, free: Mapping[str, str], low: int) -> IpAddress:
    """Take the lowest address from `low` on out of a free range, whose `first` and `last` are digits."""
    first, last = int(free["first"], 16), int(free["last"], 16)
    number = max(first, low)
    _split(tx, subnet_id, (first, last), number)
    return address_of(number, version)


def free_ranges(tx: Transaction, subnet_id: str) -> list[Range]:
    """Return the free ranges of a subnet, in order."""
    free = tx.tables.free_range
    found = tx.connection.execute(
        sa.select(free.c.first, free.c.last).where(free.c.subnet_id == subnet_id).order_by(free.c.first)
    )
    return [(int(row.first, 16), int(row.last, 16)) for row in found]


def take_last(tx: Transaction, subnet_id: str, version: int) -> IpAddress | None:
    """Take the highest free address out of the pools (servers of the network's own live at the top)."""
    free = tx.tables.free_range
    statement = sa.select(free.c.first, free.c.last).where(free.c.subnet_id == subnet_id).order_by(free.c.first.desc())
    found = tx.connection.execute(statement.limit(1)).first()
    if found is None:
        return None
    number = int(found.last, 16)
    _split(tx, subnet_id, (int(found.first, 16), number), number)
    return address_of(number, version)


def take(tx: Transaction, subnet_id: str, address: IpAddress) -> None:
    """Take a given address out of the pools; one that lies outside them is no error."""
    free = tx.tables.free_range
    text = digits(int(address))
    statement = sa.select(free.c.first, free.c.last).where(
        free.c.subnet_id == subnet_id, free.c.first <= text, free.c.last >= text
    )
    found = tx.connection.execute(statement).first()
    if found is not None:
        _split(tx, subnet_id, (int(found.first, 16), int(found.last, 16)), int(address))


def holder(tx: Transaction, subnet_id: str, address: IpAddress) -> str | None:
    """Return the id of the port that holds `address`, or None."""
    found: str | None = tx.connection.execute(
        _holder(tx.tables), {"subnet": subnet_id, "number": digits(int(address))}
    ).scalar()
    return found


def record(tx: Transaction, subnet_id: str, address: IpAddress, port_id: str) -> None:
    """Write down that the port holds the address, which was taken before."""
    row = {"subnet_id": subnet_id, "address": digits(int(address)), "ip": str(address), "port_id": port_id}
    tx.later(select.insert(tx.tables.address), row)


def release(tx: Transaction, subnet_id: str, address: IpAddress, pools: Iterable[tuple[IpAddress, IpAddress]]) -> None:
    """Give an address back; it returns to the free ranges if it lies in one of the subnet's `pools`."""
    number = int(address)
    tx.later(_forget(tx.tables), {"subnet": subnet_id, "number": digits(number)})
    pool = next(((int(a), int(b)) for a, b in pools if int(a) <= number <= int(b)), None)
    if pool is None:
        return
    # Ranges of other pools stay apart, though they be adjacent.
    below = digits(number - 1) if number > pool[0] else ""
    above = digits(number + 1) if number < pool[1] else ""
    found = tx.ask(_around(tx.tables), {"subnet": subnet_id, "above": above or digits(number)})
    left = next((item for item in found if item["last"] == below), None)
    right = next((item for item in found if item["first"] == above), None)
    if left is None and right is None:
        row = {"subnet_id": subnet_id, "first": digits(number), "last": digits(number)}
        tx.later(select.insert(tx.tables.free_range), row)
    elif left is None:
        tx.later(_move_first(tx.tables), {"subnet": subnet_id, "old": above, "new": digits(number)})
    else:
        if right is not None:
            _drop(tx, subnet_id, number + 1)
        last = right["last"] if right else digits(number)
        tx.later(_move_last(tx.tables), {"subnet": subnet_id, "old": left["first"], "new": last})


def _split(tx: Transaction, subnet_id: str, found: Range, number: int) -> None:
    """Take `number` out of the free range `found`."""
    free = tx.tables.free_range
    first, last = found
    if first == number < last:
        values = {"subnet": subnet_id, "old": digits(first), "new": digits(number + 1)}
        tx.later(_move_first(tx.tables), values)
        return
    _drop(tx, subnet_id, first)
    rest = [(a, b) for a, b in ((first, number - 1), (number + 1, last)) if a <= b]
    if rest:
        rows = [{"subnet_id": subnet_id, "first": digits(a), "last": digits(b)} for a, b in rest]
        tx.later(select.insert(free), rows)


def _drop(tx: Transaction, subnet_id: str, first: int) -> None:
    tx.later(_drop_range(tx.tables), {"subnet": subnet_id, "old": digits(first)})


# Statements are built once: building one costs more than running it.


@cache
def _range_at_cursor(tables: Tables) -> sa.Select[str, str, str]:
    free, cursor = tables.free_range, tables.cursor
    return _ranges(tables).where(free.c.last >= cursor.c.next).order_by(free.c.first).limit(1)


@cache
def _ranges_at_cursors(tables: Tables) -> sa.Select[str, str, str, str]:
    free, cursor, subnet, other = tables.free_range, tables.cursor, tables.of["subnet"], tables.free_range.alias()
    lowest = sa.select(sa.func.min(other.c.first)).where(
        other.c.subnet_id == cursor.c.subnet_id, other.c.last >= cursor.c.next
    )
    return (
        sa.select(free.c.subnet_id, free.c.first, free.c.last, cursor.c.next)
        .join_from(subnet, cursor, cursor.c.subnet_id == subnet.c.id)
        .join(free, (free.c.subnet_id == cursor.c.subnet_id) & (free.c.first == lowest.scalar_subquery()))
        .where(subnet.c.network_id == sa.bindparam("network"))
    )


@cache
def _first_range(tables: Tables) -> sa.Select[str, str, str]:
    return _ranges(tables).order_by(tables.free_range.c.first).limit(1)


def _ranges(tables: Tables) -> sa.Select[str, str, str]:
    free, cursor = tables.free_range, tables.cursor
    return (
        sa.select(free.c.first, free.c.last, cursor.c.next)
        .join_from(free, cursor, free.c.subnet_id == cursor.c.subnet_id)
        .where(free.c.subnet_id == sa.bindparam("subnet"))
    )


@cache
def _range_within(tables: Tables) -> sa.Select[str, str]:
    free = tables.free_range
    which = (
        free.c.subnet_id == sa.bindparam("subnet"),
        free.c.last >= sa.bindparam("low"),
        free.c.first <= sa.bindparam("high"),
    )
    return sa.select(free.c.first, free.c.last).where(*which).order_by(free.c.first).limit(1)


@cache
def _move_cursor(tables: Tables) -> sa.Update:
    cursor = tables.cursor
    return sa.update(cursor).where(cursor.c.subnet_id == sa.bindparam("subnet")).values(next=sa.bindparam("value"))


@cache
def _holder(tables: Tables) -> sa.Select[str]:
    table = tables.address
    return sa.select(table.c.port_id).where(
        table.c.subnet_id == sa.bindparam("subnet"), table.c.address == sa.bindparam("number")
    )


@cache
def _move_first(tables: Tables) -> sa.Update:
    free = tables.free_range
    which = (free.c.subnet_id == sa.bindparam("subnet"), free.c.first == sa.bindparam("old"))
    return sa.update(free).where(*which).values(first=sa.bindparam("new"))


@cache
def _move_last(tables: Tables) -> sa.Update:
    free = tables.free_range
    which = (free.c.subnet_id == sa.bindparam("subnet"), free.c.first == sa.bindparam("old"))
    return sa.update(free).where(*which).values(last=sa.bindparam("new"))


@cache
def _around(tables: Tables) -> sa.Select[str, str]:
    free = tables.free_range
    which = (free.c.subnet_id == sa.bindparam("subnet"), free.c.first <= sa.bindparam("above"))
    return sa.select(free.c.first, free.c.last).where(*which).order_by(free.c.first.desc()).limit(2)


@cache
def _forget(tables: Tables) -> sa.Delete:
    table = tables.address
    which = (table.c.subnet_id == sa.bindparam("subnet"), table.c.address == sa.bindparam("number"))
    return sa.delete(table).where(*which)


@cache
def _drop_range(tables: Tables) -> sa.Delete:
    free = tables.free_range
    return sa.delete(free).where(free.c.subnet_id == sa.bindparam("subnet"), free.c.first == sa.bindparam("old"))


def address_of(number: int, version: int) -> IpAddress:
    """Return the address of a number."""
    return ip_address(number.to_bytes(4 if version == 4 else 16, "big"))
