# SPDX-License-Identifier: Apache-2.0
"""Who may see, use and change QoS policies."""

from __future__ import annotations

from functools import partial

import pytest

from portico.api import collection
from portico.policy.policy import Policy
from portico.store.store import Store

from .asker import Asker, Row, refusal


@pytest.fixture
def head(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "red", "manager", "member", "reader")


def rules(asker: Asker, policy_id: str) -> list[Row]:
    resource = asker.resources["bandwidth_limit_rule"]
    where = (asker.service, resource, asker.context)
    return list(collection.list_objects(*where, (), "http://api.test", policy_id)[resource.plural])


def limit(asker: Asker, policy_id: str) -> Row:
    resource = asker.resources["bandwidth_limit_rule"]
    body = {resource.name: {"max_kbps": 1000}}
    return dict(collection.create(asker.service, resource, asker.context, body, policy_id)[resource.name])


def test_managers_make_policies_and_members_use_them(head: Asker, red: Asker, blue: Asker) -> None:
    made = head.create("policy", name="p")
    assert len([limit(head, made["id"]), *rules(red, made["id"])]) == 2
    assert refusal(partial(red.create, "policy", name="p"))[0] == 403
    assert refusal(partial(red.update, "policy", made["id"], name="q"))[0] == 403
    assert refusal(partial(red.delete, "policy", made["id"]))[0] == 403
    assert refusal(partial(limit, red, made["id"]))[:2] == (403, "PolicyNotAuthorized")
    assert red.create("network", qos_policy_id=made["id"])["qos_policy_id"] == made["id"]
    for act in (partial(blue.show, "policy"), partial(rules, blue), partial(blue.delete, "policy")):
        assert refusal(partial(act, made["id"]))[0] == 404
    absent = "00000000-0000-4000-8000-000000000001"
    assert refusal(partial(limit, blue, made["id"])) == refusal(partial(limit, blue, absent)), "that tells nothing"
    assert refusal(partial(blue.create, "network", qos_policy_id=made["id"]))[:2] == (404, "QosPolicyNotFound")


def test_what_a_port_asks_of_placement_is_for_administrators(head: Asker, red: Asker, root: Asker) -> None:
    made = head.create("policy", name="p")
    resource = head.resources["minimum_bandwidth_rule"]
    collection.create(head.service, resource, head.context, {resource.name: {"min_kbps": 1}}, made["id"])
    port = red.create("port", network_id=red.create("network", qos_policy_id=made["id"])["id"])
    assert "resource_request" not in port
    assert root.show("port", port["id"])["resource_request"]["request_groups"]


def test_after_a_policy_that_is_not_there_for_who_asks_the_page_is_empty(head: Asker, blue: Asker) -> None:
    made, _ = head.create("policy", name="p"), head.create("policy", name="q", shared=True)
    for marker in (made["id"], "00000000-0000-4000-8000-000000000001"):
        assert blue.list("policy", ("marker", marker), ("limit", "1")) == []


def test_a_shared_policy_is_there_for_others_and_stays_while_they_have_it(
    head: Asker, blue: Asker, root: Asker
) -> None:
    made = head.create("policy", name="p", shared=True)
    assert blue.show("policy", made["id"])["shared"]
    own = head.create("network", qos_policy_id=made["id"])
    assert refusal(partial(head.update, "policy", made["id"], shared=False))[:2] == (409, "InvalidSharedSetting")
    head.delete("network", own["id"])
    net = blue.create("network", qos_policy_id=made["id"])
    assert refusal(partial(head.update, "policy", made["id"], shared=False))[:2] == (409, "InvalidSharedSetting")
    assert blue.update("network", net["id"], qos_policy_id=None)["qos_policy_id"] is None
    assert not head.update("policy", made["id"], shared=False)["shared"]
    assert refusal(partial(blue.show, "policy", made["id"]))[0] == 404
    about = {"object_type": "qos_policy", "object_id": made["id"], "action": "access_as_shared"}
    sharing = root.create("rbac_policy", target_tenant="blue", **about)
    assert sharing["object_type"] == "qos_policy"
    assert blue.show("policy", made["id"])["shared"]
    port = blue.create("port", network_id=net["id"], qos_policy_id=made["id"])
    assert refusal(partial(root.delete, "rbac_policy", sharing["id"]))[:2] == (409, "RbacPolicyInUse")
    wild = root.create("rbac_policy", target_tenant="*", **about)
    root.delete("rbac_policy", sharing["id"])
    change = partial(root.update, "rbac_policy", wild["id"], target_tenant="blue")
    assert refusal(change)[:2] == (409, "RbacPolicyInUse")
    blue.delete("port", port["id"])
    sharing = change()
    root.delete("rbac_policy", sharing["id"])


def test_a_policy_of_a_gateway_is_the_projects_whose_router_has_it(head: Asker, blue: Asker, root: Asker) -> None:
    public = root.create("network", **{"router:external": True})
    root.create("subnet", network_id=public["id"], ip_version=4, cidr="203.0.113.0/24")
    made = head.create("policy", name="p")
    about = {"object_type": "qos_policy", "object_id": made["id"], "action": "access_as_shared"}
    sharing = root.create("rbac_policy", target_tenant="blue", **about)
    gateway = {"network_id": public["id"], "qos_policy_id": made["id"]}
    router = blue.create("router", external_gateway_info=gateway)
    assert refusal(partial(root.delete, "rbac_policy", sharing["id"]))[:2] == (409, "RbacPolicyInUse")
    blue.update("router", router["id"], external_gateway_info={**gateway, "qos_policy_id": None})
    floating = blue.create("floatingip", floating_network_id=public["id"], qos_policy_id=made["id"])
    assert refusal(partial(root.delete, "rbac_policy", sharing["id"]))[:2] == (409, "RbacPolicyInUse")
    blue.delete("floatingip", floating["id"])
    root.delete("rbac_policy", sharing["id"])
    refused = refusal(partial(blue.update, "router", router["id"], external_gateway_info=gateway))
    assert refused[:2] == (404, "QosPolicyNotFound")


def test_what_the_operator_has_put_on_a_network_is_not_the_projects_to_take_off(red: Asker, root: Asker) -> None:
    net, made = red.create("network"), root.create("policy", name="p")
    root.update("network", net["id"], qos_policy_id=made["id"])
    assert refusal(partial(red.update, "network", net["id"], qos_policy_id=None))[:2] == (
        403,
        "PolicyRemoveAuthorizationError",
    )
    assert red.update("network", net["id"], name="x", qos_policy_id=made["id"])["name"] == "x"
