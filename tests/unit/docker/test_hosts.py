# SPDX-License-Identifier: Apache-2.0
"""Several hosts share a network: an address and a port are one host's alone, at every moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.docker.record import ADOPTED, ANCHOR, ENDPOINT, RESERVED
from portico.settings import Settings
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineEndpoint, EngineNetwork
from portico.testing.in_process import InProcessApi

V4, V6 = "10.1.0.7", "2001:db8::7"
MAC = "02:00:00:00:00:09"
EXPOSED: dict[str, object] = {
    "portico.expose": "true",
    "com.docker.network.endpoint.exposedports": [{"Proto": 6, "Port": 80}],
}


class Host:
    """An engine and its plugin, on a network that it shares with other hosts."""

    def __init__(self, api: InProcessApi, module_settings: Settings, name: str) -> None:
        self.name = name
        self.engine = EngineCalls(api, msgspec.structs.replace(module_settings, host=name))
        self.network: EngineNetwork = self.engine.create_network(
            "10.1.0.0/24", version6=["2001:db8::/64"], options={"portico.network": "shared"}
        )

    def connect(self, *addresses: str, **more: Any) -> EngineEndpoint | str:
        """Start a container; return what Docker says if it does not start."""
        try:
            return self.engine.connect(self.network, *addresses, **more)
        except CallFailed as error:
            return str(error)

    def takes(self, address: str) -> bool:
        """Tell whether this host is given an address; it keeps it."""
        pool_id = self.network.pools[":" in address][0]
        try:
            self.engine.call("IpamDriver.RequestAddress", PoolID=pool_id, Address=address, Options=None)
        except CallFailed:
            return False
        return True


@pytest.fixture
def shared(api: InProcessApi) -> dict[str, Any]:
    network = api.create("networks", {"name": "shared"})
    for version, cidr in ((4, "10.1.0.0/24"), (6, "2001:db8::/64")):
        api.create("subnets", {"network_id": network["id"], "cidr": cidr, "ip_version": version})
    return network


@pytest.fixture
def hosts(api: InProcessApi, shared: dict[str, Any], module_settings: Settings) -> list[Host]:
    del shared
    return [Host(api, module_settings, f"host-{number}") for number in range(3)]


def addresses(port: dict[str, Any]) -> set[str]:
    return {item["ip_address"] for item in port["fixed_ips"]}


@contextmanager
def before_each_request(api: InProcessApi, step: Callable[[str, str], object]) -> Iterator[None]:
    """Let others act before each request, though not before theirs."""

    def act(method: str, path: str) -> None:
        api.before = lambda _method, _path: None
        try:
            step(method, path)
        finally:
            api.before = act

    api.before = act
    try:
        yield
    finally:
        api.before = lambda _method, _path: None


@pytest.mark.parametrize("mac", ["", MAC])
@pytest.mark.parametrize("options", [{}, EXPOSED], ids=["plain", "exposed"])
@pytest.mark.parametrize("asked", [(), (V4, V6)], ids=["any address", "asked for"])
def test_an_address_that_was_given_is_never_anybody_elses(
    api: InProcessApi, hosts: list[Host], asked: tuple[str, ...], options: dict[str, object], mac: str
) -> None:
    one, two, _ = hosts
    given: list[str] = []
    stolen: list[str] = []

    def note(name: str) -> None:
        if name == "IpamDriver.RequestAddress":
            given[:] = [*addresses(one_port(api, RESERVED)), *given]

    def steal(_method: str, _path: str) -> None:
        stolen.extend(address for address in set(given) if two.takes(address))

    one.engine.after = note
    with before_each_request(api, steal):
        endpoint = one.connect(*asked, mac=mac, options=options)
    assert isinstance(endpoint, EngineEndpoint), endpoint
    assert (stolen, len(set(given))) == ([], 2)
    port = one_port(api, ENDPOINT)
    assert addresses(port) == {cidr.partition("/")[0] for _, cidr in endpoint.addresses} == set(given)
    assert port["mac_address"] == endpoint.mac == (mac or endpoint.mac)
    assert port["binding:host_id"] == one.name


def one_port(api: InProcessApi, owner: str) -> dict[str, Any]:
    [port] = api.list("ports", device_owner=owner)
    return port


def test_a_dual_stack_container_costs_one_request_more_than_another(api: InProcessApi, hosts: list[Host]) -> None:
    before = api.requests
    endpoint = hosts[0].connect()
    assert isinstance(endpoint, EngineEndpoint)
    hosts[0].engine.disconnect(endpoint)
    assert api.requests - before == 5


def requests_addresses(host: Host, *order: int) -> list[list[tuple[str, str]]]:
    """Ask for the addresses of several containers, in this order of their numbers, IPv4 first."""
    found: list[list[tuple[str, str]]] = [[] for _ in set(order)]
    for number in order:
        pool_id = host.network.pools[len(found[number])][0]
        answer = host.engine.call("IpamDriver.RequestAddress", PoolID=pool_id, Address="", Options=None)
        found[number].append((pool_id, answer["Address"]))
    return found


def creates_endpoint(host: Host, number: int, given: list[tuple[str, str]]) -> None:
    host.engine.call(
        "NetworkDriver.CreateEndpoint",
        NetworkID=host.network.id,
        EndpointID=f"{number}" * 64,
        Interface={"Address": given[0][1], "AddressIPv6": given[1][1], "MacAddress": ""},
        Options={},
    )


def test_containers_that_start_at_once_get_their_own_pairs_of_addresses(api: InProcessApi, hosts: list[Host]) -> None:
    given = requests_addresses(hosts[0], 0, 1, 1, 0)  # as from an engine that is slower than the plugin waits
    for number in (0, 1):
        creates_endpoint(hosts[0], number, given[number])
        hosts[0].engine.call(
            "NetworkDriver.Join", NetworkID=hosts[0].network.id, EndpointID=f"{number}" * 64, SandboxKey="/nowhere"
        )
    ports = {port["device_id"]: addresses(port) for port in api.list("ports", device_owner=ENDPOINT)}
    assert ports == {
        f"{number}" * 64: {cidr.partition("/")[0] for _, cidr in pair} for number, pair in enumerate(given)
    }
    assert api.list("ports", device_owner=RESERVED) == []


def test_an_address_that_another_host_takes_on_its_way_is_that_hosts_and_the_rest_is_put_back(
    api: InProcessApi, hosts: list[Host]
) -> None:
    one, two, _ = hosts
    given = requests_addresses(one, 0, 1, 1, 0)
    address = given[0][1][1].partition("/")[0]
    taken: list[bool] = []

    def steal(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports"):
            taken.append(two.takes(address))

    with before_each_request(api, steal), pytest.raises(CallFailed, match=f"Another host .* took address {address}"):
        creates_endpoint(one, 0, given[0])
    assert taken == [True]
    [theirs] = api.list("ports", fixed_ips=f"ip_address={address}")
    assert theirs["binding:profile"]["docker"]["host"] == two.name
    [ours] = api.list("ports", fixed_ips=f"ip_address={given[0][0][1].partition('/')[0]}")
    assert (ours["device_owner"], ours["device_id"]) == (RESERVED, "")
    for pool_id, cidr in given[0]:
        one.engine.call("IpamDriver.ReleaseAddress", PoolID=pool_id, Address=cidr.partition("/")[0])
    assert api.list("ports", id=ours["id"]) == []
    assert [port["id"] for port in api.list("ports", fixed_ips=f"ip_address={address}")] == [theirs["id"]]


def test_what_fails_for_another_reason_puts_a_moving_address_back(api: InProcessApi, hosts: list[Host]) -> None:
    one, two, _ = hosts
    given = requests_addresses(one, 0, 1, 1, 0)
    address = given[0][1][1].partition("/")[0]

    def lose_the_port(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports"):
            [first] = api.list("ports", fixed_ips=f"ip_address={given[0][0][1].partition('/')[0]}")
            api.delete("ports", first["id"])

    with before_each_request(api, lose_the_port), pytest.raises(CallFailed, match="could not be found"):
        creates_endpoint(one, 0, given[0])
    assert not two.takes(address)


def test_an_address_that_goes_leaves_the_other_one_of_its_port(api: InProcessApi, hosts: list[Host]) -> None:
    one = hosts[0]
    [[v4, v6]] = requests_addresses(one, 0, 0)
    release = {"PoolID": v4[0], "Address": v4[1].partition("/")[0]}
    one.engine.call("IpamDriver.ReleaseAddress", **release)
    assert addresses(one_port(api, RESERVED)) == {v6[1].partition("/")[0]}
    one.engine.call("IpamDriver.ReleaseAddress", PoolID=v6[0], Address=v6[1].partition("/")[0])
    assert api.list("ports", device_owner=RESERVED) == []


def test_a_free_port_that_all_hosts_want_at_once_is_had_by_one(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host]
) -> None:
    mine = api.create("ports", {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}]})
    for _ in range(10):
        start = Barrier(len(hosts))

        def connect(host: Host, start: Barrier = start) -> EngineEndpoint | str:
            start.wait()
            return host.connect(V4, V6, options={"portico.port": mine["id"]})

        with ThreadPoolExecutor(len(hosts)) as pool:
            found = list(pool.map(connect, hosts))
        [winner] = [number for number, answer in enumerate(found) if isinstance(answer, EngineEndpoint)]
        refusals = [answer for answer in found if isinstance(answer, str)]
        assert all("in use by" in text and mine["id"] in text for text in refusals), refusals
        port = one_port(api, ADOPTED)
        endpoint = found[winner]
        assert isinstance(endpoint, EngineEndpoint)
        assert (port["device_id"], port["binding:host_id"]) == (endpoint.id, hosts[winner].name)
        hosts[winner].engine.disconnect(endpoint)
        assert api.list("ports", device_owner=ADOPTED) == []


def test_a_port_that_another_host_adopts_after_the_look_at_it_is_refused(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host]
) -> None:
    one, two, _ = hosts
    where = {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}], "name": "mine"}
    mine = api.create("ports", where)
    theirs: list[EngineEndpoint | str] = []

    def adopt(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports") and not theirs:
            theirs.append(two.connect(V4, V6, options={"portico.port": "mine"}))

    with before_each_request(api, adopt):
        answer = one.connect(V4, V6, options={"portico.port": "mine"})
    [winner] = theirs
    assert isinstance(winner, EngineEndpoint)
    assert answer == f"Port {mine['id']} is in use by docker:adopted {winner.id} on host {two.name}."
    port = one_port(api, ADOPTED)
    assert (port["device_id"], port["binding:host_id"]) == (winner.id, two.name)


def test_a_port_that_is_only_renamed_after_the_look_at_it_is_adopted(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host]
) -> None:
    where = {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}]}
    mine = api.create("ports", where)
    names = iter(["first", "second"])

    def rename(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports") and (name := next(names, "")):
            api.update("ports", mine["id"], {"name": name, "binding:profile": {"note": name}})

    with before_each_request(api, rename):
        endpoint = hosts[0].connect(V4, V6, options={"portico.port": mine["id"]})
    assert isinstance(endpoint, EngineEndpoint)
    hosts[0].engine.disconnect(endpoint)
    [port] = api.list("ports", id=mine["id"])
    assert (port["name"], port["binding:profile"], port["device_id"]) == ("second", {"note": "second"}, "")


def test_a_port_that_changes_all_the_time_is_given_up_in_words(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host]
) -> None:
    mine = api.create("ports", {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}]})
    names = iter(range(1000))

    def rename(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports"):
            api.update("ports", mine["id"], {"name": f"{next(names)}"})

    with before_each_request(api, rename):
        answer = hosts[0].connect(V4, V6, options={"portico.port": mine["id"]})
    assert answer == f"Port {mine['id']} is changed by others again and again: try again."
    assert next(names) < 20


def test_an_end_does_not_give_back_a_port_that_another_host_has_by_then(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host]
) -> None:
    mine = api.create("ports", {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}]})
    endpoint = hosts[0].connect(V4, V6, options={"portico.port": mine["id"]})
    assert isinstance(endpoint, EngineEndpoint)

    def another(method: str, path: str) -> None:
        if (method, path) == ("PUT", "ports"):
            api.update("ports", mine["id"], {"device_id": "vm", "device_owner": "compute:nova"})

    with before_each_request(api, another):
        hosts[0].engine.disconnect(endpoint)
    [port] = api.list("ports", id=mine["id"])
    assert (port["device_id"], port["device_owner"]) == ("vm", "compute:nova")


LIVES = 6
STEPS = st.lists(
    st.tuples(st.integers(0, LIVES - 1), st.sampled_from(["any", "same", "mac", "adopt", "end"]), st.integers(0, 3)),
    min_size=2,
    max_size=14,
)


def life(host: Host, steps: list[tuple[str, int]], mine: str) -> tuple[list[EngineEndpoint], list[str]]:
    """Start and end containers on a host; return those that run, and what Docker said of the others."""
    running: list[EngineEndpoint] = []
    refused: list[str] = []
    for kind, number in steps:
        if kind == "end":
            if running:
                host.engine.disconnect(running.pop(number % len(running)))
            continue
        asked = {"same": (f"10.1.0.{20 + number}", f"2001:db8::{20 + number}"), "adopt": (V4, V6)}.get(kind, ())
        options = {"portico.port": mine} if kind == "adopt" else {}
        mac = f"02:00:00:00:{host.name[-1]:0>2}:0{number}" if kind == "mac" else ""
        answer = host.connect(*asked, mac=mac, options=options)
        if isinstance(answer, str):
            refused.append(answer)
        else:
            running.append(answer)
    return running, refused


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_lives_on_several_hosts_at_once_share_no_address_and_leave_nothing(
    api: InProcessApi, shared: dict[str, Any], hosts: list[Host], steps: list[tuple[int, str, int]]
) -> None:
    where = {"network_id": shared["id"], "fixed_ips": [{"ip_address": V4}, {"ip_address": V6}]}
    mine = api.create("ports", where)
    each = [[(kind, number) for one, kind, number in steps if one == index] for index in range(LIVES)]
    where_each = [hosts[index % len(hosts)] for index in range(LIVES)]
    with ThreadPoolExecutor(LIVES) as pool:
        lives = list(pool.map(life, where_each, each, [mine["id"]] * LIVES))
    ports = {port["device_id"]: port for port in api.list("ports", device_owner=[ENDPOINT, ADOPTED])}
    running = [endpoint for endpoints, _ in lives for endpoint in endpoints]
    held = {endpoint.id: {cidr.partition("/")[0] for _, cidr in endpoint.addresses} for endpoint in running}
    assert {device: addresses(port) for device, port in ports.items()} == held
    assert all(n == 1 for n in Counter(address for pair in held.values() for address in pair).values())
    for text in (text for _, refusals in lives for text in refusals):
        assert "in use" in text or "start the container again" in text, text
    for host, (endpoints, _) in zip(where_each, lives, strict=True):
        for endpoint in endpoints:
            host.engine.disconnect(endpoint)
    left = [port for port in api.list("ports") if port["device_owner"] != ANCHOR]
    assert [port["id"] for port in left] == [mine["id"]]
    api.delete("ports", mine["id"])
