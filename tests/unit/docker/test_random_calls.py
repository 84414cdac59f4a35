# SPDX-License-Identifier: Apache-2.0
"""Whatever engines do in whatever order: answers come, addresses are unique, and after the end nothing is left."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.docker.engine import Inventory
from portico.docker.sweep import Sweeper
from portico.testing.docker_calls import CallFailed, EngineCalls, EngineEndpoint
from portico.testing.in_process import InProcessApi

BODIES_NEEDED = ("NetworkDriver.CreateEndpoint", "IpamDriver.RequestPool")
NONE = "null"  # the engine's IPAM driver without addresses
SUBNETS = ("10.1.0.0/29", "10.1.0.0/24", "", NONE)
STEPS = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(SUBNETS), st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 3), st.none()),
    st.tuples(st.just("connect"), st.integers(0, 3), st.sampled_from(["", "10.1.0.3", "10.1.0.6"])),
    st.tuples(st.just("disconnect"), st.integers(0, 7), st.none()),
    st.tuples(st.just("disconnect twice"), st.integers(0, 7), st.none()),
    st.tuples(st.just("forget"), st.integers(0, 7), st.none()),
    st.tuples(
        st.just("empty retry"), st.sampled_from(["NetworkDriver.CreateEndpoint", "IpamDriver.RequestPool"]), st.none()
    ),
    st.tuples(st.just("restart plugin"), st.none(), st.none()),
)


def nth(things: dict[str, Any], number: int) -> Any:
    return list(things.values())[number % len(things)] if things else None


def create(engine: EngineCalls, subnet: str, *, dual: bool) -> None:
    if subnet == NONE:
        engine.create_unaddressed_network()
    else:
        engine.create_network(subnet, version6=["2001:db8::/64"] if dual else [])


def take(engine: EngineCalls, step: tuple[str, Any, Any]) -> None:
    kind, one, two = step
    if kind == "create":
        create(engine, one, dual=two)
    elif kind == "restart plugin":
        engine.restart_plugin()
    elif kind == "empty retry":
        assert engine.plugin.answer(f"/{one}", b"")[0] == 500
    elif kind in ("remove", "connect"):
        network = nth(engine.networks, one)
        if network is not None and kind == "connect":
            engine.connect(network, *([two] if two else []))
        elif network is not None and not any(e.network is network for e in engine.endpoints.values()):
            engine.remove_network(network)
    else:
        endpoint: EngineEndpoint | None = nth(engine.endpoints, one)
        if endpoint is not None and kind == "forget":
            engine.endpoints.pop(endpoint.id)
        elif endpoint is not None:
            engine.disconnect(endpoint)
            if kind == "disconnect twice":
                engine.disconnect(endpoint)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=3, max_size=15))
def test_random_lives_keep_what_is_used_and_leave_nothing(
    engine: EngineCalls, api: InProcessApi, steps: list[tuple[str, Any, Any]]
) -> None:
    for step in steps:
        with suppress(CallFailed):  # refused in words: a taken address, a full subnet
            take(engine, step)
        ports = {port["device_id"]: port for port in api.list("ports", device_owner="docker:endpoint")}
        for endpoint in engine.endpoints.values():
            held = {item["ip_address"] for item in ports[endpoint.id]["fixed_ips"]}
            assert held == {cidr.partition("/")[0] for _, cidr in endpoint.addresses}
    for endpoint in list(engine.endpoints.values()):
        engine.disconnect(endpoint)
    broom = Sweeper(
        api,
        "a-host-of-another-name",
        engine.records,
        lambda: Inventory(dict.fromkeys(engine.networks, "n"), {}),
        lambda _link: True,
        idle_s=0,
    )
    for _ in range(2):
        broom.round()
    assert all(port["device_owner"] == "docker:network" for port in api.list("ports"))
    for network in list(engine.networks.values()):
        engine.remove_network(network)
    assert api.list("networks") == api.list("ports") == api.list("subnets") == []
