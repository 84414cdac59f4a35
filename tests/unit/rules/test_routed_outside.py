# SPDX-License-Identifier: Apache-2.0
"""Routers on routed networks: what they may join, where floating IPs are announced, and one host for each of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec import structs

from portico.backends.routed import RoutedBackend
from portico.broker.hosts import HostStates
from portico.contract import Change
from portico.errors import Unsupported
from portico.model.snapshot import Snapshot
from portico.rules import TABLE, agent
from portico.store.store import Store

from .conftest import Willing
from .test_router import Make, World

HOST_NETWORK = {"router:external": True, "portico:backend": "bridge", "provider:network_type": "host"}


class Site:
    """A router between a routed network and an external one, and two ports on two hosts."""

    def __init__(self, world: World, **external: Any) -> None:
        self.world = world
        self.outside = world.make("network", **external)
        world.subnet(self.outside, "203.0.113.0/24")
        self.router = world.make("router", external_gateway_info={"network_id": self.outside["id"]})
        self.net, (self.subnet,) = world.network("10.1.0.0/24", backend="routed")
        world.act(self.router, "add_router_interface", subnet_id=self.subnet["id"])
        self.ports = [
            world.make("port", network_id=self.net["id"], **{"binding:host_id": host}) for host in ("h1", "h2")
        ]

    def forward(self, floating: dict[str, Any], port: dict[str, Any], external: int, **more: Any) -> dict[str, Any]:
        body = {"protocol": "tcp", "internal_port_id": port["id"], "external_port": external, "internal_port": external}
        address = {"internal_ip_address": port["fixed_ips"][0]["ip_address"]}
        return self.world.make("port_forwarding", floatingip_id=floating["id"], **body, **address, **more)


@pytest.fixture
def world(store: Store, admin: Any, create: Make, update: Make) -> Any:
    with store.write() as tx:
        yield World(tx, admin, create, update)


def test_a_router_of_routed_networks_has_its_gateway_on_one_of_them_or_behind_the_host(world: World) -> None:
    site = Site(world, **HOST_NETWORK)
    bridged, (inside,) = world.network("10.2.0.0/24")
    refused = rf"{bridged['id']}.*'bridge'.*{site.net['id']}.*'routed'"
    with pytest.raises(Unsupported, match=refused):
        world.act(site.router, "add_router_interface", subnet_id=inside["id"])
    routed, _ = world.network("198.51.100.0/24", external=True, backend="routed")
    world.change("router", site.router, external_gateway_info={"network_id": routed["id"]})
    away, _ = world.network("192.0.2.0/24", external=True)
    with pytest.raises(Unsupported, match=rf"{away['id']}.*'bridge'.*{site.net['id']}.*'routed'"):
        world.change("router", site.router, external_gateway_info={"network_id": away["id"]})


def test_port_forwardings_of_one_floating_ip_lead_to_ports_of_one_host(world: World) -> None:
    site = Site(world, **HOST_NETWORK)
    one, two = site.ports
    floating = world.make("floatingip", floating_network_id=site.outside["id"])
    site.forward(floating, one, 8080)
    with pytest.raises(Unsupported, match=rf"{two['id']} is on host h2, and port {one['id']}.*on host h1"):
        site.forward(floating, two, 8081)
    site.forward(floating, two, 8082, **{"portico:host_addresses": ["0.0.0.0"]})
    moved = site.forward(floating, one, 8083)
    with pytest.raises(Unsupported, match=r"on host h2"):
        world.change("port_forwarding", moved, internal_port_id=two["id"])


def test_a_speaker_announces_floating_ips_of_its_networks_where_their_ports_are(world: World) -> None:
    site = Site(world, **{"router:external": True, "portico:backend": "routed"})
    for number, host in enumerate(("h1", "h2"), 1):
        told = {"address_v4": f"198.51.100.{number}"}
        agent.heartbeat(world.tx, host, "Portico agent", "portico-agent", {"configurations": told}, time.time())
    speaker = world.make("bgp_speaker", name="s", local_as=65000, ip_version=4)
    floating = world.make("floatingip", floating_network_id=site.outside["id"], port_id=site.ports[0]["id"])

    def next_hop() -> str | None:
        answer: Any = TABLE["bgp_speaker"].actions["get_advertised_routes"](world.tx, world.context, speaker, {})
        told = {item["destination"]: item["next_hop"] for item in answer["advertised_routes"]}
        return told.get(f"{floating['floating_ip_address']}/32")

    assert next_hop() == "198.51.100.1"
    world.change("floatingip", floating, port_id=site.ports[1]["id"])
    assert next_hop() == "198.51.100.2"
    world.change("floatingip", floating, port_id=None)
    assert next_hop() is None
    item = site.forward(floating, site.ports[1], 8080)
    assert next_hop() == "198.51.100.2"
    world.change("port_forwarding", item, **{"portico:host_addresses": []})
    world.change("router", site.router, admin_state_up=False)
    assert next_hop() is None


class Routed(Willing):
    """A broker that asks the routed backend."""

    def admit(
        self,
        resource: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> None:
        if network is not None and network["portico:backend"] == "routed":
            RoutedBackend(HostStates()).admit(Snapshot(), Change(resource, before, after))


@pytest.mark.parametrize("name", ["enable_default_route_ecmp", "enable_default_route_bfd"])
def test_what_leaves_the_routed_space_is_not_spread_over_gateways(world: World, name: str) -> None:
    site = Site(world, **HOST_NETWORK)
    world.context = structs.replace(world.context, broker=Routed())
    change = TABLE["router"].update
    assert change is not None
    words = rf"router {site.router['id']}: {name} True is not realised by the routed backend"
    with pytest.raises(Unsupported, match=words):
        change(world.tx, world.context, site.router, {name: True})
    kept = change(world.tx, world.context, site.router, {name: None})
    assert kept[name] is False
    other = world.make("router", **{name: True})
    _, (subnet,) = world.network("10.3.0.0/24", backend="routed")
    with pytest.raises(Unsupported, match=f"router {other['id']}"):
        world.act(other, "add_router_interface", subnet_id=subnet["id"])
