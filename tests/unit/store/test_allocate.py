# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.store import allocate
from portico.store.store import Store
from portico.store.transaction import Transaction

Address = IPv4Address | IPv6Address
FIRST = {4: int(ip_address("192.0.2.0")), 6: int(ip_address("2001:db8::"))}
SIZE = 24


class Model:
    """What a subnet's addresses are: numbers in `pools` (pairs, from 0 to SIZE - 1) and numbers that ports hold."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.subnet_id = str(uuid.uuid4())
        self.pools: list[tuple[int, int]] = []
        self.held: set[int] = set()

    @property
    def free(self) -> set[int]:
        return {number for first, last in self.pools for number in range(first, last + 1)} - self.held

    def address(self, number: int) -> Address:
        cls = IPv4Address if self.version == 4 else IPv6Address
        return cls(FIRST[self.version] + number)

    def ranges(self) -> list[tuple[Address, Address]]:
        return [(self.address(first), self.address(last)) for first, last in self.pools]


pools_of_a_subnet = st.lists(st.integers(0, SIZE - 1), max_size=6, unique=True).map(
    lambda bounds: list(zip(sorted(bounds)[::2], sorted(bounds)[1::2], strict=False))
)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["next", "last"]), st.none()),
        st.tuples(st.sampled_from(["take", "release"]), st.integers(0, SIZE - 1)),
        st.tuples(st.just("pools"), pools_of_a_subnet),
    ),
    max_size=40,
)


def free_ranges(tx: Transaction, subnet_id: str) -> Iterator[tuple[int, int]]:
    table = tx.tables.free_range
    rows = tx.connection.execute(sa.select(table).where(table.c.subnet_id == subnet_id).order_by(table.c.first))
    for row in rows:
        yield int(row.first, 16), int(row.last, 16)


def apply(tx: Transaction, model: Model, step: str, value: object) -> None:
    """Do one step to the store as the rules do it, and to the model; what is given out must be free."""
    if step in ("next", "last"):
        take = allocate.take_next if step == "next" else allocate.take_last
        found = take(tx, model.subnet_id, model.version)
        if found is None:
            assert not model.free
            return
        number = int(found) - FIRST[model.version]
        assert number in model.free
        assert found.version == model.version
        if step == "last":
            assert number == max(model.free)
        allocate.record(tx, model.subnet_id, found, f"port-{number}")
        model.held.add(number)
    elif step == "pools":
        assert isinstance(value, list)
        model.pools = value
        allocate.set_pools(tx, model.subnet_id, model.ranges())
    elif isinstance(value, int):
        address = model.address(value)
        holder = allocate.holder(tx, model.subnet_id, address)
        assert holder == (f"port-{value}" if value in model.held else None)
        if step == "take" and holder is None:
            allocate.take(tx, model.subnet_id, address)
            allocate.record(tx, model.subnet_id, address, f"port-{value}")
            model.held.add(value)
        elif step == "release" and holder is not None:
            allocate.release(tx, model.subnet_id, address, model.ranges())
            model.held.discard(value)


@settings(max_examples=150, deadline=None)
@given(version=st.sampled_from([4, 6]), pools=pools_of_a_subnet, program=steps)
def test_free_ranges_are_always_exactly_what_the_pools_hold_and_no_port_has(
    lasting_store: Store, version: int, pools: list[tuple[int, int]], program: list[tuple[str, object]]
) -> None:
    model = Model(version)
    with lasting_store.write() as tx:
        for step, value in [("pools", pools), *program]:
            apply(tx, model, step, value)
            ranges = [(a - FIRST[version], b - FIRST[version]) for a, b in free_ranges(tx, model.subnet_id)]
            assert all(first <= last for first, last in ranges)
            assert all(left[1] < right[0] for left, right in pairwise(ranges))
            assert {number for first, last in ranges for number in range(first, last + 1)} == model.free
            # Inside one pool neighbors are merged, so that there are never more ranges than holes and pools.
            for first, last in model.pools:
                inside = [item for item in ranges if first <= item[0] <= last]
                assert all(left[1] + 1 < right[0] for left, right in pairwise(inside))


@settings(max_examples=40, deadline=None)
@given(pools=pools_of_a_subnet, taken=st.sets(st.integers(0, SIZE - 1)))
def test_every_address_is_given_out_once_and_then_there_is_none(
    lasting_store: Store, pools: list[tuple[int, int]], taken: set[int]
) -> None:
    model = Model(4)
    with lasting_store.write() as tx:
        apply(tx, model, "pools", pools)
        for number in taken:
            apply(tx, model, "take", number)
        expected = sorted(model.free)
        found = [allocate.take_next(tx, model.subnet_id, 4) for _ in expected]
        assert found == [model.address(number) for number in expected]
        assert allocate.take_next(tx, model.subnet_id, 4) is None
        assert allocate.take_last(tx, model.subnet_id, 4) is None


def test_an_address_that_was_given_back_waits_until_the_others_had_their_turn(store: Store) -> None:
    model = Model(4)
    with store.write() as tx:
        apply(tx, model, "pools", [(0, 4)])
        given_out = []
        for _ in range(12):
            found = allocate.take_next(tx, model.subnet_id, 4)
            assert found is not None
            given_out.append(int(found) - FIRST[4])
            allocate.record(tx, model.subnet_id, found, "port")
            allocate.release(tx, model.subnet_id, found, model.ranges())
    assert given_out == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


def test_the_last_address_of_all_is_given_out(store: Store) -> None:
    top = IPv6Address(2**128 - 1)
    with store.write() as tx:
        allocate.set_pools(tx, "s", [(top - 1, top)])
        assert [allocate.take_next(tx, "s", 6) for _ in range(3)] == [top - 1, top, None]


def test_a_duplicate_cannot_be_recorded_whatever_the_ranges_say(store: Store) -> None:
    with store.write() as tx:
        allocate.record(tx, "s", ip_address("192.0.2.1"), "port-1")
        allocate.record(tx, "another", ip_address("192.0.2.1"), "port-2")
        allocate.record(tx, "s", ip_address("192.0.2.1"), "port-3")
        with pytest.raises(sa.exc.IntegrityError):
            tx.settle()


def test_nothing_is_left_of_a_subnet_that_is_forgotten(store: Store) -> None:
    model = Model(4)
    with store.write() as tx:
        apply(tx, model, "pools", [(0, 4)])
        apply(tx, model, "next", None)
        allocate.forget(tx, model.subnet_id)
        for table in (tx.tables.address, tx.tables.free_range, tx.tables.cursor):
            assert tx.connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0


def test_eight_threads_share_a_pool_without_a_duplicate_until_it_is_full(store: Store) -> None:
    model = Model(4)
    with store.write() as tx:
        apply(tx, model, "pools", [(0, SIZE - 1)])

    def take_until_full(name: str) -> list[Address]:
        mine: list[Address] = []
        while True:
            with store.write() as tx:
                found = allocate.take_next(tx, model.subnet_id, 4)
                if found is None:
                    return mine
                allocate.record(tx, model.subnet_id, found, name)
                mine.append(found)

    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(take_until_full, [f"port-{number}" for number in range(8)]))
    found = [address for part in parts for address in part]
    assert sorted(found, key=int) == [model.address(number) for number in range(SIZE)]
