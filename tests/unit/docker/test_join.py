# SPDX-License-Identifier: Apache-2.0
"""Join answers as soon as it is safe, and who uses the port is written down soon after."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portico.broker.status import write_statuses
from portico.contract import Binding, ObjectStatus
from portico.docker.endpoint import Surroundings
from portico.docker.engine import Inventory
from portico.docker.later import Later
from portico.docker.plugin import Plugin
from portico.docker.record import ENDPOINT, RESERVED
from portico.docker.sweep import Sweeper
from portico.errors import Conflict, Unavailable
from portico.rules import agent
from portico.settings import Settings
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi
from portico.testing.lab import wait_until


def statuses_asked(api: InProcessApi) -> list[str]:
    asked: list[str] = []
    api.before = lambda _method, path: asked.append(path) if path.startswith("/portico/v1/ports/") else None
    return asked


@pytest.mark.parametrize(("made", "running", "asks"), [(True, False, 0), (False, False, 1), (True, True, 1)])
def test_only_a_container_that_has_no_namespace_yet_is_content_with_a_link(
    engine: EngineCalls, api: InProcessApi, tmp_path: Path, made: bool, running: bool, asks: int
) -> None:
    endpoint = engine.connect(engine.create_network("10.1.0.0/24"))
    engine.links_are_made = made
    asked = statuses_asked(api)
    key = tmp_path / "sandbox"
    if running:
        key.touch()
    ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
    engine.call("NetworkDriver.Join", **ids, SandboxKey=str(key), Options={})
    assert len(asked) == asks


def test_a_port_that_another_service_binds_later_gives_the_link_that_it_has_then(
    engine: EngineCalls, api: InProcessApi, tmp_path: Path
) -> None:
    endpoint = engine.connect(engine.create_network("10.1.0.0/24"))
    [port] = [port for port in api.list("ports") if port["binding:vif_details"].get("link_name") == endpoint.link]
    bound = Binding("bridge", {"link_name": "pvlater"})

    def bind_when_asked(_method: str, path: str) -> None:
        if path.startswith("/portico/v1/ports/"):
            told = ObjectStatus("port", port["id"], "DOWN", host=port["binding:host_id"], binding=bound)
            write_statuses(api.service.store, [told])

    with api.service.store.write() as tx:
        row = tx.get("port", port["id"])
        assert row is not None
        tx.update("port", row, {"binding:vif_type": "unbound", "binding:vif_details": {}})
    engine.restart_plugin()
    api.before = bind_when_asked
    ids = {"NetworkID": endpoint.network.id, "EndpointID": endpoint.id}
    answer = engine.call("NetworkDriver.Join", **ids, SandboxKey=str(tmp_path / "sandbox"), Options={})
    assert answer["InterfaceName"]["SrcName"] == "pvlater"


def test_a_crash_before_the_port_is_written_down_costs_nothing(
    engine: EngineCalls, api: InProcessApi, module_settings: Settings
) -> None:
    waiting: list[Callable[[], None]] = []
    surroundings = Surroundings(lambda _link, _mac: True, waiting.append)
    network = engine.create_network("10.1.0.0/24")
    engine.plugin = Plugin(api, module_settings, engine.records, lambda: None, surroundings)
    endpoint = engine.connect(network)
    assert len(api.list("ports", device_owner=RESERVED)) == len(waiting) == 1
    engine.restart_plugin()
    in_container = Sweeper(
        api,
        module_settings.host,
        engine.records,
        lambda: Inventory({network.id: "n"}, {}),
        lambda _link: False,
        idle_s=0,
    )
    assert [in_container.round() for _ in range(3)] == [[]] * 3
    engine.disconnect(endpoint)
    assert api.list("ports", device_owner=[RESERVED, ENDPOINT]) == []
    waiting[0]()  # too late, and no error


def test_things_for_later_are_done_in_order_and_outlive_a_failure() -> None:
    done: list[int] = []
    later = Later()

    def fail() -> None:
        raise Conflict("as expected")

    def fail_badly() -> None:
        raise ZeroDivisionError

    for thing in (lambda: done.append(1), fail, fail_badly, lambda: done.append(2)):
        later(thing)
    wait_until("both", lambda: done == [1, 2], 5)


def test_what_is_still_to_be_done_is_waited_for_at_the_end() -> None:
    done: list[int] = []
    later = Later()
    later(lambda: time.sleep(0.1))
    later(lambda: done.append(1))
    later.flush(5)
    assert done == [1]


def test_an_api_that_is_away_for_a_while_learns_all_the_same_who_uses_the_port(
    engine: EngineCalls, api: InProcessApi, module_settings: Settings
) -> None:
    fails = 3

    def away(method: str, _path: str) -> None:
        nonlocal fails
        if method == "PUT" and fails:
            fails -= 1
            raise Unavailable("as expected")

    api.before = away
    surroundings = Surroundings(lambda _link, _mac: True, Later([0.01] * 3))
    network = engine.create_network("10.1.0.0/24")
    engine.plugin = Plugin(api, module_settings, engine.records, lambda: None, surroundings)
    endpoint = engine.connect(network)
    wait_until("the port is written down", lambda: bool(api.list("ports", device_id=endpoint.id)), 5)
    assert fails == 0


def test_what_was_never_written_down_the_sweep_learns_from_the_engine(
    engine: EngineCalls, api: InProcessApi, module_settings: Settings
) -> None:
    surroundings = Surroundings(lambda _link, _mac: True, lambda _thing: None)
    network = engine.create_network("10.1.0.0/24")
    engine.plugin = Plugin(api, module_settings, engine.records, lambda: None, surroundings)
    endpoint = engine.connect(network)
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    engine.restart_plugin()
    inventory = Inventory({network.id: "n"}, {endpoint.id: "web"}, {(network.id, endpoint.mac): endpoint.id})
    Sweeper(api, module_settings.host, engine.records, lambda: inventory, lambda _link: False).name()
    [port] = api.list("ports", device_id=endpoint.id)
    assert (port["device_owner"], port["name"], port["mac_address"]) == (ENDPOINT, "web", endpoint.mac)
    assert len(api.list("ports", device_owner=RESERVED)) == 1
    engine.disconnect(endpoint)
    assert api.list("ports", device_owner=ENDPOINT) == []


def test_a_network_of_ipv6_subnets_alone_has_links_too(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network(version6=["2001:db8:1::/64", "2001:db8:2::/64"])
    endpoint = engine.connect(network)
    [port] = api.list("ports", device_id=endpoint.id)
    assert endpoint.link == port["binding:vif_details"]["link_name"]


def test_a_host_that_is_taken_out_of_use_gets_no_container_and_the_answer_says_why(
    engine: EngineCalls, api: InProcessApi, module_settings: Settings
) -> None:
    network = engine.create_network("10.1.0.0/24")
    with api.service.store.write() as tx:
        name = agent.heartbeat(tx, module_settings.host, "Portico agent", "portico-agent", {}, time.time())
    api.agents_run = False
    try:
        api.update("agents", name, {"admin_state_up": False})
        with pytest.raises(CallFailed, match=f"admin_state_up of {name} is false"):
            engine.connect(network)
        assert api.list("ports", device_owner=[RESERVED, ENDPOINT]) == []
    finally:
        api.delete("agents", name)


def test_a_restart_between_create_and_join_is_got_over(engine: EngineCalls, api: InProcessApi) -> None:
    network = engine.create_network("10.1.0.0/24")
    engine.links_are_here = True
    engine.after = lambda name: engine.restart_plugin() if name == "NetworkDriver.CreateEndpoint" else None
    endpoint = engine.connect(network)
    [port] = api.list("ports", device_owner=[RESERVED, ENDPOINT])
    assert (port["device_id"], port["binding:vif_details"]["link_name"]) == (endpoint.id, endpoint.link)
    engine.call("IpamDriver.RequestAddress", PoolID=network.pools[0][0], Address="", Options=None)
    with pytest.raises(CallFailed, match="the plugin was restarted while the container was starting: start it again"):
        engine.connect(network)
    engine.disconnect(endpoint)
    assert len(api.list("ports", device_owner=[RESERVED, ENDPOINT])) == 1
