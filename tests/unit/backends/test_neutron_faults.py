# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between the neutron backend and its remote: clear words, nothing lost, nothing made twice."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import bcrypt
import pytest

from portico.backends.neutron import NeutronBackend, make
from portico.broker.hosts import HostStates
from portico.contract import Dirty, ObjectStatus
from portico.errors import SettingsError, Unavailable
from portico.identity.http_basic import HttpBasic
from portico.settings_neutron import NeutronSettings
from portico.testing.remote_portico import RemotePortico
from portico.testing.world import HOSTS, PutGroup, PutNetwork, PutPort, PutRule, PutSubnet, World, object_id

from .wire import Wire, wire

# What openstacksdk says of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
ALL = Dirty(everything=True)
PORTS = [object_id("port", number) for number in (0, 1)]


@pytest.fixture
def remote() -> Iterator[Wire]:
    with wire(RemotePortico()) as found:
        yield found


def backend(url: str, **settings: object) -> NeutronBackend:
    given = {"endpoint": url, "send_profile": True, "overhead": 0, **settings}
    return make(HostStates(), NeutronSettings(**given))  # type: ignore[arg-type]


def two_ports() -> World:
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 4), PutPort(0, 0, versions=(4,)), PutPort(1, 0, versions=(4,)))
    return world


def told(found: Iterator[ObjectStatus] | object) -> dict[str, ObjectStatus]:
    assert isinstance(found, list)
    return {item.id: item for item in found}


def count(remote: RemotePortico, resource: str) -> int:
    return sum("portico:" in row["description"] for row in remote.rows(resource))


def test_a_remote_that_is_not_there_is_named_and_everything_is_made_once_it_is(remote: Wire) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unavailable, match=f"remote Networking service {gone}: "):
        backend(gone).sync(two_ports().snapshot(), ALL)
    backend(remote.url).sync(two_ports().snapshot(), ALL)
    assert count(remote.remote, "port") == 2


def test_a_remote_that_hangs_is_waited_for_once_and_served_when_it_answers_again(remote: Wire) -> None:
    slow = backend(remote.url, timeout_s=2)
    slow.sync(two_ports().snapshot(), ALL)
    remote.requests.clear()
    remote.behave = lambda _method, _path: "hang"
    with pytest.raises(Unavailable, match="timed out"):
        slow.sync(two_ports().snapshot(), ALL)
    assert len(remote.requests) == 1
    remote.behave = lambda _method, _path: ""
    assert told(slow.sync(two_ports().snapshot(), Dirty()))[PORTS[0]].state == "DOWN"


@pytest.mark.parametrize("resource", ["network", "subnet", "port"])
def test_a_create_whose_answer_was_lost_is_found_again(remote: Wire, resource: str) -> None:
    """By the sign in its description: there was no time to tag it."""
    world, mine = two_ports(), backend(remote.url)
    remote.behave = lambda method, path: "lost" if method == "POST" and path.endswith(f"/{resource}s") else ""
    with pytest.raises(Unavailable):
        mine.sync(world.snapshot(), ALL)
    assert count(remote.remote, resource) == 1
    remote.behave = lambda _method, _path: ""
    mine.sync(world.snapshot(), Dirty())
    assert [count(remote.remote, kind) for kind in ("network", "subnet", "port")] == [1, 1, 2]
    signs = {row["description"]: row["tags"] for row in remote.remote.rows(resource)}
    assert signs and all(tags == [sign] for sign, tags in signs.items())


def test_of_two_objects_with_one_sign_the_younger_goes(remote: Wire) -> None:
    world, mine = two_ports(), backend(remote.url)
    mine.sync(world.snapshot(), ALL)
    [first] = [row["id"] for row in remote.remote.rows("network")]
    second = remote.remote.ask(
        "POST", "/v2.0/networks", {"network": {"description": f"portico:{object_id('network', 0)}"}}
    )["network"]["id"]
    mine.sync(world.snapshot(), ALL)
    assert second != first
    assert [row["id"] for row in remote.remote.rows("network")] == [first]


def test_a_storm_of_server_errors_is_not_fed(remote: Wire) -> None:
    world, mine = World(), backend(remote.url)
    world.apply(PutNetwork(0), PutSubnet(0, 4), *(PutPort(number, 0, versions=(4,)) for number in range(9)))
    mine.sync(two_ports().snapshot(), ALL)
    remote.behave = lambda method, _path: "500" if method == "POST" else ""
    remote.requests.clear()
    with pytest.raises(Unavailable, match="HTTP 500: an upset server"):
        mine.sync(world.snapshot(), Dirty())
    assert len(remote.requests) == 3
    remote.behave = lambda method, _path: "503" if method == "GET" else ""
    with pytest.raises(Unavailable, match="HTTP 503"):
        mine.sync(world.snapshot(), Dirty())
    remote.behave = lambda _method, _path: ""
    mine.sync(world.snapshot(), Dirty())
    assert count(remote.remote, "port") == 9


def test_one_object_that_the_remote_stumbles_over_stops_no_other(remote: Wire) -> None:
    mine = backend(remote.url)
    fate = iter(["500"])
    remote.behave = lambda method, path: next(fate, "") if method == "POST" and path.endswith("/ports") else ""
    statuses = told(mine.sync(two_ports().snapshot(), ALL))
    assert all(statuses[port].state == "DOWN" for port in PORTS), "the second round made it"
    remote.behave = lambda method, path: "500" if method == "PUT" and PORTS[0] in path else ""
    remote.remote.ask("DELETE", f"/v2.0/ports/{theirs(remote, 0)}")
    statuses = told(mine.sync(two_ports().snapshot(), ALL))
    assert (statuses[PORTS[0]].state, statuses[PORTS[0]].reason) == ("ERROR", "HTTP 500: an upset server")
    assert statuses[PORTS[1]].state == "DOWN"


def theirs(remote: Wire, number: int) -> str:
    [found] = [row["id"] for row in remote.remote.rows("port") if PORTS[number] in row["description"]]
    return str(found)


def test_rules_are_put_although_the_group_itself_is_refused_something(remote: Wire) -> None:
    mine, world = backend(remote.url), two_ports()
    group = object_id("security_group", 0)
    world.apply(PutGroup(0, stateful=False), PutPort(0, 0, versions=(4,), groups=(0,)))
    mine.sync(world.snapshot(), ALL)
    [there] = [row for row in remote.remote.rows("security_group") if group in row["description"]]
    assert there["stateful"] is False
    world.apply(PutGroup(0), PutRule(0, 0, "ingress", protocol="tcp"))  # no group changes so while a port has it
    statuses = told(mine.sync(world.snapshot(), ALL))
    assert statuses[PORTS[0]].state == "ERROR"
    assert statuses[PORTS[0]].reason.startswith(f"security group {group}: ")
    assert "in use" in statuses[PORTS[0]].reason
    rules = [row for row in remote.remote.rows("security_group_rule") if row["security_group_id"] == there["id"]]
    assert [(row["direction"], row["protocol"]) for row in rules] == [("ingress", "6")]


def test_a_quota_that_is_used_up_shows_at_the_port_and_ends_with_more_quota() -> None:
    with wire(RemotePortico({"port": 1})) as remote:
        mine = backend(remote.url)
        statuses = told(mine.sync(two_ports().snapshot(), ALL))
        assert [statuses[port].state for port in PORTS] == ["DOWN", "ERROR"]
        assert "Quota exceeded for resources: ['port']" in statuses[PORTS[1]].reason
        remote.remote.ask("PUT", "/v2.0/quotas/default", {"quota": {"port": 5}})
        remote.remote.ask("PUT", "/v2.0/quotas/tenant", {"quota": {"port": 5}})
        assert told(mine.sync(two_ports().snapshot(), Dirty()))[PORTS[1]].state == "DOWN"


def test_an_address_that_somebody_has_there_shows_at_the_port(remote: Wire) -> None:
    mine, world = backend(remote.url), World()
    world.apply(PutNetwork(0), PutSubnet(0, 4))
    mine.sync(world.snapshot(), ALL)
    [network] = [row["id"] for row in remote.remote.rows("network")]
    taken = {"network_id": network, "fixed_ips": [{"ip_address": "192.0.2.11"}]}
    other = remote.remote.ask("POST", "/v2.0/ports", {"port": taken})["port"]["id"]
    statuses = told(mine.sync(two_ports().snapshot(), ALL))
    assert statuses[PORTS[1]].state == "ERROR"
    assert "192.0.2.11" in statuses[PORTS[1]].reason and "already" in statuses[PORTS[1]].reason
    remote.remote.ask("DELETE", f"/v2.0/ports/{other}")
    assert told(mine.sync(two_ports().snapshot(), ALL))[PORTS[1]].state == "DOWN"


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Callable[[str, str], NeutronBackend]]:
    """A remote with an administrator and a member, whose passwords are their names."""
    lines = [f"{name}:{bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode()}" for name in ("root", "tenant")]
    (tmp_path / "users").write_text("\n".join(lines) + "\n")
    with wire(RemotePortico(authenticator=HttpBasic(tmp_path / "users", ("root",)))) as remote:

        def login(name: str, password: str) -> NeutronBackend:
            (tmp_path / "password").write_text(f"{password}\n")
            return backend(remote.url, username=name, password_file=str(tmp_path / "password"))

        yield login


def test_credentials_that_are_refused_are_said_to_be(users: Callable[[str, str], NeutronBackend]) -> None:
    assert told(users("root", "root").sync(two_ports().snapshot(), ALL))[PORTS[0]].state == "DOWN"
    with pytest.raises(Unavailable, match="it refuses Portico's credentials"):
        users("root", "wrong").sync(two_ports().snapshot(), ALL)


def test_what_the_policy_there_forbids_shows_at_the_port(users: Callable[[str, str], NeutronBackend]) -> None:
    statuses = told(users("tenant", "tenant").sync(two_ports().snapshot(), ALL))
    assert statuses[PORTS[0]].state == "ERROR"
    assert "disallowed by policy" in statuses[PORTS[0]].reason
    assert statuses[object_id("network", 0)].state == "ACTIVE"


def test_an_answer_of_something_else_is_not_taken_for_an_empty_network(remote: Wire) -> None:
    mine = backend(remote.url)
    mine.sync(two_ports().snapshot(), ALL)
    remote.behave = lambda method, _path: "200" if method == "GET" else ""
    with pytest.raises(Unavailable, match="is not JSON: an upset server"):
        mine.sync(two_ports().snapshot(), ALL)


def test_openstacksdk_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openstack", None)
    with pytest.raises(SettingsError, match=r"pip install 'portico\[neutron\]'"):
        backend("http://127.0.0.1:1")


def test_a_cloud_that_no_file_has_is_named(tmp_path: Path) -> None:
    (tmp_path / "clouds.yaml").write_text("clouds: {}\n")
    mine = make(HostStates(), NeutronSettings(cloud="far", clouds_file=str(tmp_path / "clouds.yaml")))
    with pytest.raises(Unavailable, match=r"neutron\.cloud: Cloud far was not found"):
        mine.sync(two_ports().snapshot(), ALL)


def test_a_cloud_of_clouds_yaml_is_used(tmp_path: Path, remote: Wire) -> None:
    far = {"auth_type": "none", "auth": {"endpoint": remote.url}, "network_endpoint_override": remote.url}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"far": far}}))
    mine = make(HostStates(), NeutronSettings(cloud="far", clouds_file=str(tmp_path / "clouds.yaml")))
    mine.sync(two_ports().snapshot(), ALL)
    assert count(remote.remote, "port") == 2
    assert HOSTS[0] in {row["binding:host_id"] for row in remote.remote.rows("port")}
