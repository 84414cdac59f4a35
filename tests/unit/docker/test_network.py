# SPDX-License-Identifier: Apache-2.0
"""Docker networks: their prefixes, gateways, and existing subnets."""

from __future__ import annotations

import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from portico.docker import host_route
from portico.docker.record import ENDPOINT, RESERVED
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi


def test_a_prefix_that_portico_chooses_overlaps_none_that_there_is(engine: EngineCalls, api: InProcessApi) -> None:
    engine.create_network("10.192.0.0/24")
    other = api.create("networks", {"name": "other"})
    api.create("subnets", {"network_id": other["id"], "cidr": "10.192.0.0/22", "ip_version": 4})
    assert engine.create_network("").pools[0][1] == "10.192.4.0/24"


def test_a_prefix_that_portico_chooses_is_none_that_the_host_has_a_route_to(engine: EngineCalls) -> None:
    """The engine would refuse each, and ask for the next."""
    engine.routes = {ip_network("10.192.0.0/12"), ip_network("10.208.0.7/32"), ip_network("fd70:6f72:7469::/63")}
    network = engine.create_network("", version6=[""])
    assert [pool[1] for pool in network.pools] == ["10.208.1.0/24", "fd70:6f72:7469:2::/64"]
    engine.routes.add(ip_network("10.0.0.0/8"))
    with pytest.raises(CallFailed, match=r"docker.ipv4_pool 10.192.0.0/10 has no free .* routes of the host overlap"):
        engine.create_network("")


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t{}\t{}\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0
px1\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0
eth0\t{}\t{}\t0003\t0\t0\t0\t{}\t0\t0\t0
*\t{}\t00000000\t0200\t0\t0\t0\t{}\t0\t0\t0
"""


def test_routes_of_the_host_are_read_without_the_default_one(tmp_path: Path) -> None:
    texts = ("0.0.0.0", "192.0.2.1", "192.0.2.0", "255.255.255.0", "172.16.0.0", "255.240.0.0",
             "198.51.100.0", "192.0.2.1", "255.255.255.0", "10.0.0.0", "255.0.0.0")  # fmt: skip
    numbers = [f"{int.from_bytes(ip_address(text).packed, sys.byteorder):08X}" for text in texts]
    (tmp_path / "route").write_text(ROUTES.format(*numbers))
    zeros = "0" * 32
    lines = [f"{net} {length} {zeros} 00 {zeros} 00000100 1 0 1 eth0" for net, length in (
        (f"20010db8{'0' * 24}", "40"), (zeros, "00"),
    )]  # fmt: skip
    (tmp_path / "ipv6_route").write_text("\n".join([*lines, ""]))
    found = {version: {str(net) for net in host_route.networks(version, tmp_path)} for version in (4, 6)}
    assert found == {4: {"192.0.2.0/24", "172.16.0.0/12", "198.51.100.0/24", "10.0.0.0/8"}, 6: {"2001:db8::/64"}}
    assert host_route.networks(6, tmp_path / "without") == set()
    assert host_route.beside(ip_network("192.0.2.128/30"), tmp_path) == "192.0.2.0/24 (link eth0)"
    assert host_route.beside(ip_network("2001:db8::/32"), tmp_path) == "2001:db8::/64 (link eth0)"
    for cidr in ("198.51.100.0/24", "172.16.0.0/12", "203.0.113.0/24"):  # by a router, by our own link, not at all
        assert host_route.beside(ip_network(cidr), tmp_path) == ""


@pytest.mark.parametrize("gateway", ["", "10.1.0.254"])
def test_the_gateway_is_no_containers_address(engine: EngineCalls, gateway: str) -> None:
    network = engine.create_network("10.1.0.0/24", gateway=gateway)
    engine.restart_plugin()
    address = gateway or "10.1.0.1"
    with pytest.raises(CallFailed, match=f"Address {address} is the gateway of Docker network {network.id}"):
        engine.connect(network, address)


@pytest.fixture
def blue(api: InProcessApi) -> dict[str, Any]:
    network = api.create("networks", {"name": "blue"})
    for name, cidr, gateway in (("one", "10.5.0.0/24", "10.5.0.254"), ("two", "10.6.0.0/24", "10.6.0.254")):
        body = {"name": name, "cidr": cidr, "gateway_ip": gateway, "ip_version": 4}
        api.create("subnets", {"network_id": network["id"], **body})
    return network


@pytest.mark.usefixtures("blue")
def test_an_existing_subnets_gateway_is_told_to_docker_or_the_network_is_refused(engine: EngineCalls) -> None:
    by_name = {"portico.network": "blue"}
    with pytest.raises(CallFailed, match=r"has gateway 10\.5\.0\.254, and Docker takes 10\.5\.0\.1 for it: give --gat"):
        engine.create_network("10.5.0.0/24", options=by_name)
    assert engine.create_network("10.5.0.0/24", options=by_name, gateway="10.5.0.254").pools[0][2] == "10.5.0.254/24"
    assert engine.create_network("10.5.0.0/24", options=by_name, ipam_options=by_name).pools[0][2] == "10.5.0.254/24"


@pytest.mark.parametrize("way", ["-o", "--ipam-opt"])
@pytest.mark.parametrize("by", ["name", "id"])
def test_an_existing_subnet_is_named_in_both_ways(
    engine: EngineCalls, api: InProcessApi, blue: dict[str, Any], way: str, by: str
) -> None:
    [two] = api.list("subnets", name="two")
    option = {"portico.subnet": two[by]}
    if way == "-o":
        network = engine.create_network("10.6.0.0/24", gateway="10.6.0.254", options=option)
    else:
        network = engine.create_network("", ipam_options=option)
    endpoint = engine.connect(network)
    [port] = api.list("ports", device_owner=ENDPOINT)
    assert port["network_id"] == blue["id"] and port["fixed_ips"][0]["subnet_id"] == two["id"]
    with pytest.raises(
        CallFailed, match=r"no subnet 10\.5\.0\.0/24 \(it has 10\.6\.0\.0/24\)|has no subnet 10\.5\.0\.0/24\."
    ):
        engine.create_network("10.5.0.0/24", **{"options" if way == "-o" else "ipam_options": option})  # type: ignore[arg-type]
    engine.disconnect(endpoint)
    engine.remove_network(network)
    assert len(api.list("subnets", network_id=blue["id"])) == 2


def test_several_subnets_are_one_network_with_a_gateway_each(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24", "10.2.0.0/24")
    assert [pool[2] for pool in network.pools] == ["10.1.0.1/24", "10.2.0.1/24"]
    assert len(api.list("networks")) == 1
    given = [
        engine.call("IpamDriver.RequestAddress", PoolID=pool[0], Address="", Options=None)["Address"]
        for pool in network.pools
    ]
    assert [address.rpartition(".")[0] for address in given] == ["10.1.0", "10.2.0"]
    for pool, address in zip(network.pools, given, strict=True):
        engine.call("IpamDriver.ReleaseAddress", PoolID=pool[0], Address=address.partition("/")[0])
    engine.remove_network(network)
    assert api.list("networks") == api.list("ports") == []


@pytest.mark.parametrize("version6", [[], ["2001:db8:1::/64", "2001:db8:2::/64"]])
def test_an_address_of_any_subnet_may_be_asked_for(engine: EngineCalls, api: InProcessApi, version6: list[str]) -> None:
    network = engine.create_network("10.1.0.0/29", "10.2.0.0/29", version6=version6)
    asked = ["10.2.0.5", *(["2001:db8:2::5"] if version6 else [])]
    endpoint = engine.connect(network, *asked)
    [port] = api.list("ports", device_owner=ENDPOINT)
    assert [item["ip_address"] for item in port["fixed_ips"]] == asked
    assert endpoint.link == port["binding:vif_details"]["link_name"]
    others = [engine.connect(network) for _ in range(5)]
    assert {item.addresses[0][1] for item in others} == {f"10.1.0.{number}/29" for number in range(2, 7)}
    with pytest.raises(CallFailed, match="No more IP addresses"):  # engines do not try the second subnet
        engine.connect(network)
    engine.connect(network, "10.2.0.6", *(["2001:db8:2::6"] if version6 else []))
    for item in list(engine.endpoints.values()):
        engine.disconnect(item)
    assert api.list("ports", device_owner=[ENDPOINT, RESERVED]) == []
    with pytest.raises(CallFailed, match=r"10\.2\.0\.1 is the gateway"):
        engine.connect(network, "10.2.0.1")


def test_a_pool_that_a_restart_lost_is_an_error_that_says_so(engine: EngineCalls) -> None:
    pool = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="10.1.0.0/24")
    engine.restart_plugin()
    asked = {"RequestAddressType": "com.docker.network.gateway"}
    with pytest.raises(CallFailed, match="the plugin was restarted in between: create it again"):
        engine.call("IpamDriver.RequestAddress", PoolID=pool["PoolID"], Address="", Options=asked)


SLAAC = {"name": "six", "cidr": "2001:db8:1::/64", "ip_version": 6}


@pytest.mark.parametrize("modes", [("ipv6_ra_mode",), ("ipv6_ra_mode", "ipv6_address_mode")], ids=["one", "both"])
@pytest.mark.parametrize("value", ["slaac", "dhcpv6-stateless"])
def test_a_subnet_whose_addresses_are_made_of_mac_addresses_is_refused_by_its_mode(
    engine: EngineCalls, api: InProcessApi, blue: dict[str, Any], modes: tuple[str, ...], value: str
) -> None:
    api.create("subnets", {"network_id": blue["id"], **SLAAC, **dict.fromkeys(modes, value)})
    with pytest.raises(CallFailed, match=rf"2001:db8:1::/64 has {modes[-1]} {value}: Docker needs one without"):
        engine.create_network("2001:db8:1::/64", options={"portico.network": "blue"})
    assert api.list("ports") == []


NAMED = {"portico.network": "blue"}
# What is asked for, and what the answer says. "blue" is there, and another network that fills the pool of prefixes.
REFUSED: list[tuple[tuple[str, ...], dict[str, Any], str]] = [
    (("10.1.0.0/24",), {"ip_range": "nonsense"}, "--ip-range 'nonsense' is no network"),
    (("10.1.0.0/33",), {}, "--subnet '10.1.0.0/33' is no network"),
    (("",), {"ip_range": "10.1.0.0/25"}, "--ip-range 10.1.0.0/25: an address range needs its --subnet"),
    (("",), {}, "docker.ipv4_pool 10.192.0.0/10 has no free prefix of length 24 left"),
    (("10.1.0.0/24",), {"ip_range": "10.1.0.0/32"}, "10.1.0.0/32 has no address for containers in subnet 10.1.0.0/24"),
    (("10.1.0.0/24",), {"gateway": "nonsense"}, "Address 'nonsense': "),
    (("10.1.0.0/24",), {"options": {"portico.network": ""}}, "Option -o portico.network is empty"),
    (("",), {"ipam_options": NAMED}, "'blue' has 2 IPv4 subnets: give --subnet, one of 10.5.0.0/24, 10.6.0.0/24"),
    (("10.7.0.0/24",), {"ipam_options": NAMED}, "'blue' has no subnet 10.7.0.0/24"),
    (
        ("10.5.0.0/24",),
        {"ipam_options": NAMED, "ip_range": "10.5.0.0/25"},
        "--ip-range 10.5.0.0/25: an existing subnet has its allocation_pools already",
    ),
    (
        ("10.5.0.0/24",),
        {"options": NAMED, "ip_range": "10.5.0.0/25"},
        "--ip-range 10.5.0.0/25: subnet 10.5.0.0/24 exists and has its allocation_pools",
    ),
    (
        ("10.5.0.0/24",),
        {"options": NAMED, "gateway": "10.5.0.9"},
        "--gateway 10.5.0.9: subnet 10.5.0.0/24 exists and has gateway 10.5.0.254",
    ),
    (
        ("10.5.0.0/24",),
        {"options": {**NAMED, "com.docker.network.driver.mtu": "1400"}, "gateway": "10.5.0.254"},
        "Network 'blue' has an MTU of 1500: it cannot be 1400",
    ),
    (
        ("10.5.0.0/24",),
        {"options": {"portico.network": "full"}, "ipam_options": NAMED},
        "The options name 2 different networks",
    ),
]


@pytest.mark.usefixtures("blue")
def test_what_cannot_be_is_refused_with_option_value_and_rule_and_leaves_nothing(
    engine: EngineCalls, api: InProcessApi
) -> None:
    full = api.create("networks", {"name": "full"})
    body = {"cidr": "10.192.0.0/10", "ip_version": 4, "enable_dhcp": False}
    api.create("subnets", {"network_id": full["id"], **body})
    for subnets, asked, words in REFUSED:
        with pytest.raises(CallFailed, match=words):
            engine.create_network(*subnets, **asked)
    assert (len(api.list("networks")), len(api.list("subnets")), api.list("ports")) == (2, 3, [])
