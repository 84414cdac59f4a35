# SPDX-License-Identifier: Apache-2.0
"""NDP proxies of routers: who may have which, and what is in the way of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from portico.rules.context import Context
from portico.store.store import Store

from .test_router import Make, Row, World

INSIDE, OUTSIDE = "2001:db8:a::/64", "2001:db8:f::/64"
TAKEN = (409, "RouterGatewayInUseByNDPProxy")


@dataclass(frozen=True, slots=True)
class Site:
    """A network in the address scope of the one outside, whose pool is `pool`."""

    world: World
    pool: Row
    outside: Row
    subnet: Row

    def router(self, **body: Any) -> Row:
        world = self.world
        gateway = {"network_id": self.outside["id"]}
        made = world.make("router", name="r", **{"external_gateway_info": gateway, "enable_ndp_proxy": True, **body})
        world.act(made, "add_router_interface", subnet_id=self.subnet["id"])
        return made

    def port(self, **body: Any) -> Row:
        return self.world.make("port", network_id=self.subnet["network_id"], **body)

    def proxy(self, router: Row, port: Row, **body: Any) -> Row:
        return self.world.make("ndp_proxy", router_id=router["id"], port_id=port["id"], **body)

    def proxies(self) -> list[str]:
        return [row["ip_address"] for row in self.world.tx.find("ndp_proxy")]


def scoped(world: World) -> Row:
    """Return a subnet pool in an address scope of its own."""
    scope = world.make("address_scope", name="s", ip_version=6)
    body = {"prefixes": ["2001:db8::/32"], "default_prefixlen": 64, "address_scope_id": scope["id"]}
    return world.make("subnetpool", name="p", **body)


@pytest.fixture
def site(store: Store, admin: Context, create: Make, update: Make) -> Any:
    with store.write() as tx:
        world = World(tx, admin, create, update)
        pool = scoped(world)
        outside, _ = world.network(external=True)
        inside, _ = world.network()
        world.subnet(outside, OUTSIDE, subnetpool_id=pool["id"])
        yield Site(world, pool, outside, world.subnet(inside, INSIDE, subnetpool_id=pool["id"]))


def test_a_router_answers_for_an_address_once(site: Site) -> None:
    router, port = site.router(), site.port()
    own = port["fixed_ips"][0]["ip_address"]
    made = site.proxy(router, port, name="web", description="d")
    assert (made["ip_address"], made["name"], made["description"], made["revision_number"]) == (own, "web", "d", 1)
    assert site.world.refused(site.proxy, router, port) == (409, "NeutronDbObjectDuplicateEntry")
    site.world.delete("ndp_proxy", made)
    assert site.proxy(router, port, ip_address=own.upper())["ip_address"] == own


def test_addresses_are_the_ports_and_near_to_the_router(site: Site) -> None:
    world, router, port = site.world, site.router(), site.port()
    assert world.refused(site.proxy, router, port, ip_address="2001:db8:a::ffff") == (400, "InvalidAddress")
    far = world.subnet({"id": site.subnet["network_id"]}, "2001:db8:b::/64", subnetpool_id=site.pool["id"])
    both = site.port(fixed_ips=[{"subnet_id": far["id"]}, {"subnet_id": site.subnet["id"]}])
    there, here = (item["ip_address"] for item in both["fixed_ips"])
    assert world.refused(site.proxy, router, both, ip_address=there) == (400, "InvalidAddress")
    assert site.proxy(router, both)["ip_address"] == here
    only = site.port(fixed_ips=[{"subnet_id": far["id"]}])
    assert world.refused(site.proxy, router, only) == (409, "PortUnreachableRouter")
    v4 = world.subnet({"id": site.subnet["network_id"]}, "192.0.2.0/24")
    old = site.port(fixed_ips=[{"subnet_id": v4["id"]}])
    assert world.refused(site.proxy, router, old) == (400, "BadRequest")
    elsewhere, _ = world.network("2001:db8:c::/64")
    stranger = world.make("port", network_id=elsewhere["id"])
    assert world.refused(site.proxy, router, stranger) == (409, "PortUnreachableRouter")


def test_both_sides_are_of_one_address_scope(site: Site) -> None:
    world, router = site.world, site.router()
    other = world.make("address_scope", name="t", ip_version=6)
    pool = world.make("subnetpool", name="q", prefixes=["2001:db9::/32"], default_prefixlen=64,
                      address_scope_id=other["id"])  # fmt: skip
    for cidr, of in (("2001:db9:1::/64", {"subnetpool_id": pool["id"]}), ("2001:dba::/64", {})):
        net, _ = world.network()
        subnet = world.subnet(net, cidr, **of)
        world.act(router, "add_router_interface", subnet_id=subnet["id"])
        port = world.make("port", network_id=net["id"])
        assert world.refused(site.proxy, router, port) == (409, "AddressScopeConflict")


def test_only_a_gateway_in_an_address_scope_can_answer(site: Site) -> None:
    world, unfit = site.world, (409, "RouterGatewayNotValid")
    assert world.refused(site.router, external_gateway_info=None) == unfit
    plain, _ = world.network("2001:dba:1::/64", external=True)
    old, _ = world.network("198.51.100.0/24", external=True)
    for net in (plain, old):
        gateway = {"network_id": net["id"]}
        assert world.refused(site.router, external_gateway_info=gateway) == unfit
        router = world.make("router", name="r", external_gateway_info=gateway)
        assert world.refused(world.change, "router", router, enable_ndp_proxy=True) == unfit
        fit = {"network_id": site.outside["id"]}
        changed = world.change("router", router, enable_ndp_proxy=True, external_gateway_info=fit)
        assert changed["enable_ndp_proxy"] is True
        bare = {"enable_ndp_proxy": True, "external_gateway_info": {}}
        assert world.refused(world.change, "router", router, **bare) == unfit
        assert world.change("router", router, external_gateway_info={})["enable_ndp_proxy"] is False


def test_a_router_with_proxies_keeps_what_they_need(site: Site) -> None:
    world, router, port = site.world, site.router(), site.port()
    made = site.proxy(router, port)
    other, _ = world.network(external=True)
    world.subnet(other, "2001:db8:e::/64", subnetpool_id=site.pool["id"])
    for info in ({}, {"network_id": other["id"]}):
        assert world.refused(world.change, "router", router, external_gateway_info=info) == TAKEN
    assert world.refused(world.delete, "router", router)[0] == 409
    away = {"subnet_id": site.subnet["id"]}
    busy = (409, "RouterInterfaceInUseByNDPProxy")
    assert world.refused(world.act, router, "remove_router_interface", **away) == busy
    world.subnet(site.outside, "198.51.100.0/24")
    v4 = {"network_id": site.outside["id"], "external_fixed_ips": [{"ip_address": "198.51.100.77"}]}
    assert world.refused(world.change, "router", router, external_gateway_info=v4) == (409, "RouterIPv6GatewayInUse")
    world.delete("ndp_proxy", made)
    world.act(router, "remove_router_interface", **away)
    assert world.change("router", router, external_gateway_info={})["enable_ndp_proxy"] is False


def test_proxies_rest_while_their_router_is_switched_off_and_none_is_made(site: Site) -> None:
    world, router, port = site.world, site.router(), site.port()
    site.proxy(router, port)
    assert world.change("router", router, enable_ndp_proxy=False)["enable_ndp_proxy"] is False
    assert len(site.proxies()) == 1
    assert world.refused(site.proxy, router, site.port()) == (409, "RouterNDPProxyNotEnable")
    assert world.change("router", router, name="x")["enable_ndp_proxy"] is False, "what is not named stays"


def test_proxies_go_with_their_port_and_with_its_address(site: Site) -> None:
    world, router = site.world, site.router()
    one, two = site.port(), site.port()
    site.proxy(router, one)
    kept = site.proxy(router, two)["ip_address"]
    world.delete("port", one)
    assert site.proxies() == [kept]
    fresh = {"subnet_id": site.subnet["id"], "ip_address": "2001:db8:a::77"}
    world.change("port", two, fixed_ips=[fresh, {"ip_address": kept}])
    assert site.proxies() == [kept]
    world.change("port", two, fixed_ips=[fresh])
    assert site.proxies() == []
