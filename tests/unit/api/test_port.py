# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv6Network, ip_address
from uuid import uuid4

import pytest

from .asker import Asker, Row, addresses

MAC = "fa:16:3e:01:02:03"
EUI64 = "f816:3eff:fe01:203"
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


def subnet_of(api: Asker, network: Row, cidr: str) -> str:
    return str(api.list("subnets", f"network_id={network['id']}&cidr={cidr}")[0]["id"])


def taken(api: Asker, network: Row) -> int:
    return int(api.get(f"network-ip-availabilities/{network['id']}")["network_ip_availability"]["used_ips"])


def test_a_port_that_names_only_its_network_gets_the_defaults(api: Asker, network: Row) -> None:
    port = api.port(network)
    (group,) = api.list("security-groups", "name=default")
    defaults = {
        "name": "", "admin_state_up": True, "status": "DOWN", "device_id": "", "device_owner": "", "tags": [],
        "security_groups": [group["id"]], "port_security_enabled": True, "allowed_address_pairs": [],
        "extra_dhcp_opts": [], "dns_name": "", "dns_domain": "", "ip_allocation": "immediate", "binding:host_id": "",
        "binding:vnic_type": "normal", "binding:profile": {}, "binding:vif_type": "unbound", "binding:vif_details": {},
        "description": "",
    }  # fmt: skip
    assert {name: port[name] for name in defaults} == defaults
    assert port["mac_address"].startswith("fa:16:3e:")
    assert port["fixed_ips"] == [{"subnet_id": network["subnets"][0], "ip_address": "192.0.2.2"}]
    assert port["dns_assignment"] == [
        {"ip_address": "192.0.2.2", "hostname": "host-192-0-2-2", "fqdn": "host-192-0-2-2.portico.test."}
    ]


# Addresses


def test_addresses_are_given_out_in_turn_and_come_back_last(api: Asker, network: Row) -> None:
    ports = [api.port(network) for _ in range(3)]
    assert [addresses(port) for port in ports] == [["192.0.2.2"], ["192.0.2.3"], ["192.0.2.4"]]
    api.delete("ports", ports[0])
    assert addresses(api.port(network)) == ["192.0.2.5"]


def test_a_port_gets_one_address_of_each_version_and_all_automatic_ones(api: Asker) -> None:
    network = api.network("192.0.2.0/24", "198.51.100.0/24", "2001:db8:1::/64", "2001:db8:2::/64")
    api.subnet(network, "2001:db8:a::/64", **SLAAC)
    api.subnet(network, "2001:db8:b::/64", ipv6_ra_mode="dhcpv6-stateless", ipv6_address_mode="dhcpv6-stateless")
    port = api.port(network, mac_address=MAC)
    assert [ip_address(text) for text in addresses(port)] == [
        ip_address("192.0.2.2"), ip_address("2001:db8:1::2"), ip_address(f"2001:db8:a:0:{EUI64}"),
        ip_address(f"2001:db8:b:0:{EUI64}"),
    ]  # fmt: skip


def test_a_stateful_dhcpv6_subnet_gives_addresses_from_its_pool(api: Asker) -> None:
    network = api.create("networks")
    api.subnet(
        network, "2001:db8::/64", ipv6_ra_mode="dhcpv6-stateful", ipv6_address_mode="dhcpv6-stateful",
        allocation_pools=[{"start": "2001:db8::100", "end": "2001:db8::101"}],
    )  # fmt: skip
    assert [addresses(api.port(network)) for _ in range(2)] == [["2001:db8::100"], ["2001:db8::101"]]
    answer = api.try_create("ports", network_id=network["id"])
    assert answer.error == (409, "IpAddressGenerationFailure") and network["id"] in answer.message


def test_when_the_first_subnet_is_full_the_next_is_used(api: Asker) -> None:
    network = api.network("192.0.2.0/30", "198.51.100.0/30")
    assert sorted(addresses(api.port(network))[0] for _ in range(2)) == ["192.0.2.2", "198.51.100.2"]
    assert api.try_create("ports", network_id=network["id"]).error == (409, "IpAddressGenerationFailure")
    assert len(api.list("ports")) == 2


def test_an_address_can_be_chosen_by_subnet_by_address_and_by_both(api: Asker) -> None:
    network = api.network("192.0.2.0/24", "198.51.100.0/24")
    one, two = network["subnets"]
    assert addresses(api.port(network, fixed_ips=[{"subnet_id": two}])) == ["198.51.100.2"]
    assert addresses(api.port(network, fixed_ips=[{"ip_address": "198.51.100.9"}])) == ["198.51.100.9"]
    both = [{"subnet_id": one, "ip_address": "192.0.2.9"}]
    assert api.port(network, fixed_ips=both)["fixed_ips"] == both
    several = api.port(network, fixed_ips=[{"subnet_id": one}, {"subnet_id": two}, {"subnet_id": one}])
    assert addresses(several) == ["192.0.2.2", "198.51.100.3", "192.0.2.3"]
    # Inside the subnet but outside of its pools, or its gateway's: allowed, for whoever knows what they do.
    assert addresses(api.port(network, fixed_ips=[{"ip_address": "192.0.2.1"}])) == ["192.0.2.1"]


def test_addresses_that_are_named_are_taken_before_others_are_chosen(api: Asker, network: Row) -> None:
    (subnet,) = network["subnets"]
    port = api.port(network, fixed_ips=[{"subnet_id": subnet}, {"ip_address": "192.0.2.2"}])
    assert sorted(addresses(port)) == ["192.0.2.2", "192.0.2.3"]


def test_an_address_that_was_named_is_not_given_out_again(api: Asker, network: Row) -> None:
    api.port(network, fixed_ips=[{"ip_address": "192.0.2.3"}])
    assert [addresses(api.port(network)) for _ in range(2)] == [["192.0.2.2"], ["192.0.2.4"]]


def test_ports_without_addresses_exist_and_can_get_and_lose_them(api: Asker, network: Row) -> None:
    port = api.port(network, fixed_ips=[])
    assert (port["fixed_ips"], port["ip_allocation"], port["dns_assignment"]) == ([], "none", [])
    port = api.update("ports", port, fixed_ips=[{"subnet_id": network["subnets"][0]}])
    assert (addresses(port), port["ip_allocation"]) == (["192.0.2.2"], "immediate")
    port = api.update("ports", port, fixed_ips=[])
    assert port["fixed_ips"] == [] and taken(api, network) == 0
    plain = api.create("networks")
    assert api.port(plain)["fixed_ips"] == []


def test_no_address_means_none_also_where_addresses_are_automatic(api: Asker) -> None:
    network = api.create("networks")
    api.subnet(network, "2001:db8::/64", **SLAAC)
    port = api.port(network, fixed_ips=[])
    assert port["fixed_ips"] == []
    assert api.update("ports", port, name="x")["fixed_ips"] == []
    api.subnet(network, "2001:db8:1::/64", **SLAAC)
    assert api.show("ports", port["id"])["fixed_ips"] == []


@pytest.mark.parametrize(
    ("fixed_ips", "expected", "parts"),
    [
        ([{"ip_address": "10.0.0.1"}], (400, "InvalidIpForNetwork"), ["10.0.0.1"]),
        ([{"ip_address": "192.0.2.0"}], (400, "InvalidIpForNetwork"), ["192.0.2.0"]),
        ([{"ip_address": "192.0.2.255"}], (400, "InvalidIpForNetwork"), ["192.0.2.255"]),
        ([{"subnet_id": "$own", "ip_address": "192.0.2.0"}], (400, "InvalidIpForSubnet"), ["192.0.2.0", "$own"]),
        ([{"subnet_id": "$own", "ip_address": "2001:db8::1"}], (400, "InvalidIpForSubnet"), ["2001:db8::1", "$own"]),
        ([{"subnet_id": "$own", "ip_address": "198.51.100.1"}], (400, "InvalidIpForSubnet"), ["198.51.100.1", "$own"]),
        ([{"subnet_id": "$other"}], (400, "InvalidInput"), ["$other"]),
        ([{"subnet_id": str(uuid4())}], (404, "SubnetNotFound"), []),
        ([{}], (400, "InvalidInput"), []),
        ([{"ip_address": "192.0.2.9"}, {"ip_address": "192.0.2.9"}], (400, "HTTPBadRequest"), ["192.0.2.9"]),
        ([{"ip_address": "x"}], (400, "HTTPBadRequest"), ["x"]),
        ([{"ip_address": "192.0.2.2"}], (409, "IpAddressAlreadyAllocated"), ["192.0.2.2", "$own", "$port"]),
        ([{"subnet_id": "$own", "ip_address": "192.0.2.2"}], (409, "IpAddressAlreadyAllocated"), ["$port"]),
    ],
)
def test_addresses_that_cannot_be_had_are_refused_and_leave_nothing(
    api: Asker, network: Row, fixed_ips: list[Row], expected: tuple[int, str], parts: list[str]
) -> None:
    other = api.network("203.0.113.0/24")
    holder = api.port(network)
    names = {"$own": network["subnets"][0], "$other": other["subnets"][0], "$port": holder["id"]}
    wanted = [{key: names.get(value, value) for key, value in item.items()} for item in fixed_ips]
    answer = api.try_create("ports", network_id=network["id"], fixed_ips=wanted)
    assert answer.error == expected, answer
    assert all(names.get(part, part) in answer.message for part in parts), answer.message
    second = api.port(network)
    if expected[1] != "HTTPBadRequest":
        assert api.try_update("ports", second, fixed_ips=wanted).error == expected
    assert api.show("ports", second["id"]) == second
    assert taken(api, network) == 2


def test_an_address_cannot_be_had_where_there_is_no_subnet(api: Asker) -> None:
    bare = api.network()
    answer = api.try_create("ports", network_id=bare["id"], fixed_ips=[{"ip_address": "192.0.2.9"}])
    assert answer.error == (400, "InvalidInput") and bare["id"] in answer.message
    assert api.list("ports") == []


def test_two_networks_may_have_the_same_addresses(api: Asker, network: Row) -> None:
    twin = api.network("192.0.2.0/24")
    assert addresses(api.port(network)) == addresses(api.port(twin)) == ["192.0.2.2"]


def test_a_change_of_addresses_keeps_what_it_names_and_gives_back_the_rest(api: Asker, network: Row) -> None:
    (subnet,) = network["subnets"]
    port = api.port(network, fixed_ips=[{"subnet_id": subnet}, {"subnet_id": subnet}])
    assert addresses(port) == ["192.0.2.2", "192.0.2.3"]
    changed = api.update("ports", port, fixed_ips=[{"ip_address": "192.0.2.3"}, {"ip_address": "192.0.2.77"}])
    assert sorted(addresses(changed)) == ["192.0.2.3", "192.0.2.77"]
    again = api.update("ports", port, fixed_ips=changed["fixed_ips"])
    assert again["fixed_ips"] == changed["fixed_ips"]
    assert taken(api, network) == 2
    assert addresses(api.port(network, fixed_ips=[{"ip_address": "192.0.2.2"}])) == ["192.0.2.2"]


@pytest.mark.parametrize("subnet_first", [True, False])
def test_an_address_that_is_named_is_kept_wherever_it_stands_in_the_request(
    api: Asker, network: Row, subnet_first: bool
) -> None:
    port = api.port(network)
    wanted = [{"subnet_id": network["subnets"][0]}, {"ip_address": "192.0.2.2"}]
    changed = api.update("ports", port, fixed_ips=wanted if subnet_first else wanted[::-1])
    assert addresses(changed) == ["192.0.2.2", "192.0.2.3"]
    api.delete("ports", port)
    assert taken(api, network) == 0


def test_a_group_address_is_no_ports_mac_address(api: Asker, network: Row) -> None:
    port = api.port(network)
    for answer in (
        api.try_create("ports", network_id=network["id"], mac_address="01:00:5e:00:00:01"),
        api.try_update("ports", port, mac_address="03:00:00:00:00:01"),
    ):
        assert answer.error == (400, "InvalidInput") and "is a group address" in answer.message
    assert api.update("ports", port, mac_address="02:00:00:00:00:01")["mac_address"] == "02:00:00:00:00:01"


def test_automatic_addresses_come_follow_and_go_with_the_mac_address(api: Asker, network: Row) -> None:
    port = api.port(network, mac_address=MAC)
    api.subnet(network, "2001:db8:a::/64", **SLAAC)
    first = f"2001:db8:a:0:{EUI64}"
    assert addresses(api.show("ports", port["id"])) == ["192.0.2.2", first]
    # A change of other addresses leaves it, one of the MAC address makes it anew.
    assert sorted(addresses(api.update("ports", port, fixed_ips=[{"ip_address": "192.0.2.9"}]))) == ["192.0.2.9", first]
    assert sorted(addresses(api.update("ports", port, fixed_ips=[{"ip_address": "192.0.2.9"}]))) == ["192.0.2.9", first]
    moved = api.update("ports", port, mac_address="fa:16:3e:01:02:04")
    assert sorted(addresses(moved)) == ["192.0.2.9", first.removesuffix("3") + "4"]
    assert api.list("ports", f"fixed_ips=ip_address={first}") == []
    kept = api.update("ports", port, fixed_ips=moved["fixed_ips"])
    assert sorted(addresses(kept)) == sorted(addresses(moved))
    api.delete("ports", port)
    assert taken(api, network) == 0


def test_a_port_with_only_automatic_addresses_follows_its_mac_address_too(api: Asker) -> None:
    network = api.create("networks")
    api.subnet(network, "2001:db8::/64", **SLAAC)
    port = api.port(network, mac_address=MAC)
    assert addresses(port) == [f"2001:db8::{EUI64}"]
    assert addresses(api.update("ports", port, mac_address="fa:16:3e:01:02:04")) == [f"2001:db8::{EUI64[:-1]}4"]
    both = api.update(
        "ports", port, mac_address=MAC, fixed_ips=[{"subnet_id": subnet_of(api, network, "2001:db8::/64")}]
    )
    assert addresses(both) == [f"2001:db8::{EUI64}"]


@pytest.mark.parametrize("mode", ["ipv6_ra_mode", "ipv6_address_mode"])
@pytest.mark.parametrize("value", ["slaac", "dhcpv6-stateless"])
def test_one_of_the_two_modes_is_enough_for_automatic_addresses(api: Asker, mode: str, value: str) -> None:
    network = api.network("192.0.2.0/24")
    early = api.port(network)
    subnet = api.subnet(network, "2001:db8::/64", **{mode: value})
    assert len(addresses(api.show("ports", early["id"]))) == 2
    assert addresses(api.port(network, mac_address=MAC)) == ["192.0.2.3", f"2001:db8::{EUI64}"]
    answer = api.try_create("ports", network_id=network["id"], fixed_ips=[{"ip_address": "2001:db8::5"}])
    assert answer.error == (400, "AllocationOnAutoAddressSubnet")
    api.delete("subnets", subnet)
    assert addresses(api.show("ports", early["id"])) == ["192.0.2.2"]


def test_an_automatic_subnet_gives_no_other_address(api: Asker) -> None:
    network = api.create("networks")
    subnet = api.subnet(network, "2001:db8::/64", **SLAAC)
    answer = api.try_create("ports", network_id=network["id"], fixed_ips=[{"ip_address": "2001:db8::5"}])
    assert answer.error == (400, "AllocationOnAutoAddressSubnet") and "2001:db8::5" in answer.message
    router = api.port(network, device_owner="network:router_interface", fixed_ips=[{"ip_address": "2001:db8::1"}])
    assert addresses(router) == ["2001:db8::1"]
    explicit = api.port(network, mac_address=MAC, fixed_ips=[{"subnet_id": subnet["id"]}])
    assert [ip_address(text) in IPv6Network("2001:db8::/64") for text in addresses(explicit)] == [True]


def test_an_address_outside_of_the_pools_is_never_given_out_by_itself(api: Asker) -> None:
    network = api.create("networks")
    api.subnet(network, "192.0.2.0/24", allocation_pools=[{"start": "192.0.2.10", "end": "192.0.2.11"}])
    outside = api.port(network, fixed_ips=[{"ip_address": "192.0.2.99"}])
    api.delete("ports", outside)
    assert [addresses(api.port(network)) for _ in range(2)] == [["192.0.2.10"], ["192.0.2.11"]]
    assert api.try_create("ports", network_id=network["id"]).error == (409, "IpAddressGenerationFailure")


# MAC addresses


def test_a_mac_address_is_kept_in_one_spelling_and_is_unique_on_its_network(api: Asker, network: Row) -> None:
    port = api.port(network, mac_address="FA-16-3E-01-02-03")
    assert port["mac_address"] == MAC
    answer = api.try_create("ports", network_id=network["id"], mac_address=MAC)
    assert answer.error == (409, "MacAddressInUse") and MAC in answer.message and network["id"] in answer.message
    other = api.port(network)
    assert api.try_update("ports", other, mac_address=MAC).error == (409, "MacAddressInUse")
    assert api.port(api.create("networks"), mac_address=MAC)["mac_address"] == MAC
    for wrong in ("x", "01:00:00:00:00", "00:00:00:00:00:00", 7):
        assert api.try_create("ports", network_id=network["id"], mac_address=wrong).error[0] == 400


def test_a_mac_address_of_null_asks_for_a_new_one(api: Asker, network: Row) -> None:
    port = api.port(network, mac_address=None)
    assert port["mac_address"].startswith("fa:16:3e:")
    assert api.update("ports", port, mac_address=None)["mac_address"] != port["mac_address"]


def test_pairs_follow_the_mac_address_of_their_port(api: Asker, network: Row) -> None:
    port = api.port(network, mac_address=MAC, allowed_address_pairs=[{"ip_address": "192.0.2.50"}])
    assert port["allowed_address_pairs"] == [{"mac_address": MAC, "ip_address": "192.0.2.50"}]
    new = "fa:16:3e:01:02:04"
    moved = api.update("ports", port, mac_address=new)
    assert moved["allowed_address_pairs"] == [{"mac_address": new, "ip_address": "192.0.2.50"}]


# Names


def test_names_for_dns_are_checked_and_make_the_full_name(api: Asker, network: Row) -> None:
    port = api.port(network, dns_name="web")
    assert port["dns_assignment"][0]["hostname"] == "web"
    assert port["dns_assignment"][0]["fqdn"] == "web.portico.test."
    assert api.update("ports", port, dns_name="")["dns_assignment"][0]["hostname"] == "host-192-0-2-2"
    for wrong in ("-x", "a b", "x" * 300):
        assert api.try_update("ports", port, dns_name=wrong).error[0] == 400


def test_a_port_cannot_move_to_another_network(api: Asker, network: Row) -> None:
    port = api.port(network)
    assert api.try_update("ports", port, network_id=network["id"]).error == (400, "HTTPBadRequest")


def test_tags_can_be_given_when_a_port_is_created_but_not_in_a_change(api: Asker, network: Row) -> None:
    port = api.port(network, tags=["b", "a"])
    assert sorted(port["tags"]) == ["a", "b"]
    assert api.list("ports", "tags=a,b") == [api.show("ports", port["id"])]
    assert api.try_update("ports", port, tags=["c"]).error == (400, "HTTPBadRequest")
    assert api.try_create("ports", network_id=network["id"], tags=["x" * 256]).error[0] == 400


def test_stateful_and_stateless_groups_do_not_go_on_one_port(api: Asker) -> None:
    network = api.network("192.0.2.0/24")
    keeps = api.create("security-groups", name="keeps", stateful=True)["id"]
    forgets = api.create("security-groups", name="forgets", stateful=False)["id"]
    both = {"network_id": network["id"], "security_groups": [keeps, forgets]}
    assert api.try_create("ports", **both).error == (409, "SecurityGroupConflict")
    port = api.create("ports", network_id=network["id"], security_groups=[forgets])
    answer = api.ask("PUT", f"ports/{port['id']}", {"port": {"security_groups": [keeps, forgets]}})
    assert answer.error == (409, "SecurityGroupConflict") and keeps in answer.message
    assert api.update("ports", port, security_groups=[keeps])["security_groups"] == [keeps]


def test_a_port_can_have_a_domain_of_its_own(api: Asker, network: Row) -> None:
    port = api.port(network, dns_name="web", dns_domain="Example.ORG.")
    assert (port["dns_domain"], port["dns_assignment"][0]["fqdn"]) == ("example.org.", "web.example.org.")
    changed = api.update("ports", port, dns_name="db.example.org.")
    assert changed["dns_name"] == "db"
    answer = api.try_update("ports", port, dns_name="db.portico.test.")
    assert answer.error == (400, "InvalidInput") and "'.example.org.'" in answer.message
    assert api.update("ports", port, dns_domain="")["dns_assignment"][0]["fqdn"] == "db.portico.test."
