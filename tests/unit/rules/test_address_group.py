# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict, NotFound
from portico.model import check
from portico.model.resource import Registry
from portico.rules import TABLE, address_group, lookup, security_group_rule
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]


@pytest.fixture
def group(create: Make) -> Make:
    def make(tx: Transaction, context: Context, *addresses: str) -> Row:
        return create(tx, context, "address_group", name="g", addresses=list(addresses))

    return make


def act(tx: Transaction, context: Context, row: Row, name: str, *addresses: str) -> Row:
    (action,) = (item for item in tx.registry.resources["address_group"].actions if item.name == name)
    body = check.prepare_action(action, {"addresses": list(addresses)})
    found = TABLE["address_group"].actions[name](tx, context, lookup.get(tx, "address_group", row["id"]), body)
    assert isinstance(found, dict)
    return found


def test_addresses_are_ranges_in_order_without_host_bits(store: Store, context: Context, group: Make) -> None:
    with store.write() as tx:
        made = group(tx, context, "2001:db8::f00/64", "192.168.0.10/24", "10.10.10.3/32", "192.168.0.11/24")
        assert made["addresses"] == ["10.10.10.3/32", "192.168.0.0/24", "2001:db8::/64"]
        assert group(tx, context)["addresses"] == []


@pytest.mark.parametrize("address", ["10.20.30.40", "nowhere", "10.0.0.0/33", 7, None])
def test_what_is_no_range_is_refused(store: Store, context: Context, create: Make, address: object) -> None:
    with store.write() as tx, pytest.raises(BadRequest):
        create(tx, context, "address_group", name="g", addresses=[address])


def test_all_addresses_are_added_or_none(store: Store, context: Context, group: Make) -> None:
    with store.write() as tx:
        made = group(tx, context, "192.0.2.0/25")
        added = act(tx, context, made, "add_addresses", "198.51.100.7", "2001:db8::1/128", "198.51.100.7/32")
        assert added["addresses"] == ["192.0.2.0/25", "198.51.100.7/32", "2001:db8::1/128"]
        with pytest.raises(BadRequest, match=r"198\.51\.100\.7/32 already exist") as caught:
            act(tx, context, made, "add_addresses", "203.0.113.1", "198.51.100.7")
        assert caught.value.type == "AddressesAlreadyExist"
        assert lookup.get(tx, "address_group", made["id"])["addresses"] == added["addresses"]


def test_all_addresses_are_removed_or_none(store: Store, context: Context, group: Make) -> None:
    with store.write() as tx:
        made = group(tx, context, "192.0.2.0/25", "198.51.100.7/32", "203.0.113.0/24")
        with pytest.raises(NotFound, match=r"192\.0\.2\.0/32") as caught:
            act(tx, context, made, "remove_addresses", "198.51.100.7", "192.0.2.0")
        assert caught.value.type == "AddressesNotFound"
        assert act(tx, context, made, "remove_addresses", "203.0.113.9/24", "198.51.100.7")["addresses"] == [
            "192.0.2.0/25"
        ]


@pytest.mark.parametrize("body", [None, [], {}, {"addresses": None}, {"addresses": "10.0.0.1"}, {"addresses": ["x"]},
                                  {"addresses": [["10.0.0.1"]]}, {"addresses": [], "more": 1}])  # fmt: skip
def test_a_body_without_addresses_is_refused(registry: Registry, body: object) -> None:
    for action in registry.resources["address_group"].actions:
        with pytest.raises(BadRequest):
            check.prepare_action(action, body)


def test_a_group_that_a_rule_names_stays(store: Store, context: Context, create: Make, group: Make) -> None:
    with store.write() as tx:
        made = group(tx, context, "192.0.2.0/25")
        filtering = create(tx, context, "security_group", name="web")
        rule = create(tx, context, "security_group_rule", security_group_id=filtering["id"], direction="ingress",
                      remote_address_group_id=made["id"])  # fmt: skip
        with pytest.raises(Conflict, match=rule["id"]) as caught:
            address_group.delete(tx, context, made)
        assert caught.value.type == "AddressGroupInUse"
        security_group_rule.delete(tx, context, rule)
        address_group.delete(tx, context, made)
        assert tx.get("address_group", made["id"]) is None


def test_a_rule_names_a_group_that_is_there_and_nothing_else_beside(
    store: Store, make_member: Callable[[str], Context], create: Make, group: Make
) -> None:
    mine, others = make_member("red"), make_member("blue")
    with store.write() as tx:
        filtering = create(tx, mine, "security_group", name="web")
        own, theirs = group(tx, mine, "192.0.2.0/25"), group(tx, others, "192.0.2.0/25")

        def add(**body: str) -> Row:
            return create(
                tx, mine, "security_group_rule", security_group_id=filtering["id"], direction="ingress", **body
            )

        for missing in (theirs["id"], str(uuid.uuid4())):
            with pytest.raises(NotFound, match=missing) as absent:
                add(remote_address_group_id=missing)
            assert absent.value.type == "AddressGroupNotFound"
        for name, value in (("remote_ip_prefix", "192.0.2.0/24"), ("remote_group_id", filtering["id"])):
            with pytest.raises(BadRequest, match=name) as refused:
                add(remote_address_group_id=own["id"], **{name: value})
            assert refused.value.type == "SecurityGroupMultipleRemoteEntites"
        add(remote_address_group_id=own["id"])
        with pytest.raises(Conflict, match=filtering["id"]) as again:
            add(remote_address_group_id=own["id"])
        assert again.value.type == "DuplicateSecurityGroupRuleInPost"
        add(remote_address_group_id=group(tx, mine)["id"])


RANGES = st.sampled_from(("10.0.0.0/8", "10.0.0.1/32", "10.0.0.2/32", "192.0.2.128/25", "2001:db8::/64", "::1/128"))
STEPS = st.lists(st.tuples(st.sampled_from(("add", "remove")), st.lists(RANGES, max_size=3, unique=True)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_a_group_is_a_set_of_ranges(
    lasting_store: Store, context: Context, create: Make, steps: list[tuple[str, list[str]]]
) -> None:
    expected: set[str] = set()
    with lasting_store.write() as tx:
        made = create(tx, context, "address_group", name="g")
        for verb, ranges in steps:
            with suppress(BadRequest, NotFound):
                act(tx, context, made, f"{verb}_addresses", *ranges)
            if verb == "add" and not expected.intersection(ranges):
                expected.update(ranges)
            if verb == "remove" and expected.issuperset(ranges):
                expected.difference_update(ranges)
            found = lookup.get(tx, "address_group", made["id"])["addresses"]
            assert set(found) == expected and len(found) == len(expected)
            assert [ip_network(item).version for item in found] == sorted(ip_network(item).version for item in found)
