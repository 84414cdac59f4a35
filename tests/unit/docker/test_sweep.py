# SPDX-License-Identifier: Apache-2.0
"""A crash at any point leaves nothing behind after two rounds of the sweep, which takes nothing that is used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from portico.docker.api import ANSWER_WITHIN_S
from portico.docker.endpoint import PLUG_WITHIN_S
from portico.docker.engine import Inventory
from portico.docker.record import PLUGGED
from portico.docker.sweep import IDLE_S, Sweeper
from portico.errors import Unavailable
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi

HOST = "a-host-of-another-name"
EXPOSED: dict[str, object] = {
    "portico.expose": "true",
    "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
}


class Killed(BaseException):
    """The plugin, or the engine with it, is gone at this point."""


def sweeper(engine: EngineCalls, api: InProcessApi, *, links_here: bool = True, reachable: bool = True) -> Sweeper:
    def inventory() -> Inventory | None:
        if not reachable:
            return None
        return Inventory(dict.fromkeys(engine.networks, "blue"), dict.fromkeys(engine.endpoints, "web"))

    return Sweeper(api, HOST, engine.records, inventory, lambda _link: links_here, idle_s=0)


def left(api: InProcessApi) -> dict[str, Any]:
    found = {name: [item["id"] for item in api.list(name)] for name in ("networks", "subnets", "ports")}
    found["security_groups"] = [g["name"] for g in api.list("security_groups") if g["name"] != "default"]
    return {name: items for name, items in found.items() if items}


def life(engine: EngineCalls) -> None:
    """Do everything that leaves something in the API."""
    network = engine.create_network("10.1.0.0/24", version6=["2001:db8::/64"], auxiliary={"a": "10.1.0.200"})
    endpoint = engine.connect(network, mac="02:00:00:00:00:09", options=EXPOSED)
    engine.disconnect(endpoint)
    engine.remove_network(network)


def life_without_addresses(engine: EngineCalls) -> None:
    network = engine.create_unaddressed_network()
    engine.disconnect(engine.connect(network, mac="02:00:00:00:00:09", options=EXPOSED))
    engine.remove_network(network)


def count(trial: Callable[[Callable[[], None]], None]) -> int:
    total = 0

    def tick() -> None:
        nonlocal total
        total += 1

    trial(tick)
    return total


def kill_at(point: int) -> Callable[[], None]:
    steps: Iterator[int] = iter(range(point + 1))

    def tick() -> None:
        if next(steps) == point:
            raise Killed

    return tick


def run_until_killed(
    engine: EngineCalls,
    api: InProcessApi,
    tick: Callable[[], None],
    *,
    at_requests: bool,
    lives: Callable[[EngineCalls], None] = life,
) -> None:
    if at_requests:
        api.before = lambda _method, _path: tick()
    else:
        engine.after = lambda _name: tick()
    try:
        with suppress(Killed):
            lives(engine)
    finally:
        api.before = lambda _method, _path: None
        engine.after = lambda _name: None


@pytest.mark.parametrize("at_requests", [False, True], ids=["after each call", "before each request of the API"])
def test_killed_anywhere_nothing_is_left_after_two_rounds(
    engine: EngineCalls, api: InProcessApi, at_requests: bool
) -> None:
    points = count(lambda tick: run_until_killed(engine, api, tick, at_requests=at_requests))
    assert points >= 15
    assert left(api) == {}
    for point in range(points):
        run_until_killed(engine, api, kill_at(point), at_requests=at_requests)
        # Plugin and engine both start anew, and the engine has no network or endpoint that it had not finished.
        engine.restart_plugin()
        engine.networks.clear()
        engine.endpoints.clear()
        broom = sweeper(engine, api)
        assert broom.round() == [], "something was removed that had been there for a moment only"
        broom.round()
        broom.round()
        assert left(api) == {}, f"killed at {point}"


def test_killed_anywhere_nothing_is_left_of_ports_without_addresses(engine: EngineCalls, api: InProcessApi) -> None:
    def run(tick: Callable[[], None]) -> None:
        run_until_killed(engine, api, tick, at_requests=True, lives=life_without_addresses)

    for point in range(count(run)):
        run(kill_at(point))
        engine.restart_plugin()
        engine.networks.clear()
        engine.endpoints.clear()
        broom = sweeper(engine, api)
        for _ in range(3):
            broom.round()
        assert left(api) == {}, f"killed at {point}"


def test_a_killed_plugin_costs_the_engine_nothing_that_network_rm_does_not_clean(
    engine: EngineCalls, api: InProcessApi
) -> None:
    """The engine lives on, sees an error, cleans up as it does, and removes the network: no sweep is needed."""
    network = engine.create_network("10.1.0.0/24")
    points = count(lambda tick: _connect(engine, api, network, tick))
    for point in range(points):
        with suppress(Killed):
            _connect(engine, api, network, kill_at(point))
        engine.restart_plugin()
    engine.remove_network(network)
    assert left(api) == {}


def _connect(engine: EngineCalls, api: InProcessApi, network: Any, tick: Callable[[], None]) -> None:
    api.before = lambda _method, _path: tick()
    try:
        engine.connect(network)
    finally:
        api.before = lambda _method, _path: None


def test_what_the_engine_has_stays_for_ever(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.connect(network, options=EXPOSED)
    before = left(api)
    broom = sweeper(engine, api)
    assert [broom.round() for _ in range(4)] == [[]] * 4
    assert left(api) == before


def test_an_endpoint_in_a_container_stays_whatever_the_engine_says(engine: EngineCalls, api: InProcessApi) -> None:
    """Live-restore, an engine that is still starting, a second engine: the link tells."""
    engine.connect(engine.create_network("10.1.0.0/24"))
    before = left(api)
    engine.networks.clear()
    engine.endpoints.clear()
    broom = sweeper(engine, api, links_here=False)
    assert [broom.round() for _ in range(4)] == [[]] * 4
    assert left(api) == before


def test_without_an_engine_only_reservations_and_halves_are_swept(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network)
    before = left(api)
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    api.create("networks", {"name": "docker-0123", "description": f"Made by Docker on host {HOST}"})
    engine.endpoints.clear()
    broom = sweeper(engine, api, reachable=False)
    assert broom.round() == []
    assert len(broom.round()) == 2
    assert left(api) == before
    engine.endpoints[endpoint.id] = endpoint


def test_what_others_made_stays(engine: EngineCalls, api: InProcessApi) -> None:
    network = api.create("networks", {"name": "docker-abc", "description": "Made by hand"})
    api.create("subnets", {"network_id": network["id"], "cidr": "10.1.0.0/24", "ip_version": 4})
    api.create("ports", {"network_id": network["id"], "device_owner": "compute:nova", "device_id": "vm"})
    elsewhere = {"docker": {"host": "elsewhere", "network": "n"}, "plug": "veth"}
    body = {"network_id": network["id"], "device_owner": "docker:endpoint", "device_id": "e"}
    api.create("ports", {**body, "binding:host_id": "elsewhere", "binding:profile": elsewhere})
    before = left(api)
    broom = sweeper(engine, api)
    assert [broom.round() for _ in range(3)] == [[]] * 3
    assert left(api) == before


def test_a_port_that_only_says_it_is_dockers_stays_until_its_network_goes(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    by_hand = {"network_id": api.list("networks")[0]["id"], "device_owner": "docker:endpoint", "device_id": "by hand"}
    api.create("ports", by_hand)
    elsewhere = api.create("ports", {**by_hand, "binding:host_id": "elsewhere"})
    broom = sweeper(engine, api)
    assert [broom.round() for _ in range(3)] == [[]] * 3
    with pytest.raises(CallFailed, match=f"in use by port {elsewhere['id']}"):
        engine.remove_network(network)
    api.delete("ports", elsewhere["id"])
    engine.remove_network(network)
    assert left(api) == {}


@pytest.mark.parametrize("profile", [{}, {"plug": "tap"}, {"docker": "x"}, {"docker": {"host": HOST}}, {"docker": {}}])
@pytest.mark.parametrize("restarts", [False, True])
def test_whoever_overwrites_dockers_profiles_docker_can_end_all_it_has(
    engine: EngineCalls, api: InProcessApi, profile: dict[str, Any], restarts: bool
) -> None:
    network = engine.create_network("10.1.0.0/24")
    first, _ = engine.connect(network), engine.connect(network)
    for port in api.list("ports"):
        api.update("ports", port["id"], {"binding:profile": profile, "binding:host_id": ""})
    if restarts:
        engine.restart_plugin()
    broom = sweeper(engine, api)
    broom.round()
    broom.name()
    engine.disconnect(first)
    engine.remove_network(network)
    broom.round()
    broom.round()
    broom.round()
    assert left(api) == {}


@pytest.mark.parametrize("profile", [{}, {"plug": "tap"}, {"docker": "x", "note": "theirs"}])
@pytest.mark.parametrize("restarts", [False, True])
def test_an_adopted_port_whose_profile_was_overwritten_is_given_back_all_the_same(
    engine: EngineCalls, api: InProcessApi, profile: dict[str, Any], restarts: bool
) -> None:
    network = engine.create_network("10.1.0.0/24")
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}]}
    mine = api.create("ports", where)
    endpoint = engine.connect(network, "10.1.0.50", options={"portico.port": mine["id"]})
    api.update("ports", mine["id"], {"binding:profile": profile})
    if restarts:
        engine.restart_plugin()
    with pytest.raises(CallFailed, match=f"in use by port {mine['id']}"):
        engine.remove_network(network)
    engine.disconnect(endpoint)
    [port] = api.list("ports", id=mine["id"])
    assert port["device_id"] == port["device_owner"] == port["binding:host_id"] == ""
    assert "docker" not in port["binding:profile"]


def test_a_left_over_network_with_other_peoples_ports_waits_for_them(engine: EngineCalls, api: InProcessApi) -> None:
    engine.create_network("10.1.0.0/24")
    port = api.create("ports", {"network_id": api.list("networks")[0]["id"]})
    engine.networks.clear()
    broom = sweeper(engine, api)
    assert [broom.round() for _ in range(3)] == [[]] * 3
    assert len(api.list("networks")) == 1
    api.delete("ports", port["id"])
    broom.round()
    assert left(api) == {}


def test_an_adopted_port_is_given_back_by_the_sweep(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}]}
    mine = api.create("ports", {**where, "name": "mine"})
    engine.connect(network, "10.1.0.50", options={"portico.port": "mine"})
    engine.endpoints.clear()
    broom = sweeper(engine, api)
    broom.round()
    broom.round()
    [port] = api.list("ports", id=mine["id"])
    assert port["device_id"] == port["device_owner"] == port["binding:host_id"] == ""


def test_networks_and_ports_get_dockers_names(engine: EngineCalls, api: InProcessApi) -> None:
    engine.connect(engine.create_network("10.1.0.0/24"))
    broom = sweeper(engine, api)
    broom.name()
    assert [item["name"] for item in api.list("networks")] == ["blue"]
    assert [item["name"] for item in api.list("ports", device_owner="docker:endpoint")] == ["web"]
    before = api.requests
    broom.name()
    assert api.requests - before == 1


def test_names_follow_docker_rename_and_leave_other_hosts_and_adopted_ports_alone(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network)
    [there] = api.list("networks")
    mine = {"network_id": there["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}], "name": "mine"}
    api.create("ports", mine)
    adopted = engine.connect(network, "10.1.0.50", options={"portico.port": "mine"})
    elsewhere = {
        "network_id": there["id"],
        "name": "other",
        "device_owner": "docker:endpoint",
        "device_id": endpoint.id,
        "binding:profile": {"docker": {"host": "elsewhere", "network": network.id}},
    }
    api.create("ports", elsewhere)
    names: dict[str, str] = {}
    broom = Sweeper(api, HOST, engine.records, lambda: Inventory({network.id: "blue"}, names), lambda _link: True)
    for name in ("web", "renamed", ""):  # the last is what a container that is being removed has
        names.update(dict.fromkeys([endpoint.id, adopted.id], name))
        broom.name()
        found = sorted(port["name"] for port in api.list("ports", device_owner=PLUGGED))
        assert found == sorted(["mine", "other", name or "renamed"])


def test_an_api_that_is_down_ends_the_round_and_is_tried_again(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    broom = sweeper(engine, api)
    broom.round()

    def dead(_method: str, _path: str) -> None:
        raise Unavailable("down")

    api.before = dead
    with pytest.raises(Unavailable):
        broom.round()
    api.before = lambda _method, _path: None
    assert len(broom.round()) == 1


def test_concurrent_creates_with_one_subnet_take_turns_and_never_mix(engine: EngineCalls, api: InProcessApi) -> None:
    first = engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="10.1.0.0/24")
    with pytest.raises(CallFailed, match="being created just now"):
        engine.call("IpamDriver.RequestPool", AddressSpace="portico-local", Pool="10.1.0.0/24")
    engine.call("IpamDriver.ReleasePool", PoolID=first["PoolID"])
    engine.create_network("10.1.0.0/24")


def test_rounds_in_quick_succession_leave_a_container_the_time_to_start(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    inventory = Inventory({network.id: "blue"}, {})
    patient = Sweeper(api, HOST, engine.records, lambda: inventory, lambda _link: True, idle_s=0.2)
    assert [patient.round() for _ in range(3)] == [[]] * 3
    time.sleep(0.25)
    assert len(patient.round()) == 1
    assert IDLE_S > PLUG_WITHIN_S + ANSWER_WITHIN_S


def test_a_leaked_reservation_goes_from_a_network_that_stays(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    endpoint = engine.connect(network)
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    broom = sweeper(engine, api)
    assert [len(broom.round()) for _ in range(3)] == [0, 1, 0]
    assert sorted(port["device_owner"] for port in api.list("ports")) == ["docker:endpoint", "docker:network"]
    engine.disconnect(endpoint)


def test_an_engine_that_still_names_the_last_holder_of_an_address_does_not_overwrite_the_next(
    engine: EngineCalls, api: InProcessApi
) -> None:
    network = engine.create_network("10.1.0.0/24")
    first = engine.connect(network, "10.1.0.7")
    engine.disconnect(first)
    late = Inventory({network.id: "blue"}, {first.id: "first"}, {(network.id, first.mac): first.id})
    broom = Sweeper(api, HOST, engine.records, lambda: late, lambda _link: True, engine.held)
    engine.after = lambda _name: broom.name()
    second = engine.connect(network, "10.1.0.7")
    assert [port["device_id"] for port in api.list("ports", device_owner="docker:endpoint")] == [second.id]


def test_the_engine_is_asked_after_the_ports(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    asked: list[str] = []

    def inventory() -> Inventory:
        asked.append("engine")
        return Inventory({network.id: "blue"}, {})

    api.before = lambda method, path: asked.append(f"{method} {path}")
    Sweeper(api, HOST, engine.records, inventory, lambda _link: True).name()
    assert asked[:2] == ["GET ports", "engine"]
