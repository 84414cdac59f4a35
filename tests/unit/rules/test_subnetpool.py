# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict, OverQuota
from portico.rules import sharing, subnetpool
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]
Network = IPv4Network | IPv6Network


def occupy(tx: Transaction, pool: Row, cidr: Network | str, project_id: str = "red") -> None:
    row = {
        "id": str(uuid.uuid4()),
        "project_id": project_id,
        "network_id": str(uuid.uuid4()),
        "subnetpool_id": pool["id"],
        "cidr": str(cidr),
        "ip_version": pool["ip_version"],
    }
    tx.insert("subnet", row)


def allocate(
    tx: Transaction, context: Context, pool: Row, prefixlen: int | None = None, cidr: str | None = None
) -> Network:
    """Allocate and keep."""
    given_cidr = ip_network(cidr) if cidr else None
    found = subnetpool.allocate_cidr(tx, context, pool, prefixlen, given_cidr)
    occupy(tx, pool, found, context.project_id)
    return found


def test_prefixes_are_merged_and_bounds_have_neutrons_defaults(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        four = pool(tx, context, "192.0.2.128/25", "192.0.2.0/25", "198.51.100.0/24", "192.0.2.64/26")
        six = pool(tx, context, "2001:db8::/32")
    names = ("prefixes", "ip_version", "min_prefixlen", "default_prefixlen", "max_prefixlen", "default_quota")
    assert [four[name] for name in names] == [["192.0.2.0/24", "198.51.100.0/24"], 4, 8, 8, 32, None]
    assert [six[name] for name in names] == [["2001:db8::/32"], 6, 64, 64, 128, None]


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("PrefixVersionMismatch", {"prefixes": ["192.0.2.0/24", "2001:db8::/32"]}),
    ("IllegalSubnetPoolPrefixBounds", {"min_prefixlen": 25, "max_prefixlen": 24}),
    ("IllegalSubnetPoolPrefixBounds", {"max_prefixlen": 33}),
    ("IllegalSubnetPoolPrefixBounds", {"min_prefixlen": 24, "default_prefixlen": 23}),
    ("IllegalSubnetPoolPrefixBounds", {"max_prefixlen": 24, "default_prefixlen": 25}),
]


@pytest.mark.parametrize(("error", "body"), REFUSED)
def test_pools_that_contradict_themselves_are_refused(
    store: Store, context: Context, create: Make, error: str, body: dict[str, Any]
) -> None:
    with store.write() as tx, pytest.raises(BadRequest) as caught:
        create(tx, context, "subnetpool", **{"name": "pool", "prefixes": ["192.0.2.0/24"], **body})
    assert caught.value.type == error


def test_a_pool_without_prefixes_is_refused(store: Store, context: Context) -> None:
    with store.write() as tx, pytest.raises(BadRequest) as caught:
        subnetpool.create(tx, context, {"name": "pool", "prefixes": [], "project_id": "red"})
    assert caught.value.type == "EmptySubnetPoolPrefixList"


def test_there_is_one_default_pool_per_ip_version(store: Store, admin: Context, pool: Make, update: Make) -> None:
    with store.write() as tx:
        first = pool(tx, admin, "192.0.2.0/24", is_default=True)
        pool(tx, admin, "2001:db8::/32", is_default=True)
        other = pool(tx, admin, "198.51.100.0/24")
        with pytest.raises(BadRequest, match=first["id"]) as created:
            pool(tx, admin, "198.51.100.0/24", is_default=True)
        with pytest.raises(BadRequest, match=first["id"]) as updated:
            update(tx, admin, "subnetpool", other, is_default=True)
        assert created.value.type == updated.value.type == "InvalidInput"
        first = update(tx, admin, "subnetpool", first, is_default=True, name="again")
        update(tx, admin, "subnetpool", first, is_default=False)
        assert update(tx, admin, "subnetpool", other, is_default=True)["is_default"] is True


@pytest.mark.parametrize("prefixes", [["192.0.2.0/25"], ["198.51.100.0/24"], ["2001:db8::/32"]])
def test_prefixes_only_grow(store: Store, context: Context, pool: Make, update: Make, prefixes: list[str]) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24")
        with pytest.raises(BadRequest, match=r"192\.0\.2\.0/24") as caught:
            update(tx, context, "subnetpool", row, prefixes=prefixes)
        assert caught.value.type == "IllegalSubnetPoolPrefixUpdate"
        grown = update(tx, context, "subnetpool", row, prefixes=["192.0.3.0/24", "192.0.2.0/24"])
    assert grown["prefixes"] == ["192.0.2.0/23"]


def test_an_update_cannot_make_the_bounds_contradict_themselves(
    store: Store, context: Context, pool: Make, update: Make
) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", min_prefixlen=25, default_prefixlen=26)
        with pytest.raises(BadRequest) as caught:
            update(tx, context, "subnetpool", row, max_prefixlen=25)
        assert update(tx, context, "subnetpool", row, max_prefixlen=26)["max_prefixlen"] == 26
    assert caught.value.type == "IllegalSubnetPoolPrefixBounds"


def test_a_pool_in_use_stays_and_the_subnet_is_named(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24")
        occupy(tx, row, "192.0.2.0/26")
        (subnet,) = tx.find("subnet", subnetpool_id=row["id"])
        with pytest.raises(BadRequest, match=subnet["id"]) as caught:
            subnetpool.delete(tx, context, row)
        tx.delete("subnet", subnet)
        subnetpool.delete(tx, context, row)
        assert tx.find("subnetpool") == []
    assert caught.value.type == "SubnetPoolDeleteError"


def test_the_lowest_free_prefix_is_given_also_between_others(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", "198.51.100.0/24", default_prefixlen=26)
        occupy(tx, row, "192.0.2.16/28")
        found = [str(allocate(tx, context, row, length)) for length in (None, 28, 28, 27, 25)]
    assert found == ["192.0.2.64/26", "192.0.2.0/28", "192.0.2.32/28", "192.0.2.128/27", "198.51.100.0/25"]


def test_a_full_pool_says_so(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", "198.51.100.0/24")
        assert {str(allocate(tx, context, row, 25)) for _ in range(4)} == {
            "192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/25", "198.51.100.128/25",
        }  # fmt: skip
        with pytest.raises(Conflict, match="size /32") as caught:
            allocate(tx, context, row, 32)
    assert caught.value.type == "SubnetAllocationError"


def test_lengths_outside_the_bounds_are_refused(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", min_prefixlen=26, max_prefixlen=28)
        for prefixlen, cidr, error in (
            (25, None, "MinPrefixSubnetAllocationError"),
            (None, "192.0.2.0/25", "MinPrefixSubnetAllocationError"),
            (29, None, "MaxPrefixSubnetAllocationError"),
            (None, "192.0.2.0/29", "MaxPrefixSubnetAllocationError"),
        ):
            with pytest.raises(BadRequest) as caught:
                allocate(tx, context, row, prefixlen, cidr)
            assert caught.value.type == error


def test_a_given_prefix_must_be_free_and_inside(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", "198.51.100.0/24")
        assert str(allocate(tx, context, row, cidr="192.0.2.64/26")) == "192.0.2.64/26"
        for taken in ("192.0.2.64/26", "192.0.2.0/24", "192.0.2.96/27", "203.0.113.0/24", "192.0.2.0/23"):
            with pytest.raises(Conflict, match=taken) as caught:
                allocate(tx, context, row, cidr=taken)
            assert caught.value.type == "SubnetAllocationError"
        with pytest.raises(BadRequest, match="IPv4"):
            allocate(tx, context, row, cidr="2001:db8::/64")


@pytest.mark.parametrize(
    ("prefix", "quota", "fits", "too_much"),
    [("192.0.2.0/24", 96, (26, 27), 32), ("2001:db8::/32", 3, (63, 65, 65), 128)],
)
def test_a_project_gets_no_more_of_a_pool_than_its_quota(
    store: Store, context: Context, make_context: Make, pool: Make, prefix: str, quota: int, fits: Any, too_much: int
) -> None:
    blue: Any = make_context("blue")
    with store.write() as tx:
        row = pool(tx, context, prefix, default_quota=quota, min_prefixlen=8)
        for length in fits:
            allocate(tx, context, row, length)
        with pytest.raises(OverQuota) as caught:
            allocate(tx, context, row, too_much)
        allocate(tx, blue, row, too_much)
    assert caught.value.type == "SubnetPoolQuotaExceeded"


@settings(max_examples=60, deadline=None)
@given(
    prefixes=st.lists(st.integers(0, 15), min_size=1, max_size=4, unique=True),
    lengths=st.lists(st.integers(21, 28), min_size=1, max_size=14),
    version=st.sampled_from([4, 6]),
)
def test_prefixes_from_a_pool_are_inside_it_disjoint_and_as_low_as_possible(
    lasting_store: Store, context: Context, prefixes: list[int], lengths: list[int], version: int
) -> None:
    # Sixteen possible blocks of 2048 addresses each, and the same picture 96 bits further left for IPv6.
    shift = 0 if version == 4 else 96
    start = int(ip_network("198.18.0.0/15").network_address) << shift
    cls = IPv4Network if version == 4 else IPv6Network
    texts = [str(cls((start + (number * 2048 << shift), 21))) for number in prefixes]
    with lasting_store.write() as tx:
        body = {"name": "p", "project_id": "red", "prefixes": texts, "min_prefixlen": 8}
        row = subnetpool.create(tx, context, body)
        taken: list[Network] = []
        for length in lengths:
            free = _lowest_free([ip_network(text) for text in row["prefixes"]], taken, length)
            if free is None:
                with pytest.raises(Conflict):
                    allocate(tx, context, row, length)
                continue
            taken.append(allocate(tx, context, row, length))
            assert taken[-1] == free
        assert not any(a.overlaps(b) for a, b in combinations(taken, 2))


def _lowest_free(prefixes: list[Network], taken: list[Network], length: int) -> Network | None:
    for prefix in prefixes:
        if length < prefix.prefixlen:
            continue
        for candidate in prefix.subnets(new_prefix=length):
            if not any(candidate.overlaps(other) for other in taken):
                return candidate
    return None


def test_the_five_thousandth_subnet_costs_what_reading_the_others_costs(
    store: Store, context: Context, pool: Make
) -> None:
    with store.write() as tx:
        row = pool(tx, context, "10.0.0.0/8")
        blocks = list(ip_network("10.0.0.0/11").subnets(new_prefix=24))[:5000]
        table = tx.tables.of["subnet"]
        for start in range(0, len(blocks), 500):
            rows = [
                {"id": str(uuid.uuid4()), "network_id": "n", "subnetpool_id": row["id"], "cidr": str(block)}
                for block in blocks[start : start + 500]
            ]
            tx.connection.execute(table.insert(), rows)
        began = time.process_time()
        found = subnetpool.allocate_cidr(tx, context, row, 24, None)
        took = time.process_time() - began
        began = time.process_time()
        assert len([ip_network(text) for text in tx.connection.scalars(sa.select(table.c.cidr))]) == len(blocks)
        reading = time.process_time() - began
    assert str(found) == "10.19.136.0/24"
    assert took < 5 * reading, "it reads each of them a few times at most"


def test_a_default_pool_of_others_is_none_until_it_is_shared(
    store: Store, admin: Context, make_member: Callable[[str], Context], create: Make, pool: Make
) -> None:
    mine = make_member("red")
    with store.write() as tx:
        hidden = pool(tx, admin, "192.0.2.0/24", is_default=True, default_prefixlen=28)
        network = create(tx, mine, "network")
        body = {"network_id": network["id"], "ip_version": 4, "use_default_subnetpool": True}
        with pytest.raises(BadRequest, match="No default subnetpool found for IPv4"):
            create(tx, mine, "subnet", **body)
        sharing.share(tx, "subnetpool", hidden)
        assert create(tx, mine, "subnet", **body)["subnetpool_id"] == hidden["id"]
