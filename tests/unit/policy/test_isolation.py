# SPDX-License-Identifier: Apache-2.0
"""Project blue can neither see, change, delete, attach to nor infer what belongs to project red."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pytest

from portico.api import action, collection
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import PorticoError
from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.rules import TABLE
from portico.rules.context import Context, Limits
from portico.store.store import Store

Row = dict[str, Any]
OPERATED = {"agent", "segment", "network_segment_range"}
# Made for all projects alike.
COMMON = {"default_security_group_rule"}


@pytest.fixture(scope="module")
def policy(registry: Registry) -> Policy:
    return Policy(registry)


class Asker:
    """One project's requests to the functions behind the API."""

    def __init__(self, store: Store, policy: Policy, project_id: str, *roles: str) -> None:
        hosts = HostStates()
        broker = Broker(store, hosts, [BridgeBackend(hosts)])
        limits = Limits({"network": -1}, 1500, "fa:16:3e", "portico.test.", "red")
        self.service = Service(store, 1000)
        self.context = Context(project_id, "admin" in roles, limits, broker, roles, policy=policy)
        self.resources = store.registry.resources

    def create(self, name: str, /, **body: Any) -> Row:
        answer = collection.create(self.service, self.resources[name], self.context, {name: body})
        return dict(answer[name])

    def show(self, name: str, object_id: str) -> Row:
        return dict(collection.show(self.service, self.resources[name], self.context, object_id, ())[name])

    def list(self, name: str, *pairs: tuple[str, str]) -> list[Row]:
        resource = self.resources[name]
        answer = collection.list_objects(self.service, resource, self.context, pairs, "http://api.test")
        return list(answer[resource.plural])

    def update(self, name: str, object_id: str, /, **body: Any) -> Row:
        resource = self.resources[name]
        return dict(collection.update(self.service, resource, self.context, object_id, {name: body}, None)[name])

    def delete(self, name: str, object_id: str) -> None:
        collection.delete(self.service, self.resources[name], self.context, object_id, None)

    def tags(self, name: str, object_id: str, verb: str = "GET") -> None:
        if verb == "GET":
            action.read_tags(self.service, self.resources[name], self.context, object_id, None)
        else:
            action.write_tags(self.service, self.resources[name], self.context, object_id, verb, "mine", None)


@pytest.fixture
def red(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "red", "member", "reader")


@pytest.fixture
def blue(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "blue", "member", "reader")


@pytest.fixture
def root(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "root", "admin")


def everything(asker: Asker) -> dict[str, Row]:
    """Make one object of each kind that a project makes for itself."""
    made: dict[str, Row] = {"network": asker.create("network", name="secret")}
    made["subnet"] = asker.create("subnet", network_id=made["network"]["id"], cidr="192.0.2.0/24", ip_version=4)
    made["port"] = asker.create("port", network_id=made["network"]["id"])
    made["subnetpool"] = asker.create("subnetpool", name="secret", prefixes=["198.51.100.0/24"])
    made["security_group"] = asker.create("security_group", name="secret")
    group_id = made["security_group"]["id"]
    made["security_group_rule"] = asker.create("security_group_rule", security_group_id=group_id, direction="ingress")
    policy = {"object_type": "network", "object_id": made["network"]["id"], "action": "access_as_shared"}
    made["rbac_policy"] = asker.create("rbac_policy", target_tenant="green", **policy)
    for name, body in (
        ("address_scope", {"name": "secret", "ip_version": 4}),
        ("address_group", {"name": "secret", "addresses": ["203.0.113.0/24"]}),
    ):
        if name in TABLE:
            made[name] = asker.create(name, **body)
    return {name: asker.show(name, row["id"]) for name, row in made.items()}


def page_after(asker: Asker, name: str, object_id: str) -> list[Row]:
    return asker.list(name, ("marker", object_id), ("limit", "1"))


def attempt(asker: Asker, name: str, object_id: str, body: Row) -> Row:
    return asker.update(name, object_id, **body) if object_id else asker.create(name, **body)


def refusal(act: Callable[[], object], *ids: str) -> tuple[int, str, str]:
    """Return status, type and text of the error of a request, without the ids that it names."""
    with pytest.raises(PorticoError) as caught:
        act()
    text = caught.value.message
    for object_id in ids:
        text = text.replace(object_id, "ID")
    return caught.value.status, caught.value.type, text


def test_every_resource_that_projects_make_is_tested_here(red: Asker) -> None:
    creatable = {name for name, rules in TABLE.items() if rules.create is not None}
    assert set(everything(red)) == creatable - OPERATED - COMMON


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


def renamed(body: Any, before: str, after: str) -> Any:
    return msgspec.json.decode(msgspec.json.encode(body).replace(before.encode(), after.encode()))


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
        assert refusal(partial(blue.create, name, project_id="red", **body))[0] == 403


def test_a_reader_reads_and_changes_nothing(store: Store, policy: Policy, red: Asker) -> None:
    reader = Asker(store, policy, "red", "reader")
    for name, mine in everything(red).items():
        assert reader.show(name, mine["id"]) == mine
        if TABLE[name].delete is not None:
            assert refusal(partial(reader.delete, name, mine["id"]))[:2] == (
                403,
                "PolicyNotAuthorized",
            )
    assert refusal(lambda: reader.create("network", name="x"))[:2] == (403, "PolicyNotAuthorized")


def test_who_has_no_role_sees_nothing_of_his_own_project(store: Store, policy: Policy, red: Asker) -> None:
    nobody = Asker(store, policy, "red")
    for name, mine in everything(red).items():
        assert nobody.list(name) == []
        assert refusal(partial(nobody.show, name, mine["id"]))[0] == 404


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


def test_attributes_of_the_operator_are_not_shown_and_not_filtered_by(red: Asker, root: Asker) -> None:
    network = red.create("network", name="n")
    port = red.create("port", network_id=network["id"])
    hidden = {"provider:network_type", "provider:physical_network", "provider:segmentation_id"}
    assert not hidden & network.keys()
    assert hidden <= root.show("network", network["id"]).keys()
    assert "binding:host_id" not in port
    assert not hidden & red.list("network")[0].keys()
    for pair in (("provider:network_type", "local"), ("sort_key", "provider:network_type")):
        assert refusal(partial(red.list, "network", pair))[0] == 400
    assert [row["id"] for row in root.list("network", ("provider:network_type", "local"))] == [network["id"]]


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
