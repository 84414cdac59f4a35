# SPDX-License-Identifier: Apache-2.0
"""Docker networks on the routed backend: what the engine is told of addresses and routes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.docker.test_publish import forwardings, start, stop

from portico import settings
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineEndpoint, EngineNetwork
from portico.testing.in_process import InProcessApi

V4 = {"Destination": "169.254.1.1/32", "RouteType": 1}
V6 = {"Destination": "fe80::1/128", "RouteType": 1}
ROUTED = {"portico.backend": "routed"}


@pytest.fixture
def site(tmp_path: Path) -> tuple[EngineCalls, InProcessApi]:
    """An engine and an API with both backends."""
    empty = tmp_path / "empty.toml"
    empty.touch()
    found = settings.load(empty, {"state_dir": str(tmp_path), "host": "h", "backends": ["bridge", "routed"]}, {})
    api = InProcessApi(found)
    return EngineCalls(api, found), api


def join(engine: EngineCalls, endpoint: EngineEndpoint, sandbox: str = "") -> Any:
    ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
    return engine.call("NetworkDriver.Join", **ids, SandboxKey=sandbox, Options={})


def test_a_routed_container_has_its_addresses_alone(site: tuple[EngineCalls, InProcessApi]) -> None:
    engine, api = site
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"], options=ROUTED)
    [made] = api.list("networks", **{"router:external": False})
    assert made["portico:backend"] == "routed"
    endpoint = engine.connect(network, "10.1.0.20", "2001:db8::20")
    assert [cidr for _, cidr in endpoint.addresses] == ["10.1.0.20/32", "2001:db8::20/128"]
    joined = join(engine, endpoint)
    assert (joined["Gateway"], joined["GatewayIPv6"], joined["DisableGatewayService"]) == (
        "169.254.1.1",
        "fe80::1",
        True,
    )
    assert joined["StaticRoutes"][:2] == [V4, V6]
    engine.restart_plugin()
    assert join(engine, endpoint) == joined
    assert engine.connect(network).addresses[0][1].endswith("/32")
    engine.disconnect(endpoint)


def test_who_shares_a_routed_network_may_say_that_another_one_carries_the_default_route(
    site: tuple[EngineCalls, InProcessApi],
) -> None:
    engine, _ = site
    owner = engine.create_network("10.1.0.0/24", options=ROUTED)
    options = {"portico.network": f"docker-{owner.id[:12]}", "portico.gateway": "false"}
    other = engine.create_network("10.1.0.0/24", options=options)
    engine.restart_plugin()
    first, second = engine.connect(owner), engine.connect(other)
    assert join(engine, first)["Gateway"] == "169.254.1.1"
    answer = join(engine, second)
    assert "Gateway" not in answer and answer["StaticRoutes"] == [
        V4,
        {"Destination": "10.1.0.0/24", "RouteType": 0, "NextHop": "169.254.1.1"},
    ]


def test_a_routed_network_has_a_way_out_and_publishes_ports(site: tuple[EngineCalls, InProcessApi]) -> None:
    engine, api = site
    network = engine.create_network("10.1.0.0/24", options=ROUTED)
    [router] = api.list("routers")
    [external] = api.list("networks", **{"router:external": True})
    assert external["provider:network_type"] == "host"
    assert router["external_gateway_info"]["network_id"] == external["id"]
    endpoint = start(engine, network, "8080:80", "127.0.0.1:9090:80")
    assert join(engine, endpoint)["Gateway"] == "169.254.1.1", "not the router's address: nobody has that"
    assert forwardings(api) == {("tcp", 8080, 80, "0.0.0.0", "::"), ("tcp", 9090, 80, "127.0.0.1")}
    with pytest.raises(CallFailed, match="port collision with the portico:host_addresses"):
        start(engine, network, "8080:80")
    stop(engine, endpoint)
    shared = engine.create_network("10.1.0.0/24", options={"portico.network": f"docker-{network.id[:12]}"})
    stop(engine, start(engine, shared, "8080:80"))
    for each in (shared, network):
        engine.remove_network(each)
    assert [api.list(kind) for kind in ("floatingips", "routers", "networks", "ports")] == [[], [], [], []]


def test_an_internal_network_carries_no_default_route(site: tuple[EngineCalls, InProcessApi]) -> None:
    engine, api = site
    network = engine.create_network("10.1.0.0/24", options=ROUTED, internal=True)
    assert api.list("routers") == []
    assert "Gateway" not in join(engine, engine.connect(network))
    with pytest.raises(CallFailed, match="an --internal network carries no default route"):
        engine.create_network("10.2.0.0/24", options={**ROUTED, "portico.gateway": "true"}, internal=True)


def test_a_gateway_that_engines_from_28_on_move_from_network_to_network(site: tuple[EngineCalls, InProcessApi]) -> None:
    """With --gw-priority the engine asks each network for its gateway, and tells those that win and lose it."""
    engine, _ = site
    routed = engine.connect(engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"], options=ROUTED))
    other = engine.connect(engine.create_network("10.1.0.0/24"))
    before, _ = join(engine, routed, "/sandbox"), join(engine, other, "/sandbox")
    ids = {"NetworkID": routed.network.id, "EndpointID": routed.id}
    for name in ("ProgramExternalConnectivity", "RevokeExternalConnectivity", "ProgramExternalConnectivity"):
        assert engine.call(f"NetworkDriver.{name}", **ids, Options={}) == {}
    assert join(engine, routed, "/sandbox") == before
    engine.call("NetworkDriver.RevokeExternalConnectivity", **ids)
    engine.disconnect(routed)
    assert join(engine, other, "/sandbox")["Gateway"] == "10.1.0.1"


def test_a_container_whose_ipv6_engines_from_28_on_switch_off_has_ipv4_routes(
    site: tuple[EngineCalls, InProcessApi],
) -> None:
    engine, _ = site
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"], options=ROUTED)
    four = next(pool for pool in network.pools if ":" not in pool[1])
    endpoint = engine.connect(EngineNetwork(network.id, [four]))
    joined = join(engine, endpoint)
    assert joined["Gateway"] == "169.254.1.1" and "GatewayIPv6" not in joined
    assert [item["Destination"] for item in joined["StaticRoutes"]] == ["169.254.1.1/32", "10.1.0.0/24"]


def test_an_existing_port_of_a_routed_network_brings_its_address_alone(site: tuple[EngineCalls, InProcessApi]) -> None:
    engine, api = site
    engine.create_network("10.1.0.0/24", options=ROUTED)
    [network] = api.list("networks", **{"router:external": False})
    mine = api.create("ports", {"network_id": network["id"]})
    bare = engine.create_unaddressed_network({"portico.network": network["id"]})
    answer = _adopt(engine, bare, mine["id"])
    assert answer["Interface"]["Address"] == f"{mine['fixed_ips'][0]['ip_address']}/32"
    with pytest.raises(CallFailed, match="needs 'no-address', which the routed backend does not realise"):
        engine.connect(bare)


def _adopt(engine: EngineCalls, network: EngineNetwork, port_id: str) -> Any:
    return engine.call(
        "NetworkDriver.CreateEndpoint",
        NetworkID=network.id,
        EndpointID="e" * 64,
        Interface={"Address": "", "AddressIPv6": "", "MacAddress": ""},
        Options={"portico.port": port_id},
    )


def hops(joined: Any) -> list[str]:
    """Return the next hops of both IP versions, after a look that each route goes by one of them."""
    found = [item["Destination"] for item in joined["StaticRoutes"] if item["RouteType"] == 1]
    assert {f"{joined['Gateway']}/32", f"{joined['GatewayIPv6']}/128"} == set(found)
    assert {item["NextHop"] for item in joined["StaticRoutes"] if item["RouteType"] == 0} == {
        joined["Gateway"], joined["GatewayIPv6"]
    }  # fmt: skip
    return found


def test_a_container_is_on_two_routed_networks_each_with_a_next_hop_of_its_own(
    site: tuple[EngineCalls, InProcessApi],
) -> None:
    engine, _ = site
    one, two, three = (
        engine.connect(
            engine.create_network(f"10.{number}.0.0/24", version6=[f"2001:db8:{number}::/64"], options=ROUTED)
        )
        for number in (1, 2, 3)
    )
    first, second = ["169.254.1.1/32", "fe80::1/128"], ["169.254.1.3/32", "fe80::3/128"]
    for _ in range(2):  # an engine may ask again
        assert hops(join(engine, one, "/here")) == first and hops(join(engine, two, "/here")) == second
    with pytest.raises(CallFailed, match=f"on two routed networks already .*{one.id}.* two next hops"):
        join(engine, three, "/here")
    assert hops(join(engine, three, "/there")) == first
    engine.disconnect(three)
    engine.disconnect(one)
    three = engine.connect(three.network)
    assert hops(join(engine, three, "/here")) == first and hops(join(engine, two, "/here")) == second


def test_a_running_container_that_the_plugin_knows_nothing_of_gets_the_second_next_hop(
    site: tuple[EngineCalls, InProcessApi], tmp_path: Path
) -> None:
    """Before the plugin was restarted it may have got the first one."""
    engine, _ = site
    one, two = (
        engine.connect(
            engine.create_network(f"10.{number}.0.0/24", version6=[f"2001:db8:{number}::/64"], options=ROUTED)
        )
        for number in (1, 2)
    )
    (sandbox := tmp_path / "sandbox").touch()
    assert hops(join(engine, one, str(sandbox))) == ["169.254.1.3/32", "fe80::3/128"]
    assert hops(join(engine, two, str(sandbox))) == ["169.254.1.1/32", "fe80::1/128"]
