# SPDX-License-Identifier: Apache-2.0
"""What roles, services, shared objects and the operator's own rules let somebody do."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from portico.api import action
from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.store.store import Store

from .asker import Asker, Row, everything, refusal


@pytest.mark.parametrize(
    ("name", "body", "rule"),
    [
        ("network", {"shared": True}, "create_network:shared"),
        ("network", {"router:external": True}, "create_network:router:external"),
        ("network", {"provider:network_type": "local"}, "create_network:provider:network_type"),
        ("subnetpool", {"name": "p", "prefixes": ["192.0.2.0/24"], "shared": True}, "create_subnetpool:shared"),
        ("subnetpool", {"name": "p", "prefixes": ["192.0.2.0/24"], "is_default": True}, "create_subnetpool:is_default"),
        ("port", {"binding:host_id": "h1"}, "create_port:binding:host_id"),
        ("port", {"device_owner": "network:dhcp"}, None),
    ],
)
def test_attributes_of_the_operator_are_refused_by_name(
    red: Asker, root: Asker, name: str, body: Row, rule: str | None
) -> None:
    if name == "port":
        body = {**body, "network_id": red.create("network", name="n")["id"]}
    if rule is None:
        assert red.create(name, **body)["id"]
        return
    assert refusal(lambda: red.create(name, **body)) == (
        403,
        "PolicyNotAuthorized",
        f"rule:{rule} is disallowed by policy",
    )
    assert root.create(name, **body)["id"]


def test_attributes_of_the_operator_are_not_shown(red: Asker, root: Asker) -> None:
    network = red.create("network", name="n")
    port = red.create("port", network_id=network["id"])
    hidden = {"provider:network_type", "provider:physical_network", "provider:segmentation_id"}
    assert not hidden & network.keys()
    assert hidden <= root.show("network", network["id"]).keys()
    assert "binding:host_id" not in port
    assert not hidden & red.list("network")[0].keys()


def test_a_filter_by_what_is_not_shown_chooses_among_what_is(red: Asker, blue: Asker, root: Asker) -> None:
    network_id = red.create("network", name="n")["id"]
    port_id = red.create("port", network_id=network_id)["id"]
    root.update("port", port_id, **{"binding:host_id": "h1"})
    for resource, found, name, right, wrong in (
        ("network", network_id, "provider:network_type", "local", "vlan"),
        ("port", port_id, "binding:host_id", "h1", "h2"),
    ):
        assert red.list(resource, (name, wrong)) == []
        (shown,) = red.list(resource, (name, right), ("fields", "id"), ("fields", name))
        assert shown == {"id": found}
        assert blue.list(resource, (name, right)) == []
        assert [row["id"] for row in root.list(resource, (name, right))] == [found]


def test_a_shared_network_is_used_but_not_changed(red: Asker, blue: Asker, root: Asker) -> None:
    mine = everything(red)
    network_id = mine["network"]["id"]
    share = {"object_type": "network", "object_id": network_id, "action": "access_as_shared"}
    policy = red.create("rbac_policy", target_tenant="blue", **share)
    assert blue.show("network", network_id)["shared"] is True
    assert red.show("network", network_id)["shared"] is False
    assert [row["id"] for row in blue.list("network", ("shared", "True"))] == [network_id]
    assert blue.list("network", ("shared", "False")) == []
    assert blue.show("subnet", mine["subnet"]["id"])["id"] == mine["subnet"]["id"]
    assert [row["id"] for row in blue.list("subnet", ("shared", "True"))] == [mine["subnet"]["id"]]
    assert refusal(lambda: blue.show("port", mine["port"]["id"]))[0] == 404
    assert refusal(lambda: blue.show("rbac_policy", policy["id"]))[0] == 404
    port = blue.create("port", network_id=network_id)
    assert red.show("port", port["id"])["project_id"] == "blue"
    fixed = {"fixed_ips": [{"ip_address": "192.0.2.77"}]}
    assert refusal(lambda: blue.create("port", network_id=network_id, **fixed))[0] == 403
    pairs = [{"ip_address": "192.0.2.99"}]
    assert refusal(lambda: blue.update("port", port["id"], allowed_address_pairs=pairs))[0] == 403
    assert refusal(lambda: blue.update("network", network_id, name="mine"))[0] == 403
    assert refusal(lambda: blue.delete("network", network_id))[0] == 403
    assert refusal(lambda: red.delete("rbac_policy", policy["id"]))[1] == "RbacPolicyInUse"
    blue.delete("port", port["id"])
    red.delete("rbac_policy", policy["id"])
    assert refusal(lambda: blue.show("network", network_id))[0] == 404


def test_a_network_for_everybody_stays_so_while_others_use_it(blue: Asker, root: Asker) -> None:
    network = root.create("network", name="all", shared=True)
    assert network["shared"] is True
    port = blue.create("port", network_id=network["id"])
    assert refusal(lambda: root.update("network", network["id"], shared=False))[:2] == (409, "InvalidSharedSetting")
    blue.delete("port", port["id"])
    assert root.update("network", network["id"], shared=False)["shared"] is False
    assert refusal(lambda: blue.show("network", network["id"]))[0] == 404


def test_an_external_network_is_seen_by_all_and_joined_by_none(blue: Asker, root: Asker) -> None:
    network = root.create("network", name="out", **{"router:external": True})
    assert blue.show("network", network["id"])["router:external"] is True
    assert [row["id"] for row in blue.list("network", ("router:external", "True"))] == [network["id"]]
    assert refusal(lambda: blue.create("port", network_id=network["id"]))[0] == 403
    root.update("network", network["id"], **{"router:external": False})
    assert refusal(lambda: blue.show("network", network["id"]))[0] == 404


def test_only_an_administrator_shares_with_everybody(red: Asker, root: Asker) -> None:
    share = {"object_type": "network", "object_id": red.create("network", name="n")["id"], "action": "access_as_shared"}
    wild = refusal(lambda: red.create("rbac_policy", target_tenant="*", **share))
    assert wild == (403, "PolicyNotAuthorized", "rule:create_rbac_policy:target_tenant is disallowed by policy")
    mine = red.create("rbac_policy", target_tenant="blue", **share)
    assert refusal(lambda: red.update("rbac_policy", mine["id"], target_tenant="*"))[0] == 403
    assert root.create("rbac_policy", target_tenant="*", **share)["target_tenant"] == "*"
    assert refusal(lambda: root.create("rbac_policy", target_tenant="*", **share))[1] == "DuplicateRbacPolicy"


def test_a_policy_for_an_object_of_another_project_is_refused(red: Asker, blue: Asker) -> None:
    network_id = red.create("network", name="n")["id"]
    share = {"object_type": "network", "object_id": network_id, "action": "access_as_shared"}
    red.create("rbac_policy", target_tenant="blue", **share)
    assert refusal(lambda: blue.create("rbac_policy", target_tenant="green", **share))[:2] == (400, "InvalidInput")
    assert (
        refusal(lambda: red.create("rbac_policy", target_tenant="x", **{**share, "action": "use"}))[1]
        == "InvalidAction"
    )


def test_a_service_sees_all_and_binds_ports(store: Store, policy: Policy, red: Asker) -> None:
    nova = Asker(store, policy, "service", "service")
    mine = everything(red)
    assert nova.show("port", mine["port"]["id"])["binding:host_id"] == ""
    assert nova.update("port", mine["port"]["id"], **{"binding:host_id": "h1"})["binding:host_id"] == "h1"
    assert refusal(lambda: nova.delete("network", mine["network"]["id"]))[0] == 403


def test_a_vms_port_is_deleted_by_who_runs_it(store: Store, policy: Policy, red: Asker, root: Asker) -> None:
    network = red.create("network", name="n")
    port = red.create("port", network_id=network["id"], device_owner="compute:nova")
    assert refusal(lambda: red.delete("port", port["id"]))[0] == 403
    behind_nova = Asker(store, policy, "red", "member", "reader")
    behind_nova.context = msgspec.structs.replace(behind_nova.context, service_roles=("service",))
    behind_nova.delete("port", port["id"])


def test_a_file_of_the_operator_changes_who_sees_what(
    store: Store, registry: Registry, red: Asker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text("get_network: 'role:auditor or rule:project_reader'\nget_port: 'role:auditor'\n")
    policy = Policy(registry, file)
    mine = everything(red)
    auditor = Asker(store, policy, "audit", "auditor")
    assert [row["id"] for row in auditor.list("network")] == [mine["network"]["id"]]
    assert [row["id"] for row in auditor.list("port")] == [mine["port"]["id"]]
    assert auditor.list("subnet") == []
    assert Asker(store, policy, "red", "member", "reader").list("port") == []


def test_a_project_reads_its_own_quota_and_changes_none(red: Asker, root: Asker) -> None:
    service, context = red.service, red.context
    for what in ("", "default", "details"):
        assert action.read_quota(service, context, "red", what)["quota"]
        assert refusal(partial(action.read_quota, service, context, "blue", what))[:2] == (403, "PolicyNotAuthorized")
    for act in (
        partial(action.update_quota, service, context, "red", {"quota": {"network": 1}}),
        partial(action.reset_quota, service, context, "red"),
        partial(action.list_quotas, service, context, (), "http://api.test"),
    ):
        assert refusal(act)[:2] == (403, "PolicyNotAuthorized")
    assert action.list_quotas(service, root.context, (), "http://api.test") == {"quotas": []}


def test_what_the_operator_runs_is_not_there_for_projects(red: Asker, root: Asker) -> None:
    network = red.create("network", name="n")
    url = "http://api.test"
    assert red.list("agent") == []
    assert action.list_ip_availability(red.service, red.context, (), url) == {"network_ip_availabilities": []}
    absent = refusal(partial(action.show_ip_availability, red.service, root.context, "none", ()), "none")
    hidden = refusal(partial(action.show_ip_availability, red.service, red.context, network["id"], ()), network["id"])
    assert hidden == absent
    assert action.list_zones(red.service, red.context, (), url)["availability_zones"]
    nobody = Asker(red.service.store, red.context.policy, "red")  # type: ignore[arg-type]
    assert refusal(partial(action.list_zones, nobody.service, nobody.context, (), url))[0] == 403
    for rule in ("portico:watch", "portico:host"):
        assert refusal(partial(action.require, red.context, rule))[:2] == (403, "PolicyNotAuthorized")
        action.require(root.context, rule)


def test_whether_an_attribute_is_shown_can_depend_on_the_object(
    store: Store, registry: Registry, red: Asker, root: Asker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text("get_port:binding:host_id: 'rule:project_reader'\n")
    owner = Asker(store, Policy(registry, file), "red", "member", "reader")
    network_id = red.create("network", name="n")["id"]
    mine = red.create("port", network_id=network_id)
    other = root.create("port", network_id=network_id)
    shown = {row["id"]: "binding:host_id" in row for row in owner.list("port")}
    assert shown == {mine["id"]: True, other["id"]: False}
    assert {row["id"] for row in owner.list("port", ("binding:host_id", ""))} == {mine["id"], other["id"]}
    file.write_text("get_port:name: 'rule:admin_only'\n")
    assert (
        refusal(partial(Asker(store, Policy(registry, file), "red", "reader").list, "port", ("sort_key", "name")))[0]
        == 400
    )
    assert len(root.list("port", ("sort_key", "name"))) == 2


def test_a_pool_is_shared_with_nobody_who_cannot_use_its_address_scope(red: Asker, root: Asker) -> None:
    scope = root.create("address_scope", name="s", ip_version=4)
    share = {"object_type": "address_scope", "object_id": scope["id"], "action": "access_as_shared"}
    root.create("rbac_policy", target_tenant="red", **share)
    pool = red.create("subnetpool", name="p", prefixes=["192.0.2.0/24"], address_scope_id=scope["id"])
    lend = {"object_type": "subnetpool", "object_id": pool["id"], "action": "access_as_shared"}
    refused = refusal(partial(red.create, "rbac_policy", target_tenant="blue", **lend))
    assert refused[:2] == (400, "RbacPolicyInitError") and "blue" in refused[2]
    root.create("rbac_policy", target_tenant="green", **share)
    policy = red.create("rbac_policy", target_tenant="green", **lend)
    assert refusal(partial(red.update, "rbac_policy", policy["id"], target_tenant="blue"))[1] == "RbacPolicyInitError"
    red.delete("rbac_policy", policy["id"])


def test_who_may_only_see_an_address_group_is_told_that_there_is_none_to_change(red: Asker, blue: Asker) -> None:
    group = red.create("address_group", name="g", addresses=["192.0.2.0/24"])
    share = {"object_type": "address_group", "object_id": group["id"], "action": "access_as_shared"}
    red.create("rbac_policy", target_tenant="blue", **share)
    assert blue.show("address_group", group["id"])["name"] == "g"
    for change in (partial(blue.update, "address_group", group["id"], name="x"),
                   partial(blue.delete, "address_group", group["id"])):  # fmt: skip
        assert refusal(change)[:2] == (404, "AddressGroupNotFound")


def test_the_operators_file_says_whose_roles_make_an_administrator(
    store: Store, registry: Registry, red: Asker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("policy") / "policy.yaml"
    file.write_text("context_is_admin: 'role:cloud'\n")
    policy = Policy(registry, file)
    network = red.create("network", name="n")
    cloud, other = Asker(store, policy, "ops", "cloud"), Asker(store, policy, "ops", "member", "reader")
    assert policy.allows(cloud.context, "context_is_admin")
    assert not policy.allows(other.context, "context_is_admin")
    assert cloud.show("network", network["id"])["name"] == "n"
    # Not the role admin, but what Asker says of it: an administrator by the door or by the settings.
    assert Asker(store, policy, "ops", "admin").show("network", network["id"])["name"] == "n"
    former = msgspec.structs.replace(Asker(store, policy, "ops", "admin").context, is_admin=False)
    assert not policy.allows(former, "context_is_admin")
