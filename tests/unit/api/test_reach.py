# SPDX-License-Identifier: Apache-2.0
"""A router of a network that each host has for itself, with its gateway on one that is one on all: who is told what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.cli import explain
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Asker, Row, wait_until
from .floating import Site

LIMITS = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
WORLD = "203.0.113.5"


@pytest.fixture
def api(store: Store) -> Iterator[Asker]:
    hosts = HostStates()
    with Asker(make_app(Api(Service(store, 1000), Broker(store, hosts, [BridgeBackend(hosts)]), hosts, LIMITS))) as api:
        for host, physical in (("one", "lab:eth1"), ("two", "lab:eth1"), ("three", "")):
            tell(api, host, facts={"able": "bridge bpf", "physical_networks": physical})
        yield api


def tell(api: Asker, host: str, *keys: str, **values: Any) -> None:
    report = {"revision": 0, "statuses": [{"key": key, "state": "active"} for key in keys], **values}
    assert api.ask("PUT", f"/portico/v1/hosts/{host}/status", report).status == 204


def status(api: Asker, kind: str, row: Row) -> str:
    return str(api.show(kind, row["id"])["status"])


def plugged(site: Site, host: str) -> Row:
    port = site.api.port(site.inside, **{"binding:host_id": host})
    tell(site.api, host, f"vif/{port['id']}", f"router/{site.router['id']}")
    return port


def trace(api: Asker, port: Row, destination: str = WORLD) -> Row:
    answer = api.ask("POST", "/portico/v1/trace", {"source": port["id"], "destination": destination})
    assert answer.status == 200, answer
    found: Row = answer.body
    return found


def traced(api: Asker, port: Row, destination: str = WORLD) -> tuple[bool, str]:
    found = trace(api, port, destination)
    return found["passes"], found["reason"]


class Explained:
    """The API as the command asks it."""

    def __init__(self, api: Asker) -> None:
        self._api = api

    def list(self, collection: str, **filters: str) -> list[Row]:
        return self._api.list(collection, "&".join(f"{name}={value}" for name, value in filters.items()))

    def get_json(self, path: str) -> Any:
        return self._api.ask("GET", path).body


def test_where_a_gateway_is_not_whole_it_is_told_and_floating_ips_are_led_all_the_same(api: Asker) -> None:
    site = Site(api, "flat", "lab")
    router, outside = site.router, site.outside
    near = plugged(site, "one")
    (gateway,) = api.list("ports", f"device_id={router['id']}&device_owner=network:router_gateway")
    assert traced(api, near)[0] and status(api, "routers", router) == "ACTIVE"
    far, lost = plugged(site, "two"), plugged(site, "three")
    floating = {name: site.floating(port_id=port["id"]) for name, port in (("far", far), ("lost", lost))}
    wait_until(lambda: status(api, "floatingips", floating["lost"]) == "ERROR")
    assert [status(api, kind, row) for kind, row in (("routers", router), ("ports", gateway))] == ["ERROR"] * 2
    assert status(api, "floatingips", floating["far"]) == "ACTIVE"
    tell(api, "two", f"router/{router['id']}")
    assert status(api, "routers", router) == "ERROR", "a host that has all that it is to have does not hide it"
    (interface,) = api.list("ports", f"device_id={router['id']}&device_owner=network:router_interface")
    assert {status(api, "ports", row) for row in (interface, near, far)} == {"ACTIVE"}
    where = f"the gateway on network {outside['id']} (physical network lab)"
    led = "ports on two reach it by floating IPs and NDP proxies alone"
    why = f"host one alone has {where}: {led}, ports on three do not reach it"
    client: Any = Explained(api)
    assert explain.gateways(client, far) == [f"router {router['id']}: {why}"]
    # The router is as wanted for what needs no gateway there, and what does is judged packet by packet.
    assert traced(api, near)[0] and traced(api, far)[0]
    other = plugged(site, "two")
    name = f"network {outside['id']}"
    assert traced(api, other) == (
        False,
        f"its gateway on {name} is on host one alone, and on host two only floating IPs and NDP proxies lead there",
    )
    assert traced(api, lost)[1].endswith("and on host three nothing leads there")
    api.delete("ports", lost)
    api.delete("ports", far)
    api.delete("ports", other)
    wait_until(lambda: status(api, "routers", router) == "ACTIVE")
    assert status(api, "ports", gateway) == "ACTIVE" and explain.gateways(client, near) == []


def test_a_gateway_that_no_host_can_have_is_told(api: Asker) -> None:
    site = Site(api, "flat", "lab")
    plugged(site, "three")
    wait_until(lambda: status(api, "routers", site.router) == "ERROR")
    plugged(site, "one")
    wait_until(lambda: status(api, "routers", site.router) == "ERROR")
    api.update("routers", site.router, admin_state_up=False)
    wait_until(lambda: status(api, "routers", site.router) == "ACTIVE")


def test_a_packet_is_followed_to_the_host_that_has_the_router_and_on(api: Asker) -> None:
    group = api.create("security-groups", name="open")
    api.create("security-group-rules", security_group_id=group["id"], direction="ingress", ethertype="IPv4")
    place = {"provider:network_type": "vlan", "provider:physical_network": "lab"}
    nets = [api.network(f"10.{number}.0.0/24", **place, **{"provider:segmentation_id": number}) for number in (1, 2)]
    ports = []
    for network, host in zip(nets, ("two", "one"), strict=True):
        given = {"binding:host_id": host, "security_groups": [group["id"]]}
        ports.append(api.port(network, **given))
        tell(api, host, f"vif/{ports[-1]['id']}")
    router = api.create("routers")
    for network in nets:
        path = f"routers/{router['id']}/add_router_interface"
        assert api.ask("PUT", path, {"subnet_id": network["subnets"][0]}).status == 200
    assert [traced(api, ports[0], ports[1]["id"]), traced(api, ports[1], ports[0]["id"])] == [(True, "")] * 2


def test_a_gateway_behind_the_hosts_is_on_each_of_them(api: Asker) -> None:
    site = Site(api, "host")
    ports = [plugged(site, host) for host in ("one", "two", "three")]
    assert [traced(api, port) for port in ports] == [(True, "")] * 3
    assert status(api, "routers", site.router) == "ACTIVE"


def test_of_several_gateways_that_of_the_floating_ip_is_taken_else_the_first_or_any(api: Asker) -> None:
    site = Site(api, "host")
    other = api.network("203.0.114.0/24", **{"router:external": True, "provider:network_type": "host", "name": "other"})
    path = f"routers/{site.router['id']}/add_external_gateways"
    assert api.ask("PUT", path, {"router": {"external_gateways": [{"network_id": other["id"]}]}}).status == 200
    plain, floated = plugged(site, "one"), plugged(site, "one")
    floating = api.create("floatingips", floating_network_id=other["id"], port_id=floated["id"])

    def out(port: Row) -> tuple[str, str]:
        hop = next(hop for hop in trace(api, port)["hops"] if hop["object"].startswith("router/"))
        return hop["what"], hop["why"]

    assert "network other" not in out(plain)[1]
    what, why = out(floated)
    assert why == "its gateway is on network other" and what.endswith(f"becomes {floating['floating_ip_address']}")
    api.update("routers", site.router, enable_default_route_ecmp=True)
    assert out(plain)[1].startswith("one of its gateways for each connection, here that on network")
    assert out(floated)[1] == "its gateway is on network other"
