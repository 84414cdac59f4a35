# SPDX-License-Identifier: Apache-2.0
"""Project blue can neither see, change, delete, attach to nor infer what belongs to project red."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from portico.model.qos import RULE_TYPES
from portico.policy.policy import Policy
from portico.rules import TABLE
from portico.store.store import Store

from .asker import Asker, Row, attempt, everything, page_after, refusal, renamed

OPERATED = {"agent", "bgp_peer", "bgp_speaker", "segment", "network_segment_range", "service_profile"}
# Made by a project's manager; test_qos, test_metering and test_logs have their tests.
MANAGED = {"policy", *(f"{kind}_rule" for kind in RULE_TYPES), "metering_label", "metering_label_rule", "log"}
# Made for all projects alike.
COMMON = {"default_security_group_rule", "flavor"}


def test_every_resource_that_projects_make_is_tested_here(red: Asker) -> None:
    creatable = {name for name, rules in TABLE.items() if rules.create is not None}
    # These need an external network, or are parts of others: see test_parts.
    assert set(everything(red)) == creatable - OPERATED - COMMON - MANAGED - {
        "floatingip",
        "port_forwarding",
        "ndp_proxy",
        "conntrack_helper",
    }


def test_what_is_another_projects_is_in_no_list(red: Asker, blue: Asker) -> None:
    for name, mine in everything(red).items():
        assert [row["id"] for row in red.list(name, ("id", mine["id"]))] == [mine["id"]]
        assert mine["id"] not in [row["id"] for row in blue.list(name)]
        assert blue.list(name, ("id", mine["id"])) == []
        if "project_id" in mine:
            assert blue.list(name, ("project_id", "red")) == []


def test_no_verb_tells_another_projects_object_from_one_that_is_not_there(red: Asker, blue: Asker) -> None:
    for name, mine in everything(red).items():
        other, attributes = str(uuid.uuid4()), blue.resources[name].attributes
        change = {"name": "x"} if "name" in attributes and attributes["name"].allow_put else {"description": "x"}
        if name == "rbac_policy":
            change = {"target_tenant": "blue"}
        verbs: list[Callable[..., object]] = [
            partial(blue.show, name),
            partial(page_after, blue, name),
        ]
        if TABLE[name].update is not None:
            verbs.append(partial(blue.update, name, **change))
        if TABLE[name].delete is not None:
            verbs.append(partial(blue.delete, name))
        if blue.resources[name].tags:
            verbs += [partial(blue.tags, name, verb=verb) for verb in ("GET", "PUT", "DELETE")]
        for verb in verbs:
            there = refusal(partial(verb, mine["id"]), mine["id"])
            absent = refusal(partial(verb, other), other)
            assert there == absent
            assert there[0] == 404
        assert red.show(name, mine["id"]) == mine


def references(mine: Mapping[str, Row], blue: Asker, own: Mapping[str, Row]) -> list[tuple[str, str, Any, str]]:
    """Return requests (resource, id or "", body, whose id is in it) that name another project's objects."""
    network, group = own["network"]["id"], own["security_group"]["id"]
    subnet = {"cidr": "203.0.113.0/24", "ip_version": 4}
    pool = {"network_id": network, "ip_version": 4, "subnetpool_id": mine["subnetpool"]["id"]}
    found = [
        ("port", "", {"network_id": mine["network"]["id"]}, "network"),
        ("port", "", {"network_id": network, "security_groups": [mine["security_group"]["id"]]}, "security_group"),
        ("port", own["port"]["id"], {"security_groups": [mine["security_group"]["id"]]}, "security_group"),
        ("port", "", {"network_id": network, "fixed_ips": [{"subnet_id": mine["subnet"]["id"]}]}, "subnet"),
        ("port", own["port"]["id"], {"fixed_ips": [{"subnet_id": mine["subnet"]["id"]}]}, "subnet"),
        ("subnet", "", {"network_id": mine["network"]["id"], **subnet}, "network"),
        ("subnet", "", pool, "subnetpool"),
        ("router", "", {"external_gateway_info": {"network_id": mine["network"]["id"]}}, "network"),
        ("router", own["router"]["id"], {"external_gateway_info": {"network_id": mine["network"]["id"]}}, "network"),
        ("security_group_rule", "", {"security_group_id": mine["security_group"]["id"], "direction": "egress"},
         "security_group"),
        ("security_group_rule", "", {"security_group_id": group, "direction": "ingress",
                                     "remote_group_id": mine["security_group"]["id"]}, "security_group"),
    ]  # fmt: skip
    for kind in ("network", "subnetpool", "security_group", "address_scope", "address_group"):
        if kind in mine:
            body = {"object_type": kind, "object_id": mine[kind]["id"], "action": "access_as_shared"}
            found.append(("rbac_policy", "", {**body, "target_tenant": "blue"}, kind))
    if "address_scope" in mine:
        scope = {"address_scope_id": mine["address_scope"]["id"]}
        found.append(("subnetpool", "", {"name": "p", "prefixes": ["203.0.113.0/24"], **scope}, "address_scope"))
        found.append(("subnetpool", own["subnetpool"]["id"], scope, "address_scope"))
    if "remote_address_group_id" in blue.resources["security_group_rule"].attributes:
        remote = {"remote_address_group_id": mine["address_group"]["id"]}
        rule = {"security_group_id": group, "direction": "ingress", **remote}
        found.append(("security_group_rule", "", rule, "address_group"))
    return found


def test_nothing_can_be_attached_to_another_projects_object_or_learn_that_it_is_there(red: Asker, blue: Asker) -> None:
    mine, own = everything(red), everything(blue)
    for name, object_id, body, kind in references(mine, blue, own):
        there, absent = mine[kind]["id"], str(uuid.uuid4())
        refused = refusal(partial(attempt, blue, name, object_id, body), there)
        unknown = refusal(partial(attempt, blue, name, object_id, renamed(body, there, absent)), absent)
        assert refused == unknown, (name, body)
        assert refused[0] == 404, (name, body)


def test_nobody_makes_anything_in_another_projects_name(red: Asker, blue: Asker) -> None:
    own = everything(blue)
    bodies: dict[str, Row] = {
        "network": {"name": "x"},
        "port": {"network_id": own["network"]["id"]},
        "subnet": {"network_id": own["network"]["id"], "cidr": "203.0.113.0/24", "ip_version": 4},
        "subnetpool": {"name": "x", "prefixes": ["203.0.113.0/24"]},
        "security_group": {"name": "x"},
    }
    for name, body in bodies.items():
        assert refusal(partial(blue.create, name, project_id="red", **body))[0] == 400


def test_a_reader_reads_and_changes_nothing(store: Store, policy: Policy, red: Asker) -> None:
    reader = Asker(store, policy, "red", "reader")
    for name, mine in everything(red).items():
        assert reader.show(name, mine["id"]) == mine
        if TABLE[name].delete is not None:
            status = 404 if name == "address_group" else 403
            assert refusal(partial(reader.delete, name, mine["id"]))[0] == status
    assert refusal(lambda: reader.create("network", name="x"))[:2] == (403, "PolicyNotAuthorized")


def test_who_has_no_role_sees_nothing_of_his_own_project(store: Store, policy: Policy, red: Asker) -> None:
    nobody = Asker(store, policy, "red")
    for name, mine in everything(red).items():
        assert nobody.list(name) == []
        assert refusal(partial(nobody.show, name, mine["id"]))[0] == 404
