# SPDX-License-Identifier: Apache-2.0
"""Floating IPs: what they lead to, and what ports, routers and networks may not do because of them."""

from __future__ import annotations

from typing import Any

import pytest

from portico.store.store import Store

from .asker import Asker, addresses
from .floating import GATEWAY, Site

NOWHERE = "0d6d6f6e-97f4-4c1e-a6f4-0a4d8b0d3c11"


@pytest.fixture
def site(api: Asker) -> Site:
    return Site(api)


def test_a_floating_ip_has_an_address_of_its_own_and_leads_where_it_is_told(site: Site) -> None:
    web, db = site.api.port(site.inside, name="web", device_id="vm"), site.api.port(site.inside)
    made = site.floating(description="d")
    assert made["floating_ip_address"].startswith("198.51.100.")
    assert (made["port_id"], made["fixed_ip_address"], made["router_id"], made["status"]) == (None, None, None, "DOWN")
    assert (made["port_details"], made["port_forwardings"], made["description"]) == (None, [], "d")
    (own,) = site.api.list("ports", f"device_id={made['id']}")
    assert (own["device_owner"], own["status"], own["project_id"]) == ("network:floatingip", "N/A", "")
    assert addresses(own) == [made["floating_ip_address"]]
    there = site.api.update("floatingips", made, port_id=web["id"])
    assert (there["port_id"], there["fixed_ip_address"]) == (web["id"], addresses(web)[0])
    assert (there["router_id"], there["status"]) == (site.router["id"], "ACTIVE")
    assert there["port_details"] == {
        name: web[name]
        for name in ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
    }
    assert there["revision_number"] > made["revision_number"]
    moved = site.api.update("floatingips", made, port_id=db["id"])
    assert (moved["port_id"], moved["fixed_ip_address"]) == (db["id"], addresses(db)[0])
    kept = site.api.update("floatingips", made, description="e")
    assert (kept["port_id"], kept["description"]) == (db["id"], "e")
    free = site.api.update("floatingips", made, port_id=None)
    assert (free["port_id"], free["fixed_ip_address"], free["router_id"], free["status"]) == (None, None, None, "DOWN")
    site.api.delete("floatingips", made)
    assert site.api.list("ports", f"device_id={made['id']}") == []
    assert site.floating(floating_ip_address=made["floating_ip_address"])


def test_it_fares_as_its_router_does(site: Site, store: Store) -> None:
    port = site.api.port(site.inside)
    with store.write() as tx:
        router = tx.get("router", site.router["id"])
        assert router is not None
        tx.update("router", router, {"status": "ERROR"}, touch=False)
        tx.note_reason("router", router["id"], "host1: no namespace")
    made = site.floating(port_id=port["id"])
    assert made["status"] == "ERROR"
    with store.read() as tx:
        assert tx.reason("floatingip", made["id"]) == "host1: no namespace"
    site.api.delete("ports", port)
    with store.read() as tx:
        assert tx.reason("floatingip", made["id"]) == ""
    assert site.now(made)["status"] == "DOWN"


def test_an_update_that_says_nothing_has_it_lead_nowhere(site: Site) -> None:
    made = site.floating(port_id=site.api.port(site.inside)["id"])
    assert site.api.ask("PUT", f"floatingips/{made['id']}", {"floatingip": {}}).body["floatingip"]["port_id"] is None


def test_one_of_several_addresses_must_be_named(site: Site) -> None:
    subnet = site.inside["subnets"][0]
    port = site.api.port(site.inside, fixed_ips=[{"subnet_id": subnet}, {"subnet_id": subnet}])
    first, second = addresses(port)
    assert site.try_floating(port_id=port["id"]).error == (400, "BadRequest")
    made = site.floating(port_id=port["id"], fixed_ip_address=first)
    assert (
        site.api.update("floatingips", made, port_id=port["id"], fixed_ip_address=second)["fixed_ip_address"] == second
    )
    assert site.floating(port_id=port["id"], fixed_ip_address=first)["fixed_ip_address"] == first
    taken = site.try_floating(port_id=port["id"], fixed_ip_address=second)
    assert taken.error == (409, "FloatingIPPortAlreadyAssociated") and port["id"] in taken.message


def test_an_address_of_a_pool_or_just_this_one(site: Site) -> None:
    second = site.api.subnet(site.outside, "203.0.113.0/24", name="second")
    site.api.subnet(site.outside, "2001:db8::/64")
    pools = {row["subnet_id"]: row for row in site.api.list("floatingip-pools")}
    assert {row["cidr"] for row in pools.values()} == {"198.51.100.0/24", "203.0.113.0/24"}
    assert pools[second["id"]] == {
        "subnet_id": second["id"],
        "subnet_name": "second",
        "network_id": site.outside["id"],
        "cidr": "203.0.113.0/24",
        "project_id": "red",
        "tenant_id": "red",
    }
    assert [row["subnet_id"] for row in site.api.list("floatingip_pools", "cidr=203.0.113.0/24")] == [second["id"]]
    assert site.floating(subnet_id=second["id"])["floating_ip_address"].startswith("203.0.113.")
    assert site.floating(floating_ip_address="203.0.113.77")["floating_ip_address"] == "203.0.113.77"
    for values, error in (
        ({"floating_ip_address": "203.0.113.77"}, (409, "IpAddressAlreadyAllocated")),
        ({"floating_ip_address": "192.0.2.1"}, (400, "InvalidIpForNetwork")),
        ({"floating_ip_address": "198.51.100.9", "subnet_id": second["id"]}, (400, "InvalidIpForSubnet")),
        ({"floating_ip_address": "203.0.113.1"}, (400, "BadRequest")),
        ({"subnet_id": site.inside["subnets"][0]}, (400, "InvalidInput")),
        ({"subnet_id": NOWHERE}, (404, "SubnetNotFound")),
    ):
        assert site.try_floating(**values).error == error, values


def test_only_external_networks_with_ipv4_have_floating_ips(site: Site) -> None:
    v6 = site.api.network("2001:db8::/64", **{"router:external": True})
    for network, words in ((site.inside, "not a valid external network"), (v6, "does not contain any IPv4 subnet")):
        answer = site.try_floating(floating_network_id=network["id"])
        assert answer.error == (400, "BadRequest") and words in answer.message
    assert site.try_floating(floating_network_id=NOWHERE).error == (404, "NetworkNotFound")
    tiny = site.api.network("192.0.2.0/30", **{"router:external": True})
    assert site.try_floating(floating_network_id=tiny["id"]).status == 201
    assert site.try_floating(floating_network_id=tiny["id"]).error == (409, "IpAddressGenerationFailure")


def test_what_a_floating_ip_cannot_lead_to(site: Site) -> None:
    isolated = site.api.port(site.api.network("10.9.0.0/24"))
    without = site.new_router(gateway=False)
    behind = site.api.network("10.8.0.0/24")
    site.interface(without, "add", behind["subnets"][0])
    port = site.api.port(site.inside)
    for values, error in (
        ({"port_id": isolated["id"]}, (404, "ExternalGatewayForFloatingIPNotFound")),
        ({"port_id": site.api.port(behind)["id"]}, (404, "ExternalGatewayForFloatingIPNotFound")),
        ({"port_id": NOWHERE}, (404, "PortNotFound")),
        ({"port_id": site.api.port(site.inside, fixed_ips=[])["id"]}, (400, "BadRequest")),
        ({"port_id": port["id"], "fixed_ip_address": "10.0.0.200"}, (400, "BadRequest")),
        ({"port_id": port["id"], "fixed_ip_address": "2001:db8::1"}, (400, "BadRequest")),
        ({"fixed_ip_address": addresses(port)[0]}, (400, "BadRequest")),
        ({"port_id": site.api.port(site.inside, device_owner="network:dhcp")["id"]}, (400, "BadRequest")),
    ):
        assert site.try_floating(**values).error == error, values
    made = site.floating(port_id=port["id"])
    alone: dict[str, Any] = {"fixed_ip_address": "10.0.0.200"}
    assert site.api.try_update("floatingips", made, **alone).error == (400, "BadRequest")
    assert site.now(made) == made


def test_of_several_routers_the_one_at_the_gateway_address_has_it(site: Site) -> None:
    other = site.new_router()
    leg = site.api.port(site.inside)
    path = f"routers/{other['id']}/add_router_interface"
    assert site.api.ask("PUT", path, {"port_id": leg["id"]}).status == 200
    for _ in range(3):
        assert site.floating(port_id=site.api.port(site.inside)["id"])["router_id"] == site.router["id"]


def test_a_router_that_is_named_has_it_wherever_the_port_is(site: Site) -> None:
    """As in Neutron: how packets get from there to the port is up to routes."""
    far = site.api.network("10.9.0.0/24")
    port, near = site.api.port(far), site.api.port(site.inside)
    named = {"port_id": port["id"], "router_id": site.router["id"]}
    made = site.floating(**named)
    assert made["router_id"] == site.router["id"] and made["fixed_ip_address"] == addresses(port)[0]
    assert site.api.update("floatingips", made, description="kept")["router_id"] == site.router["id"]
    other = site.new_router(gateway=True)
    moved = site.api.update("floatingips", made, router_id=other["id"])
    assert (moved["router_id"], moved["port_id"]) == (other["id"], port["id"])
    lost = site.api.try_update("floatingips", made, router_id=None)
    assert lost.error == (404, "ExternalGatewayForFloatingIPNotFound"), "without a name it is one at the port's subnet"
    assert site.api.update("floatingips", made, port_id=near["id"])["router_id"] == site.router["id"]
    assert site.api.update("floatingips", made, port_id=None)["router_id"] is None
    closed = site.new_router(gateway=False)
    for values, error in (
        ({**named, "router_id": closed["id"]}, (409, "Conflict")),
        ({**named, "router_id": NOWHERE}, (404, "RouterNotFound")),
        ({"router_id": other["id"]}, (400, "BadRequest")),
    ):
        assert site.api.try_update("floatingips", made, **values).error == error, values
        assert site.try_floating(**values).error == error, values
    assert site.now(made)["port_id"] is None


def test_a_port_takes_its_floating_ip_along_neither_when_it_goes_nor_when_it_moves(site: Site) -> None:
    port = site.api.port(site.inside)
    made = site.floating(port_id=port["id"])
    answer = site.api.try_update("ports", port, fixed_ips=[{"ip_address": "10.0.0.99"}])
    assert answer.error == (400, "BadRequest") and made["floating_ip_address"] in answer.message
    also = [*port["fixed_ips"], {"subnet_id": site.inside["subnets"][0]}]
    assert site.api.try_update("ports", port, fixed_ips=also, name="x").status == 200
    site.api.delete("ports", port)
    free = site.now(made)
    assert (free["port_id"], free["fixed_ip_address"], free["router_id"], free["status"]) == (None, None, None, "DOWN")


def test_the_port_of_a_floating_ip_is_not_a_workloads(site: Site) -> None:
    made = site.floating()
    (own,) = site.api.list("ports", f"device_id={made['id']}")
    assert site.api.try_delete("ports", own).error == (409, "ServicePortInUse")
    for changes in (
        {"fixed_ips": [{"ip_address": "198.51.100.200"}]},
        {"device_id": "x"},
        {"device_owner": "compute:nova"},
        {"binding:host_id": "host1"},
    ):
        answer = site.api.try_update("ports", own, **changes)
        assert answer.error == (409, "PortInUse") and next(iter(changes)) in answer.message
    assert site.api.update("ports", own, name="mine")["name"] == "mine"


def test_routers_and_networks_stay_as_floating_ips_need_them(site: Site) -> None:
    made = site.floating(port_id=site.api.port(site.inside)["id"])
    subnet = site.inside["subnets"][0]
    answer = site.interface(site.router, "remove", subnet)
    assert answer.error == (409, "RouterInterfaceInUseByFloatingIP")
    assert made["floating_ip_address"] in answer.message
    for gateway in (None, {"network_id": site.api.network("203.0.113.0/24", **{"router:external": True})["id"]}):
        answer = site.api.try_update("routers", site.router, **{GATEWAY: gateway})
        assert answer.error == (409, "RouterExternalGatewayInUseByFloatingIp")
    assert site.api.try_update("networks", site.outside, **{"router:external": False}).status == 409
    assert site.api.try_delete("networks", site.outside).error == (409, "NetworkInUse")
    assert site.api.try_delete("subnets", site.outside["subnets"][0]).error == (409, "SubnetInUse")
    second = {"external_gateways": [{"network_id": site.outside["id"]}]}
    path = f"routers/{site.router['id']}/{{}}_external_gateways"
    assert site.api.ask("PUT", path.format("add"), {"router": second}).status == 200
    one = site.api.show("routers", site.router["id"])["external_gateways"][0]
    assert site.api.ask("PUT", path.format("remove"), {"router": {"external_gateways": [one]}}).status == 200
    site.api.update("floatingips", made, port_id=None)
    assert site.interface(site.router, "remove", subnet).status == 200
    assert site.api.update("routers", site.router, **{GATEWAY: None})[GATEWAY] is None


def test_floating_ips_that_lead_nowhere_go_with_their_network(site: Site) -> None:
    site.api.delete("ports", site.api.port(site.inside))
    site.floating()
    site.api.update("routers", site.router, **{GATEWAY: None})
    site.api.update("networks", site.outside, **{"router:external": False})
    assert site.api.list("floatingips") == []
    site.api.update("networks", site.outside, **{"router:external": True})
    site.floating()
    site.api.delete("networks", site.outside)
    assert site.api.list("floatingips") == []


def test_lists_filter_and_show_forwardings_and_details_of_each(site: Site) -> None:
    ports = [site.api.port(site.inside) for _ in range(2)]
    one, two = (site.floating(port_id=port["id"]) for port in ports)
    third = site.floating()
    assert site.forward(third, site.api.port(site.inside), 80, 8080).status == 201
    for query, wanted in (
        (f"port_id={ports[0]['id']}", [one]),
        (f"floating_ip_address={two['floating_ip_address']}", [two]),
        ("status=ACTIVE&sort_key=floating_ip_address", sorted([one["id"], two["id"], third["id"]])),
        (f"router_id={site.router['id']}&fixed_ip_address={two['fixed_ip_address']}", [two]),
    ):
        ids = [item if isinstance(item, str) else item["id"] for item in wanted]
        assert sorted(row["id"] for row in site.api.list("floatingips", query)) == ids, query
    found = {row["id"]: row for row in site.api.list("floatingips")}
    assert [len(found[row["id"]]["port_forwardings"]) for row in (one, two, third)] == [0, 0, 1]
    assert found[one["id"]]["port_details"]["mac_address"] == ports[0]["mac_address"]
    assert found[third["id"]]["port_details"] is None


def test_names_are_kept_and_checked(site: Site) -> None:
    made = site.floating(dns_name="Web", dns_domain="example.org.")
    assert (made["dns_name"], made["dns_domain"]) == ("web", "example.org.")
    assert site.try_floating(dns_name="web.").status == 400
    assert site.api.try_update("floatingips", made, dns_name="x").status == 400
