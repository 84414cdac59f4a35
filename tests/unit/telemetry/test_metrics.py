# SPDX-License-Identifier: Apache-2.0
"""What is counted, and how it is shown."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from portico.telemetry.metrics import Metrics


def samples(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return what Prometheus itself would read: values by name, and by labels in the order of their names."""
    return {
        (item.name, tuple(value for _, value in sorted(item.labels.items()))): item.value
        for family in text_string_to_metric_families(text.decode())
        for item in family.samples
    }


def test_answers_are_counted_by_route_method_and_class_of_status() -> None:
    metrics = Metrics()
    for status, took_s in ((200, 0.002), (204, 0.3), (404, 0.0001)):
        metrics.answered("/v2.0/ports/{id}", "GET", status, took_s)
    found = samples(metrics.text())
    route = ("GET", "/v2.0/ports/{id}")
    assert found["portico_http_requests_total", (*route, "2xx")] == 2
    assert found["portico_http_requests_total", (*route, "4xx")] == 1
    assert found["portico_http_request_seconds_count", route] == 3
    assert found["portico_http_request_seconds_bucket", ("0.0025", *route)] == 2


def test_two_servers_in_one_process_do_not_count_together() -> None:
    one, other = Metrics(), Metrics()
    one.answered("/", "GET", 200, 0.001)
    assert ("portico_http_requests_total", ("GET", "/", "2xx")) not in samples(other.text())


def test_a_write_tells_how_long_it_waited_and_a_read_does_not() -> None:
    metrics = Metrics()
    metrics.transaction("write", 0.5, 0.01)
    metrics.transaction("read", 0.0, 0.01)
    found = samples(metrics.text())
    assert found["portico_store_lock_wait_seconds_sum", ()] == 0.5
    assert found["portico_store_lock_wait_seconds_count", ()] == 1
    assert found["portico_store_transaction_seconds_count", ("read",)] == 1


def test_the_errors_of_a_backend_are_there_before_the_first() -> None:
    metrics = Metrics()
    metrics.synced("bridge", 0.01, failed=False)
    assert samples(metrics.text())["portico_backend_errors_total", ("bridge",)] == 0
    metrics.synced("bridge", 0.01, failed=True)
    assert samples(metrics.text())["portico_backend_errors_total", ("bridge",)] == 1


def test_agents_tell_of_themselves_what_has_a_name_here() -> None:
    metrics = Metrics()
    metrics.heard("host-a", {"passes": 7, "pass_seconds": 0.5, "errors": 2, "colour": 3})
    metrics.heard("host-b", {})
    found = samples(metrics.text())
    assert found["portico_agent_passes_total", ("host-a",)] == 7
    assert found["portico_agent_errors", ("host-a",)] == 2
    assert not [key for key in found if "colour" in key[0] or "host-b" in key[1]]


def test_an_address_of_their_own_needs_no_authentication() -> None:
    metrics = Metrics()
    port, end = metrics.serve("127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert ("portico_http_requests_in_flight", ()) in samples(answer.read())
    finally:
        end()
