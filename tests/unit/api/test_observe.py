# SPDX-License-Identifier: Apache-2.0
"""What the log and the metrics say of requests."""

from __future__ import annotations

import json
import logging
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from portico.api.app import make_app
from portico.cli.log import JsonFormatter
from portico.identity.who import Credentials, Who
from portico.policy.policy import Policy
from portico.store.store import Store
from portico.telemetry.current import CURRENT, Asking

from .asker import Asker, wait_until
from .conftest import MakeApi

TCP = "http://portico.test:9696"
GLOBAL_ID = "req-01234567-89ab-cdef-0123-456789abcdef"


class Known:
    """Knows one user by a token, as if from Keystone."""

    challenge = "Keystone"
    is_ambient = False

    def __init__(self, who: Who) -> None:
        self._who = who

    def known(self, given: Credentials) -> Who:
        assert given.token == "secret-token"
        return self._who

    async def find(self, given: Credentials) -> Who:
        raise AssertionError(given)


def value(text: bytes, name: str, **labels: str) -> float:
    """Return one sample of the metrics as Prometheus reads them."""
    [found] = [
        item.value
        for family in text_string_to_metric_families(text.decode())
        for item in family.samples
        if item.name == name and labels.items() <= item.labels.items()
    ]
    return found


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "portico.request"]


def test_each_request_is_one_line_with_who_what_and_how_long(api: Asker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    answer = api.ask("GET", "networks/9bf8ad9f-0000-4000-8000-000000000000?fields=id", x_project_id="red")
    [record] = records(caplog)
    line = json.loads(JsonFormatter("api").format(record))
    assert line["request_id"] == answer.headers["x-openstack-request-id"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v2.0/networks/{id}", 404)
    assert line["path"] == "/v2.0/networks/9bf8ad9f-0000-4000-8000-000000000000"
    assert (line["user"], line["project"], "admin" in line["roles"]) == ("", "red", True)
    assert 0 < line["ms"] < 10_000 and line["level"] == "info" and line["process"] == "api"
    assert re.fullmatch(
        r"GET /v2\.0/networks/[0-9a-f-]{36}: 404 in \d+\.\d ms, user=- project=red, req-\S+", record.getMessage()
    )


def test_other_lines_of_a_request_have_its_id() -> None:
    record = logging.LogRecord("portico.x", logging.WARNING, "", 1, "words", None, None)
    token = CURRENT.set(Asking("req-1", {}))
    line = json.loads(JsonFormatter("api").format(record))
    CURRENT.reset(token)
    assert (line["request_id"], line["message"]) == ("req-1", "words")
    assert "request_id" not in json.loads(JsonFormatter("api").format(record))


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_what_machines_ask_all_the_time_is_no_news(path: str, api: Asker, caplog: pytest.LogCaptureFixture) -> None:
    wait_until(lambda: api.ask("GET", "/readyz").status == 200)
    caplog.clear()
    caplog.set_level("INFO")
    assert api.ask("HEAD", path).status == 200
    assert records(caplog) == []
    caplog.set_level("DEBUG")
    api.ask("HEAD", path)
    assert len(records(caplog)) == 1


def test_lines_of_requests_can_be_turned_off(store: Store, make_api: MakeApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    with Asker(make_app(make_api(store), log_requests=False)) as quiet:
        quiet.get("networks")
    assert records(caplog) == []


def test_a_path_cannot_begin_a_line_of_its_own(api: Asker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    api.ask("GET", "networks/x%0aERROR%20forged")
    [record] = records(caplog)
    assert "\n" not in record.getMessage() and "%0aERROR%20forged" in record.getMessage()


@pytest.mark.parametrize(
    ("who", "is_believed"),
    [
        (Who("red", "u", roles=("member",)), False),
        (Who("red", "u", roles=("member",), service_roles=("service",)), True),
        (Who("red", "u", roles=("service",)), True),
        (Who("red", "u", roles=("admin",), is_admin=True), True),
    ],
)
def test_a_global_request_id_is_taken_from_who_is_trusted(
    who: Who, is_believed: bool, store: Store, make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with Asker(make_app(make_api(store), Known(who)), TCP) as asker:
        answer = asker.ask("GET", "networks", x_auth_token="secret-token", x_openstack_request_id=GLOBAL_ID)
    [record] = records(caplog)
    line = JsonFormatter("api").format(record)
    assert (json.loads(line).get("global_request_id") == GLOBAL_ID) is is_believed
    assert answer.headers["x-openstack-request-id"] != GLOBAL_ID
    assert "secret" not in line and "secret" not in record.getMessage()


@pytest.mark.parametrize("header", ["req-1", GLOBAL_ID + "\t", GLOBAL_ID.upper(), "x" * 5000])
def test_what_is_no_request_id_is_passed_over(header: str) -> None:
    headers = [(b"x-openstack-request-id", header.encode())]
    scope = {"headers": headers, "method": "GET", "portico.who": Who("red", is_admin=True)}
    assert Asking("req", scope).global_request_id == ""


def test_an_answer_that_nobody_foresaw_counts_as_500(
    store: Store, make_api: MakeApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    api = make_api(store)
    app = make_app(api)
    api.registry = None  # type: ignore[assignment]
    with Asker(app) as asker:
        answer = asker.ask("GET", "extensions/%0a%1bforged")
    assert (answer.status, answer.headers["connection"]) == (500, "close")
    route = "/v2.0/extensions/{alias}"
    assert value(api.metrics.text(), "portico_http_requests_total", route=route, status="5xx") == 1
    assert all("/extensions/%0a%1bforged" in each.getMessage() for each in caplog.records if "GET" in each.getMessage())
    [record] = records(caplog)
    assert record.fields["status"] == 500  # type: ignore[attr-defined]


def test_metrics_tell_of_requests_store_broker_and_hosts(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        network = asker.network()
        wait_until(lambda: api.broker.revision >= network["revision_number"])
        assert asker.ask("GET", "networks/none").status == 404
        answer = asker.ask("HEAD", "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        text = api.metrics.text()
    assert value(text, "portico_http_requests_total", route="/v2.0/networks", method="POST", status="2xx") == 1
    assert value(text, "portico_http_requests_total", route="/v2.0/networks/{id}", status="4xx") == 1
    assert value(text, "portico_http_request_seconds_count", route="/v2.0/networks/{id}") == 1
    assert value(text, "portico_http_requests_in_flight") == 0
    assert value(text, "portico_store_transaction_seconds_count", kind="write") >= 1
    assert value(text, "portico_store_revision") == value(text, "portico_broker_revision") == network["revision_number"]
    assert value(text, "portico_broker_lag_revisions") == 0
    assert value(text, "portico_broker_following") == value(text, "portico_store_up") == 1
    assert value(text, "portico_backend_sync_seconds_count", backend="bridge") >= 1
    assert value(text, "portico_hosts_connected") == 0


def test_paths_that_nobody_serves_count_as_one(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        for number in range(20):
            asker.ask("GET", f"/{number}")
    assert value(api.metrics.text(), "portico_http_requests_total", route="none", status="4xx") == 20


def test_a_broken_database_leaves_the_other_metrics(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    nowhere = Store("sqlite:////nonexistent/folder/portico.db", store.registry)
    kept, store.connections = store.connections, nowhere.connections
    text = api.metrics.text()
    store.connections = kept
    assert value(text, "portico_store_up") == 0 and b"portico_store_revision" not in text
    assert value(text, "portico_broker_following") == 0


def test_what_an_agent_says_of_itself_is_shown_with_its_host(store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    with Asker(make_app(api)) as asker:
        body = {"revision": 1, "facts": {}, "measures": {"passes": 12, "errors": 1}}
        assert asker.ask("PUT", "/portico/v1/hosts/host-a/status", body).status == 204
    assert value(api.metrics.text(), "portico_agent_passes_total", host="host-a") == 12


@pytest.mark.parametrize(
    ("who", "status"),
    [
        (Who("red", "u", roles=("member", "reader")), 403),
        (Who("service", "u", roles=("service",)), 200),
        (Who("red", "u", roles=("admin",), is_admin=True), 200),
    ],
)
def test_metrics_are_for_administrators_and_services(who: Who, status: int, store: Store, make_api: MakeApi) -> None:
    api = make_api(store)
    api.policy = Policy(store.registry)
    with Asker(make_app(api, Known(who)), TCP) as asker:
        assert asker.ask("HEAD", "/metrics", x_auth_token="secret-token").status == status
