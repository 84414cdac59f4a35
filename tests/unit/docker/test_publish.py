# SPDX-License-Identifier: Apache-2.0
"""Published ports: what `-p` becomes in the API, who gets in, and what is left."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.docker.test_outside import api, config, engine, make_external, module_api, sweeper, tell

__all__ = ["api", "config", "engine", "module_api"]

from portico.docker import publish
from portico.docker.outside import INTERFACE_OWNER
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineEndpoint, EngineNetwork
from portico.testing.in_process import InProcessApi

Object = dict[str, Any]


def mapped(*wishes: str) -> Object:
    """Return what the engine makes of -p [ADDRESS:][HOST_PORT[-END]:]PORT[/PROTOCOL]."""
    found = []
    for wish in wishes:
        text, _, protocol = wish.partition("/")
        *before, port = text.split(":")
        first, _, last = (before.pop() if before else "").partition("-")
        found.append(
            {"Proto": {"": 6, "tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}[protocol], "IP": "", "Port": int(port),
             "HostIP": ":".join(before), "HostPort": int(first or 0), "HostPortEnd": int(last or first or 0)}
        )  # fmt: skip
    return {"com.docker.network.portmap": found}


def start(engine: EngineCalls, network: EngineNetwork, *wishes: str, **options: object) -> EngineEndpoint:
    """Start a container that publishes ports."""
    endpoint = engine.connect(network, options={**mapped(*wishes), **options})
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    try:
        engine.call("NetworkDriver.ProgramExternalConnectivity", **ids, Options=mapped(*wishes))
    except CallFailed:
        engine.disconnect(endpoint)
        raise
    return endpoint


def stop(engine: EngineCalls, endpoint: EngineEndpoint, *, revoke: bool = True) -> None:
    ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
    if revoke:
        engine.call("NetworkDriver.RevokeExternalConnectivity", **ids)
    engine.disconnect(endpoint)


def forwardings(api: InProcessApi) -> set[tuple[object, ...]]:
    return {
        (item["protocol"], item["external_port"], item["internal_port"], *item["portico:host_addresses"])
        for floating in api.list("floatingips")
        for item in api.list(f"floatingips/{floating['id']}/port_forwardings")
    }


def test_on_an_external_network_that_is_not_behind_the_host_the_floating_ip_publishes(
    api: InProcessApi, engine: EngineCalls
) -> None:
    tell(api, "lab")
    make_external(api, "wan", 7, is_default=True)
    network = engine.create_network("10.1.0.0/24")
    endpoint = start(engine, network, "8080:80", "5353:53/udp")
    assert forwardings(api) == {("tcp", 8080, 80), ("udp", 5353, 53)}
    [floating] = api.list("floatingips")
    assert floating["floating_ip_address"].startswith("203.0.7.")
    with pytest.raises(CallFailed, match="port collision with the external_port_range"):
        start(engine, network, "8080:80")
    with pytest.raises(CallFailed, match=r"80/tcp cannot be published on 127.0.0.1: the network's way out is 'wan'"):
        start(engine, network, "127.0.0.1:8081:80")
    assert forwardings(api) == {("tcp", 8080, 80), ("udp", 5353, 53)} and len(api.list("floatingips")) == 1
    stop(engine, endpoint)
    engine.remove_network(network)
    assert [api.list(kind) for kind in ("floatingips", "routers", "ports")] == [[], [], []]
    assert [item["name"] for item in api.list("networks")] == ["wan"]


def test_a_router_that_somebody_moves_or_removes_is_followed(api: InProcessApi, engine: EngineCalls) -> None:
    tell(api, "lab")
    make_external(api, "wan", 7)
    network = engine.create_network("10.1.0.0/24")
    stop(engine, start(engine, network, "8080:80"))
    [router] = api.list("routers")
    [wan] = api.list("networks", name="wan")
    api.update("routers", router["id"], {"external_gateway_info": {"network_id": wan["id"]}})
    endpoint = start(engine, network, "8080:80")
    assert forwardings(api) == {("tcp", 8080, 80)}, "of a floating IP there"
    stop(engine, endpoint)
    words = f"Ports cannot be published: router {router['id']} of Docker network {network.id}"
    api.update("routers", router["id"], {"external_gateway_info": None})
    with pytest.raises(CallFailed, match=f"{words} has no gateway outside"):
        start(engine, network, "8080:80")
    [leg] = api.list("ports", device_owner=INTERFACE_OWNER)
    api.request("PUT", f"/v2.0/routers/{router['id']}/remove_router_interface", {"port_id": leg["id"]})
    api.delete("routers", router["id"])
    with pytest.raises(CallFailed, match=f"{words} is gone"):
        start(engine, network, "8080:80")


def test_what_is_published_is_a_port_forwarding_to_the_container(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = start(engine, network, "8080:80", "127.0.0.1:5353:53/udp", "192.0.2.1:8081:80", "192.0.2.2:8081:80")
    assert forwardings(api) == {
        ("tcp", 8080, 80, "0.0.0.0", "::"),
        ("udp", 5353, 53, "127.0.0.1"),
        ("tcp", 8081, 80, "192.0.2.1", "192.0.2.2"),
    }
    [floating] = api.list("floatingips")
    [router] = api.list("routers")
    assert floating["router_id"] == router["id"] and floating["port_id"] is None
    stop(engine, endpoint)
    assert forwardings(api) == set()
    stop(engine, start(engine, network, "8080:80"), revoke=False)
    assert forwardings(api) == set(), "it goes with the port"
    assert len(api.list("floatingips")) == 1, "one does for all of them"
    engine.remove_network(network)
    assert [api.list(kind) for kind in ("floatingips", "routers", "networks", "ports")] == [[], [], [], []]


def test_everybody_gets_in_to_it_unless_groups_are_chosen(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = start(engine, network, "8080:80")
    rules = [rule for rule in api.list("security_group_rules") if rule["port_range_min"] == 80]
    assert len(rules) == 2 and {rule["remote_ip_prefix"] for rule in rules} == {None}
    stop(engine, endpoint)
    assert not [rule for rule in api.list("security_group_rules") if rule["port_range_min"] == 80]
    closed = api.create("security_groups", {"name": "closed"})
    options: list[Object] = [{"portico.security-groups": "closed"}, {"portico.expose": "false"}]
    for option in options:
        start(engine, network, "8080:80", **option)
        [port] = [port for port in api.list("ports") if port["device_owner"] == "docker:endpoint"]
        assert len(port["security_groups"]) == 1
        stop(engine, engine.endpoints[port["device_id"]])
    assert closed["id"] in {group["id"] for group in api.list("security_groups")}


def test_clashes_are_refused_in_plain_words_and_leave_nothing(api: InProcessApi, engine: EngineCalls) -> None:
    network, other = engine.create_network("10.1.0.0/24"), engine.create_network("10.2.0.0/24")
    first = start(engine, network, "127.0.0.1:8080:80")
    start(engine, network, "192.0.2.1:8080:80")
    assert len(api.list("floatingips")) == 2, "by another address of the host the port is another's"
    before = forwardings(api)
    [port] = api.list("ports", device_id=first.id)
    api.update("ports", port["id"], {"name": "web"})
    with pytest.raises(CallFailed, match=r"Port 80/tcp cannot be published: container web has it: .*port forwarding"):
        start(engine, other, "127.0.0.1:8080:80")
    engine.taken = {("tcp", 9000)}
    for where in (network, other):
        with pytest.raises(CallFailed, match=r"Port 80/tcp cannot be published: .*8080:8080.*port forwarding"):
            start(engine, where, "7000:70", "8080:80")
    with pytest.raises(CallFailed, match="Port 80/tcp cannot be published: a program has 9000"):
        start(engine, network, "7000:70", "9000:80")
    with pytest.raises(CallFailed, match="Port 80/tcp cannot be published on ::1"):
        start(engine, network, "::1:7000:80")
    with pytest.raises(CallFailed, match="Port 80/33 cannot be published: only tcp, udp and sctp can be"):
        start(engine, network, "7000:80/dccp")
    assert forwardings(api) == before
    stop(engine, first)
    start(engine, other, "127.0.0.1:8080:80", "9000-9001:81")
    assert ("tcp", 9001, 81, "0.0.0.0", "::") in forwardings(api), "of a range any that is free"


def test_a_container_that_names_no_port_of_the_host_gets_some(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    for _ in range(3):
        start(engine, network, "80", "80/udp")
    found = forwardings(api)
    assert len(found) == 6 and all(item[1] in publish.EPHEMERAL for item in found)


def test_a_new_process_revokes_what_the_one_before_published(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = start(engine, network, "8080:80")
    engine.restart_plugin()
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    engine.call("NetworkDriver.RevokeExternalConnectivity", **ids)
    assert forwardings(api) == set()
    for _ in range(2):
        engine.call("NetworkDriver.ProgramExternalConnectivity", **ids, Options=mapped("8081:80"))
    assert forwardings(api) == {("tcp", 8081, 80, "0.0.0.0", "::")}
    engine.networks.clear()
    stop(engine, endpoint, revoke=False)
    engine.restart_plugin()
    found = sweeper(api, engine)
    for _ in range(4):
        found.round()
    assert [api.list(kind) for kind in ("floatingips", "routers", "networks", "ports")] == [[], [], [], []]


def test_an_existing_port_is_given_back_without_what_was_published(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    [made] = api.list("networks", name=f"docker-{network.id[:12]}")
    port = api.create("ports", {"network_id": made["id"], "fixed_ips": [{"ip_address": "10.1.0.9"}]})
    endpoint = engine.connect(network, "10.1.0.9", options={"portico.port": port["id"]})
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    engine.call("NetworkDriver.ProgramExternalConnectivity", **ids, Options=mapped("8080:80"))
    assert forwardings(api)
    stop(engine, endpoint, revoke=False)
    assert api.list("ports", id=port["id"]) and forwardings(api) == set()


def test_who_publishes_nothing_costs_no_request(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network)
    ids = {"NetworkID": network.id, "EndpointID": endpoint.id}
    before = api.requests
    engine.call("NetworkDriver.ProgramExternalConnectivity", **ids, Options={})
    engine.call("NetworkDriver.RevokeExternalConnectivity", **ids)
    assert api.requests == before
