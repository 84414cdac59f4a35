# SPDX-License-Identifier: Apache-2.0
"""An address that was asked for is had again at once, whatever went wrong with whoever had it before."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from portico.docker.api import ALIVE_FOR_S
from portico.docker.record import ENDPOINT, RESERVED
from portico.errors import Unavailable
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi

ADDRESS = "10.1.0.7"
MAC = "02:42:0a:01:00:07"


def away(_method: str, _path: str) -> None:
    raise Unavailable("as expected")


def request(engine: EngineCalls, pool_id: str, address: str = ADDRESS) -> None:
    engine.call("IpamDriver.RequestAddress", PoolID=pool_id, Address=address, Options=None)


def ends_unheard(engine: EngineCalls, api: InProcessApi, endpoint: Any) -> None:
    """Let a container end while the API is away: the engine logs the errors and goes on."""
    pool_id = endpoint.network.pools[0][0]
    ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
    api.before = away
    for name, body in (
        ("NetworkDriver.DeleteEndpoint", ids),
        ("IpamDriver.ReleaseAddress", {"PoolID": pool_id, "Address": ADDRESS}),
    ):
        with pytest.raises(CallFailed, match="as expected"):
            engine.call(name, **body)
    api.before = lambda _method, _path: None


def test_a_container_that_ended_while_the_api_was_away_starts_again_at_once(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    first = engine.connect(network, ADDRESS)
    ends_unheard(engine, api, first)
    with pytest.raises(CallFailed, match="in use by port"):  # its link may still be in the container
        engine.connect(network, ADDRESS)
    engine.links_are_here = True
    second = engine.connect(network, ADDRESS)
    engine.do_what_waits()
    [port] = api.list("ports", device_owner=[ENDPOINT, RESERVED])
    assert (port["device_id"], port["mac_address"]) == (second.id, MAC)


def test_what_the_engine_gave_up_is_deleted_as_soon_as_the_api_answers(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    ends_unheard(engine, api, engine.connect(network, ADDRESS))
    pool_id = network.pools[0][0]
    request(engine, engine.create_network("10.1.0.0/24").pools[0][0])
    engine.do_what_waits()
    assert api.list("ports", device_owner=ENDPOINT) == []
    request(engine, pool_id)
    api.before = away
    with pytest.raises(CallFailed, match="as expected"):
        engine.call("IpamDriver.ReleaseAddress", PoolID=pool_id, Address=ADDRESS)
    api.before = lambda _method, _path: None
    engine.do_what_waits()
    assert len(api.list("ports", device_owner=RESERVED)) == 1


def test_a_release_that_the_api_was_away_for_is_not_taken_for_the_next_one(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network, ADDRESS)
    engine.call("NetworkDriver.DeleteEndpoint", NetworkID=network.id, EndpointID=endpoint.id)
    released = {"PoolID": network.pools[0][0], "Address": ADDRESS}
    api.before = away
    time.sleep(ALIVE_FOR_S)  # then it is asked whether it lives
    with pytest.raises(CallFailed, match="as expected"):
        engine.call("IpamDriver.ReleaseAddress", **released)
    api.before = lambda _method, _path: None
    request(engine, network.pools[0][0])
    engine.call("IpamDriver.ReleaseAddress", **released)
    assert api.list("ports", device_owner=[ENDPOINT, RESERVED]) == []


def test_a_port_that_was_given_back_late_is_not_taken_from_its_next_endpoint(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    mine = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": ADDRESS}], "name": "mine"}
    api.create("ports", mine)
    ends_unheard(engine, api, engine.connect(network, ADDRESS, options={"portico.port": "mine"}))
    engine.links_are_here = True
    second = engine.connect(network, ADDRESS, options={"portico.port": "mine"})
    engine.do_what_waits()
    assert [port["device_id"] for port in api.list("ports", name="mine")] == [second.id]


@pytest.mark.parametrize("restarts", ["plugin", "engine"])
def test_an_address_of_a_start_that_a_crash_ended_is_had_at_once(
    engine: EngineCalls, api: InProcessApi, restarts: str
) -> None:
    network = engine.create_network("10.1.0.0/24")
    request(engine, network.pools[0][0])
    if restarts == "plugin":
        engine.restart_plugin()
    else:
        engine.call("Plugin.Activate")
    engine.links_are_here = True
    endpoint = engine.connect(network, ADDRESS)
    assert endpoint.mac == MAC
    assert [port["device_id"] for port in api.list("ports", device_owner=[ENDPOINT, RESERVED])] == [endpoint.id]


def test_an_address_that_is_being_set_up_is_nobody_elses(engine: EngineCalls, api: InProcessApi) -> None:
    engine.links_are_here = True
    network = engine.create_network("10.1.0.0/24")
    request(engine, network.pools[0][0])
    with pytest.raises(CallFailed, match=rf"{ADDRESS} is in use by port [0-9a-f-]+ \(docker:reserved\)\."):
        engine.connect(network, ADDRESS)
    engine.call("IpamDriver.ReleaseAddress", PoolID=network.pools[0][0], Address=ADDRESS)
    engine.connect(network, ADDRESS)
    with pytest.raises(CallFailed, match=f"{ADDRESS} is in use by port"):
        engine.connect(network, ADDRESS)


def test_another_docker_networks_leftover_is_left_alone(engine: EngineCalls, api: InProcessApi) -> None:
    engine.links_are_here = True
    blue = api.create("networks", {"name": "blue"})
    api.create("subnets", {"network_id": blue["id"], "cidr": "10.1.0.0/24", "ip_version": 4})
    one, two = (engine.create_network("", ipam_options={"portico.network": "blue"}) for _ in range(2))
    request(engine, one.pools[0][0])
    engine.restart_plugin()
    with pytest.raises(CallFailed, match=f"{ADDRESS} is in use by port"):
        engine.connect(two, ADDRESS)
    engine.call("IpamDriver.ReleaseAddress", PoolID=two.pools[0][0], Address=ADDRESS)
    assert len(api.list("ports", device_owner=RESERVED)) == 1


def test_a_free_port_is_adopted_though_its_mac_address_is_the_one_of_the_address(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": ADDRESS}]}
    mine = api.create("ports", {**where, "mac_address": MAC})
    endpoint = engine.connect(network, ADDRESS, options={"portico.port": mine["id"]})
    assert endpoint.mac == MAC


def test_addresses_on_their_way_from_port_to_port_are_given_to_nobody_else(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"])
    request(engine, network.pools[0][0], "10.1.0.8")
    for pool_id, address in ((network.pools[0][0], ADDRESS), (network.pools[1][0], "2001:db8::7")):
        request(engine, pool_id, address)  # of two containers at once: it cannot be told for which
    others: list[Future[Any]] = []

    def ask_in_between(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports") and not others:
            others.append(pool.submit(request, engine, network.pools[1][0], "2001:db8::7"))
            wait(others, 0.1)

    with ThreadPoolExecutor(1) as pool:
        api.before = ask_in_between
        engine.call(
            "NetworkDriver.CreateEndpoint",
            NetworkID=network.id,
            EndpointID="e" * 64,
            Interface={"Address": f"{ADDRESS}/24", "AddressIPv6": "2001:db8::7/64", "MacAddress": ""},
            Options={},
        )
        with pytest.raises(CallFailed, match="2001:db8::7 is in use by port"):
            others[0].result()


def test_another_hosts_reservation_is_not_released_here(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    elsewhere = {"docker": {"host": "elsewhere", "network": "n"}}
    body = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": ADDRESS}]}
    port = api.create("ports", {**body, "device_owner": RESERVED, "binding:profile": elsewhere})
    engine.call("IpamDriver.ReleaseAddress", PoolID=network.pools[0][0], Address=ADDRESS)
    assert [item["id"] for item in api.list("ports", device_owner=RESERVED)] == [port["id"]]


def test_two_hosts_that_adopt_one_port_do_not_both_use_it(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": ADDRESS}], "name": "mine"}
    mine = api.create("ports", where)

    def other_host_too(name: str) -> None:
        if name == "NetworkDriver.CreateEndpoint":
            api.update("ports", mine["id"], {"device_id": "of another host"})

    engine.after = other_host_too
    with pytest.raises(CallFailed, match="was taken by another host"):
        engine.connect(network, ADDRESS, options={"portico.port": "mine"})
    assert [port["device_id"] for port in api.list("ports", name="mine")] == ["of another host"]


def test_an_endpoint_that_came_to_nothing_is_cleaned_up_when_the_api_is_back(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"])
    requests: list[str] = []

    def goes_away_before_create(name: str) -> None:
        requests.append(name)
        if requests == ["IpamDriver.RequestAddress"] * 2:
            api.before = away

    engine.after = goes_away_before_create
    with pytest.raises(CallFailed, match="as expected"):
        engine.connect(network, ADDRESS, "2001:db8::7")
    for pool, address in ((network.pools[0][0], ADDRESS), (network.pools[1][0], "2001:db8::7")):
        with pytest.raises(CallFailed, match="as expected"):
            engine.call("IpamDriver.ReleaseAddress", PoolID=pool, Address=address)
    api.before = lambda _method, _path: None
    engine.do_what_waits()
    assert api.list("ports", device_owner=[RESERVED, ENDPOINT]) == []
