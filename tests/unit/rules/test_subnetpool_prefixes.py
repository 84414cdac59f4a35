# SPDX-License-Identifier: Apache-2.0
"""Prefixes that come to a pool and leave it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict, Forbidden, NotFound
from portico.rules import lookup, subnetpool
from portico.rules.context import Context, Row
from portico.store.sharing import EVERYBODY, SHARED
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]


@pytest.fixture
def network(create: Make) -> Make:
    def make(tx: Transaction, context: Context, *cidrs: str) -> Row:
        made = create(tx, context, "network")
        for cidr in cidrs:
            create(tx, context, "subnet", network_id=made["id"], cidr=cidr, ip_version=ip_network(cidr).version)
        return made

    return make


def prefixes(tx: Transaction, row: Row) -> list[str]:
    return list(lookup.get(tx, "subnetpool", row["id"])["prefixes"])


def test_prefixes_are_added_and_merged(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.168.1.0/24", "10.10.10.0/24")
        answer = subnetpool.add_prefixes(tx, context, row, {"prefixes": ["10.10.0.0/16", "192.168.0.0/24"]})
        assert answer == {"prefixes": ["10.10.0.0/16", "192.168.0.0/23"]}
        assert prefixes(tx, row) == answer["prefixes"]
        with pytest.raises(BadRequest) as caught:
            subnetpool.add_prefixes(tx, context, row, {"prefixes": ["2001:db8::/32"]})
        assert caught.value.type == "PrefixVersionMismatch"


def test_added_prefixes_keep_to_the_address_scope(store: Store, context: Context, create: Make, pool: Make) -> None:
    with store.write() as tx:
        scope = create(tx, context, "address_scope", name="s", ip_version=4)
        row = pool(tx, context, "192.0.2.0/24", address_scope_id=scope["id"])
        other = pool(tx, context, "198.51.100.0/24", address_scope_id=scope["id"])
        with pytest.raises(Conflict, match=other["id"]) as caught:
            subnetpool.add_prefixes(tx, context, row, {"prefixes": ["198.51.100.128/25"]})
        assert caught.value.type == "AddressScopePrefixConflict"


def test_prefixes_and_parts_of_them_are_removed(store: Store, context: Context, pool: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", "198.51.100.0/24")
        gone = ["198.51.100.0/23", "192.0.2.64/26", "203.0.113.0/24", "2001:db8::/32"]
        answer = subnetpool.remove_prefixes(tx, context, row, {"prefixes": gone})
        assert answer == {"prefixes": ["192.0.2.0/26", "192.0.2.128/25"]}
        assert prefixes(tx, row) == answer["prefixes"]
        row = lookup.get(tx, "subnetpool", row["id"])
        assert subnetpool.remove_prefixes(tx, context, row, {"prefixes": ["0.0.0.0/0"]}) == {"prefixes": []}
        row = lookup.get(tx, "subnetpool", row["id"])
        with pytest.raises(BadRequest) as caught:
            subnetpool.add_prefixes(tx, context, row, {"prefixes": ["2001:db8::/32"]})
        assert caught.value.type == "PrefixVersionMismatch"
        with pytest.raises(Conflict):
            subnetpool.allocate_cidr(tx, context, row, 28, None)


def test_a_prefix_with_a_subnet_stays(store: Store, context: Context, create: Make, pool: Make, network: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/24", "198.51.100.0/24")
        parent = network(tx, context)
        made = create(tx, context, "subnet", network_id=parent["id"], ip_version=4, subnetpool_id=row["id"],
                      cidr="192.0.2.64/26")  # fmt: skip
        with pytest.raises(BadRequest, match=made["id"]) as caught:
            subnetpool.remove_prefixes(tx, context, row, {"prefixes": ["198.51.100.0/24", "192.0.2.100/32"]})
        assert caught.value.type == "IllegalSubnetPoolPrefixUpdate"
        assert prefixes(tx, row) == ["192.0.2.0/24", "198.51.100.0/24"]
        subnetpool.remove_prefixes(tx, context, row, {"prefixes": ["192.0.2.128/25"]})
        assert prefixes(tx, row) == ["192.0.2.0/25", "198.51.100.0/24"]


@pytest.mark.parametrize("act", [subnetpool.add_prefixes, subnetpool.remove_prefixes])
def test_no_prefix_is_no_request(store: Store, context: Context, pool: Make, act: Callable[..., Row]) -> None:
    with store.write() as tx, pytest.raises(BadRequest) as caught:
        act(tx, context, pool(tx, context, "192.0.2.0/24"), {"prefixes": []})
    assert caught.value.type == "HTTPBadRequest"


def test_subnets_are_taken_into_the_pool(store: Store, context: Context, pool: Make, network: Make) -> None:
    with store.write() as tx:
        row = pool(tx, context, "192.0.2.0/25")
        parent = network(tx, context, "198.51.100.0/24", "192.0.2.64/26", "2001:db8::/64")
        four = [item for item in tx.find("subnet", network_id=parent["id"]) if item["ip_version"] == 4]
        answer = subnetpool.onboard_network_subnets(tx, context, row, {"network_id": parent["id"]})
        assert answer == [{"id": item["id"], "cidr": item["cidr"]} for item in four]
        assert prefixes(tx, row) == ["192.0.2.0/25", "198.51.100.0/24"]
        assert {item["id"] for item in tx.find("subnet", subnetpool_id=row["id"])} == {item["id"] for item in four}
        # Once there, they are in their own way; and nobody else gets their addresses.
        for again in (parent, network(tx, context, "198.51.100.128/25")):
            with pytest.raises(BadRequest) as caught:
                subnetpool.onboard_network_subnets(tx, context, row, {"network_id": again["id"]})
            assert caught.value.type == "IllegalSubnetPoolUpdate"
        with pytest.raises(Conflict):
            subnetpool.allocate_cidr(
                tx, context, lookup.get(tx, "subnetpool", row["id"]), None, IPv4Network("192.0.2.96/27")
            )


def test_subnets_of_another_project_stay_where_they_are(
    store: Store, make_member: Callable[[str], Context], pool: Make, network: Make
) -> None:
    mine, others = make_member("red"), make_member("blue")
    with store.write() as tx:
        row = pool(tx, mine, "192.0.2.0/25")
        parent = network(tx, others, "198.51.100.0/24")
        with pytest.raises(NotFound, match=parent["id"]):
            subnetpool.onboard_network_subnets(tx, mine, row, {"network_id": parent["id"]})
        tx.insert("rbac_policy", {"id": "r", "object_type": "network", "object_id": parent["id"], "action": SHARED,
                                  "target_tenant": EVERYBODY, "project_id": "blue"})  # fmt: skip
        with pytest.raises(Forbidden, match=parent["id"]) as caught:
            subnetpool.onboard_network_subnets(tx, mine, row, {"network_id": parent["id"]})
        assert caught.value.type == "NotAuthorized"


BLOCKS = st.tuples(st.integers(0, 63), st.integers(26, 32)).map(
    lambda pair: str(IPv4Network((0xC0000200 + pair[0], pair[1]), strict=False))
)
STEPS = st.lists(st.tuples(st.booleans(), st.lists(BLOCKS, min_size=1, max_size=3, unique=True)), max_size=8)


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
def test_a_pool_has_the_addresses_that_sets_would_have(
    lasting_store: Store, context: Context, create: Make, steps: list[tuple[bool, list[str]]]
) -> None:
    def addresses(texts: list[str]) -> set[int]:
        return {int(address) for text in texts for address in ip_network(text)}

    with lasting_store.write() as tx:
        made = create(tx, context, "subnetpool", name="p", prefixes=["192.0.2.0/27"])
        expected = addresses(["192.0.2.0/27"])
        for adding, texts in steps:
            row = lookup.get(tx, "subnetpool", made["id"])
            act = subnetpool.add_prefixes if adding else subnetpool.remove_prefixes
            act(tx, context, row, {"prefixes": texts})
            expected = expected | addresses(texts) if adding else expected - addresses(texts)
            found = prefixes(tx, made)
            assert addresses(found) == expected
            assert sum(ip_network(text).num_addresses for text in found) == len(expected)
