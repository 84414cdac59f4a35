# SPDX-License-Identifier: Apache-2.0
"""The sweep removes, gives back and names only what it has looked at: what has changed since then stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from portico.docker.engine import Inventory
from portico.docker.sweep import Sweeper
from portico.testing.docker_calls import EngineCalls
from portico.testing.in_process import InProcessApi

HOST = "a-host-of-another-name"


def sweeper(engine: EngineCalls, api: InProcessApi) -> Sweeper:
    def inventory() -> Inventory:
        return Inventory(dict.fromkeys(engine.networks, "blue"), dict.fromkeys(engine.endpoints, "web"))

    return Sweeper(api, HOST, engine.records, inventory, lambda _link: True, idle_s=0)


def between_look_and_removal(api: InProcessApi, path: str, change: Callable[[], object]) -> None:
    """Let somebody change something when the sweep has seen it and is about to remove it."""

    def act(method: str, seen: str) -> None:
        if method in ("PUT", "DELETE") and seen == path:
            api.before = lambda _method, _path: None
            change()

    api.before = act


def test_the_sweep_removes_only_what_it_has_seen(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    [port] = api.list("ports", device_owner="docker:reserved")
    broom = sweeper(engine, api)
    broom.round()
    to_vm = {"device_owner": "compute:nova", "device_id": "vm"}
    between_look_and_removal(api, "ports", lambda: api.update("ports", port["id"], to_vm))
    assert broom.round() == []
    assert [item["device_id"] for item in api.list("ports", id=port["id"])] == ["vm"]


def test_the_sweep_gives_back_only_what_it_has_seen(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    where = {"network_id": api.list("networks")[0]["id"], "fixed_ips": [{"ip_address": "10.1.0.50"}]}
    mine = api.create("ports", where)
    engine.connect(network, "10.1.0.50", options={"portico.port": mine["id"]})
    engine.endpoints.clear()
    broom = sweeper(engine, api)
    broom.round()
    between_look_and_removal(api, "ports", lambda: api.update("ports", mine["id"], {"device_id": "of another host"}))
    assert broom.round() == []
    assert [item["device_id"] for item in api.list("ports", id=mine["id"])] == ["of another host"]


def test_the_sweep_leaves_networks_groups_and_anchors_that_have_just_changed(
    engine: EngineCalls, api: InProcessApi
) -> None:
    description = {"description": f"Made by Docker on host {HOST}"}
    engine.create_network("10.1.0.0/24")
    [anchor] = api.list("ports", device_owner="docker:network")
    engine.networks.clear()
    for collection in ("networks", "security_groups"):
        item = api.create(collection, {"name": "half", **description})
        broom = sweeper(engine, api)
        broom.round()
        change = partial(api.update, collection, item["id"], {"description": "mine now"})
        between_look_and_removal(api, collection, change)
        assert f"{collection} {item['id']}" not in broom.round()
        assert [found["description"] for found in api.list(collection, id=item["id"])] == ["mine now"]
    assert api.list("ports", id=anchor["id"]) == []


def test_the_sweep_leaves_a_docker_network_whose_anchor_has_just_changed(
    engine: EngineCalls, api: InProcessApi
) -> None:
    engine.create_network("10.1.0.0/24")
    [anchor] = api.list("ports", device_owner="docker:network")
    engine.networks.clear()
    broom = sweeper(engine, api)
    broom.round()
    between_look_and_removal(api, "ports", lambda: api.update("ports", anchor["id"], {"name": "mine"}))
    assert broom.round() == []
    assert [item["name"] for item in api.list("ports", id=anchor["id"])] == ["mine"]
    assert broom.round() == [f"docker:network {anchor['id']}"]
    assert api.list("networks") == api.list("ports") == []


def test_a_name_is_not_written_on_what_has_just_become_another_hosts(engine: EngineCalls, api: InProcessApi) -> None:
    endpoint = engine.connect(engine.create_network("10.1.0.0/24"))
    [port] = api.list("ports", device_id=endpoint.id)
    to_vm = {"device_owner": "compute:nova", "device_id": "vm", "name": "vm"}
    between_look_and_removal(api, "ports", lambda: api.update("ports", port["id"], to_vm))
    sweeper(engine, api).name()
    assert [item["name"] for item in api.list("ports", id=port["id"])] == ["vm"]
