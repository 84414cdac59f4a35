# SPDX-License-Identifier: Apache-2.0
"""Many ports at once: those that follow each other are one rule and one port forwarding, so that they cost no more."""

from __future__ import annotations

import pytest
from tests.unit.docker.test_outside import api, config, engine, make_external, module_api, tell
from tests.unit.docker.test_publish import Object, start, stop

__all__ = ["api", "config", "engine", "module_api"]

from portico.docker.publish import EPHEMERAL
from portico.docker.span import spans
from portico.testing.docker_calls import CallFailed, EngineCalls
from portico.testing.in_process import InProcessApi


def ranges(api: InProcessApi) -> set[tuple[object, ...]]:
    return {
        (item["protocol"], item["external_port_range"], item["internal_port_range"], *item["portico:host_addresses"])
        for floating in api.list("floatingips")
        for item in api.list(f"floatingips/{floating['id']}/port_forwardings")
    }


def opened(api: InProcessApi) -> set[tuple[object, ...]]:
    rules = [rule for rule in api.list("security_group_rules") if rule["port_range_min"]]
    return {(rule["ethertype"], rule["protocol"], rule["port_range_min"], rule["port_range_max"]) for rule in rules}


def exposed(*ports: tuple[int, int]) -> Object:
    return {"com.docker.network.endpoint.exposedports": [{"Proto": proto, "Port": port} for proto, port in ports]}


def test_ports_in_any_order_are_runs() -> None:
    assert list(spans([])) == []
    assert list(spans([9, 3, 1, 2, 3, 7])) == [range(1, 4), range(7, 8), range(9, 10)]


def test_ports_that_follow_each_other_are_published_by_one_forwarding(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24")
    wishes = [f"{20000 + number}:{9000 + number}" for number in range(2000)]
    endpoint = start(engine, network, *wishes, "8080:80", "8081:82", "127.0.0.1:5000:50/udp", "5001:51/udp")
    everywhere = ("0.0.0.0", "::")
    assert ranges(api) == {
        ("tcp", "20000:21999", "9000:10999", *everywhere),
        ("tcp", "8080:8080", "80:80", *everywhere),
        ("tcp", "8081:8081", "82:82", *everywhere),
        ("udp", "5000:5000", "50:50", "127.0.0.1"),
        ("udp", "5001:5001", "51:51", *everywhere),
    }
    assert {rule[1:] for rule in opened(api)} >= {("tcp", 9000, 10999), ("tcp", 80, 80), ("udp", 50, 51)}
    words = r"Ports 9000-9001/tcp cannot be published: .*20100:20101.*port forwarding"
    with pytest.raises(CallFailed, match=words):
        start(engine, network, "20100:9000", "20101:9001")
    engine.taken = {("tcp", 4001)}
    with pytest.raises(CallFailed, match=r"Ports 70-72/tcp cannot be published: a program has 4001"):
        start(engine, network, "4000:70", "4001:71", "4002:72")
    stop(engine, endpoint)
    assert ranges(api) == set() == opened(api)


def test_ports_of_a_container_that_names_none_of_the_host_get_as_many_in_a_row(
    api: InProcessApi, engine: EngineCalls
) -> None:
    network = engine.create_network("10.1.0.0/24")
    start(engine, network, *(str(port) for port in range(10000, 10500)))
    start(engine, network, f"{EPHEMERAL[0]}:80")
    found = {text: port for _, port, text, *_ in ranges(api)}
    first, last = (int(text) for text in str(found["10000:10499"]).split(":"))
    assert last - first == 499 and first in EPHEMERAL and last in EPHEMERAL
    assert found["80:80"] == f"{EPHEMERAL[0]}:{EPHEMERAL[0]}"


def test_exposed_ports_that_follow_each_other_are_opened_by_one_rule(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24", options={"portico.expose": "true"})
    ports = exposed(*((17, port) for port in range(1000, 60000)), (6, 80), (6, 81), (6, 1000), (132, 80))
    endpoint = engine.connect(network, options=ports)
    lets_in = {("udp", 1000, 59999), ("tcp", 80, 81), ("tcp", 1000, 1000), ("sctp", 80, 80)}
    assert opened(api) == {(version, *ports) for version in ("IPv4", "IPv6") for ports in lets_in}
    engine.disconnect(endpoint)
    assert opened(api) == set()


def test_a_group_whose_rules_are_refused_is_not_left(api: InProcessApi, engine: EngineCalls) -> None:
    network = engine.create_network("10.1.0.0/24", options={"portico.expose": "true"})
    scattered = exposed(*((17, port) for port in range(1, 2001, 2)))
    with pytest.raises(CallFailed, match="2000 is more than 1000 in a request"):
        engine.connect(network, options=scattered)
    assert [group["name"] for group in api.list("security_groups")] == ["default"]
    engine.connect(network)


def test_on_an_external_network_that_is_not_behind_the_host_a_range_is_the_floating_ips(
    api: InProcessApi, engine: EngineCalls
) -> None:
    tell(api, "lab")
    make_external(api, "wan", 7, is_default=True)
    network = engine.create_network("10.1.0.0/24")
    start(engine, network, "8080:80", "8081:81", "8082:82")
    assert ranges(api) == {("tcp", "8080:8082", "80:82")}
