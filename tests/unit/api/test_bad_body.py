# SPDX-License-Identifier: Apache-2.0
"""Bodies and queries that are meant to hurt: refused in bounded time, and never answered with 500.

Time is the processor's, of client and server together: others may be at work on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.api.query import MAX_FILTER_VALUES
from portico.model.check import MAX_ITEMS

from .asker import Asker


def malformed(answer: tuple[int, str]) -> bool:
    return answer == (400, "HTTPBadRequest")


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"network":[', '{"network":{"name":'])
@pytest.mark.parametrize("depth", [900, 100_000])
def test_deep_json_is_refused(lasting_api: Asker, opening: str, depth: int) -> None:
    for path in ("networks", "/portico/v1/hosts/a/status"):
        method = "POST" if path == "networks" else "PUT"
        begun = time.process_time()
        raw = (opening * depth).encode()
        assert malformed(lasting_api.ask(method, path, raw).error)
        assert time.process_time() - begun < 2


def test_deep_json_that_is_complete_is_refused_too(lasting_api: Asker) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert malformed(lasting_api.ask("POST", "networks", b'{"network":{"name":' + deep + b"}}").error)
    report = b'{"revision":1,"colour":' + deep + b"}"
    assert malformed(lasting_api.ask("PUT", "/portico/v1/hosts/a/status", report).error)


@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\\ud800", b"\\udc00\\ud800"]
)
def test_bad_utf_8_and_lone_surrogates_are_refused(lasting_api: Asker, text: bytes) -> None:
    answer = lasting_api.ask("POST", "networks", b'{"network":{"name":"' + text + b'"}}')
    assert answer.error[0] == 400, answer


def test_a_key_that_stands_twice_is_refused_by_name(lasting_api: Asker) -> None:
    for raw, key in (
        (b'{"network":{"name":"a","name":"b"}}', "name"),
        (b'{"network":{"name":"a"},"network":{"name":"a"}}', "network"),
        (b'{"network":{"name":"a","n\\u0061me":"a"}}', "name"),
        (b'{"network":{"availability_zone_hints":[{"x":[{"deep":1,"y":2,"deep":1}]}]}}', "deep"),
    ):
        answer = lasting_api.ask("POST", "networks", raw)
        assert malformed(answer.error) and answer.message.endswith(f"an object has the key '{key}' twice."), answer


def test_many_keys_of_one_object_take_bounded_time(lasting_api: Asker) -> None:
    begun = time.process_time()
    keys = ",".join(f'"k{number}":0' for number in range(90_000))
    assert lasting_api.ask("POST", "networks", f'{{"network":{{{keys}}}}}'.encode()).error[0] == 400
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("number", ["9" * 100_000, "1e999", "-1e999999999", "NaN", "Infinity"])
def test_numbers_that_nothing_can_hold_are_refused(lasting_api: Asker, number: str) -> None:
    begun = time.process_time()
    assert lasting_api.ask("POST", "networks", f'{{"network":{{"mtu":{number}}}}}'.encode()).error[0] == 400
    assert time.process_time() - begun < 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000)
@given(st.binary(max_size=300) | st.binary(max_size=60).map(lambda raw: b'{"network":{"name":"' + raw + b'"}}'))
def test_any_bytes_are_a_network_or_refused(lasting_api: Asker, raw: bytes) -> None:
    answer = lasting_api.ask("POST", "networks", raw)
    assert answer.status in (201, 400), answer
    report = lasting_api.ask("PUT", "/portico/v1/hosts/a/status", raw)
    assert report.status in (204, 400), report


def address(number: int) -> str:
    return str(IPv4Address("10.0.0.1") + 2 * number)


LONG: dict[str, tuple[str, Callable[[int], Any]]] = {
    "fixed_ips": ("ports", lambda n: {"ip_address": address(n)}),
    "security_groups": ("ports", lambda n: str(UUID(int=n))),
    "allowed_address_pairs": ("ports", lambda n: {"ip_address": address(n)}),
    "extra_dhcp_opts": ("ports", lambda n: {"opt_name": f"option{n}", "opt_value": "x"}),
    "dns_nameservers": ("subnets", address),
    "host_routes": ("subnets", lambda n: {"destination": f"{address(n)}/32", "nexthop": "10.0.0.1"}),
    "allocation_pools": ("subnets", lambda n: {"start": address(n), "end": address(n)}),
    "service_types": ("subnets", lambda n: f"compute:{n}"),
    "prefixes": ("subnetpools", lambda n: f"{address(n)}/32"),
    "addresses": ("address-groups", lambda n: f"{address(n)}/32"),
    "availability_zone_hints": ("networks", lambda n: f"zone{n}"),
}


@pytest.mark.parametrize("name", LONG)
def test_long_lists_take_bounded_time(lasting_api: Asker, name: str) -> None:
    collection, item = LONG[name]
    network = lasting_api.network()["id"]
    needed: dict[str, Any] = {
        "ports": {"network_id": network},
        "subnets": {"network_id": network, "cidr": "10.0.0.0/8", "ip_version": 4},
        "subnetpools": {"name": "long", "min_prefixlen": 32},
    }
    key = collection.removesuffix("s").replace("-", "_")
    for length in (MAX_ITEMS, MAX_ITEMS + 1):
        values = [item(number) for number in range(length)]
        begun = time.process_time()
        answer = lasting_api.ask("POST", collection, {key: needed.get(collection, {}) | {name: values}})
        assert answer.status in (201, 400, 404, 409) and time.process_time() - begun < 10, answer
        if length > MAX_ITEMS:
            assert answer.status == 400 and f"{length} is more than {MAX_ITEMS} items" in answer.message


def test_thousands_of_filter_values_are_refused_at_once(lasting_api: Asker) -> None:
    values = "&".join(f"name=n{number}" for number in range(MAX_FILTER_VALUES + 1))
    begun = time.process_time()
    answer = lasting_api.ask("GET", f"networks?{values}")
    assert answer.error == (400, "HTTPBadRequest") and str(MAX_FILTER_VALUES) in answer.message
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "name",
    ["id", "name", "tags", "not-tags", "tags-any", "not-tags-any", "shared", "fields", "sort_key", "limit", "marker"],
)
def test_as_many_values_as_fit_into_a_request_take_bounded_time(lasting_api: Asker, name: str) -> None:
    values = "&".join(f"{name}={number}" for number in range(3000))
    begun = time.process_time()
    assert lasting_api.ask("GET", f"networks?{values}").status in (200, 400, 404)
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    "values",
    [
        "ports?" + "&".join(f"fixed_ips=ip_address_substr={number}" for number in range(1000)),
        "ports?" + "&".join(f"security_groups={number}" for number in range(3000)),
        "networks?"
        + "&".join(f"changed_since=2026-01-01T00:{number // 60:02}:{number % 60:02}" for number in range(999)),
        "networks?tags=" + ",".join(str(number) for number in range(5000)),
    ],
    ids=lambda text: text.partition("=")[0],
)
def test_conditions_that_a_database_has_little_room_for_are_few(lasting_api: Asker, values: str) -> None:
    begun = time.process_time()
    assert lasting_api.ask("GET", values).status in (200, 400)
    assert time.process_time() - begun < 3


def test_many_conditions_of_different_kinds_take_bounded_time(lasting_api: Asker) -> None:
    values = "&".join(f"{name}=a&{name}=b" for name in ("name", "id", "status", "tags-any", "not-tags", "description"))
    long = "&".join(f"tags={'x' * 200}{number}" for number in range(250))
    begun = time.process_time()
    assert lasting_api.ask("GET", f"networks?{values}&{long}").status in (200, 400)
    assert time.process_time() - begun < 3
