# SPDX-License-Identifier: Apache-2.0
"""The five verbs, as every collection has them."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest

from portico.model.resource import Registry

from .asker import Asker, Row, singular

REQUEST_ID = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def bodies(api: Asker) -> dict[str, tuple[Row, Row]]:
    """Return for each collection what creates an object, and what then changes it."""
    network = api.network("192.0.2.0/24")
    group = api.create("security-groups", name="web")
    rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 80,
            "port_range_max": 80}  # fmt: skip
    return {
        "networks": ({"name": "a"}, {"name": "b", "admin_state_up": False, "shared": True, "mtu": 1400}),
        "subnets": (
            {"network_id": network["id"], "ip_version": 4, "cidr": "198.51.100.0/24"},
            {"name": "b", "enable_dhcp": False, "dns_nameservers": ["192.0.2.53"], "gateway_ip": None},
        ),
        "subnetpools": (
            {"name": "a", "prefixes": ["203.0.113.0/24"], "default_prefixlen": "26"},
            {"name": "b", "prefixes": ["198.51.100.0/24", "203.0.113.0/24"], "is_default": True},
        ),
        "ports": (
            {"network_id": network["id"]},
            {"name": "b", "device_id": "vm", "device_owner": "compute:x", "admin_state_up": False},
        ),
        "security-groups": ({"name": "a"}, {"name": "b", "description": "c"}),
        "security-group-rules": (rule, {}),
    }


COLLECTIONS = ("networks", "subnets", "subnetpools", "ports", "security-groups", "security-group-rules")


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_an_object_is_created_shown_listed_changed_and_deleted(api: Asker, registry: Registry, collection: str) -> None:
    body, changes = bodies(api)[collection]
    resource = registry.by_collection[collection]
    before = {row["id"] for row in api.list(collection)}
    made = api.create(collection, **body)
    visible = {attribute.name for attribute in resource.attributes.values() if attribute.is_visible}
    assert set(made) == visible | {"tenant_id"}
    assert {name: made[name] for name in body} == body
    assert made["project_id"] == made["tenant_id"] == "red"
    assert api.show(collection, made["id"]) == made
    assert {row["id"] for row in api.list(collection)} - before == {made["id"]}
    (alone,) = [row for row in api.list(collection) if row["id"] == made["id"]]
    assert alone == made
    if changes:
        changed = api.update(collection, made, **changes)
        assert {name: changed[name] for name in changes} == changes
        assert changed["revision_number"] > made["revision_number"]
        untouched = made.keys() - changes.keys() - {"revision_number", "updated_at", "default_prefixlen"}
        assert {name: changed[name] for name in untouched} == {name: made[name] for name in untouched}
        assert api.show(collection, made["id"]) == changed
    else:
        assert api.try_update(collection, made, name="x").error == (405, "HTTPMethodNotAllowed")
    api.delete(collection, made)
    answer = api.ask("GET", f"{collection}/{made['id']}")
    assert answer.status == 404 and made["id"] in answer.message
    assert {row["id"] for row in api.list(collection)} == before


@pytest.mark.parametrize("collection", [*COLLECTIONS, "agents"])
def test_an_object_that_is_not_there_gets_404_in_neutrons_words(api: Asker, collection: str) -> None:
    texts = {
        "networks": ("NetworkNotFound", "Network {} could not be found."),
        "subnets": ("SubnetNotFound", "Subnet {} could not be found."),
        "subnetpools": ("SubnetPoolNotFound", "Subnet pool {} could not be found."),
        "ports": ("PortNotFound", "Port {} could not be found."),
        "security-groups": ("SecurityGroupNotFound", "Security group {} does not exist."),
        "security-group-rules": ("SecurityGroupRuleNotFound", "Security group rule {} does not exist."),
        "agents": ("AgentNotFound", "Agent {} could not be found."),
    }
    kind, text = texts[collection]
    for missing in (str(uuid4()), "no-uuid", "%00", "x" * 300):
        answers = [api.ask("GET", f"{collection}/{missing}"), api.try_delete(collection, missing)]
        if collection != "security-group-rules":
            answers.append(api.try_update(collection, missing, description="x"))
        for answer in answers:
            assert answer.error == (404, kind)
    missing = str(uuid4())
    assert api.ask("GET", f"{collection}/{missing}").message == text.format(missing)


@pytest.mark.parametrize(
    ("collection", "values"),
    [
        ("networks", [{"name": "a"}, {"name": "b"}, {"network": {"name": "c"}}]),
        ("security-groups", [{"name": "a"}, {"name": "b"}]),
        ("subnetpools", [{"name": "a", "prefixes": ["192.0.2.0/24"]}, {"name": "b", "prefixes": ["192.0.2.0/24"]}]),
    ],
)
def test_several_objects_are_created_by_one_request(api: Asker, collection: str, values: list[Row]) -> None:
    plural = collection.replace("-", "_")
    answer = api.ask("POST", collection, {plural: values})
    assert answer.status == 201
    rows = answer.body[plural]
    assert [row["name"] for row in rows] == ["a", "b", "c"][: len(values)]
    assert len({row["revision_number"] for row in rows}) == 1
    for row in rows:
        assert api.show(collection, row["id"]) == row


def test_a_bulk_create_of_which_one_fails_leaves_nothing(api: Asker) -> None:
    network = api.network("192.0.2.0/29")
    revision = network["revision_number"]
    ports = [{"network_id": network["id"], "name": str(number)} for number in range(5)]
    wrong = [
        ([*ports, {"network_id": str(uuid4())}], (404, "NetworkNotFound")),
        ([*ports, *ports], (409, "IpAddressGenerationFailure")),
        ([*ports, {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.0.0.1"}]}],
         (400, "InvalidIpForNetwork")),
        ([*ports, {"network_id": network["id"], "bogus": 1}], (400, "HTTPBadRequest")),
    ]  # fmt: skip
    for items, expected in wrong:
        answer = api.ask("POST", "ports", {"ports": items})
        # Five addresses were to be had.
        assert answer.error == expected and answer.message.endswith(" (ports[5])"), answer
        assert api.list("ports") == []
        assert api.list("security-groups", "project_id=red&name=nothing") == []
    assert api.ask("POST", "networks", {"networks": [{"name": "x"}, {"mtu": -1}]}).error == (400, "HTTPBadRequest")
    assert api.list("networks", "name=x") == []
    assert api.show("networks", network["id"])["revision_number"] == revision
    assert "[" not in api.try_create("ports", network_id=network["id"], bogus=1).message
    # All addresses are free again, too.
    answer = api.ask("POST", "ports", {"ports": ports})
    assert answer.status == 201 and len(answer.body["ports"]) == 5


NO_BODIES = [
    {}, {"networks": []}, {"networks": {}}, {"networks": None}, {"networks": [1]}, {"x": 1}, {"network": None},
    {"network": []}, {"network": "x"}, [], 1, None, "x", {"networks": [{"name": "a"}] * 1001},
]  # fmt: skip


@pytest.mark.parametrize("body", NO_BODIES)
def test_what_is_no_body_of_a_create_is_refused(lasting_api: Asker, body: Any) -> None:
    answer = lasting_api.ask("POST", "networks", b"null" if body is None else body)
    assert answer.error == (400, "HTTPBadRequest")
    assert lasting_api.list("networks") == []


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b'{"network": {"name": "\xff"}}', b"[" * 100_000, b"nul",
                                 b'{"network": {"name": "\\ud800"}}'])  # fmt: skip
def test_what_is_no_json_is_refused(lasting_api: Asker, raw: bytes) -> None:
    assert lasting_api.ask("POST", "networks", raw).error == (400, "HTTPBadRequest")


def test_unknown_missing_and_read_only_attributes_are_named(lasting_api: Asker) -> None:
    api = lasting_api
    answer = api.try_create("networks", bogus=1)
    assert answer.error == (400, "HTTPBadRequest") and answer.message == "Unrecognized attribute(s) 'bogus' of network"
    answer = api.try_create("ports", name="x")
    assert answer.error == (400, "HTTPBadRequest")
    assert answer.message == "Failed to parse request. Required attribute 'network_id' not specified for port"
    answer = api.try_create("networks", status="DOWN")
    assert answer.error == (400, "HTTPBadRequest")
    assert answer.message == "Attribute 'status' not allowed in POST of network"
    answer = api.try_create("networks", admin_state_up="perhaps")
    assert answer.error == (400, "InvalidInput") and "perhaps" in answer.message
    network = api.create("networks")
    answer = api.try_update("networks", network, id=str(uuid4()))
    assert answer.error == (400, "HTTPBadRequest")
    assert answer.message == "Cannot update read-only attribute id of network"
    answer = api.try_update("networks", network, name=["x"])
    assert answer.error == (400, "HTTPBadRequest") and "name" in answer.message
    api.delete("networks", network)


def test_fields_cut_the_answer_to_what_is_asked_for(lasting_api: Asker) -> None:
    api = lasting_api
    network = api.create("networks", name="a")
    path = f"networks/{network['id']}"
    assert api.get(f"{path}?fields=id&fields=name") == {"network": {"id": network["id"], "name": "a"}}
    assert api.list("networks", f"id={network['id']}&fields=tenant_id") == [{"tenant_id": "red"}]
    assert api.get(f"{path}?fields=unknown") == {"network": {}}
    assert api.get(f"{path}?fields=") == {"network": network}
    api.delete("networks", network)


def test_the_owner_is_who_asks_or_whom_the_body_names_by_either_name(api: Asker) -> None:
    made = api.ask("POST", "networks", {"network": {}}, X_Project_Id="blue").body["network"]
    assert made["project_id"] == made["tenant_id"] == "blue"
    for name in ("project_id", "tenant_id"):
        assert api.create("networks", **{name: "green"})["project_id"] == "green"
        assert len(api.list("networks", f"{name}=green")) == len(api.list("networks", "project_id=green"))
    answer = api.try_create("networks", project_id="a", tenant_id="b")
    assert answer.error == (400, "HTTPBadRequest")
    assert api.try_update("networks", made, project_id="x").error == (400, "HTTPBadRequest")
    answer = api.ask("POST", "networks", {"network": {}}, X_Project_Id="x" * 256)
    assert answer.error == (400, "HTTPBadRequest")


@pytest.mark.parametrize("collection", ["networks", "subnets", "subnetpools", "ports", "security-groups"])
def test_if_match_stops_a_change_of_what_changed_meanwhile(api: Asker, collection: str) -> None:
    body, _ = bodies(api)[collection]
    made = api.create(collection, **body)
    path, key = f"{collection}/{made['id']}", singular(collection)
    old, change = f"revision_number={made['revision_number']}", {key: {"description": "x"}}
    answer = api.ask("PUT", path, change, If_Match=old)
    assert answer.status == 200
    new = answer.body[key]["revision_number"]
    for method, sent in (("PUT", change), ("DELETE", None)):
        answer = api.ask(method, path, sent, If_Match=old)
        assert answer.error == (412, "RevisionNumberConstraintFailed")
        assert answer.message == f"Constrained to {made['revision_number']}, but current revision is {new}."
        for wrong in ("revision_number=x", "*", '"abc"', "revision_number=", f"revision_number={'9' * 40}", "x=1"):
            assert api.ask(method, path, sent, If_Match=wrong).error == (400, "HTTPBadRequest")
    assert api.ask("DELETE", path, None, If_Match=f"revision_number={new}").status == 204


def test_times_tell_when_it_was_made_and_changed(api: Asker) -> None:
    made = api.create("networks")
    stamp = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
    assert stamp.fullmatch(made["created_at"]) and made["updated_at"] == made["created_at"]
    changed = api.update("networks", made, name="x")
    assert changed["created_at"] == made["created_at"] and changed["updated_at"] >= made["updated_at"]


def test_a_change_to_the_same_values_is_still_a_change_of_the_object(api: Asker) -> None:
    made = api.create("networks", name="a")
    assert api.update("networks", made, name="a")["revision_number"] > made["revision_number"]


def test_every_answer_has_an_id_of_its_own(lasting_api: Asker) -> None:
    answers = [lasting_api.ask("GET", path) for path in ("networks", "networks/x", "nothing", "/healthz")]
    ids = [answer.headers["x-openstack-request-id"] for answer in answers]
    assert len(set(ids)) == 4 and all(REQUEST_ID.fullmatch(one) for one in ids)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "nothing", (404, "HTTPNotFound")),
        ("GET", "/v3", (404, "HTTPNotFound")),
        ("PATCH", "networks", (405, "HTTPMethodNotAllowed")),
        ("DELETE", "networks", (405, "HTTPMethodNotAllowed")),
        ("POST", "networks/x", (405, "HTTPMethodNotAllowed")),
        ("POST", "agents", (405, "HTTPMethodNotAllowed")),
        ("POST", "availability_zones", (405, "HTTPMethodNotAllowed")),
    ],
)
def test_wrong_paths_and_methods_get_neutrons_errors(
    lasting_api: Asker, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert lasting_api.ask(method, path).error == expected


def test_a_body_beyond_the_bound_is_refused(lasting_api: Asker) -> None:
    answer = lasting_api.ask("POST", "networks", b'{"network": {"name": "' + b"x" * 5_000_000 + b'"}}')
    assert answer.error == (413, "HTTPRequestEntityTooLarge")


def test_head_answers_like_get_without_a_body(lasting_api: Asker) -> None:
    answer = lasting_api.ask("HEAD", "networks")
    assert (answer.status, answer.body) == (200, None)
