# SPDX-License-Identifier: Apache-2.0
"""Bindings of a port to several hosts, through the API."""

from __future__ import annotations

from typing import Any

import pytest

from .asker import Answer, Asker, Row

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


@pytest.fixture
def port(api: Asker, network: Row) -> Row:
    return api.port(network, device_owner="compute:nova", **{"binding:host_id": "h1"})


def path(port: Row, *rest: str) -> str:
    return "/".join(("ports", port["id"], "bindings", *rest))


def bind(api: Asker, port: Row, host: str, **values: Any) -> Answer:
    return api.ask("POST", path(port), {"binding": {"host": host, **values}})


def hosts(api: Asker, port: Row) -> dict[str, str]:
    return {item["host"]: item["status"] for item in api.get(path(port))["bindings"]}


def test_a_binding_is_made_ready_made_active_and_removed_as_in_a_live_migration(api: Asker, port: Row) -> None:
    tap = f"tap{port['id'][:11]}"
    made = bind(api, port, "h2", profile={"migrating_to": "h2"})
    assert made.status == 201
    assert made.body["binding"] == {
        "host": "h2",
        "vnic_type": "normal",
        "profile": {"migrating_to": "h2"},
        "vif_type": "tap",
        "vif_details": {**port["binding:vif_details"], "tap_name": tap},
        "status": "INACTIVE",
    }
    assert hosts(api, port) == {"h1": "ACTIVE", "h2": "INACTIVE"}
    now = api.show("ports", port["id"])
    assert (now["binding:host_id"], now["binding:profile"]) == ("h1", {})
    assert now["revision_number"] > port["revision_number"] and "inactive_bindings" not in now
    activated = api.ask("PUT", path(port, "h2", "activate"), {})
    assert (activated.status, activated.body["host"], activated.body["status"]) == (200, "h2", "ACTIVE")
    now = api.show("ports", port["id"])
    assert (now["binding:host_id"], now["binding:vif_type"], now["status"]) == ("h2", "tap", "DOWN")
    assert now["binding:profile"] == {"migrating_to": "h2"}
    left = api.get(path(port, "h1"))["binding"]
    assert (left["status"], left["vif_type"], left["vif_details"]) == ("INACTIVE", "unbound", {})
    assert api.ask("DELETE", path(port, "h1")).status == 204
    assert api.ask("DELETE", path(port, "h1")).error == (404, "PortBindingNotFound")
    assert hosts(api, port) == {"h2": "ACTIVE"}


def test_a_binding_that_was_left_is_bound_again_when_it_is_made_active(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    api.ask("PUT", path(port, "h2", "activate"), {})
    assert api.ask("PUT", path(port, "h1", "activate"), {}).body["vif_type"] == "tap"
    assert hosts(api, port) == {"h1": "ACTIVE", "h2": "INACTIVE"}


def test_errors_are_those_of_neutron(api: Asker, network: Row, port: Row) -> None:
    other = api.port(network)
    for method, rest, body in (
        ("GET", (), None), ("POST", (), {"binding": {"host": "h2"}}), ("GET", ("h1",), None),
        ("PUT", ("h1",), {"binding": {}}), ("DELETE", ("h1",), None), ("PUT", ("h1", "activate"), {}),
    ):  # fmt: skip
        answer = api.ask(method, path(other, *rest), body)
        assert answer.error == (400, "BadRequest")
        assert answer.message.startswith(
            f"Bad port request: Invalid port {other['id']}. Operation only valid on compute and shared filesystem ports"
        )
        assert api.ask(method, path({"id": NOBODY}, *rest), body).error == (404, "PortNotFound")
    answer = bind(api, port, "h1")
    assert answer.error == (409, "PortBindingAlreadyExists")
    assert answer.message == f"Binding for port {port['id']} on host h1 already exists."
    bind(api, port, "h2")
    assert bind(api, port, "h2").error == (409, "PortBindingAlreadyExists")
    assert api.ask("PUT", path(port, "h1", "activate"), {}).error == (409, "PortBindingAlreadyActive")
    for method, rest, body in (
        ("GET", (), None), ("PUT", (), {"binding": {}}), ("DELETE", (), None), ("PUT", ("activate",), {}),
    ):  # fmt: skip
        answer = api.ask(method, path(port, "h3", *rest), body)
        assert answer.error == (404, "PortBindingNotFound")
        assert answer.message == f"Binding for port {port['id']} for host h3 could not be found."


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "Resource body"),
        ({"port": {}}, "'binding'"),
        ({"binding": {}}, "'host'"),
        ({"binding": {"host": ""}}, "host"),
        ({"binding": {"host": "x" * 256}}, "host"),
        ({"binding": {"host": "h2", "vif_type": "tap"}}, "vif_type"),
        ({"binding": {"host": "h2", "status": "ACTIVE"}}, "status"),
        ({"binding": {"host": "h2", "vnic_type": "direct"}}, "binding:vnic_type 'direct'"),
        ({"binding": {"host": "h2", "vnic_type": "x"}}, "vnic_type"),
        ({"binding": {"host": "h2", "profile": "x"}}, "profile"),
        ({"binding": {"host": "h2", "profile": {"plug": "x"}}}, "plug"),
        ({"binding": {"host": "h2", "profile": {"tap_name": "a/b"}}}, "tap_name"),
    ],
)
def test_what_no_host_can_be_made_ready_for_is_refused(api: Asker, port: Row, body: Any, part: str) -> None:
    answer = api.ask("POST", path(port), body)
    assert answer.error[0] == 400 and part in answer.message
    assert hosts(api, port) == {"h1": "ACTIVE"}


def test_bindings_are_filtered_and_shown_in_part(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    bind(api, port, "h3")
    found = api.get(f"{path(port)}?status=INACTIVE&fields=host")
    assert found["bindings"] == [{"host": "h2"}, {"host": "h3"}]
    assert api.get(f"{path(port)}?host=h1")["bindings"][0]["status"] == "ACTIVE"
    assert api.get(f"{path(port, 'h2')}?fields=host") == {"binding": {"host": "h2"}}
    assert api.ask("GET", f"{path(port)}?nothing=1").error[0] == 400


def test_a_binding_changes_whether_active_or_not(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    changed = api.ask("PUT", path(port, "h2"), {"binding": {"profile": {"tap_name": "vnet7"}}}).body["binding"]
    assert (changed["vif_details"]["tap_name"], changed["status"], changed["host"]) == ("vnet7", "INACTIVE", "h2")
    assert api.get(path(port, "h2"))["binding"] == changed
    changed = api.ask("PUT", path(port, "h1"), {"binding": {"profile": {"tap_name": "vnet1"}}}).body["binding"]
    assert (changed["vif_details"]["tap_name"], changed["status"]) == ("vnet1", "ACTIVE")
    assert api.show("ports", port["id"])["binding:vif_details"]["tap_name"] == "vnet1"
    assert api.ask("PUT", path(port, "h2"), {"binding": {"host": "h1"}}).error == (409, "PortBindingAlreadyExists")
    assert api.ask("PUT", path(port, "h2"), {"binding": {"host": "h3"}}).body["binding"]["host"] == "h3"
    assert hosts(api, port) == {"h1": "ACTIVE", "h3": "INACTIVE"}


def test_a_port_that_is_bound_where_a_binding_waits_has_only_the_one(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    bind(api, port, "h3")
    api.update("ports", port, **{"binding:host_id": "h2"})
    assert hosts(api, port) == {"h2": "ACTIVE", "h3": "INACTIVE"}


def test_a_port_that_no_hypervisor_has_any_more_is_expected_nowhere(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    api.update("ports", port, name="still there")
    assert hosts(api, port) == {"h1": "ACTIVE", "h2": "INACTIVE"}
    api.update("ports", port, device_owner="", device_id="")
    api.update("ports", port, device_owner="compute:nova")
    assert hosts(api, port) == {"h1": "ACTIVE"}


def test_without_its_active_binding_a_port_is_unbound(api: Asker, port: Row) -> None:
    bind(api, port, "h2")
    assert api.ask("DELETE", path(port, "h1")).status == 204
    now = api.show("ports", port["id"])
    assert (now["binding:host_id"], now["binding:vif_type"]) == ("", "unbound")
    assert api.ask("PUT", path(port, "h2", "activate"), {}).status == 200
    assert hosts(api, port) == {"h2": "ACTIVE"}


@pytest.mark.parametrize("name", ["vnet7", 'vn"e\\t_'])
def test_a_tap_that_a_binding_waits_with_is_no_other_ports(api: Asker, network: Row, port: Row, name: str) -> None:
    profile = {"tap_name": name}
    assert bind(api, port, "h2", profile=profile).status == 201
    other = api.port(network, device_owner="compute:nova")
    here = {"binding:host_id": "h2", "binding:profile": profile}
    answer = api.try_update("ports", other, **here)
    assert answer.error == (409, "TapNameInUse") and port["id"] in answer.message
    assert bind(api, other, "h2", profile=profile).error == (409, "TapNameInUse")
    api.update("ports", other, **{**here, "binding:host_id": "h3"})
    assert bind(api, port, "h3", profile=profile).error == (409, "TapNameInUse")
    api.ask("DELETE", path(port, "h2"))
    api.update("ports", other, **here)


def test_a_host_out_of_use_is_not_made_ready(api: Asker, port: Row) -> None:
    report = {"revision": 0, "facts": {"availability_zone": "z"}, "started": True}
    assert api.ask("PUT", "/portico/v1/hosts/h1/status", report).status == 204
    answer = bind(api, port, "h2")
    assert answer.error == (409, "PortBindingError")
    assert answer.message.startswith(
        f"Binding for port {port['id']} on host h2 could not be created or updated: no agent"
    )
    assert hosts(api, port) == {"h1": "ACTIVE"}


def test_a_network_served_by_dhcp_is_still_so_when_its_only_port_has_moved(api: Asker, network: Row, port: Row) -> None:
    bind(api, port, "h2")
    api.ask("PUT", path(port, "h2", "activate"), {})
    assert len(api.list("ports", "device_owner=network:dhcp")) == 1
    bind(api, port, "h3", profile={"plug": "veth"})
    api.ask("PUT", path(port, "h3", "activate"), {})
    assert api.list("ports", "device_owner=network:dhcp") == []
