# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_network
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict, NotFound
from portico.rules import TABLE, address_scope, subnetpool
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]


@pytest.fixture
def scope(create: Make) -> Make:
    def make(tx: Transaction, context: Context, version: int = 4, **body: Any) -> Row:
        return create(tx, context, "address_scope", name="scope", ip_version=version, **body)

    return make


@pytest.fixture
def network(create: Make) -> Make:
    def make(tx: Transaction, context: Context, *pools: Row) -> Row:
        made = create(tx, context, "network")
        for row in pools:
            length = 24 if row["ip_version"] == 4 else 64
            create(tx, context, "subnet", network_id=made["id"], ip_version=row["ip_version"],
                   subnetpool_id=row["id"], prefixlen=length)  # fmt: skip
        return made

    return make


def shown(tx: Transaction, context: Context, resource: str, row: Row) -> Row:
    present = TABLE[resource].present
    found = tx.get(resource, row["id"])
    assert present is not None and found is not None
    return present(tx, context, [found])[0]


def test_a_network_tells_the_scopes_of_its_pools(
    store: Store, context: Context, scope: Make, pool: Make, network: Make
) -> None:
    with store.write() as tx:
        four, six = scope(tx, context), scope(tx, context, 6)
        pools = [pool(tx, context, "198.51.100.0/22", address_scope_id=four["id"]),
                 pool(tx, context, "2001:db8::/48", address_scope_id=six["id"])]  # fmt: skip
        both = shown(tx, context, "network", network(tx, context, *pools))
        one = shown(tx, context, "network", network(tx, context, pools[1]))
        none = shown(tx, context, "network", network(tx, context, pool(tx, context, "203.0.112.0/20")))
    names = ("ipv4_address_scope", "ipv6_address_scope")
    assert [[row[name] for name in names] for row in (both, one, none)] == [
        [four["id"], six["id"]],
        [None, six["id"]],
        [None, None],
    ]


def test_a_scope_of_another_ip_version_is_refused(store: Store, context: Context, scope: Make, pool: Make,
                                                  update: Make) -> None:  # fmt: skip
    with store.write() as tx:
        six = scope(tx, context, 6)
        made = pool(tx, context, "192.0.2.0/24")
        refusals: Sequence[Callable[[], Row]] = (
            lambda: pool(tx, context, "198.51.100.0/24", address_scope_id=six["id"]),
            lambda: update(tx, context, "subnetpool", made, address_scope_id=six["id"]),
        )
        for refused in refusals:
            with pytest.raises(BadRequest, match=six["id"]) as caught:
                refused()
            assert caught.value.type == "IllegalSubnetPoolIpVersionAssociationToAddressScope"


def test_pools_of_a_scope_do_not_overlap(store: Store, context: Context, scope: Make, pool: Make, update: Make) -> None:
    with store.write() as tx:
        one = scope(tx, context)
        first = pool(tx, context, "192.0.2.0/25", "198.51.100.0/24", address_scope_id=one["id"])
        second = pool(tx, context, "203.0.113.0/24", address_scope_id=one["id"])
        outside = pool(tx, context, "198.51.100.128/25")
        refusals: Sequence[Callable[[], Row]] = (
            lambda: pool(tx, context, "192.0.2.64/26", "10.0.0.0/8", address_scope_id=one["id"]),
            lambda: update(tx, context, "subnetpool", outside, address_scope_id=one["id"]),
            lambda: update(tx, context, "subnetpool", second, prefixes=["203.0.113.0/24", "192.0.2.0/24"]),
        )
        for refused in refusals:
            with pytest.raises(Conflict, match=first["id"]) as caught:
                refused()
            assert caught.value.type == "AddressScopePrefixConflict"
        grown = update(tx, context, "subnetpool", first, prefixes=["192.0.2.0/24", "198.51.100.0/24"])
        assert grown["prefixes"] == ["192.0.2.0/24", "198.51.100.0/24"]


def test_a_pool_leaves_its_scope(store: Store, context: Context, scope: Make, pool: Make, update: Make) -> None:
    with store.write() as tx:
        one = scope(tx, context)
        made = pool(tx, context, "192.0.2.0/24", address_scope_id=one["id"])
        with pytest.raises(Conflict, match=made["id"]) as caught:
            address_scope.delete(tx, context, one)
        assert caught.value.type == "AddressScopeInUse"
        assert update(tx, context, "subnetpool", made, address_scope_id=None)["address_scope_id"] is None
        address_scope.delete(tx, context, one)
        assert tx.get("address_scope", one["id"]) is None


def test_a_scope_of_another_project_is_not_there(
    store: Store, make_member: Callable[[str], Context], scope: Make, pool: Make, update: Make
) -> None:
    mine, others = make_member("red"), make_member("blue")
    with store.write() as tx:
        theirs = scope(tx, others)
        made = pool(tx, mine, "192.0.2.0/24")
        refusals: Sequence[Callable[[], Row]] = (
            lambda: pool(tx, mine, "198.51.100.0/24", address_scope_id=theirs["id"]),
            lambda: update(tx, mine, "subnetpool", made, address_scope_id=theirs["id"]),
        )
        for refused in refusals:
            with pytest.raises(NotFound, match=theirs["id"]) as caught:
                refused()
            assert caught.value.type == "AddressScopeNotFound"


def test_who_does_not_own_the_scope_does_not_change_its_pools(
    store: Store, context: Context, admin: Context, scope: Make, pool: Make, update: Make
) -> None:
    with store.write() as tx:
        shared = scope(tx, admin, shared=True)
        made = update(tx, admin, "subnetpool", pool(tx, context, "192.0.2.0/24"), address_scope_id=shared["id"])
        with pytest.raises(BadRequest, match=shared["id"]) as caught:
            update(tx, context, "subnetpool", made, prefixes=["192.0.2.0/24", "198.51.100.0/24"])
        assert caught.value.type == "IllegalSubnetPoolUpdate"
        changed = update(tx, admin, "subnetpool", made, prefixes=["192.0.2.0/24", "198.51.100.0/24"])
        assert changed["prefixes"] == ["192.0.2.0/24", "198.51.100.0/24"]


def test_a_shared_scope_stays_shared(store: Store, admin: Context, scope: Make, update: Make) -> None:
    with store.write() as tx:
        made = scope(tx, admin)
        assert shown(tx, admin, "address_scope", made)["shared"] is False
        made = update(tx, admin, "address_scope", made, shared=False, name="new")
        made = update(tx, admin, "address_scope", made, shared=True)
        assert shown(tx, admin, "address_scope", made)["shared"] is True
        with pytest.raises(BadRequest, match=made["id"]) as caught:
            update(tx, admin, "address_scope", made, shared=False, name="newer")
        assert caught.value.type == "AddressScopeUpdateError"
        address_scope.delete(tx, admin, made)
        assert tx.find("rbac_policy", object_id=made["id"]) == []


def test_pools_of_one_scope_share_a_network(
    store: Store, context: Context, scope: Make, pool: Make, network: Make, create: Make, update: Make
) -> None:
    with store.write() as tx:
        one, other = scope(tx, context), scope(tx, context)
        pools = [
            pool(tx, context, prefix, address_scope_id=scope_id)
            for prefix, scope_id in (("10.0.0.0/16", one["id"]), ("10.1.0.0/16", one["id"]),
                                     ("10.2.0.0/16", other["id"]), ("10.3.0.0/16", None))
        ]  # fmt: skip
        made = network(tx, context, pools[0], pools[1])

        def add(**body: Any) -> Row:
            return create(tx, context, "subnet", network_id=made["id"], ip_version=4, **body)

        for stranger in pools[2:]:
            with pytest.raises(BadRequest, match=made["id"]) as caught:
                add(subnetpool_id=stranger["id"], prefixlen=24)
            assert caught.value.type == "NetworkAddressScopeAffinityError"
        with pytest.raises(BadRequest) as caught:
            add(cidr="172.16.0.0/24")
        assert caught.value.type == "NetworkSubnetPoolAffinityError"
        renamed = update(tx, context, "subnetpool", pools[0], name="other")
        assert (renamed["name"], renamed["address_scope_id"]) == ("other", one["id"])
        # A pool cannot go alone where the network's other pool stays.
        with pytest.raises(BadRequest, match=made["id"]) as caught:
            update(tx, context, "subnetpool", pools[0], address_scope_id=other["id"])
        assert caught.value.type == "NetworkAddressScopeAffinityError"


PREFIXES = st.integers(0, 15).flatmap(
    lambda high: st.sampled_from((f"10.{high}.0.0/16", f"10.{high - high % 4}.0.0/14", f"10.{high}.128.0/17"))
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("pool", "join", "grow", "delete")),
        st.integers(0, 5),
        st.integers(0, 2),
        st.lists(PREFIXES, min_size=1, max_size=3, unique=True),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_is_asked_for_addresses_of_a_scope_are_in_one_pool(
    lasting_store: Store, context: Context, create: Make, update: Make, steps: list[tuple[str, int, int, list[str]]]
) -> None:
    with lasting_store.write() as tx:
        scopes = [create(tx, context, "address_scope", name="s", ip_version=4)["id"] for _ in range(2)] + [None]
        ids: list[str] = []
        done: Mapping[str, Callable[[Row, str | None, list[str]], object]] = {
            "join": lambda row, scope_id, _: update(tx, context, "subnetpool", row, address_scope_id=scope_id),
            "grow": lambda row, _, more: update(tx, context, "subnetpool", row, prefixes=[*{*row["prefixes"], *more}]),
            "delete": lambda row, *_: subnetpool.delete(tx, context, row),
        }
        for verb, number, where, prefixes in steps:
            row = tx.get("subnetpool", ids[number]) if number < len(ids) else None
            with suppress(Conflict):
                if verb == "pool":
                    body = {"name": "p", "prefixes": prefixes, "address_scope_id": scopes[where]}
                    ids.append(create(tx, context, "subnetpool", **body)["id"])
                elif row is not None:
                    done[verb](row, scopes[where], prefixes)
        for scope_id in scopes[:2]:
            pools = [list(map(ip_network, row["prefixes"])) for row in tx.find("subnetpool", address_scope_id=scope_id)]
            for one, two in combinations(pools, 2):
                assert not any(a.overlaps(b) for a in one for b in two)
