# SPDX-License-Identifier: Apache-2.0
"""Floating IPs of networks that a router has an interface on: what they lead to, and what is in the way of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico import settings
from portico.errors import Unsupported
from portico.testing.in_process import InProcessApi

from .asker import Asker
from .floating import Site


@pytest.fixture
def site(api: Asker) -> Site:
    """Return a site with a router, without a gateway, between the network inside and the one outside."""
    made = Site(api)
    made.interface(made.router, "remove", made.inside["subnets"][0])
    api.delete("routers", made.router)
    made.router = made.new_router(made.inside, made.outside, gateway=False)
    return made


def test_it_is_had_as_by_a_gateway_and_holds_the_interface(site: Site) -> None:
    port = site.api.port(site.inside)
    made = site.floating(port_id=port["id"])
    assert (made["router_id"], made["status"]) == (site.router["id"], "ACTIVE")
    outside, inside = site.outside["subnets"][0], site.inside["subnets"][0]
    answer = site.interface(site.router, "remove", outside)
    assert answer.error == (409, "RouterInterfaceInUseAsGatewayByFloatingIP")
    assert made["floating_ip_address"] in answer.message
    assert site.interface(site.router, "remove", inside).error == (409, "RouterInterfaceInUseByFloatingIP")
    answer = site.api.try_update("networks", site.outside, **{"router:external": False})
    assert answer.error == (409, "ExternalNetworkInUse")
    assert "floating IPs" in answer.message
    free = site.api.update("floatingips", made, port_id=None)
    assert (free["router_id"], free["port_id"]) == (None, None)
    for subnet in (outside, inside):
        assert site.interface(site.router, "remove", subnet).status == 200


def test_a_router_is_named_or_one_with_a_gateway_goes_first(site: Site) -> None:
    port = site.api.port(site.inside)
    named = site.floating(port_id=port["id"], router_id=site.router["id"])
    assert named["router_id"] == site.router["id"]
    site.api.delete("floatingips", named)
    beside = site.api.port(site.inside)
    path = f"routers/{(other := site.new_router())['id']}/add_router_interface"
    assert site.api.ask("PUT", path, {"port_id": beside["id"]}).status == 200
    assert site.floating(port_id=port["id"])["router_id"] == other["id"]


def test_ports_of_it_are_forwarded_and_hold_the_interface(site: Site) -> None:
    floating, port = site.floating(), site.api.port(site.inside)
    assert site.forward(floating, port, 8080, 80).status == 201
    assert site.now(floating)["router_id"] == site.router["id"]
    answer = site.interface(site.router, "remove", site.outside["subnets"][0])
    assert answer.error == (409, "RouterInterfaceInUseAsGatewayByFloatingIP")


def test_a_second_interface_there_takes_over(site: Site) -> None:
    site.floating(port_id=site.api.port(site.inside)["id"])
    body = {"network_id": site.outside["id"], "cidr": "198.18.0.0/24", "ip_version": 4}
    subnet = site.api.create("subnets", **body)["id"]
    assert site.interface(site.router, "add", subnet).status == 200
    assert site.interface(site.router, "remove", site.outside["subnets"][0]).status == 200
    answer = site.interface(site.router, "remove", subnet)
    assert answer.error == (409, "RouterInterfaceInUseAsGatewayByFloatingIP")


def test_routed_networks_have_none(tmp_path: Path) -> None:
    (empty := tmp_path / "empty.toml").touch()
    found = settings.load(empty, {"state_dir": str(tmp_path), "host": "h", "backends": ["bridge", "routed"]}, {})
    api = InProcessApi(found)
    router = api.create("routers", {})["id"]
    ids = []
    for number in (1, 2):
        network = api.create("networks", {"portico:backend": "routed", "router:external": number == 2})["id"]
        subnet = {"network_id": network, "cidr": f"10.{number}.0.0/24", "ip_version": 4}
        joined = {"subnet_id": api.create("subnets", subnet)["id"]}
        api.request("PUT", f"/v2.0/routers/{router}/add_router_interface", joined)
        ids.append(network)
    port = api.create("ports", {"network_id": ids[0]})["id"]
    refused = "router_id '.*' needs 'interface-floating-ips', which the routed backend does not realise"
    with pytest.raises(Unsupported, match=refused):
        api.create("floatingips", {"floating_network_id": ids[1], "port_id": port})
