# SPDX-License-Identifier: Apache-2.0
"""Each call of libnetwork's contract, in and out, on the real rules and a real database."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from portico.docker.record import ANCHOR, ENDPOINT, RESERVED
from portico.errors import Unavailable
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi


def ports(api: InProcessApi, owner: str) -> list[dict[str, Any]]:
    return api.list("ports", device_owner=owner)


def answer(engine: EngineCalls, path: str, body: bytes = b"") -> tuple[int, Any]:
    status, raw = engine.plugin.answer(path, body)
    return status, msgspec.json.decode(raw)


def test_the_handshake_names_both_drivers_of_local_scope(engine: EngineCalls) -> None:
    assert answer(engine, "/Plugin.Activate") == (200, {"Implements": ["NetworkDriver", "IpamDriver"]})
    assert answer(engine, "/NetworkDriver.GetCapabilities")[1] == {"Scope": "local", "ConnectivityScope": "local"}
    assert answer(engine, "/IpamDriver.GetCapabilities")[1] == {
        "RequiresMACAddress": False,
        "RequiresRequestReplay": False,
    }
    spaces = answer(engine, "/IpamDriver.GetDefaultAddressSpaces")[1]
    assert set(spaces) == {"LocalDefaultAddressSpace", "GlobalDefaultAddressSpace"} and all(spaces.values())


def test_a_container_gets_one_port_that_its_address_and_link_are_of(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    assert network.pools[0][2] == "10.1.0.1/24"
    endpoint = engine.connect(network)
    [port] = ports(api, ENDPOINT)
    assert endpoint.addresses[0][1] == f"{port['fixed_ips'][0]['ip_address']}/24"
    assert endpoint.mac == port["mac_address"]
    assert endpoint.link == port["binding:vif_details"]["link_name"]
    assert port["device_id"] == endpoint.id
    assert port["binding:host_id"] == "a-host-of-another-name"
    assert port["binding:profile"]["plug"] == "veth"
    engine.disconnect(endpoint)
    assert ports(api, ENDPOINT) == ports(api, RESERVED) == []
    engine.remove_network(network)
    assert api.list("networks") == api.list("ports") == api.list("subnets") == []


def test_join_gives_no_gateway_and_no_second_interface(engine: EngineCalls) -> None:
    endpoint = engine.connect(engine.create_network("10.1.0.0/24", internal=True))
    joined = engine.call("NetworkDriver.Join", NetworkID=endpoint.network.id, EndpointID=endpoint.id)
    assert joined == {"InterfaceName": {"SrcName": endpoint.link, "DstPrefix": "eth"}, "DisableGatewayService": True}
    assert engine.call("NetworkDriver.EndpointOperInfo", NetworkID="n", EndpointID="e") == {"Value": {}}


def test_a_container_costs_four_requests_of_the_api(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    before = api.requests
    engine.disconnect(engine.connect(network))
    assert api.requests - before == 4


def test_two_networks_with_the_same_subnet_live_side_by_side(engine: EngineCalls, api: InProcessApi) -> None:
    one, two = engine.create_network("10.1.0.0/24"), engine.create_network("10.1.0.0/24")
    a, b = engine.connect(one, "10.1.0.7"), engine.connect(two, "10.1.0.7")
    networks = {port["device_id"]: port["network_id"] for port in ports(api, ENDPOINT)}
    assert networks[a.id] != networks[b.id]
    engine.disconnect(a)
    engine.remove_network(one)
    assert [port["device_id"] for port in ports(api, ENDPOINT)] == [b.id]
    engine.connect(two)


def test_a_failed_create_leaves_another_network_with_the_same_subnet_alone(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network)
    with pytest.raises(
        CallFailed, match=r"portico\.securty-groups does not exist; did you mean portico\.security-groups"
    ):
        engine.create_network("10.1.0.0/24", options={"portico.securty-groups": "a"})
    with pytest.raises(CallFailed, match="Duplicate IP address"):
        engine.create_network("10.1.0.0/24", gateway="10.1.0.7", auxiliary={"a": "10.1.0.9", "b": "10.1.0.9"})
    assert [port["device_id"] for port in ports(api, ENDPOINT)] == [endpoint.id]
    assert len(api.list("networks")) == len(api.list("subnets")) == 1
    engine.connect(network)


def test_a_dual_stack_container_has_one_port_with_both_addresses(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8:1::/64"])
    endpoint = engine.connect(network, "10.1.0.20", "2001:db8:1::20")
    [port] = ports(api, ENDPOINT)
    assert [item["ip_address"] for item in port["fixed_ips"]] == ["10.1.0.20", "2001:db8:1::20"]
    assert ports(api, RESERVED) == []
    engine.disconnect(endpoint)
    assert ports(api, ENDPOINT) == []
    engine.connect(network, "10.1.0.20", "2001:db8:1::20")


def test_several_subnets_are_on_one_network(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", "10.2.0.0/24", version6=["2001:db8:1::/64"])
    assert len(api.list("networks")) == 1
    assert sorted(item["cidr"] for item in api.list("subnets")) == ["10.1.0.0/24", "10.2.0.0/24", "2001:db8:1::/64"]
    engine.remove_network(network)
    assert api.list("networks") == []


def test_an_ip_range_bounds_what_containers_get_and_keeps_the_subnet(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", ip_range="10.1.0.128/30", gateway="10.1.0.129")
    found = {engine.connect(network).addresses[0][1] for _ in range(3)}
    assert found == {"10.1.0.128/24", "10.1.0.130/24", "10.1.0.131/24"}
    with pytest.raises(CallFailed, match="No more IP addresses"):
        engine.connect(network)
    assert engine.connect(network, "10.1.0.9").addresses[0][1] == "10.1.0.9/24"
    with pytest.raises(CallFailed, match=r"--ip-range 10\.9\.0\.0/24 is not inside of --subnet 10\.1\.0\.0/24"):
        engine.create_network("10.1.0.0/24", ip_range="10.9.0.0/24")


def test_auxiliary_addresses_and_the_gateway_are_never_given_to_containers(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/29", gateway="10.1.0.3", auxiliary={"a": "10.1.0.1", "b": "10.1.0.5"})
    assert api.list("subnets")[0]["gateway_ip"] == "10.1.0.3"
    found = {engine.connect(network).addresses[0][1].split("/")[0] for _ in range(3)}
    assert found == {"10.1.0.2", "10.1.0.4", "10.1.0.6"}
    with pytest.raises(CallFailed, match=r"10\.1\.0\.5 is in use by port"):
        engine.connect(network, "10.1.0.5")


def test_a_network_without_subnet_gets_a_prefix_of_its_own(engine: EngineCalls, api: InProcessApi) -> None:
    found = [engine.create_network("").pools[0][1] for _ in range(3)]
    assert found == ["10.192.0.0/24", "10.192.1.0/24", "10.192.2.0/24"]
    assert engine.create_network("", version6=[""]).pools[1][1] == "fd70:6f72:7469::/64"
    engine.remove_network(next(iter(engine.networks.values())))
    assert engine.create_network("").pools[0][1] == "10.192.0.0/24"


def test_a_prefix_that_the_engine_refuses_is_not_offered_twice(engine: EngineCalls) -> None:
    first = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="", V6=False)
    second = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="", V6=False)
    assert first["Pool"] != second["Pool"]
    engine.call("IpamDriver.ReleasePool", PoolID=first["PoolID"])
    engine.call("IpamDriver.ReleasePool", PoolID=second["PoolID"])


def test_the_users_mac_address_is_the_ports(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network, mac="02:00:00:00:00:77")
    assert ports(api, ENDPOINT)[0]["mac_address"] == endpoint.mac == "02:00:00:00:00:77"
    with pytest.raises(CallFailed, match="02:00:00:00:00:77"):
        engine.connect(network, mac="02:00:00:00:00:77")


def test_the_mtu_option_is_the_networks(engine: EngineCalls, api: InProcessApi) -> None:
    engine.create_network("10.1.0.0/24", options={"com.docker.network.driver.mtu": "1400", "com.example.other": "x"})
    assert api.list("networks")[0]["mtu"] == 1400


def test_an_existing_network_is_used_and_outlives_dockers(engine: EngineCalls, api: InProcessApi) -> None:
    blue = api.create("networks", {"name": "blue"})
    api.create("subnets", {"network_id": blue["id"], "cidr": "10.5.0.0/24", "ip_version": 4, "gateway_ip": "10.5.0.9"})
    for way in (
        {"subnets": ["10.5.0.0/24"], "gateway": "10.5.0.9", "options": {"portico.network": "blue"}},
        {"subnets": [""], "ipam_options": {"portico.network": blue["id"]}},
    ):
        network = engine.create_network(*way.pop("subnets"), **way)  # type: ignore[arg-type]
        endpoint = engine.connect(network)
        assert ports(api, ENDPOINT)[0]["network_id"] == blue["id"]
        engine.disconnect(endpoint)
        engine.remove_network(network)
        assert api.list("ports") == []
        assert [item["id"] for item in api.list("networks")] == [blue["id"]]
    assert network.pools[0][2] == "10.5.0.9/24"


def test_a_network_in_dockers_use_cannot_be_deleted_under_it(engine: EngineCalls, api: InProcessApi) -> None:
    blue = api.create("networks", {"name": "blue"})
    api.create("subnets", {"network_id": blue["id"], "cidr": "10.5.0.0/24", "ip_version": 4})
    engine.create_network("10.5.0.0/24", options={"portico.network": "blue"})
    [anchor] = ports(api, ANCHOR)
    with pytest.raises(Exception, match=anchor["id"]):
        api.delete("networks", blue["id"])


def test_a_network_with_other_peoples_ports_is_not_removed(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    other = api.create("ports", {"network_id": api.list("networks")[0]["id"]})
    with pytest.raises(CallFailed, match=other["id"]):
        engine.remove_network(network)
    engine.connect(network)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"options": {"portico.network": "red"}}, "no network with the id or name 'red'"),
        ({"options": {"portico.network": "twice"}}, "2 networks have the name 'twice'"),
        ({"options": {"portico.network": "blue"}}, r"'blue' has no subnet 10\.1\.0\.0/24 \(it has 10\.5\.0\.0/24\)"),
        ({"options": {"portico.expose": "maybe"}}, "'maybe' is neither true nor false"),
        ({"options": {"portico.color": "x"}}, r"portico\.color does not exist"),
        ({"options": {"com.docker.network.driver.mtu": "big"}}, "'big' is no number"),
        ({"options": {"portico.security-groups": "nobody"}}, "no security group with the id or name 'nobody'"),
        ({"ipam_options": {"portico.port": "x"}}, r"--ipam-opt portico\.port does not exist"),
        ({"gateway": "10.2.0.1"}, r"Address 10\.2\.0\.1 is not inside of subnet 10\.1\.0\.0/24"),
    ],
)
def test_a_wrong_option_is_refused_in_words_and_leaves_nothing(
    engine: EngineCalls, api: InProcessApi, arguments: dict[str, Any], message: str
) -> None:
    for name in ("blue", "twice", "twice"):
        network = api.create("networks", {"name": name})
        api.create("subnets", {"network_id": network["id"], "cidr": "10.5.0.0/24", "ip_version": 4})
    with pytest.raises(CallFailed, match=message):
        engine.create_network("10.1.0.0/24", **arguments)
    assert api.list("ports") == []
    assert len(api.list("networks")) == 3


def test_security_groups_of_network_and_endpoint_are_the_ports(engine: EngineCalls, api: InProcessApi) -> None:
    ids = {name: api.create("security_groups", {"name": name})["id"] for name in ("web", "db")}
    network = engine.create_network("10.1.0.0/24", options={"portico.security-groups": f"web,{ids['db']}"})
    first = engine.connect(network)
    second = engine.connect(network, options={"portico.security-groups": "db"})
    groups = {port["device_id"]: port["security_groups"] for port in ports(api, ENDPOINT)}
    assert groups == {first.id: [ids["web"], ids["db"]], second.id: [ids["db"]]}


def test_expose_opens_the_ports_as_long_as_the_endpoint_lives(engine: EngineCalls, api: InProcessApi) -> None:
    exposed = {"com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}, {"Proto": 17, "Port": 53}]}
    quiet = engine.create_network("10.1.0.0/24")
    engine.connect(quiet, options=exposed)
    assert [group["name"] for group in api.list("security_groups")] == ["default"]
    asked = engine.connect(quiet, options=exposed | {"portico.expose": "true"})
    loud = engine.connect(engine.create_network("10.2.0.0/24", options={"portico.expose": "true"}), options=exposed)
    for endpoint in (asked, loud):
        [port] = api.list("ports", device_id=endpoint.id)
        [group] = [item for item in api.list("security_groups") if item["name"] == f"docker-{endpoint.id[:12]}"]
        assert group["id"] in port["security_groups"] and len(port["security_groups"]) == 2
        rules = [rule for rule in group["security_group_rules"] if rule["direction"] == "ingress"]
        found = {
            tuple(rule[key] for key in ("ethertype", "protocol", "port_range_min", "port_range_max")) for rule in rules
        }
        assert found == {(v, p, n, n) for v in ("IPv4", "IPv6") for p, n in (("tcp", 80), ("udp", 53))}
        engine.disconnect(endpoint)
    assert [group["name"] for group in api.list("security_groups")] == ["default"]


def test_an_adopted_port_keeps_its_mac_and_is_given_back(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    mine = api.create(
        "ports",
        {
            "network_id": api.list("networks")[0]["id"],
            "name": "mine",
            "fixed_ips": [{"ip_address": "10.1.0.50"}],
            "binding:profile": {"note": "kept"},
        },
    )
    for word in ("mine", mine["id"]):
        endpoint = engine.connect(network, "10.1.0.50", options={"portico.port": word})
        assert endpoint.mac == mine["mac_address"]
        with pytest.raises(CallFailed, match=r"10\.1\.0\.50 is in use by port"):
            engine.connect(network, "10.1.0.50", options={"portico.port": word})
        engine.disconnect(endpoint)
        [after] = api.list("ports", id=mine["id"])
        volatile = {"revision_number", "updated_at"}
        assert {k: v for k, v in after.items() if k not in volatile} == {
            k: v for k, v in mine.items() if k not in volatile
        }
    with pytest.raises(CallFailed, match=r"has the addresses 10\.1\.0\.50, and Docker wants .* --ip"):
        engine.connect(network, options={"portico.port": "mine"})
    with pytest.raises(CallFailed, match=r"to use port .*, give --driver-opt portico\.port="):
        engine.connect(network, "10.1.0.50")
    with pytest.raises(CallFailed, match=f"has MAC address {mine['mac_address']}, not 02:"):
        engine.connect(network, "10.1.0.50", mac="02:00:00:00:00:01", options={"portico.port": "mine"})
    assert ports(api, RESERVED) == ports(api, ENDPOINT) == []


def test_removing_a_network_gives_an_adopted_port_that_was_left_over_back(
    engine: EngineCalls, api: InProcessApi
) -> None:
    blue = api.create("networks", {"name": "blue"})
    api.create("subnets", {"network_id": blue["id"], "cidr": "10.1.0.0/24", "ip_version": 4})
    network = engine.create_network("10.1.0.0/24", options={"portico.network": "blue"})
    mine = api.create("ports", {"network_id": blue["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}]})
    engine.connect(network, "10.1.0.50", options={"portico.port": mine["id"]})
    engine.connect(network)
    engine.remove_network(network)
    [left] = api.list("ports")
    assert left["id"] == mine["id"] and left["binding:host_id"] == left["device_id"] == ""


def test_calls_for_what_is_unknown_succeed_where_the_engine_cleans_up(engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.disconnect(endpoint := engine.connect(network))
    engine.disconnect(endpoint)
    engine.remove_network(network)
    engine.disconnect(endpoint)
    engine.remove_network(network)


def test_a_repeated_create_gives_the_same_answer(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.call("NetworkDriver.CreateNetwork", NetworkID=network.id, Options={}, IPv4Data=[], IPv6Data=None)
    endpoint = engine.connect(network)
    again = {
        "NetworkID": network.id,
        "EndpointID": endpoint.id,
        "Interface": {"Address": endpoint.addresses[0][1], "AddressIPv6": "", "MacAddress": ""},
        "Options": {},
    }
    for _ in range(2):
        assert engine.call("NetworkDriver.CreateEndpoint", **again)["Interface"]["MacAddress"] == endpoint.mac
        engine.restart_plugin()
    assert len(ports(api, ENDPOINT)) == 1


def test_everything_is_found_again_after_the_plugin_was_killed(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"])
    endpoint = engine.connect(network)
    engine.restart_plugin()
    another = engine.connect(network)
    engine.restart_plugin()
    engine.disconnect(endpoint)
    engine.restart_plugin()
    engine.disconnect(another)
    engine.restart_plugin()
    engine.remove_network(network)
    assert api.list("networks") == api.list("ports") == []


@pytest.mark.parametrize("body", [b"", b"\n", b"{", b"[]", b'{"NetworkID": 5}', b"null", b'"x"', b"\xff"])
def test_every_call_answers_every_body_with_json_and_both_error_keys(
    engine: EngineCalls, api: InProcessApi, body: bytes
) -> None:
    calls = [
        *(f"/NetworkDriver.{name}" for name in ("CreateNetwork", "DeleteNetwork", "CreateEndpoint", "Join", "Leave")),
        *(f"/IpamDriver.{name}" for name in ("ReleasePool", "RequestAddress", "ReleaseAddress")),
        "/NetworkDriver.DeleteEndpoint",
        "/NetworkDriver.EndpointOperInfo",
    ]
    for path in calls:
        status, found = answer(engine, path, body)
        assert status == 500 and found["Err"] == found["Error"] and path in found["Err"], path
    assert answer(engine, "/NetworkDriver.Unheard")[0] == 404
    assert api.list("networks") == []


def test_a_late_release_does_not_take_the_address_from_its_next_holder(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    first = engine.connect(network, "10.1.0.7")
    pool = network.pools[0][0]
    engine.call("NetworkDriver.DeleteEndpoint", NetworkID=network.id, EndpointID=first.id)
    engine.call("IpamDriver.RequestAddress", PoolID=pool, Address="10.1.0.7", Options=None)
    engine.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.1.0.7")
    assert len(ports(api, RESERVED)) == 1
    engine.call("IpamDriver.ReleaseAddress", PoolID=pool, Address="10.1.0.7")
    assert ports(api, RESERVED) == []


def test_a_port_that_no_agent_plugs_is_an_error_and_leaves_nothing(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    api.agents_run = False
    with pytest.raises(CallFailed, match=r"is DOWN after 8 s: the agent of host a-host-of-another-name has not"):
        engine.connect(network)
    assert ports(api, ENDPOINT) == ports(api, RESERVED) == []


def test_a_dead_api_is_a_clear_error(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")

    def dead(_method: str, _path: str) -> None:
        raise Unavailable("the API at unix:/x does not answer: Connection refused")

    api.before = dead
    engine.restart_plugin()
    with pytest.raises(CallFailed, match="the API at unix:/x does not answer"):
        engine.connect(network)


def test_driver_or_ipam_driver_alone_is_refused_in_words(engine: EngineCalls) -> None:
    data = [{"AddressSpace": "LocalDefault", "Pool": "172.18.0.0/16", "Gateway": "172.18.0.1/16"}]
    with pytest.raises(CallFailed, match="create the network with --ipam-driver portico"):
        engine.call("NetworkDriver.CreateNetwork", NetworkID="n" * 64, Options={}, IPv4Data=data, IPv6Data=[])
    pool = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="10.9.0.0/24")
    with pytest.raises(CallFailed, match="use --ipam-driver portico together with -d portico"):
        engine.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="", Options=None)
