# SPDX-License-Identifier: Apache-2.0
"""Default security group rules through HTTP."""

from __future__ import annotations

from .asker import Asker

RULES = "default-security-group-rules"


def test_a_default_rule_lives_from_create_to_delete(api: Asker) -> None:
    body = {"direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "description": "ssh"}
    made = api.create(RULES, **body, used_in_default_sg=False, used_in_non_default_sg=True)
    none = dict.fromkeys(("remote_ip_prefix", "remote_group_id", "remote_address_group_id"))
    expected = {**body, **none, "ethertype": "IPv4", "used_in_default_sg": False, "used_in_non_default_sg": True}
    assert {name: made[name] for name in expected} == expected and "project_id" not in made
    assert api.show(RULES, made["id"]) == made
    assert len(api.list(RULES)) == 5
    assert len(api.list(RULES, "used_in_default_sg=true")) == 4 and len(api.list(RULES, "remote_group_id=PARENT")) == 2
    assert made in api.list(RULES, "used_in_non_default_sg=true")
    again = api.try_create(RULES, **body, used_in_default_sg=False, used_in_non_default_sg=True)
    assert again.error == (409, "DefaultSecurityGroupRuleExists")
    assert api.try_create(RULES, direction="ingress", used_in_default_sg=True).error == (400, "HTTPBadRequest")
    assert api.ask("PUT", f"{RULES}/{made['id']}", {"default_security_group_rule": {}}).status == 405
    api.delete(RULES, made)
    assert api.ask("GET", f"{RULES}/{made['id']}").error == (404, "DefaultSecurityGroupRuleNotFound")


def test_rules_tell_whether_their_group_is_the_default_one(api: Asker) -> None:
    web = api.create("security-groups", name="web")
    own = api.create("security-group-rules", security_group_id=web["id"], direction="ingress")
    assert own["belongs_to_default_sg"] is False
    default = api.list("security-group-rules", "belongs_to_default_sg=true")
    assert {rule["security_group_id"] for rule in default} == {
        group["id"] for group in api.list("security-groups", "name=default")
    }
    others = api.list("security-group-rules", "belongs_to_default_sg=false")
    assert len(default) == 4 and {rule["security_group_id"] for rule in others} == {web["id"]}


def test_groups_are_found_by_whether_they_are_shared(api: Asker) -> None:
    web = api.create("security-groups", name="web")
    assert web["shared"] is False and api.list("security-groups", "shared=true") == []
    body = {"object_type": "security_group", "object_id": web["id"], "action": "access_as_shared", "target_tenant": "*"}
    assert api.ask("POST", "rbac-policies", {"rbac_policy": body}).status == 201
    (shared,) = api.list("security-groups", "shared=true")
    assert (shared["id"], shared["shared"]) == (web["id"], True)
    assert [group["name"] for group in api.list("security-groups", "shared=false")] == ["default"]
