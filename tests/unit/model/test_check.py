# SPDX-License-Identifier: Apache-2.0
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict
from portico.model import check
from portico.model.resource import Registry

NETWORK_ID = "0d6d6f6e-97f4-4c1e-a6f4-0a4d8b0d3c11"
PORT = {
    "network_id": NETWORK_ID,
    "name": "web",
    "admin_state_up": True,
    "mac_address": "FA-16-3E-00-00-01",
    "fixed_ips": [{"ip_address": "192.0.2.5", "subnet_id": NETWORK_ID}],
    "security_groups": [NETWORK_ID],
    "binding:host_id": "host",
    "binding:profile": {"plug": "veth"},
    "device_id": "x",
    "device_owner": "compute:x",
}


def refusal(registry: Registry, resource: str, body: object, verb: str = "post") -> str:
    prepare = check.prepare_post if verb == "post" else check.prepare_put
    with pytest.raises(BadRequest) as caught:
        prepare(registry.resources[resource], body)
    assert caught.value.status == 400
    return caught.value.message


def test_a_create_is_converted_and_filled_with_defaults(registry: Registry) -> None:
    body = check.prepare_post(registry.resources["port"], {**PORT, "tenant_id": "blue"})
    assert body["mac_address"] == "fa:16:3e:00:00:01"
    assert body["project_id"] == "blue"
    assert "tenant_id" not in body
    assert body["binding:vnic_type"] == "normal"
    assert body["tags"] == []
    assert "allowed_address_pairs" not in body, "an attribute without value and default is absent"


@pytest.mark.parametrize("name", ["project_id", "tenant_id"])
def test_an_owner_of_null_is_none_in_a_create_and_refused_in_an_update(registry: Registry, name: str) -> None:
    body = {"name": "site", "ip_version": 4, name: None}
    assert "project_id" not in check.prepare_post(registry.resources["address_scope"], body)
    assert refusal(registry, "address_scope", {name: None}, "put").startswith(
        "Cannot update read-only attribute project_id"
    )


def test_defaults_are_not_shared_between_requests(registry: Registry) -> None:
    network = registry.resources["network"]
    check.prepare_post(network, {})["availability_zone_hints"].append("spoilt")
    assert check.prepare_post(network, {})["availability_zone_hints"] == []


def test_an_update_holds_only_what_it_changes(registry: Registry) -> None:
    assert check.prepare_put(registry.resources["port"], {"admin_state_up": "no"}) == {"admin_state_up": False}
    assert check.prepare_put(registry.resources["port"], {"mac_address": None}) == {"mac_address": None}


@pytest.mark.parametrize(
    ("resource", "verb", "body", "message"),
    [
        ("network", "post", {"nmae": "x"}, "Unrecognized attribute(s) 'nmae' of network"),
        ("network", "post", {"vlan_transparent": True}, "Unrecognized attribute(s) 'vlan_transparent' of network"),
        ("network", "post", {"status": "ACTIVE"}, "Attribute 'status' not allowed in POST of network"),
        ("network", "put", {"id": NETWORK_ID}, "Cannot update read-only attribute id of network"),
        ("network", "put", {"tenant_id": "x"}, "Cannot update read-only attribute project_id of network"),
        ("port", "post", {}, "Failed to parse request. Required attribute 'network_id' not specified for port"),
        ("port", "post", {"network_id": 5}, "Invalid input for network_id. Reason: '5' is not a valid UUID."),
        ("network", "post", {"tenant_id": "a", "project_id": "b"}, "'project_id' and 'tenant_id' do not match"),
        ("network", "post", ["x"], "Invalid input for network. Reason: '['x']' is not a dictionary."),
        ("network", "post", {"mtu": 1 << 40}, "Invalid input for mtu. Reason: '1099511627776' is beyond 2147483647."),
        ("port", "post", {**PORT, "binding:host_id": 5}, "Invalid input for binding:host_id. Reason: '5' is not a"),
        ("port", "post", {**PORT, "name": "a\0b"}, "Invalid input for name. Reason: 'a\0b' is no text"),
        ("port", "post", {**PORT, "binding:profile": {"a": ["\ud800"]}}, "Invalid input for binding:profile."),
        ("port", "post", {**PORT, "binding:profile": {"a": 1 << 80}}, "Invalid input for binding:profile."),
        (
            "port",
            "post",
            {**PORT, "binding:profile": 10**5000},
            "Invalid input for binding:profile. Reason: 'a int too",
        ),
        ("port", "post", {**PORT, "binding:host_id": "h" * 256}, "Invalid input for binding:host_id. Reason: 'hhh"),
        ("quota", "put", {"port": -2}, "Invalid input for port. Reason: '-2' is too small"),
        ("quota", "put", {"porrt": 1}, "Unrecognized attribute(s) 'porrt' of quota"),
        ("security_group_rule", "post", {"security_group_id": NETWORK_ID, "direction": "up"}, "Invalid input for dire"),
    ],
)
def test_a_refusal_names_attribute_value_and_rule(
    registry: Registry, resource: str, verb: str, body: object, message: str
) -> None:
    assert refusal(registry, resource, body, verb).startswith(message)


def test_a_group_named_default_conflicts_with_the_one_that_every_project_has(registry: Registry) -> None:
    with pytest.raises(Conflict) as caught:
        check.prepare_post(registry.resources["security_group"], {"name": "Default"})
    assert caught.value.type == "SecurityGroupDefaultAlreadyExists"


@pytest.mark.parametrize(
    ("given_values", "wanted"),
    [
        ({"protocol": "TCP"}, "tcp"),
        ({"protocol": 6}, "6"),
        ({"protocol": "255"}, "255"),
        ({"protocol": None}, None),
        ({"ethertype": "ipv6"}, "IPv6"),
        ({"port_range_min": "80"}, 80),
        ({"port_range_max": None}, None),
        ({"remote_ip_prefix": "192.0.2.1"}, "192.0.2.1/32"),
        ({"remote_ip_prefix": "2001:DB8:0::/48"}, "2001:db8::/48"),
        ({"remote_ip_prefix": ""}, None),
    ],
)
def test_a_rule_s_values_are_read_as_neutron_reads_them(
    registry: Registry, given_values: dict[str, Any], wanted: object
) -> None:
    body = {"security_group_id": NETWORK_ID, "direction": "ingress", **given_values}
    result = check.prepare_post(registry.resources["security_group_rule"], body)
    assert result[next(iter(given_values))] == wanted


@pytest.mark.parametrize(
    ("given_values", "error"),
    [
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": "tpc"}, "SecurityGroupRuleInvalidProtocol"),
        ({"protocol": [1]}, "SecurityGroupRuleInvalidProtocol"),
        ({"port_range_min": 65536}, "SecurityGroupInvalidPortValue"),
        ({"port_range_min": "x"}, "SecurityGroupInvalidPortValue"),
        ({"remote_ip_prefix": "192.0.2.0/33"}, "InvalidCIDR"),
        ({"remote_ip_prefix": {"a": 1}}, "InvalidCIDR"),
        ({"ethertype": "IPX"}, "SecurityGroupRuleInvalidEtherType"),
    ],
)
def test_a_rule_s_faults_have_neutron_s_types(registry: Registry, given_values: dict[str, Any], error: str) -> None:
    body = {"security_group_id": NETWORK_ID, "direction": "ingress", **given_values}
    with pytest.raises(BadRequest) as caught:
        check.prepare_post(registry.resources["security_group_rule"], body)
    assert caught.value.type == error


def test_values_nested_too_deep_are_refused(registry: Registry) -> None:
    deep: Any = {}
    for _ in range(5000):
        deep = {"a": deep}
    assert "levels of lists and objects" in refusal(registry, "port", {**PORT, "binding:profile": deep})


ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from(["x" * 5000, 10**4000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_json_is_either_taken_or_a_bad_request(registry: Registry, data: st.DataObject) -> None:
    resource = registry.resources[data.draw(st.sampled_from(sorted(registry.resources)))]
    names = st.sampled_from(sorted(resource.attributes)) | st.text(max_size=5)
    body = data.draw(ANY_JSON | st.dictionaries(names, ANY_JSON, max_size=3))
    required = {one.name: NETWORK_ID for one in resource.attributes.values() if one.required}
    for prepare, given_body in (
        (check.prepare_post, {**required, **body} if isinstance(body, dict) else body),
        (check.prepare_put, body),
    ):
        try:
            result = prepare(resource, given_body)
        except (BadRequest, Conflict) as error:
            refused = error.message
            result = {}
        else:
            refused = ""
        assert len(refused.encode()) < 2000
        assert result.keys() <= resource.attributes.keys()


@pytest.mark.parametrize(
    ("attribute", "text", "value"),
    [("admin_state_up", "True", True), ("mtu", "1500", 1500), ("name", "1", "1"), ("shared", "0", False)],
)
def test_a_filter_has_its_column_s_type(registry: Registry, attribute: str, text: str, value: object) -> None:
    parsed = check.parse_filter(registry.resources["network"].attributes[attribute], text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("attribute", "text"), [("admin_state_up", "perhaps"), ("mtu", "x"), ("mtu", "9" * 5000), ("name", "a\0")]
)
def test_a_filter_that_no_object_can_meet_is_a_bad_request(registry: Registry, attribute: str, text: str) -> None:
    with pytest.raises(BadRequest):
        check.parse_filter(registry.resources["network"].attributes[attribute], text)


def test_checking_a_port_takes_under_a_millisecond_with_room_to_spare(registry: Registry) -> None:
    """About 20 microseconds where nothing else runs; the bound only catches work that grew by an order of magnitude."""
    port = registry.resources["port"]
    check.prepare_post(port, PORT)
    best = 1.0
    for _ in range(200):
        started = time.perf_counter()
        check.prepare_post(port, PORT)
        best = min(best, time.perf_counter() - started)
    assert best < 200e-6
