# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from .asker import Asker


def test_a_network_that_names_nothing_gets_the_defaults(api: Asker) -> None:
    made = api.create("networks")
    defaults = {
        "name": "", "admin_state_up": True, "shared": False, "status": "ACTIVE", "subnets": [], "mtu": 1500,
        "provider:network_type": "local", "provider:physical_network": None, "provider:segmentation_id": None,
        "port_security_enabled": True, "availability_zone_hints": [], "availability_zones": [], "tags": [],
        "description": "", "dns_domain": "",
    }  # fmt: skip
    assert {name: made[name] for name in defaults} == defaults


def test_a_network_lists_its_subnets_in_the_order_in_which_they_came(api: Asker) -> None:
    network = api.create("networks")
    subnets = [api.subnet(network, cidr)["id"] for cidr in ("192.0.2.0/24", "2001:db8::/64", "198.51.100.0/24")]
    assert api.show("networks", network["id"])["subnets"] == subnets
    api.delete("subnets", subnets[1])
    shown = api.show("networks", network["id"])
    assert shown["subnets"] == [subnets[0], subnets[2]]
    assert shown["revision_number"] > network["revision_number"]


@pytest.mark.parametrize(
    "values",
    [
        {"provider:network_type": "vxlan"},
        {"provider:network_type": ""},
        {"provider:network_type": "vlan", "provider:physical_network": "x", "provider:segmentation_id": 7},
        {"provider:network_type": "local", "provider:segmentation_id": 7},
        {"provider:physical_network": "x"},
        {"provider:segmentation_id": 7},
    ],
)
def test_provider_attributes_that_no_backend_realises_are_refused_by_name(api: Asker, values: dict[str, Any]) -> None:
    answer = api.try_create("networks", **values)
    assert answer.error == (400, "InvalidInput")
    assert any(name in answer.message and str(value) in answer.message for name, value in values.items())
    assert api.list("networks") == []


def test_provider_attributes_cannot_be_changed_to_what_is_not_realised(api: Asker) -> None:
    made = api.create("networks", **{"provider:network_type": "local"})
    assert made["provider:network_type"] == "local"
    assert api.try_update("networks", made, **{"provider:network_type": "flat"}).error[0] == 400
    assert api.try_update("networks", made, **{"provider:segmentation_id": 3}).error[0] == 400
    assert api.show("networks", made["id"]) == made


@pytest.mark.parametrize("mtu", [-1, 65536, 10**12, "x"])
def test_an_mtu_that_no_link_can_have_is_refused(api: Asker, mtu: Any) -> None:
    answer = api.try_create("networks", mtu=mtu)
    assert answer.error[0] == 400 and "mtu" in answer.message and str(mtu) in answer.message


def test_an_mtu_below_that_of_any_link_lasts_until_there_is_a_subnet(api: Asker) -> None:
    network = api.create("networks", mtu=67)
    assert network["mtu"] == 67
    answer = api.try_create("subnets", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    assert answer.error == (409, "NetworkMTUSubnetConflict") and "68" in answer.message
    api.update("networks", network, mtu=68)
    subnet = api.create("subnets", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    answer = api.ask("PUT", f"networks/{network['id']}", {"network": {"mtu": 67}})
    assert answer.error == (409, "NetworkMTUSubnetConflict") and subnet["id"] in answer.message


def test_the_mtu_can_be_chosen_changed_and_left_to_the_server_again(api: Asker) -> None:
    made = api.create("networks", mtu=1400)
    assert made["mtu"] == 1400
    assert api.update("networks", made, mtu=9000)["mtu"] == 9000
    assert api.update("networks", made, mtu=0)["mtu"] == 1500
    assert api.create("networks", mtu=0)["mtu"] == 1500


def test_the_mtu_stays_large_enough_for_ipv6(api: Asker) -> None:
    network = api.network("2001:db8::/64")
    answer = api.try_update("networks", network, mtu=1279)
    assert answer.error == (409, "NetworkMTUSubnetConflict") and "1280" in answer.message
    assert api.update("networks", network, mtu=1280)["mtu"] == 1280
    small = api.network("192.0.2.0/24", mtu=1000)
    answer = api.ask(
        "POST", "subnets", {"subnet": {"network_id": small["id"], "ip_version": 6, "cidr": "2001:db8::/64"}}
    )
    assert (
        answer.error == (409, "NetworkMTUSubnetConflict") and "1280" in answer.message and small["id"] in answer.message
    )


def test_a_network_with_ports_stays_and_the_message_names_them(api: Asker) -> None:
    network = api.network("192.0.2.0/24")
    ports = [api.port(network) for _ in range(2)]
    answer = api.try_delete("networks", network)
    assert answer.error == (409, "NetworkInUse")
    assert network["id"] in answer.message and all(port["id"] in answer.message for port in ports)
    for port in ports:
        api.delete("ports", port)
    api.delete("networks", network)
    assert api.list("subnets") == []


def test_subnets_and_the_servers_own_port_go_with_the_network(api: Asker) -> None:
    network = api.network("192.0.2.0/24", "2001:db8::/64")
    port = api.port(network, **{"binding:host_id": "h1"})
    (server,) = api.list("ports", "device_owner=network:dhcp")
    api.delete("ports", port)
    api.delete("networks", network)
    assert api.list("subnets") == [] and api.list("ports") == []
    assert api.ask("GET", f"ports/{server['id']}").error == (404, "PortNotFound")


def test_zones_that_do_not_exist_are_no_hints(api: Asker) -> None:
    assert api.create("networks", availability_zone_hints=["default"])["availability_zone_hints"] == ["default"]
    answer = api.try_create("networks", availability_zone_hints=["nowhere"])
    assert answer.error == (404, "AvailabilityZoneNotFound") and "nowhere" in answer.message


def test_a_network_id_in_a_body_must_be_that_of_a_network(api: Asker) -> None:
    missing = str(uuid4())
    for collection, values in (("ports", {}), ("subnets", {"ip_version": 4, "cidr": "192.0.2.0/24"})):
        answer = api.try_create(collection, network_id=missing, **values)
        assert answer.error == (404, "NetworkNotFound") and missing in answer.message
        assert api.try_create(collection, network_id="x", **values).error == (400, "HTTPBadRequest")
