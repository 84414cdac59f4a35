# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from portico.errors import BadRequest, Conflict, NotFound, OverQuota
from portico.rules import (
    address_group,
    default_security_group_rule,
    lookup,
    security_group,
)
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]
ALL_OUT = {("egress", version, None, None) for version in ("IPv4", "IPv6")}


@pytest.fixture
def add(create: Make) -> Make:
    def make(tx: Transaction, context: Context, **body: Any) -> Row:
        whole = {"direction": "ingress", "used_in_default_sg": False, "used_in_non_default_sg": True, **body}
        return create(tx, context, "default_security_group_rule", **whole)

    return make


def rules_of(tx: Transaction, group_id: str) -> set[tuple[Any, ...]]:
    found = tx.find("security_group_rule", security_group_id=group_id)
    return {(row["direction"], row["ethertype"], row["remote_group_id"], row["protocol"]) for row in found}


def test_a_new_database_has_neutron_s_four(store: Store) -> None:
    with store.read() as tx:
        found = tx.find("default_security_group_rule")
    names = ("direction", "ethertype", "remote_group_id", "used_in_default_sg", "used_in_non_default_sg", "description")
    assert {tuple(row[name] for name in names) for row in found} == {
        (direction, version, remote, True, everywhere, f"Legacy default SG rule for {direction} traffic")
        for direction, remote, everywhere in (("egress", None, True), ("ingress", "PARENT", False))
        for version in ("IPv4", "IPv6")
    }
    assert len(found) == 4


def test_groups_begin_with_the_rules_for_their_kind(store: Store, context: Context, create: Make, add: Make) -> None:
    with store.write() as tx:
        own = create(tx, context, "address_group", name="a")
        add(tx, context, protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="192.0.2.7/24",
            description="not taken over")  # fmt: skip
        add(tx, context, protocol="udp", used_in_default_sg=True, used_in_non_default_sg=False)
        add(tx, context, ethertype="IPv6", protocol="icmp", remote_address_group_id=own["id"])
        add(tx, context, protocol="112", remote_group_id="PARENT")
        web = create(tx, context, "security_group", name="web")
        default = security_group.ensure_default(tx, context, "red")
        assert rules_of(tx, web["id"]) == ALL_OUT | {
            ("ingress", "IPv4", None, "tcp"),
            ("ingress", "IPv6", None, "ipv6-icmp"),
            ("ingress", "IPv4", web["id"], "112"),
        }
        inside = {("ingress", version, default, None) for version in ("IPv4", "IPv6")}
        assert rules_of(tx, default) == ALL_OUT | inside | {("ingress", "IPv4", None, "udp")}
        (ssh,) = tx.find("security_group_rule", security_group_id=web["id"], protocol="tcp")
        names = ("port_range_min", "port_range_max", "remote_ip_prefix", "normalized_cidr", "description", "project_id")
        assert [ssh[name] for name in names] == [22, 22, "192.0.2.7/24", "192.0.2.0/24", "", "red"]
        flags = {row["security_group_id"]: row["belongs_to_default_sg"] for row in tx.find("security_group_rule")}
        assert flags == {web["id"]: False, default: True}


def test_without_default_rules_groups_are_empty(store: Store, context: Context, create: Make) -> None:
    with store.write() as tx:
        before = create(tx, context, "security_group", name="before")
        for row in tx.find("default_security_group_rule"):
            default_security_group_rule.delete(tx, context, row)
        after = create(tx, context, "security_group", name="after")
        assert (rules_of(tx, before["id"]), rules_of(tx, after["id"])) == (ALL_OUT, set())


def test_rules_for_the_same_groups_do_not_say_the_same(store: Store, context: Context, add: Make) -> None:
    body: dict[str, Any] = {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}
    with store.write() as tx:
        both = add(tx, context, **body, used_in_default_sg=True)
    with store.write() as tx:
        for one, other in ((True, False), (False, True), (True, True)):
            with pytest.raises(Conflict, match=both["id"]) as caught:
                add(tx, context, **body, used_in_default_sg=one, used_in_non_default_sg=other)
            assert caught.value.type == "DefaultSecurityGroupRuleExists"
        add(tx, context, **body, used_in_non_default_sg=False)
        add(tx, context, protocol="udp", used_in_default_sg=True, used_in_non_default_sg=False)
        add(tx, context, protocol="17", used_in_default_sg=False, used_in_non_default_sg=True)
        with pytest.raises(Conflict) as caught:
            add(tx, context, protocol="udp", used_in_default_sg=False, used_in_non_default_sg=True)
        assert caught.value.type == "DuplicateDefaultSgRuleInPost"


@pytest.mark.parametrize(
    ("error", "body"),
    [
        ("SecurityGroupProtocolRequiredWithPorts", {"port_range_min": 80, "port_range_max": 80}),
        ("SecurityGroupRuleParameterConflict", {"remote_ip_prefix": "2001:db8::/32"}),
        ("SecurityGroupMultipleRemoteEntites", {"remote_ip_prefix": "192.0.2.0/24", "remote_group_id": "PARENT"}),
        ("HTTPBadRequest", {"remote_group_id": "x" * 37}),
        ("InvalidInput", {"used_in_default_sg": "perhaps"}),
    ],
)
def test_what_contradicts_itself_is_refused(
    store: Store, context: Context, add: Make, error: str, body: dict[str, Any]
) -> None:
    with store.write() as tx, pytest.raises(BadRequest) as caught:
        add(tx, context, **body)
    assert caught.value.type == error


@pytest.mark.parametrize("value", ["6f1b5f2e-0000-4000-8000-000000000000", ""])
@pytest.mark.parametrize("name", ["remote_group_id", "remote_address_group_id"])
def test_the_other_side_has_to_be_there(store: Store, context: Context, add: Make, name: str, value: str) -> None:
    with store.write() as tx, pytest.raises(NotFound):
        add(tx, context, **{name: value})


def test_what_a_rule_names_stays_or_takes_the_rule_along(
    store: Store, context: Context, admin: Context, create: Make, add: Make
) -> None:
    with store.write() as tx:
        addresses = create(tx, context, "address_group", name="a")
        group = create(tx, context, "security_group", name="web")
        by_address, by_group = (add(tx, context, remote_address_group_id=addresses["id"]),
                                add(tx, context, remote_group_id=group["id"]))  # fmt: skip
        with pytest.raises(Conflict, match=by_address["id"]):
            address_group.delete(tx, context, addresses)
        security_group.delete(tx, admin, group)
        assert tx.get("default_security_group_rule", by_group["id"]) is None
        default_security_group_rule.delete(tx, context, by_address)
        address_group.delete(tx, context, addresses)


def test_quota_counts_the_rules_that_a_group_begins_with(
    store: Store, make_context: Callable[..., Context], create: Make, add: Make
) -> None:
    context = make_context(security_group_rule=4 + 3)
    with store.write() as tx:
        security_group.ensure_default(tx, context, "red")
        for port in (22, 80):
            add(tx, context, protocol="tcp", port_range_min=port, port_range_max=port)
        with pytest.raises(OverQuota):
            create(tx, context, "security_group", name="web")
        (rule,) = tx.find("default_security_group_rule", port_range_min=80)
        default_security_group_rule.delete(tx, context, lookup.get(tx, "default_security_group_rule", rule["id"]))
        create(tx, context, "security_group", name="web")
        usage = tx.tables.usage
        counted = tx.connection.execute(sa.select(usage.c.used).where(usage.c.resource == "security_group_rule"))
        assert counted.scalars().all() == [7]
