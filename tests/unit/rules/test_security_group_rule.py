# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from portico.errors import BadRequest, Conflict, NotFound, OverQuota, PorticoError
from portico.rules import lookup, security_group_rule
from portico.rules.context import Context, Row
from portico.store.store import Store

Make = Callable[..., Row]


@pytest.fixture
def group(store: Store, context: Context, create: Make) -> Row:
    with store.write() as tx:
        return create(tx, context, "security_group", name="web")


@pytest.fixture
def add(store: Store, context: Context, create: Make, group: Row) -> Make:
    """Add an ingress rule to `group` in a transaction of its own."""

    def make(**body: Any) -> Row:
        with store.write() as tx:
            whole = {"security_group_id": group["id"], "direction": "ingress", **body}
            return create(tx, context, "security_group_rule", **whole)

    return make


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("SecurityGroupProtocolRequiredWithPorts", {"port_range_min": 80, "port_range_max": 80}),
    ("SecurityGroupProtocolRequiredWithPorts", {"protocol": "any", "port_range_min": 80, "port_range_max": 80}),
    ("SecurityGroupInvalidPortRange", {"protocol": "tcp", "port_range_min": 81, "port_range_max": 80}),
    ("SecurityGroupInvalidPortRange", {"protocol": "udp", "port_range_min": 80}),
    ("SecurityGroupInvalidPortRange", {"protocol": 132, "port_range_max": 80}),
    ("SecurityGroupInvalidPortValue", {"protocol": "tcp", "port_range_min": 0, "port_range_max": 80}),
    ("SecurityGroupInvalidPortValue", {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536}),
    ("SecurityGroupInvalidPortValue", {"protocol": "tcp", "port_range_min": "http"}),
    ("SecurityGroupInvalidProtocolForPort", {"protocol": "esp", "port_range_min": 1, "port_range_max": 2}),
    ("SecurityGroupInvalidProtocolForPort", {"protocol": "0", "port_range_min": 1, "port_range_max": 2}),
    ("SecurityGroupInvalidIcmpValue", {"protocol": "icmp", "port_range_min": 256}),
    ("SecurityGroupInvalidIcmpValue", {"protocol": "icmp", "port_range_min": 8, "port_range_max": 256}),
    ("SecurityGroupInvalidIcmpValue", {"protocol": "58", "ethertype": "IPv6", "port_range_min": 300}),
    ("SecurityGroupMissingIcmpType", {"protocol": "1", "port_range_max": 0}),
    ("SecurityGroupRuleInvalidProtocol", {"protocol": "quic"}),
    ("SecurityGroupRuleInvalidProtocol", {"protocol": 256}),
    ("SecurityGroupEthertypeConflictWithProtocol", {"protocol": "icmpv6"}),
    ("SecurityGroupEthertypeConflictWithProtocol", {"protocol": "58"}),
    ("SecurityGroupEthertypeConflictWithProtocol", {"protocol": "ipv6-frag", "ethertype": "ipv4"}),
    ("SecurityGroupRuleParameterConflict", {"remote_ip_prefix": "2001:db8::/32"}),
    ("SecurityGroupRuleParameterConflict", {"remote_ip_prefix": "192.0.2.0/24", "ethertype": "IPv6"}),
    ("SecurityGroupRuleInvalidEtherType", {"ethertype": "IPv5"}),
    ("SecurityGroupRuleInvalidEtherType", {"ethertype": None}),
    ("SecurityGroupRuleInvalidEtherType", {"ethertype": 4}),
    ("InvalidCIDR", {"remote_ip_prefix": "192.0.2.0/33"}),
]


@pytest.mark.parametrize(("error", "body"), REFUSED)
def test_rules_that_contradict_themselves_are_refused_in_neutrons_words(
    add: Make, error: str, body: dict[str, Any]
) -> None:
    with pytest.raises(BadRequest) as caught:
        add(**body)
    assert caught.value.type == error


ACCEPTED: list[dict[str, Any]] = [
    {"protocol": "tcp", "port_range_min": 80, "port_range_max": 80},
    {"protocol": "17", "port_range_min": 1, "port_range_max": 65534},
    {"protocol": "udplite", "port_range_min": 5, "port_range_max": 6},
    {"protocol": "dccp", "port_range_min": 5, "port_range_max": 6},
    {"protocol": "icmp"},
    {"protocol": "icmp", "port_range_min": 8},
    {"protocol": "icmp", "port_range_min": 0, "port_range_max": 255},
    {"protocol": "icmp", "ethertype": "IPv6", "port_range_min": 128, "port_range_max": 0},
    {"protocol": 0},
    {"protocol": 255, "ethertype": "ipv6"},
    {"remote_ip_prefix": "192.0.2.7"},
    {"direction": "egress", "protocol": "tcp"},
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_every_kind_of_rule_can_be_added_once_and_not_twice(add: Make, body: dict[str, Any]) -> None:
    first = add(**body)
    with pytest.raises(Conflict, match=first["id"]) as caught:
        add(**body)
    assert caught.value.type == "SecurityGroupRuleExists"


SAME: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"protocol": "tcp"}, {"protocol": 6}),
    ({"protocol": "TCP"}, {"protocol": "6"}),
    ({"protocol": None}, {"protocol": "any"}),
    ({"remote_ip_prefix": "0.0.0.0/0"}, {}),
    ({"remote_ip_prefix": "::/0", "ethertype": "IPv6"}, {"ethertype": "IPv6"}),
    ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp", "ethertype": "IPv6"}),
    ({"protocol": "icmpv6", "ethertype": "IPv6"}, {"protocol": 1, "ethertype": "IPv6"}),
    ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}, {"protocol": "tcp"}),
    ({"remote_ip_prefix": "192.0.2.7"}, {"remote_ip_prefix": "192.0.2.7/32"}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_say_the_same_are_one_rule(add: Make, one: dict[str, Any], other: dict[str, Any]) -> None:
    add(**one)
    with pytest.raises(Conflict) as caught:
        add(**other)
    assert caught.value.type == "SecurityGroupRuleExists"


DIFFERENT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"protocol": "tcp"}, {"protocol": "udp"}),
    ({"protocol": "tcp"}, {"protocol": "tcp", "ethertype": "IPv6"}),
    ({"protocol": "tcp"}, {"protocol": "tcp", "direction": "egress"}),
    ({"protocol": None}, {"protocol": 0}),
    ({"protocol": "icmp", "port_range_min": 8}, {"protocol": "icmp", "port_range_min": 8, "port_range_max": 0}),
    ({"remote_ip_prefix": "192.0.2.0/24"}, {"remote_ip_prefix": "192.0.2.0/25"}),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_rules_that_differ_in_anything_live_side_by_side(add: Make, one: dict[str, Any], other: dict[str, Any]) -> None:
    assert add(**one)["id"] != add(**other)["id"]


def test_the_first_rules_of_a_group_are_not_added_again(add: Make) -> None:
    with pytest.raises(Conflict) as caught:
        add(direction="egress")
    assert caught.value.type == "SecurityGroupRuleExists"


def test_what_is_stored_has_one_form(add: Make) -> None:
    rule = add(protocol="icmp", ethertype="ipv6", remote_ip_prefix="2001:DB8::7/64")
    assert (rule["protocol"], rule["ethertype"]) == ("ipv6-icmp", "IPv6")
    assert (rule["remote_ip_prefix"], rule["normalized_cidr"]) == ("2001:db8::7/64", "2001:db8::/64")
    ports = add(protocol="tcp", port_range_min=1, port_range_max=65535)
    assert ports["port_range_min"] is ports["port_range_max"] is ports["normalized_cidr"] is None


def test_the_same_rule_twice_in_one_request_is_told_from_one_that_is_there(
    store: Store, context: Context, create: Make, group: Row
) -> None:
    body = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp"}

    def add_twice() -> None:
        with store.write() as tx:
            for _ in range(2):
                create(tx, context, "security_group_rule", **body)

    with pytest.raises(Conflict) as caught:
        add_twice()
    assert caught.value.type == "DuplicateSecurityGroupRuleInPost"
    with store.read() as tx:
        assert tx.find("security_group_rule", security_group_id=group["id"], direction="ingress") == []


@pytest.mark.parametrize(
    ("attribute", "error"),
    [
        ("security_group_id", "SecurityGroupNotSingleGroupRules"),
        ("project_id", "SecurityGroupRulesNotSingleProject"),
    ],
)
def test_a_bulk_request_is_for_one_group_and_one_project(attribute: str, error: str) -> None:
    bodies = [{"security_group_id": "a", "project_id": "b"} for _ in range(2)]
    security_group_rule.check_bulk(bodies)
    bodies[0][attribute] = "other"
    with pytest.raises(BadRequest, match="other") as caught:
        security_group_rule.check_bulk(bodies)
    assert caught.value.type == error


def test_only_one_remote_can_be_given(add: Make, group: Row) -> None:
    with pytest.raises(BadRequest) as caught:
        add(remote_ip_prefix="192.0.2.0/24", remote_group_id=group["id"])
    assert caught.value.type == "SecurityGroupMultipleRemoteEntites"
    assert add(remote_group_id=group["id"])["remote_group_id"] == group["id"]


@pytest.mark.parametrize("value", ["6f1b5f2e-0000-4000-8000-000000000000", ""])
@pytest.mark.parametrize("name", ["remote_group_id", "remote_address_group_id"])
def test_a_remote_group_that_does_not_exist_is_not_found(add: Make, name: str, value: str) -> None:
    with pytest.raises(NotFound):
        add(**{name: value})


def test_a_change_of_rules_is_a_change_of_the_group_journalled_once(
    store: Store, context: Context, create: Make, group: Row
) -> None:
    with store.write() as tx:
        for protocol in ("tcp", "udp"):
            rule = create(tx, context, "security_group_rule", security_group_id=group["id"], direction="ingress",
                          protocol=protocol)  # fmt: skip
        assert lookup.get(tx, "security_group", group["id"])["revision_number"] == tx.revision
        assert [(item["resource"], item["change"]) for item in tx.changes].count(("security_group", "update")) == 1
    with store.write() as tx:
        security_group_rule.delete(tx, context, lookup.get(tx, "security_group_rule", rule["id"]))
        assert lookup.get(tx, "security_group", group["id"])["revision_number"] == tx.revision
        assert tx.get("security_group_rule", rule["id"]) is None


def test_rules_count_against_the_quota(store: Store, make_context: Make, create: Make, group: Row) -> None:
    # Two of the group and four of the default group are there.
    few: Any = make_context(security_group_rule=7)
    body = {"security_group_id": group["id"], "direction": "ingress"}
    with store.write() as tx:
        create(tx, few, "security_group_rule", protocol="tcp", **body)
        with pytest.raises(OverQuota, match="7 of 7"):
            create(tx, few, "security_group_rule", protocol="udp", **body)


def test_every_refusal_says_which_attribute_and_value(add: Make) -> None:
    with pytest.raises(PorticoError, match=r"port_range_min 81, port_range_max 80: .*port_range_min must be <="):
        add(protocol="tcp", port_range_min=81, port_range_max=80)
