# SPDX-License-Identifier: Apache-2.0
"""Docker networks with a way out: their routers, what Join says, and what is left after whatever happens."""

from __future__ import annotations

import contextlib
import time
from ipaddress import ip_network

import pytest

from portico import settings
from portico.docker import outside
from portico.docker.engine import Inventory
from portico.docker.sweep import Sweeper
from portico.errors import Unavailable
from portico.rules import agent
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineEndpoint
from portico.testing.in_process import InProcessApi

HOST = "h"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> settings.Settings:
    state = tmp_path_factory.mktemp("state")
    return settings.load(overrides={"state_dir": str(state), "host": HOST}, environment={})


@pytest.fixture(scope="module")
def module_api(config: settings.Settings) -> InProcessApi:
    return InProcessApi(config)


@pytest.fixture
def api(module_api: InProcessApi) -> InProcessApi:
    clear(module_api)
    return module_api


def clear(api: InProcessApi) -> None:
    """Remove everything from an API."""
    for floating in api.list("floatingips"):
        for item in api.list(f"floatingips/{floating['id']}/port_forwardings"):
            api.delete(f"floatingips/{floating['id']}/port_forwardings", item["id"])
        api.delete("floatingips", floating["id"])
    for port in api.list("ports", device_owner=outside.INTERFACE_OWNER):
        api.request("PUT", f"/v2.0/routers/{port['device_id']}/remove_router_interface", {"port_id": port["id"]})
    for collection in ("routers", "ports", "networks", "agents"):
        for item in api.list(collection):
            api.delete(collection, item["id"])
    for group in api.list("security_groups"):
        if group["name"] != "default":
            api.delete("security_groups", group["id"])


def tell(api: InProcessApi, *physical_networks: str) -> None:
    """Have the agent of the host tell of its physical networks."""
    facts = {"configurations": {"interface_mappings": dict.fromkeys(physical_networks, "eth1")}}
    with api.service.store.write() as tx:
        agent.heartbeat(tx, HOST, "Portico agent", "portico-agent", facts, time.time())


def make_external(api: InProcessApi, name: str, vlan: int, **more: object) -> None:
    """Make an external network on the physical network "lab"."""
    place = {"provider:network_type": "vlan", "provider:physical_network": "lab", "provider:segmentation_id": vlan}
    made = api.create("networks", {"name": name, "router:external": True, **place, **more})
    subnet = {"network_id": made["id"], "cidr": f"203.0.{vlan}.0/24", "ip_version": 4, "enable_dhcp": False}
    api.create("subnets", subnet)


@pytest.fixture
def engine(api: InProcessApi, config: settings.Settings) -> EngineCalls:
    return EngineCalls(api, config)


def join(engine: EngineCalls, endpoint: EngineEndpoint) -> dict[str, object]:
    return engine.call("NetworkDriver.Join", NetworkID=endpoint.network.id, EndpointID=endpoint.id, SandboxKey="/s")


def left(api: InProcessApi) -> dict[str, int]:
    found = {kind: len(api.list(kind)) for kind in ("networks", "routers", "ports", "subnets")}
    return {kind: count for kind, count in found.items() if count}


def sweeper(api: InProcessApi, engine: EngineCalls) -> Sweeper:
    def inventory() -> Inventory:
        return Inventory(networks=dict.fromkeys(engine.networks, "n"), endpoints={}, by_mac={})

    return Sweeper(api, HOST, engine.records, inventory, lambda _link: True, engine.held, idle_s=0)


def test_a_network_has_a_router_with_its_gateways_and_one_outside(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24", version6=["fd00:1::/64"])
    [router] = api.list("routers")
    [external] = api.list("networks", **{"router:external": True})
    assert router["external_gateway_info"]["network_id"] == external["id"]
    assert external["provider:network_type"] == "host"
    assert {item["cidr"] for item in api.list("subnets", network_id=external["id"])} == {
        "100.64.0.0/16", "fd70:6f72:7468::/64",
    }  # fmt: skip
    answer = join(engine, engine.connect(network))
    assert (answer["Gateway"], answer["GatewayIPv6"]) == ("10.1.0.1", "fd00:1::1")
    assert answer["DisableGatewayService"] is True and "StaticRoutes" not in answer
    engine.restart_plugin()
    before = api.requests
    assert join(engine, engine.connect(network))["Gateway"] == "10.1.0.1", "after a restart, too"
    other = engine.create_network("10.2.0.0/24")
    assert len(api.list("routers")) == 2 and len(api.list("networks", **{"router:external": True})) == 1
    assert api.requests > before
    for endpoint in list(engine.endpoints.values()):
        engine.disconnect(endpoint)
    engine.remove_network(network)
    assert len(api.list("routers")) == 1
    engine.remove_network(other)
    assert left(api) == {}


def test_a_subnet_that_the_host_is_in_already_is_no_way_out(api: InProcessApi, engine: EngineCalls) -> None:
    words = "The way out would have subnet 100.64.0.0/16, and host h is in 100.64.0.0/10 already: set docker.external_"
    engine.routes = {ip_network("100.64.0.0/10")}
    with pytest.raises(CallFailed, match=words):
        engine.create_network("10.1.0.0/24")
    assert left(api) == {}
    engine.create_network("10.1.0.0/24", internal=True)
    engine.routes.clear()
    other = engine.create_network("10.2.0.0/24")
    engine.routes = {ip_network("100.64.0.0/10")}
    with pytest.raises(CallFailed, match=words):  # made by another host's plugin, for all that this one knows
        engine.create_network("10.3.0.0/24")
    assert len(api.list("routers")) == 1
    engine.remove_network(other)


def test_a_router_gets_the_name_of_its_docker_network_once(api: InProcessApi, engine: EngineCalls) -> None:
    networks = [engine.create_network(f"10.{number}.0.0/24") for number in (1, 2)]
    [theirs] = api.list("routers", name=f"docker-{networks[1].id[:12]}")
    api.update("routers", theirs["id"], {"name": "theirs"})
    found = sweeper(api, engine)
    found.name()
    assert sorted(router["name"] for router in api.list("routers")) == ["n", "theirs"]
    before = api.requests
    found.name()
    assert api.requests - before == 1
    for network in networks:
        engine.remove_network(network)
    assert left(api) == {}


def test_an_internal_network_and_one_without_gateway_stay_so_at_no_cost(api: InProcessApi, engine: EngineCalls) -> None:
    plain = engine.create_network("10.1.0.0/24", internal=True)
    without = engine.create_network("10.2.0.0/24", options={"portico.gateway": "false"})
    assert api.list("routers") == []
    for network in (plain, without):
        endpoint = engine.connect(network)
        before = api.requests
        assert not {"Gateway", "GatewayIPv6"} & join(engine, endpoint).keys()
        assert api.requests - before <= 2
    with pytest.raises(CallFailed, match="an --internal network carries no default route"):
        engine.create_network("10.3.0.0/24", internal=True, options={"portico.gateway": "true"})


def test_the_way_out_is_the_one_that_is_named_else_the_operators_default(
    api: InProcessApi, engine: EngineCalls
) -> None:
    def way_out(cidr: str, **options: str) -> str:
        known = {item["id"] for item in api.list("routers")}
        engine.create_network(cidr, options={f"portico.{name}": value for name, value in options.items()})
        [router] = (item for item in api.list("routers") if item["id"] not in known)
        [network] = api.list("networks", id=router["external_gateway_info"]["network_id"])
        return str(network["name"])

    tell(api, "lab")
    make_external(api, "wan", 7, is_default=True)
    make_external(api, "other", 8)
    assert way_out("10.1.0.0/24") == "wan"
    assert way_out("10.2.0.0/24", external="other") == "other"
    with pytest.raises(CallFailed, match=r"Option portico.external 'nowhere': there are 0 networks"):
        engine.create_network("10.3.0.0/24", options={"portico.external": "nowhere"})
    tell(api)
    assert way_out("10.4.0.0/24") == outside.NAME, "what the host has not is no default of its networks"
    with pytest.raises(CallFailed, match=r"Option portico.external 'wan': host h has no physical network 'lab'"):
        engine.create_network("10.5.0.0/24", options={"portico.external": "wan"})


def test_on_an_existing_network_its_own_router_is_the_gateway(api: InProcessApi, engine: EngineCalls) -> None:
    network = api.create("networks", {"name": "theirs"})
    subnet = api.create("subnets", {"network_id": network["id"], "cidr": "10.4.0.0/24", "ip_version": 4})
    options = {"portico.network": "theirs"}
    with pytest.raises(CallFailed, match="network 'theirs' has no router with the subnet's gateway address"):
        engine.create_network("10.4.0.0/24", options={**options, "portico.gateway": "true"}, ipam_options=options)
    alone = engine.create_network("10.4.0.0/24", options=options, ipam_options=options)
    assert "Gateway" not in join(engine, engine.connect(alone))
    router = api.create("routers", {"name": "theirs"})
    api.request("PUT", f"/v2.0/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
    joined = engine.create_network("10.4.0.0/24", options=options, ipam_options=options)
    endpoint = engine.connect(joined)
    assert join(engine, endpoint)["Gateway"] == "10.4.0.1"
    engine.disconnect(endpoint)
    engine.remove_network(joined)
    assert [item["id"] for item in api.list("routers")] == [router["id"]], "it is not Docker's"


def test_a_network_of_the_operators_is_taken_and_a_wrong_one_told(
    api: InProcessApi, config: settings.Settings, tmp_path: object
) -> None:
    wan = api.create("networks", {"name": "wan", "router:external": True})
    api.create("subnets", {"network_id": wan["id"], "cidr": "203.0.113.0/24", "ip_version": 4})
    overrides = {"state_dir": str(config.state_dir), "host": HOST, "docker.external_network": "wan"}
    engine = EngineCalls(api, settings.load(overrides=overrides, environment={}))
    network = engine.create_network("10.1.0.0/24")
    assert api.list("routers")[0]["external_gateway_info"]["network_id"] == wan["id"]
    engine.remove_network(network)
    assert [item["id"] for item in api.list("networks")] == [wan["id"]]
    api.update("networks", wan["id"], {"router:external": False})
    with pytest.raises(CallFailed, match=r"docker.external_network 'wan': there are 1 networks"):
        engine.create_network("10.1.0.0/24")
    assert [item["id"] for item in api.list("networks")] == [wan["id"]]


class Break:
    """Refuses one request, or ends the process there."""

    def __init__(self, number: int, *, fatal: bool) -> None:
        self.left = number
        self._fatal = fatal

    def __call__(self, method: str, path: str) -> None:
        self.left -= 1
        if self.left == 0:
            raise SystemExit if self._fatal else Unavailable(f"{method} {path}")


def test_nothing_is_left_wherever_it_breaks_off(api: InProcessApi, engine: EngineCalls) -> None:
    number = left = 0
    while left <= 0:
        number += 3
        api.before = broken = Break(number, fatal=number % 2 == 0)
        with contextlib.suppress(CallFailed, SystemExit):
            engine.remove_network(engine.create_network("10.1.0.0/24"))
        api.before, left = lambda _method, _path: None, broken.left
        engine.restart_plugin()
        engine.networks.clear()
        found = sweeper(api, engine)
        for _ in range(4):
            found.round()
        assert not api.list("routers") and not api.list("ports"), number
        assert {item["name"] for item in api.list("networks")} <= {outside.NAME}
    assert number > 10


def test_a_router_that_others_use_stays_and_says_so(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    [port] = [port for port in api.list("ports") if port["device_owner"] == outside.INTERFACE_OWNER]
    another = api.create("routers", {"name": "another"})
    leg = api.create("ports", {"network_id": port["network_id"]})
    api.request("PUT", f"/v2.0/routers/{another['id']}/add_router_interface", {"port_id": leg["id"]})
    with pytest.raises(CallFailed, match=f"is in use by port {leg['id']}"):
        engine.remove_network(network)
    assert len(api.list("routers")) == 2
