# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from .asker import Asker, Row, addresses


@pytest.fixture
def network(api: Asker) -> Row:
    return api.create("networks")


def pool(start: str, end: str) -> Row:
    return {"start": start, "end": end}


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("192.0.2.0/24", "192.0.2.1", [pool("192.0.2.2", "192.0.2.254")]),
        ("192.0.2.0/30", "192.0.2.1", [pool("192.0.2.2", "192.0.2.2")]),
        ("192.0.2.130/25", "192.0.2.129", [pool("192.0.2.130", "192.0.2.254")]),
        ("2001:db8::/64", "2001:db8::1", [pool("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff")]),
        ("2001:db8::/126", "2001:db8::1", [pool("2001:db8::2", "2001:db8::3")]),
    ],
)
def test_gateway_and_pools_are_chosen_when_none_are_given(
    api: Asker, network: Row, cidr: str, gateway: str, pools: list[Row]
) -> None:
    made = api.subnet(network, cidr)
    assert (made["gateway_ip"], made["allocation_pools"]) == (gateway, pools)
    assert (made["enable_dhcp"], made["dns_nameservers"], made["host_routes"]) == (True, [], [])
    assert (made["ipv6_ra_mode"], made["ipv6_address_mode"], made["subnetpool_id"]) == (None, None, None)


@pytest.mark.parametrize(
    ("cidr", "gateway", "pools"),
    [
        ("192.0.2.0/31", "192.0.2.0", [pool("192.0.2.1", "192.0.2.1")]),
        ("192.0.2.7/32", None, [pool("192.0.2.7", "192.0.2.7")]),
        ("2001:db8::/127", "2001:db8::", [pool("2001:db8::1", "2001:db8::1")]),
        ("2001:db8::7/128", None, [pool("2001:db8::7", "2001:db8::7")]),
    ],
)
def test_the_smallest_subnets_use_every_address_they_have(
    api: Asker, network: Row, cidr: str, gateway: str | None, pools: list[Row]
) -> None:
    made = api.subnet(network, cidr, enable_dhcp=False)
    assert (made["gateway_ip"], made["allocation_pools"]) == (gateway, pools)


def test_a_gateway_in_the_middle_splits_the_pool_and_none_leaves_it_whole(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24", gateway_ip="192.0.2.100")
    assert made["allocation_pools"] == [pool("192.0.2.1", "192.0.2.99"), pool("192.0.2.101", "192.0.2.254")]
    made = api.subnet(network, "198.51.100.0/24", gateway_ip=None)
    assert made["gateway_ip"] is None and made["allocation_pools"] == [pool("198.51.100.1", "198.51.100.254")]
    made = api.subnet(network, "2001:db8::/64", gateway_ip="fe80::1")
    assert made["gateway_ip"] == "fe80::1"


def test_the_cidr_is_kept_without_host_bits(api: Asker, network: Row) -> None:
    assert api.subnet(network, "192.0.2.77/24")["cidr"] == "192.0.2.0/24"
    assert api.subnet(network, "2001:DB8::1/64")["cidr"] == "2001:db8::/64"


@pytest.mark.parametrize(
    ("values", "expected", "parts"),
    [
        ({"gateway_ip": "198.51.100.1"}, (400, "InvalidInput"), ["gateway_ip", "198.51.100.1", "192.0.2.0/24"]),
        ({"gateway_ip": "192.0.2.0"}, (400, "InvalidInput"), ["192.0.2.0"]),
        ({"gateway_ip": "192.0.2.255"}, (400, "InvalidInput"), ["192.0.2.255"]),
        ({"gateway_ip": "2001:db8::1"}, (400, "InvalidInput"), ["gateway_ip", "2001:db8::1", "ip_version"]),
        ({"gateway_ip": "x"}, (400, "HTTPBadRequest"), ["gateway_ip", "x"]),
        ({"allocation_pools": [pool("192.0.2.9", "192.0.3.9")]}, (400, "OutOfBoundsAllocationPool"),
         ["192.0.2.9-192.0.3.9", "192.0.2.0/24"]),
        ({"allocation_pools": [pool("192.0.2.0", "192.0.2.9")]}, (400, "OutOfBoundsAllocationPool"), ["192.0.2.0"]),
        ({"allocation_pools": [pool("192.0.2.9", "192.0.2.8")]}, (400, "InvalidAllocationPool"),
         ["192.0.2.9", "must go up"]),
        ({"allocation_pools": "x"}, (400, "InvalidInput"), ["allocation_pools", "'x'"]),
        ({"service_types": "x"}, (400, "HTTPBadRequest"), ["service_types", "'x'"]),
        ({"allocation_pools": [pool("2001:db8::1", "2001:db8::2")]}, (400, "InvalidAllocationPool"), ["2001:db8::1"]),
        ({"allocation_pools": [pool("192.0.2.9", "192.0.2.20"), pool("192.0.2.20", "192.0.2.30")]},
         (409, "OverlappingAllocationPools"), ["192.0.2.9-192.0.2.20", "192.0.2.20-192.0.2.30"]),
        ({"gateway_ip": "192.0.2.15", "allocation_pools": [pool("192.0.2.9", "192.0.2.20")]},
         (409, "GatewayConflictWithAllocationPools"), ["192.0.2.15", "192.0.2.9-192.0.2.20"]),
        ({"allocation_pools": [{"start": "192.0.2.9"}]}, (400, "HTTPBadRequest"), ["allocation_pools"]),
        ({"dns_nameservers": [f"192.0.2.{n}" for n in range(1, 7)]}, (400, "DNSNameServersExhausted"), ["5"]),
        ({"dns_nameservers": ["2001:db8::53"]}, (400, "InvalidInput"), ["2001:db8::53"]),
        ({"host_routes": [{"destination": f"10.{n}.0.0/16", "nexthop": "192.0.2.9"} for n in range(21)]},
         (400, "HostRoutesExhausted"), ["20"]),
        ({"host_routes": [{"destination": "2001:db8::/64", "nexthop": "192.0.2.9"}]}, (400, "InvalidInput"),
         ["2001:db8::/64"]),
        ({"ipv6_ra_mode": "slaac"}, (400, "InvalidInput"), ["ipv6_ra_mode"]),
        ({"ip_version": 6}, (400, "InvalidInput"), ["192.0.2.0/24", "ip_version", "6"]),
        ({"ip_version": 5}, (400, "HTTPBadRequest"), ["ip_version", "5"]),
        ({"cidr": "224.0.0.0/24"}, (400, "InvalidInput"), ["224.0.0.0/24", "Multicast"]),
        ({"cidr": "127.0.0.0/24"}, (400, "InvalidInput"), ["127.0.0.0/24", "Loopback"]),
        ({"cidr": "0.0.0.0/24"}, (400, "InvalidInput"), ["0.0.0.0"]),
        ({"cidr": "0.0.0.0/0", "enable_dhcp": False}, (400, "InvalidInput"), ["0"]),
        ({"cidr": "192.0.2.0/31"}, (400, "InvalidInput"), ["192.0.2.0/31"]),
        ({"cidr": "192.0.2.0/33"}, (400, "InvalidInput"), ["cidr", "192.0.2.0/33"]),
        ({"cidr": None}, (400, "BadRequest"), ["subnetpool", "cidr"]),
        ({"prefixlen": 26}, (400, "BadRequest"), ["prefixlen", "cidr"]),
        ({"subnetpool_id": "x"}, (400, "HTTPBadRequest"), ["subnetpool_id"]),
        ({"cidr": None, "use_default_subnetpool": True}, (400, "BadRequest"), ["default", "IPv4"]),
    ],
)  # fmt: skip
def test_what_a_subnet_cannot_be_is_refused_and_leaves_nothing(
    api: Asker, network: Row, values: Row, expected: tuple[int, str], parts: list[str]
) -> None:
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "192.0.2.0/24", **values}
    answer = api.try_create("subnets", **{name: value for name, value in body.items() if value is not None})
    assert answer.error == expected, answer
    assert all(part in answer.message for part in parts), answer.message
    assert api.list("subnets") == [] and api.show("networks", network["id"]) == network


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"}, ["slaac", "dhcpv6-stateful"]),
        ({"ipv6_address_mode": "slaac", "enable_dhcp": False}, ["enable_dhcp"]),
        ({"ipv6_address_mode": "slaac", "cidr": "2001:db8::/65"}, ["2001:db8::/65", "/64"]),
        ({"ipv6_ra_mode": "dhcpv6-stateless", "cidr": "2001:db8::/63"}, ["2001:db8::/63", "/64"]),
        ({"cidr": "2001:db8::/127"}, ["2001:db8::/127"]),
        ({"cidr": "ff02::/64"}, ["ff02::/64"]),
    ],
)
def test_ipv6_modes_that_do_not_go_together_are_refused(
    api: Asker, network: Row, values: Row, parts: list[str]
) -> None:
    body = {"network_id": network["id"], "ip_version": 6, "cidr": "2001:db8::/64", **values}
    answer = api.try_create("subnets", **body)
    assert answer.error == (400, "InvalidInput") and all(part in answer.message for part in parts), answer
    assert api.try_create("subnets", **{**body, "ipv6_ra_mode": "x"}).error == (400, "HTTPBadRequest")


@pytest.mark.parametrize("other", ["192.0.2.0/24", "192.0.2.128/25", "192.0.0.0/16"])
def test_a_subnet_that_overlaps_another_of_the_network_is_refused_and_the_other_is_named(
    api: Asker, network: Row, other: str
) -> None:
    first = api.subnet(network, "192.0.2.0/24")
    answer = api.try_create("subnets", network_id=network["id"], ip_version=4, cidr=other)
    assert answer.error == (400, "InvalidInput")
    assert all(part in answer.message for part in (other, network["id"], first["id"], "192.0.2.0/24"))
    elsewhere = api.create("networks")
    assert api.subnet(elsewhere, other)["cidr"] == other


def test_a_subnet_takes_its_range_from_a_pool(api: Asker, network: Row) -> None:
    pool = api.create("subnetpools", name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, min_prefixlen=20)
    pool_id = pool["id"]
    one = api.create("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool_id)
    two = api.create("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool_id, prefixlen=26)
    three = api.create("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool_id, cidr="10.0.9.0/24")
    assert [row["cidr"] for row in (one, two, three)] == ["10.0.0.0/24", "10.0.1.0/26", "10.0.9.0/24"]
    assert all(row["subnetpool_id"] == pool_id for row in (one, two, three))
    wrong: list[tuple[dict[str, Any], tuple[int, str]]] = [
        ({"cidr": "10.0.9.128/25"}, (409, "SubnetAllocationError")),
        ({"cidr": "192.0.2.0/24"}, (409, "SubnetAllocationError")),
        ({"prefixlen": 19}, (400, "MinPrefixSubnetAllocationError")),
        ({"ip_version": 6}, (400, "BadRequest")),
        ({"subnetpool_id": str(uuid4())}, (404, "SubnetPoolNotFound")),
        ({"cidr": "10.0.20.0/24", "prefixlen": 24}, (400, "BadRequest")),
    ]
    wrong.append(({"use_default_subnetpool": True}, (400, "BadRequest")))
    for values, expected in wrong:
        body = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": pool_id, **values}
        assert api.try_create("subnets", **body).error == expected, values
    answer = api.try_create("subnets", network_id=network["id"], ip_version=4, cidr="172.16.0.0/24")
    assert answer.error == (400, "NetworkSubnetPoolAffinityError")
    answer = api.try_delete("subnetpools", pool)
    assert answer.error == (400, "SubnetPoolDeleteError")
    assert any(row["id"] in answer.message for row in (one, two, three))
    for row in (one, two, three):
        api.delete("subnets", row)
    api.delete("subnetpools", pool)


def test_allocation_pools_need_a_range_that_the_request_names(api: Asker, network: Row) -> None:
    source = api.create("subnetpools", name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24)
    body = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": source["id"]}
    answer = api.try_create("subnets", allocation_pools=[pool("10.0.0.9", "10.0.0.10")], **body)
    assert answer.error == (400, "BadRequest") and "allocation_pools" in answer.message
    named = api.create("subnets", cidr="10.0.0.0/24", allocation_pools=[pool("10.0.0.9", "10.0.0.10")], **body)
    assert named["allocation_pools"] == [pool("10.0.0.9", "10.0.0.10")]


def test_a_pool_is_named_or_the_default_one_asked_for_but_not_both(api: Asker, network: Row) -> None:
    source = api.create("subnetpools", name="p", prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True)
    body = {"network_id": network["id"], "ip_version": 4, "subnetpool_id": source["id"]}
    answer = api.try_create("subnets", use_default_subnetpool=True, **body)
    assert answer.error == (400, "BadRequest") and "use_default_subnetpool" in answer.message
    assert api.create("subnets", use_default_subnetpool=False, **body)["subnetpool_id"] == source["id"]


def test_the_default_pool_is_used_when_asked_for(api: Asker, network: Row) -> None:
    four = api.create("subnetpools", name="4", prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True)
    six = api.create("subnetpools", name="6", prefixes=["2001:db8::/48"], default_prefixlen=64, is_default=True)
    for version, pool in ((4, four), (6, six)):
        made = api.create("subnets", network_id=network["id"], ip_version=version, use_default_subnetpool=True)
        assert made["subnetpool_id"] == pool["id"] and made["ip_version"] == version


def test_gateway_pools_and_servers_can_be_changed(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24", allocation_pools=[pool("192.0.2.10", "192.0.2.20")])
    changed = api.update(
        "subnets", made, gateway_ip="192.0.2.254", name="x", dns_nameservers=["192.0.2.53", "192.0.2.52"],
        host_routes=[{"destination": "10.0.0.0/8", "nexthop": "192.0.2.9"}],
        allocation_pools=[pool("192.0.2.100", "192.0.2.110"), pool("192.0.2.30", "192.0.2.40")],
    )  # fmt: skip
    assert changed["gateway_ip"] == "192.0.2.254" and changed["dns_nameservers"] == ["192.0.2.53", "192.0.2.52"]
    assert changed["allocation_pools"] == [pool("192.0.2.30", "192.0.2.40"), pool("192.0.2.100", "192.0.2.110")]
    assert addresses(api.port(network)) == ["192.0.2.30"]
    assert api.update("subnets", made, gateway_ip=None)["gateway_ip"] is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"gateway_ip": "192.0.2.15"}, (409, "GatewayConflictWithAllocationPools")),
        ({"gateway_ip": "10.0.0.1"}, (400, "InvalidInput")),
        ({"allocation_pools": [pool("192.0.2.1", "192.0.2.9")]}, (409, "GatewayConflictWithAllocationPools")),
        ({"allocation_pools": [pool("10.0.0.1", "10.0.0.9")]}, (400, "OutOfBoundsAllocationPool")),
        ({"dns_nameservers": ["2001:db8::53"]}, (400, "InvalidInput")),
        ({"cidr": "192.0.2.0/25"}, (400, "HTTPBadRequest")),
        ({"ip_version": 6}, (400, "HTTPBadRequest")),
        ({"network_id": str(uuid4())}, (400, "HTTPBadRequest")),
    ],
)
def test_a_wrong_change_is_refused_and_changes_nothing(
    api: Asker, network: Row, changes: Row, expected: tuple[int, str]
) -> None:
    made = api.subnet(network, "192.0.2.0/24", allocation_pools=[pool("192.0.2.10", "192.0.2.20")])
    assert api.try_update("subnets", made, **changes).error == expected
    assert api.show("subnets", made["id"]) == made


def test_a_gateway_cannot_become_an_address_that_a_port_has(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24", allocation_pools=[pool("192.0.2.10", "192.0.2.20")])
    port = api.port(network, fixed_ips=[{"ip_address": "192.0.2.99"}])
    answer = api.try_update("subnets", made, gateway_ip="192.0.2.99")
    assert answer.error == (409, "GatewayIpInUse") and port["id"] in answer.message and "192.0.2.99" in answer.message


def test_a_gateway_at_which_a_router_is_stays(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24")
    router = api.port(network, device_owner="network:router_interface", fixed_ips=[{"ip_address": "192.0.2.1"}])
    answer = api.try_update("subnets", made, gateway_ip="192.0.2.254")
    assert answer.error == (409, "GatewayIpInUse") and router["id"] in answer.message and "192.0.2.1 " in answer.message
    assert api.update("subnets", made, gateway_ip="192.0.2.1", name="x")["name"] == "x"
    api.delete("ports", router)
    # A workload at the gateway's address is no router, and one may be where the gateway is to be.
    api.port(network, fixed_ips=[{"ip_address": "192.0.2.1"}])
    api.port(network, device_owner="network:router_interface", fixed_ips=[{"ip_address": "192.0.2.254"}])
    pools = [pool("192.0.2.2", "192.0.2.253")]
    changed = api.update("subnets", made, gateway_ip="192.0.2.254", allocation_pools=pools)
    assert changed["gateway_ip"] == "192.0.2.254"


def test_dhcp_cannot_be_switched_off_under_ipv6_modes(api: Asker, network: Row) -> None:
    made = api.subnet(network, "2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    assert api.try_update("subnets", made, enable_dhcp=False).error == (400, "InvalidInput")


def test_smaller_pools_leave_addresses_in_use_alone(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24", allocation_pools=[pool("192.0.2.10", "192.0.2.20")])
    old = api.port(network)
    api.update("subnets", made, allocation_pools=[pool("192.0.2.30", "192.0.2.31")])
    assert api.show("ports", old["id"]) == old
    assert [addresses(api.port(network)) for _ in range(2)] == [["192.0.2.30"], ["192.0.2.31"]]
    assert api.ask("POST", "ports", {"port": {"network_id": network["id"]}}).error[0] == 409
    api.delete("ports", old)
    # What lies outside of the pools now does not come back into them.
    assert api.ask("POST", "ports", {"port": {"network_id": network["id"]}}).error[0] == 409


def test_a_subnet_with_addresses_in_use_stays_and_the_message_names_the_ports(api: Asker, network: Row) -> None:
    made = api.subnet(network, "192.0.2.0/24")
    port = api.port(network)
    answer = api.try_delete("subnets", made)
    assert answer.error == (409, "SubnetInUse") and made["id"] in answer.message and port["id"] in answer.message
    api.delete("ports", port)
    api.delete("subnets", made)
    assert api.show("networks", network["id"])["subnets"] == []


def test_automatic_addresses_go_with_their_subnet_but_not_those_of_routers(api: Asker, network: Row) -> None:
    api.subnet(network, "192.0.2.0/24")
    six = api.subnet(network, "2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    port = api.port(network)
    assert len(port["fixed_ips"]) == 2
    router = api.port(network, device_owner="network:router_interface", fixed_ips=[{"ip_address": "2001:db8::1"}])
    answer = api.try_delete("subnets", six)
    assert answer.error == (409, "SubnetInUse") and router["id"] in answer.message and port["id"] not in answer.message
    api.delete("ports", router)
    api.delete("subnets", six)
    assert addresses(api.show("ports", port["id"])) == ["192.0.2.2"]


def test_a_port_whose_only_address_went_with_its_subnet_has_none(api: Asker, network: Row) -> None:
    six = api.subnet(network, "2001:db8::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac")
    port = api.port(network)
    assert (len(port["fixed_ips"]), port["ip_allocation"]) == (1, "immediate")
    api.delete("subnets", six)
    port = api.show("ports", port["id"])
    assert (port["fixed_ips"], port["ip_allocation"]) == ([], "none")


def test_a_subnet_on_a_full_network_is_a_new_place_for_ports(api: Asker, network: Row) -> None:
    api.subnet(network, "192.0.2.0/30")
    assert addresses(api.port(network)) == ["192.0.2.2"]
    api.subnet(network, "198.51.100.0/30")
    assert addresses(api.port(network)) == ["198.51.100.2"]


def test_service_types_are_shown_and_changed_and_choose_the_subnet(api: Asker) -> None:
    network = api.network()
    one, two = (
        api.subnet(network, cidr, service_types=[f"test:type_{number}"])
        for number, cidr in ((1, "192.168.1.0/24"), (2, "192.168.2.0/24"))
    )
    assert (one["service_types"], two["service_types"]) == (["test:type_1"], ["test:type_2"])
    for subnet, owner in ((one, "test:type_1"), (two, "test:type_2")):
        assert [item["subnet_id"] for item in api.port(network, device_owner=owner)["fixed_ips"]] == [subnet["id"]]
    refused = api.try_create("ports", network_id=network["id"], device_owner="compute:x")
    assert refused.error == (409, "IpAddressGenerationFailureNoMatchingSubnet")
    changed = api.update("subnets", one, service_types=[])
    assert changed["service_types"] == [] and changed["revision_number"] > one["revision_number"]
    assert [item["subnet_id"] for item in api.port(network)["fixed_ips"]] == [one["id"]]
    assert api.try_update("subnets", one, service_types=["foo"]).error == (400, "InvalidSubnetServiceType")
