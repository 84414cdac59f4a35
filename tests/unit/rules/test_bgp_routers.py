# SPDX-License-Identifier: Apache-2.0
"""What a speaker announces of routers, as the three tests of neutron-tempest-plugin have it, and further."""

from __future__ import annotations

from typing import Any

import pytest

from portico.rules import TABLE
from portico.store.store import Store

from .test_router import Make, Row, World


class Site:
    """A router between an external network and two others, of which one is in the external one's address scope."""

    def __init__(self, world: World) -> None:
        self.world = world
        scopes = [world.make("address_scope", name=name, ip_version=4)["id"] for name in ("one", "other")]
        self.outside, self.near, self.apart = (
            self.network(scope, cidr, external=external)
            for scope, cidr, external in (
                (scopes[0], "8.0.0.0/24", True),
                (scopes[0], "10.10.0.0/24", False),
                (scopes[1], "11.10.0.0/24", False),
            )
        )
        self.router = world.make("router", external_gateway_info={"network_id": self.outside[0]["id"]})
        for _, subnet in (self.near, self.apart):
            world.act(self.router, "add_router_interface", subnet_id=subnet["id"])
        self.speaker = world.make("bgp_speaker", local_as=65000, ip_version=4)
        self.do("add_gateway_network", network_id=self.outside[0]["id"])

    def network(self, scope: str, cidr: str, *, external: bool) -> tuple[Row, Row]:
        pool = {"prefixes": [cidr], "default_prefixlen": 24, "address_scope_id": scope}
        made = self.world.make("subnetpool", name="p", **pool)
        net, _ = self.world.network(external=external)
        return net, self.world.subnet(net, cidr, subnetpool_id=made["id"])

    def do(self, name: str, **body: Any) -> Any:
        speaker = self.world.now("bgp_speaker", self.speaker)
        return TABLE["bgp_speaker"].actions[name](self.world.tx, self.world.context, speaker, body)

    def routes(self) -> dict[str, str]:
        found = self.do("get_advertised_routes")["advertised_routes"]
        assert len({one["destination"] for one in found}) == len(found)
        return {one["destination"]: one["next_hop"] for one in found}

    def address(self) -> str:
        """Return that of the router's gateway."""
        (port,) = self.world.tx.find("port", device_id=self.router["id"], device_owner="network:router_gateway")
        return str(port["fixed_ips"][0]["ip_address"])

    def floating(self) -> Row:
        port = self.world.make("port", network_id=self.near[0]["id"])
        return self.world.make("floatingip", floating_network_id=self.outside[0]["id"], port_id=port["id"])


@pytest.fixture
def site(store: Store, admin: Any, create: Make, update: Make) -> Any:
    with store.write() as tx:
        yield Site(World(tx, admin, create, update))


def test_networks_of_the_address_scope_outside_are_by_way_of_the_gateway(site: Site) -> None:
    hop = site.address()
    assert site.routes() == {"10.10.0.0/24": hop}
    site.world.change("bgp_speaker", site.speaker, advertise_tenant_networks=False)
    assert site.routes() == {}
    site.world.change("bgp_speaker", site.speaker, advertise_tenant_networks=True)
    site.world.change("router", site.router, admin_state_up=False)
    assert site.routes() == {}, "such a router is nowhere"
    site.world.change("router", site.router, admin_state_up=True)
    site.do("remove_gateway_network", network_id=site.outside[0]["id"])
    assert site.routes() == {}, "without a network of its own it announces routed ones"


def test_floating_ips_are_by_way_of_the_gateway_while_they_lead_somewhere(site: Site) -> None:
    world, floating = site.world, site.floating()
    host_route = f"{floating['floating_ip_address']}/32"
    assert site.routes() == {"10.10.0.0/24": site.address(), host_route: site.address()}
    world.change("bgp_speaker", site.speaker, advertise_floating_ip_host_routes=False)
    assert host_route not in site.routes()
    world.change("bgp_speaker", site.speaker, advertise_floating_ip_host_routes=True)
    world.change("floatingip", floating, port_id=None)
    assert host_route not in site.routes()


def test_networks_without_an_address_scope_and_of_the_other_version_are_not_announced(site: Site) -> None:
    world = site.world
    net, (plain, six) = world.network("10.99.0.0/24", "2001:db8:9::/64")
    for subnet in (plain, six):
        world.act(site.router, "add_router_interface", subnet_id=subnet["id"])
    open_net, _ = world.network("192.0.2.0/24", external=True)
    other = world.make("router", external_gateway_info={"network_id": open_net["id"]})
    world.act(other, "add_router_interface", port_id=world.make("port", network_id=net["id"])["id"])
    site.do("add_gateway_network", network_id=open_net["id"])
    assert site.routes() == {"10.10.0.0/24": site.address()}


def test_of_two_ways_to_one_network_the_lowest_address_is_announced(site: Site) -> None:
    world = site.world
    body = {"network_id": site.outside[0]["id"], "external_fixed_ips": [{"ip_address": "8.0.0.200"}]}
    second = world.make("router", external_gateway_info=body)
    port = world.make("port", network_id=site.near[0]["id"])
    world.act(second, "add_router_interface", port_id=port["id"])
    assert site.routes() == {"10.10.0.0/24": site.address()} and site.address() != "8.0.0.200"
    world.change("router", site.router, admin_state_up=False)
    assert site.routes() == {"10.10.0.0/24": "8.0.0.200"}


def test_what_is_behind_routers_of_routed_networks_has_no_next_hop_outside(site: Site) -> None:
    world = site.world
    net, (subnet,) = world.network("10.1.0.0/24", backend="routed")
    outside = world.make("network", **{"router:external": True, "provider:network_type": "host"})
    world.subnet(outside, "203.0.113.0/24")
    router = world.make("router", external_gateway_info={"network_id": outside["id"]})
    world.act(router, "add_router_interface", subnet_id=subnet["id"])
    port = world.make("port", network_id=net["id"])
    floating = world.make("floatingip", floating_network_id=outside["id"], port_id=port["id"])
    site.do("add_gateway_network", network_id=outside["id"])
    assert floating["router_id"] == router["id"]
    assert set(site.routes()) == {"10.10.0.0/24"}
