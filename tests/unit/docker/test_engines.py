# SPDX-License-Identifier: Apache-2.0
"""What later engines send beside, and ports that containers expose."""

from __future__ import annotations

from typing import Any

import pytest

from portico.docker.record import ENDPOINT, RESERVED
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi


def opened(api: InProcessApi, endpoint_id: str) -> set[tuple[str, int, int]]:
    found = [group for group in api.list("security_groups") if group["name"] == f"docker-{endpoint_id[:12]}"]
    return {
        (rule["protocol"], rule["port_range_min"], rule["port_range_max"])
        for group in found
        for rule in group["security_group_rules"]
        if rule["direction"] == "ingress"
    }


def test_the_inner_side_of_p_is_opened(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", options={"portico.expose": "true"})
    published = {"Proto": 6, "IP": "", "Port": 80, "HostIP": "0.0.0.0", "HostPort": 8080, "HostPortEnd": 8080}
    endpoint = engine.connect(
        network,
        options={
            "com.docker.network.portmap": [published],
            "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}, {"Proto": 132, "Port": 9}],
        },
    )
    assert opened(api, endpoint.id) == {("tcp", 80, 80), ("sctp", 9, 9)}


def test_an_adopted_port_keeps_its_groups_on_a_network_that_exposes(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", options={"portico.expose": "true"})
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}]}
    mine = api.create("ports", where)
    exposed = {"com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}]}
    endpoint = engine.connect(network, "10.1.0.50", options={"portico.port": mine["id"], **exposed})
    assert opened(api, endpoint.id) == set()
    assert api.list("ports", id=mine["id"])[0]["security_groups"] == mine["security_groups"]
    engine.disconnect(endpoint)
    with pytest.raises(CallFailed, match="an existing port has its security groups already"):
        engine.connect(network, "10.1.0.50", options={"portico.port": mine["id"], "portico.expose": "true"})


def test_fields_of_engines_28_and_29_are_passed_over(engine: EngineCalls, api: InProcessApi) -> None:
    pool = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="10.1.0.0/24", Options={})
    data = {"AddressSpace": "portico-local", "Pool": "10.1.0.0/24", "Gateway": "", "AuxAddresses": {}}
    flags = {"com.docker.network.enable_ipv4": True, "com.docker.network.enable_ipv6": False}
    engine.call(
        "NetworkDriver.CreateNetwork",
        NetworkID="n" * 64,
        Options={"com.docker.network.generic": {}, **flags},
        IPv4Data=[data],
        IPv6Data=[],
    )
    named = {"com.docker.network.endpoint.name": "web"}
    given = engine.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="", Options=named)
    ids = {"NetworkID": "n" * 64, "EndpointID": "e" * 64}
    engine.call(
        "NetworkDriver.CreateEndpoint",
        **ids,
        Interface={"Address": given["Address"], "AddressIPv6": "", "MacAddress": ""},
        Options={"com.docker.network.endpoint.exposedports": None, "com.docker.network.portmap": None, **named},
    )
    no_proxy: dict[str, Any] = {"com.docker.network.driver.private.no_proxy_6to4": True}
    assert engine.call("NetworkDriver.Join", **ids, SandboxKey="/nowhere", Options=no_proxy)["InterfaceName"]["SrcName"]
    assert engine.call("NetworkDriver.ProgramExternalConnectivity", **ids, Options=no_proxy) == {}
    assert [port["device_id"] for port in api.list("ports", device_owner=ENDPOINT)] == [ids["EndpointID"]]


def test_leave_before_and_after_a_join_that_failed(engine: EngineCalls, api: InProcessApi) -> None:
    """Engines from 27 on send Leave when they could not read what Join answered."""
    network = engine.create_network("10.1.0.0/24")

    def leaves(name: str) -> None:
        if name == "NetworkDriver.CreateEndpoint":
            engine.call("NetworkDriver.Leave", NetworkID=network.id, EndpointID="unheard of")
            api.before = fails

    def fails(method: str, path: str) -> None:
        if "status" in path:
            raise ZeroDivisionError(method)

    engine.after = leaves
    with pytest.raises(CallFailed, match="ZeroDivisionError"):
        engine.connect(network)
    api.before = lambda _method, _path: None
    assert api.list("ports", device_owner=[RESERVED, ENDPOINT]) == []
