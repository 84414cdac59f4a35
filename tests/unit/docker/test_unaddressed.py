# SPDX-License-Identifier: Apache-2.0
"""Docker's null IPAM driver: ports without addresses."""

from __future__ import annotations

from typing import Any

import pytest

from portico.docker.record import ADOPTED, ANCHOR, ENDPOINT
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineNetwork
from portico.testing.in_process import InProcessApi

EXPOSED: dict[str, object] = {"com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}]}


def create_endpoint(engine: EngineCalls, network: EngineNetwork, options: dict[str, object]) -> Any:
    return engine.call(
        "NetworkDriver.CreateEndpoint",
        NetworkID=network.id,
        EndpointID="e" * 64,
        Interface={"Address": "", "AddressIPv6": "", "MacAddress": ""},
        Options=options,
    )


def green(api: InProcessApi) -> dict[str, Any]:
    network = api.create("networks", {"name": "green"})
    for cidr in ("10.3.0.0/24", "2001:db8:3::/64"):
        api.create("subnets", {"network_id": network["id"], "cidr": cidr, "ip_version": 6 if ":" in cidr else 4})
    return network


def let_in(api: InProcessApi, group_ids: list[str]) -> set[tuple[str, Any, Any]]:
    groups = [group for group in api.list("security_groups") if group["id"] in group_ids]
    rules = [rule for group in groups for rule in group["security_group_rules"] if rule["direction"] == "ingress"]
    return {(rule["ethertype"], rule["port_range_min"], rule["remote_group_id"]) for rule in rules}


@pytest.mark.parametrize("mac", ["", "02:00:00:00:00:42"])
def test_a_container_gets_a_port_and_a_link_without_address(engine: EngineCalls, api: InProcessApi, mac: str) -> None:
    network = engine.create_unaddressed_network()
    before = api.requests
    endpoint = engine.connect(network, mac=mac)
    assert api.requests - before == 2  # the port, and whether it is ACTIVE
    [port] = api.list("ports", device_owner=ENDPOINT)
    assert (port["fixed_ips"], port["ip_allocation"], port["device_id"]) == ([], "none", endpoint.id)
    assert (endpoint.mac, endpoint.link) == (port["mac_address"], port["binding:vif_details"]["link_name"])
    assert mac in ("", port["mac_address"])
    assert api.list("subnets") == []
    engine.disconnect(endpoint)
    engine.remove_network(network)
    assert api.list("networks") == api.list("ports") == []
    assert [group["name"] for group in api.list("security_groups")] == ["default"]


def test_containers_of_one_network_are_not_kept_from_each_other_by_a_group_that_goes_by_addresses(
    engine: EngineCalls, api: InProcessApi
) -> None:
    engine.connect(engine.create_unaddressed_network())
    [port] = api.list("ports", device_owner=ENDPOINT)
    assert port["port_security_enabled"]
    assert let_in(api, port["security_groups"]) == {("IPv4", None, None), ("IPv6", None, None)}


def test_groups_and_exposed_ports_are_those_of_any_network(engine: EngineCalls, api: InProcessApi) -> None:
    for name in ("one", "two"):
        api.create("security_groups", {"name": name})
    ids = {group["name"]: group["id"] for group in api.list("security_groups")}
    network = engine.create_unaddressed_network({"portico.security-groups": "one", "portico.expose": "true"})
    engine.connect(network)
    [plain] = api.list("ports", device_owner=ENDPOINT)
    assert plain["security_groups"] == [ids["one"]]
    exposing = engine.connect(network, options={"portico.security-groups": "two", **EXPOSED})
    [port] = api.list("ports", device_id=exposing.id)
    assert ids["two"] in port["security_groups"] and ids["one"] not in port["security_groups"]
    assert let_in(api, port["security_groups"]) == {("IPv4", 80, None), ("IPv6", 80, None)}
    engine.disconnect(exposing)
    assert f"docker-{exposing.id[:12]}" not in [group["name"] for group in api.list("security_groups")]


def test_an_existing_port_brings_its_addresses_without_being_asked_for_them(
    engine: EngineCalls, api: InProcessApi
) -> None:
    mine = api.create("ports", {"network_id": green(api)["id"]})
    bare = api.create("ports", {"network_id": mine["network_id"], "fixed_ips": []})
    network = engine.create_unaddressed_network({"portico.network": "green"})
    four, six = (item["ip_address"] for item in mine["fixed_ips"])
    assert create_endpoint(engine, network, {"portico.port": mine["id"]})["Interface"] == {
        "MacAddress": mine["mac_address"],
        "Address": f"{four}/24",
        "AddressIPv6": f"{six}/64",
    }
    assert [port["id"] for port in api.list("ports", device_owner=ADOPTED)] == [mine["id"]]
    engine.call("NetworkDriver.DeleteEndpoint", NetworkID=network.id, EndpointID="e" * 64)
    assert create_endpoint(engine, network, {"portico.port": bare["id"]})["Interface"] == {
        "MacAddress": bare["mac_address"]
    }
    engine.call("NetworkDriver.DeleteEndpoint", NetworkID=network.id, EndpointID="e" * 64)
    engine.remove_network(network)
    assert {port["id"]: port["device_owner"] for port in api.list("ports")} == {mine["id"]: "", bare["id"]: ""}


def test_a_port_without_addresses_is_for_a_network_without_them(engine: EngineCalls, api: InProcessApi) -> None:
    bare = api.create("ports", {"network_id": green(api)["id"], "fixed_ips": []})
    addressed = engine.create_network("10.3.0.0/24", options={"portico.network": "green"})
    with pytest.raises(CallFailed, match=r"has the addresses none, and Docker wants .* --ipam-driver null"):
        engine.connect(addressed, options={"portico.port": bare["id"]})


def test_a_docker_network_without_addresses_leaves_the_network_that_another_one_made(
    engine: EngineCalls, api: InProcessApi
) -> None:
    owner = engine.create_network("10.1.0.0/24")
    [network] = api.list("networks")
    guest = engine.create_unaddressed_network({"portico.network": network["id"]})
    engine.restart_plugin()
    endpoint = engine.connect(guest)
    engine.disconnect(endpoint)
    engine.remove_network(guest)
    assert [port["device_id"] for port in api.list("ports", device_owner=ANCHOR)] == [owner.id]
    engine.remove_network(owner)
    assert api.list("networks") == []


def test_a_group_that_others_use_stays_until_they_leave_it(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_unaddressed_network()
    [made] = [group["id"] for group in api.list("security_groups") if group["name"] != "default"]
    other = api.create("networks", {"name": "other"})
    port = api.create("ports", {"network_id": other["id"], "security_groups": [made]})
    engine.remove_network(network)
    assert made in [group["id"] for group in api.list("security_groups")]
    api.delete("ports", port["id"])


def test_a_subnet_is_no_part_of_a_network_without_addresses(engine: EngineCalls, api: InProcessApi) -> None:
    green(api)
    [subnet] = api.list("subnets", ip_version=4)
    with pytest.raises(CallFailed, match=r"portico\.subnet .*: with --ipam-driver null there are no addresses"):
        engine.create_unaddressed_network({"portico.subnet": subnet["id"]})
    assert api.list("ports") == []
