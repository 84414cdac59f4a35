# SPDX-License-Identifier: Apache-2.0
"""How a port is bound and what guards it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from .asker import Asker, Row, addresses

MAC = "fa:16:3e:01:02:03"
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


# Binding


def test_binding_is_in_the_answer_of_the_request_that_names_the_host(api: Asker, network: Row) -> None:
    port = api.port(network, **{"binding:host_id": "h1"})
    name = port["id"][:11]
    assert (port["binding:vif_type"], port["binding:host_id"], port["status"]) == ("tap", "h1", "DOWN")
    assert port["binding:vif_details"] == {
        "port_filter": True, "connectivity": "l2", "link_name": f"pv{name}", "tap_name": f"tap{name}",
    }  # fmt: skip
    changed = api.update("ports", port, **{"binding:profile": {"plug": "veth"}})
    assert changed["binding:vif_type"] == "veth" and "tap_name" not in changed["binding:vif_details"]
    changed = api.update("ports", port, **{"binding:profile": {"tap_name": "tap7", "make_tap": True}})
    assert changed["binding:vif_details"]["tap_name"] == "tap7"
    assert api.update("ports", port, **{"binding:host_id": "h2"})["binding:host_id"] == "h2"
    for nothing in ("", None):
        free = api.update("ports", port, **{"binding:host_id": nothing})
        assert (free["binding:host_id"], free["binding:vif_type"], free["binding:vif_details"]) == ("", "unbound", {})


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"binding:profile": {"plug": "x"}}, ["plug", "x", "tap"]),
        ({"binding:profile": {"tap_name": "x" * 16}}, ["tap_name", "15"]),
        ({"binding:profile": {"tap_name": "a/b"}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": "tap%d"}}, ["tap_name", "'tap%d'", "percent sign"]),
        ({"binding:profile": {"tap_name": "a:b"}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": "a\nb"}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": "tap\n"}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": "é" * 8}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": ".."}}, ["tap_name"]),
        ({"binding:profile": {"tap_name": ""}}, ["tap_name"]),
        ({"binding:profile": {"make_tap": "yes"}}, ["make_tap"]),
        ({"binding:vnic_type": "direct"}, ["binding:vnic_type", "direct"]),
        ({"binding:profile": "x"}, ["binding:profile"]),
        ({"binding:host_id": "x" * 256}, ["binding:host_id"]),
    ],
)
def test_a_binding_that_cannot_be_is_refused_with_or_without_a_host(
    api: Asker, network: Row, values: dict[str, Any], parts: list[str]
) -> None:
    for host in ({}, {"binding:host_id": "h1"}):
        answer = api.try_create("ports", network_id=network["id"], **{**host, **values})
        assert answer.error[0] == 400 and all(part in answer.message for part in parts), answer
    port = api.port(network)
    assert api.try_update("ports", port, **values).error[0] == 400
    assert api.show("ports", port["id"]) == port


def test_a_port_plugged_by_tap_gives_its_network_a_dhcp_server_and_one_by_veth_does_not(
    api: Asker, network: Row
) -> None:
    api.port(network, **{"binding:host_id": "h1", "binding:profile": {"plug": "veth"}})
    assert api.list("ports", "device_owner=network:dhcp") == []
    api.port(network, **{"binding:host_id": "h1"})
    (server,) = api.list("ports", "device_owner=network:dhcp")
    assert addresses(server) == ["192.0.2.254"] and server["security_groups"] == []
    assert (server["port_security_enabled"], server["network_id"]) == (False, network["id"])
    # It follows the subnets of the network.
    six = api.subnet(network, "2001:db8::/64", **SLAAC)
    assert {item["subnet_id"] for item in api.show("ports", server["id"])["fixed_ips"]} == {
        *network["subnets"],
        six["id"],
    }
    api.update("subnets", network["subnets"][0], enable_dhcp=False)
    assert {item["subnet_id"] for item in api.show("ports", server["id"])["fixed_ips"]} == {six["id"]}


def test_a_mac_address_stays_while_a_host_may_have_the_port_and_can_change_before_and_after(
    api: Asker, network: Row
) -> None:
    port = api.port(network, mac_address=MAC, **{"binding:host_id": "h1"})
    new = "fa:16:3e:01:02:04"
    # Whatever its status: the host makes its devices of what it is told, and no workload follows.
    for body in ({}, {"binding:host_id": ""}):
        answer = api.try_update("ports", port, mac_address=new, **body)
        assert answer.error == (409, "PortBound") and port["id"] in answer.message and new in answer.message
    assert api.update("ports", port, mac_address=MAC)["mac_address"] == MAC
    api.update("ports", port, **{"binding:host_id": ""})
    assert api.update("ports", port, mac_address=new)["mac_address"] == new


@pytest.mark.parametrize("owner", ["network:dhcp", "network:router_interface"])
def test_a_mac_address_of_the_networks_own_ports_stays(api: Asker, network: Row, owner: str) -> None:
    port = api.port(network, mac_address=MAC, device_owner=owner)
    answer = api.try_update("ports", port, mac_address="fa:16:3e:01:02:04", device_owner="")
    assert answer.error == (409, "UnsupportedPortDeviceOwner")
    assert port["id"] in answer.message and owner in answer.message
    assert api.update("ports", port, mac_address=MAC, name="x")["mac_address"] == MAC


# Security


def test_groups_can_be_named_none_or_left_to_the_default(api: Asker, network: Row) -> None:
    group = api.create("security-groups", name="web")["id"]
    assert api.port(network, security_groups=[group])["security_groups"] == [group]
    assert api.port(network, security_groups=[])["security_groups"] == []
    port = api.port(network)
    assert api.update("ports", port, security_groups=[group])["security_groups"] == [group]
    assert api.update("ports", port, security_groups=[])["security_groups"] == []
    missing = str(uuid4())
    for answer in (
        api.try_create("ports", network_id=network["id"], security_groups=[missing]),
        api.try_update("ports", port, security_groups=[missing]),
    ):
        assert answer.error == (404, "SecurityGroupNotFound") and missing in answer.message


def test_a_group_that_filters_a_port_stays(api: Asker, network: Row) -> None:
    group = api.create("security-groups", name="web")
    port = api.port(network, security_groups=[group["id"]])
    answer = api.try_delete("security-groups", group)
    assert answer.error == (409, "SecurityGroupInUse") and group["id"] in answer.message
    assert port["id"] in answer.message
    api.update("ports", port, security_groups=[])
    api.delete("security-groups", group)


def test_the_default_group_is_that_of_the_ports_project(api: Asker, network: Row) -> None:
    port = api.port(network, project_id="blue")
    (group,) = api.list("security-groups", f"id={port['security_groups'][0]}")
    assert (group["project_id"], group["name"]) == ("blue", "default")


def test_ports_of_the_networks_own_servers_have_no_groups(api: Asker, network: Row) -> None:
    port = api.port(network, device_owner="network:router_interface")
    assert (port["security_groups"], port["port_security_enabled"]) == ([], False)


def test_port_security_follows_the_network_unless_the_port_says_otherwise(api: Asker) -> None:
    network = api.network("192.0.2.0/24", port_security_enabled=False)
    port = api.port(network)
    assert (port["port_security_enabled"], port["security_groups"]) == (False, [])
    assert api.port(network, port_security_enabled=True)["port_security_enabled"] is True
    api.update("networks", network, port_security_enabled=True)
    assert api.port(network)["port_security_enabled"] is True
    assert api.show("ports", port["id"])["port_security_enabled"] is False


def test_without_port_security_there_are_neither_groups_nor_pairs(api: Asker, network: Row) -> None:
    group = api.create("security-groups", name="web")["id"]
    pair = [{"ip_address": "192.0.2.50"}]

    def refused(**values: Any) -> tuple[int, str]:
        return api.try_create("ports", network_id=network["id"], port_security_enabled=False, **values).error

    assert refused(security_groups=[group]) == (400, "PortSecurityAndIPRequiredForSecurityGroups")
    assert refused(allowed_address_pairs=pair) == (409, "AddressPairAndPortSecurityRequired")
    port = api.port(network, security_groups=[group], allowed_address_pairs=pair)
    answer = api.try_update("ports", port, port_security_enabled=False)
    assert answer.error == (409, "PortSecurityPortHasSecurityGroup") and port["id"] in answer.message
    answer = api.try_update("ports", port, port_security_enabled=False, security_groups=[])
    assert answer.error == (409, "AddressPairAndPortSecurityRequired")
    off = api.update("ports", port, port_security_enabled=False, security_groups=[], allowed_address_pairs=[])
    assert off["port_security_enabled"] is False
    answer = api.try_update("ports", port, security_groups=[group])
    assert answer.error == (400, "PortSecurityAndIPRequiredForSecurityGroups")
    assert api.try_update("ports", port, allowed_address_pairs=pair).error == (
        409,
        "AddressPairAndPortSecurityRequired",
    )
    api.update("ports", port, port_security_enabled=True, security_groups=[group])


def test_address_pairs_name_addresses_and_ranges_of_both_versions(api: Asker, network: Row) -> None:
    other = "fa:16:3e:09:09:09"
    port = api.port(
        network, mac_address=MAC,
        allowed_address_pairs=[
            {"ip_address": "192.0.2.50"}, {"ip_address": "198.51.100.0/24", "mac_address": other},
            {"ip_address": "2001:db8::/64"},
        ],
    )  # fmt: skip
    assert port["allowed_address_pairs"] == [
        {"mac_address": MAC, "ip_address": "192.0.2.50"}, {"mac_address": other, "ip_address": "198.51.100.0/24"},
        {"mac_address": MAC, "ip_address": "2001:db8::/64"},
    ]  # fmt: skip
    wrong: list[tuple[list[Row], tuple[int, str]]] = [
        ([{"ip_address": f"192.0.2.{n}"} for n in range(11)], (400, "AllowedAddressPairExhausted")),
        ([{"ip_address": "192.0.2.9"}, {"ip_address": "192.0.2.9"}], (400, "DuplicateAddressPairInRequest")),
        ([{"ip_address": "192.0.2.9"}, {"ip_address": "192.0.2.9", "mac_address": port["mac_address"]}],
         (400, "DuplicateAddressPairInRequest")),
        ([{"mac_address": MAC}], (400, "AllowedAddressPairsMissingIP")),
        ([{"ip_address": "224.0.0.1"}], (400, "HTTPBadRequest")),
        ([{"ip_address": "x"}], (400, "HTTPBadRequest")),
        ([{"ip_address": "2001:db8::/ffff:ffff::1"}], (400, "HTTPBadRequest")),
    ]  # fmt: skip
    for pairs, expected in wrong:
        assert api.try_update("ports", port, allowed_address_pairs=pairs).error == expected, pairs
    unnamed: list[tuple[Any, str]] = [
        ("x", "'x' is not a list"),
        ([{"ip_address": "192.0.2.9", "mac_address": "x"}], "mac_address 'x'"),
        ([{"ip_address": "192.0.2.9", "mac_address": "01:00:00:00:00:01"}], "mac_address '01:00:00:00:00:01'"),
        ([{"ip_address": ""}], "ip_address ''"),
        ([{"ip_address": "::/0"}], "ip_address '::/0' overlaps with multicast range ff00::/8"),
        ([{"ip_address": "192.0.2.9", "y": 1}], "'y'"),
    ]
    for pairs, part in unnamed:
        answer = api.try_update("ports", port, allowed_address_pairs=pairs)
        assert answer.error == (400, "HTTPBadRequest"), pairs
        assert answer.message.startswith("Invalid input for allowed_address_pairs. Reason: ") and part in answer.message
    assert api.show("ports", port["id"]) == port
    masked = api.update("ports", port, allowed_address_pairs=[{"ip_address": "2001:db8::/ffff:ffff:ffff:ffff::"}])
    assert masked["allowed_address_pairs"] == [{"mac_address": MAC, "ip_address": "2001:db8::/64"}]
    assert api.update("ports", port, allowed_address_pairs=[])["allowed_address_pairs"] == []
