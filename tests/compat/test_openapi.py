# SPDX-License-Identifier: Apache-2.0
"""schemathesis drives the API from its own OpenAPI document, with data that fits it and data that does not.

`make fuzz` does it with many more requests, on SQLite and on PostgreSQL (PORTICO_FUZZ_EXAMPLES, PORTICO_TEST_DATABASE).
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from portico.api.app import make_app
from portico.api.openapi import document
from portico.api.server import make_api
from portico.model.load import load
from portico.settings import Settings
from portico.testing.postgresql import PostgresqlServer

# These answer for as long as the client reads.
STREAMS = "^/portico/v1/(watch|hosts/.*/wanted)$"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES_PER_OPERATION = int(os.environ.get("PORTICO_FUZZ_EXAMPLES", "10"))
START_TIMEOUT_S = 20


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if os.environ.get("PORTICO_TEST_DATABASE") != "postgresql":
        yield f"sqlite:///{tmp_path_factory.mktemp('database') / 'portico.db'}"
        return
    with PostgresqlServer() as server:
        yield server.url()


@pytest.fixture(scope="module")
def server_url(
    database: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("api")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = make_api(Settings(host="tester", state_dir=folder, run_dir=folder, database=database))
        config = uvicorn.Config(make_app(api), http="httptools", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield url
        told = answers(httpx.get(f"{url}/metrics").text)
        server.should_exit = True
        thread.join(START_TIMEOUT_S)
        api.service.store.close()
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\n{told.total()} requests: {', '.join(f'{told[key]} x {key}' for key in sorted(told))}")
    assert told["5xx"] == 0


def answers(metrics: str) -> Counter[str]:
    """Return how many requests the server counted, by class of status."""
    counted: Counter[str] = Counter()
    for status, number in re.findall(r'^portico_http_requests_total\{.*status="(\w+)"\} (\d+)', metrics, re.MULTILINE):
        counted[status] += int(number)
    return counted


Operation = schemathesis.APIOperation[Any, Any, Any, Any]
Case = schemathesis.Case[Any]

REGISTRY = load()
DESCRIBED = schemathesis.openapi.from_dict(document(REGISTRY)).exclude(path_regex=STREAMS)
OPERATIONS = [found.ok() for found in DESCRIBED.get_all_operations() if isinstance(found, Ok)]
# Objects that exist, so that requests get further than "there is no such network".
SEEDS: dict[str, dict[str, Any]] = {
    "network": {"name": "seed", "router:external": True},
    "subnet": {"network_id": "network", "ip_version": 4, "cidr": "192.0.2.0/24"},
    "port": {"network_id": "network", "device_owner": "compute:nova"},
    "floatingip": {"floating_network_id": "network"},
    "security_group": {"name": "seed"},
    "security_group_rule": {"security_group_id": "security_group", "direction": "ingress"},
    "subnetpool": {"name": "seed", "prefixes": ["198.51.100.0/24"]},
    "address_scope": {"name": "seed", "ip_version": 4},
    "address_group": {"name": "seed", "addresses": ["203.0.113.0/24"]},
    "router": {"name": "seed"},
    # Without a service profile: 503, which one that is disabled is answered with, is no answer for these tests.
    "flavor": {"service_type": "L3_ROUTER_NAT"},
    "policy": {"name": "seed"},
    "metering_label": {"name": "seed"},
    "rbac_policy": {
        "object_type": "network",
        "object_id": "network",
        "action": "access_as_shared",
        "target_tenant": "x",
    },
}


@pytest.fixture(scope="module")
def ids(server_url: str) -> dict[str, str]:
    """The id of one object of each resource, by its name."""
    made: dict[str, str] = {}
    for name, seed in SEEDS.items():
        body = {key: made.get(value, value) if key.endswith("_id") else value for key, value in seed.items()}
        answer = httpx.post(server_url + REGISTRY.resources[name].path, json={name: body})
        assert answer.status_code == 201, answer.text
        made[name] = answer.json()[name]["id"]
    return made


def aim(case: Case, ids: dict[str, str]) -> None:
    """Turn what a case asks for, and what it says of other objects, to objects that exist; deletes would end them."""
    for resource in REGISTRY.resources.values():
        if case.path.startswith(f"{resource.path}/{{id}}") and case.method != "DELETE" and resource.name in ids:
            case.path_parameters["id"] = ids[resource.name]
        if resource.parent is not None and case.path.startswith(resource.path) and resource.parent.name in ids:
            case.path_parameters[resource.parent_key] = ids[resource.parent.name]
        items = case.body.get(resource.plural) if isinstance(case.body, dict) else None
        for item in [*(items if isinstance(items, list) else []), *_only(case.body, resource.name)]:
            for attribute in resource.attributes.values():
                if attribute.references and isinstance(item, dict) and attribute.name in item:
                    item[attribute.name] = ids[attribute.references]


def _only(body: object, name: str) -> list[Any]:
    return [body[name]] if isinstance(body, dict) and name in body else []


def modes(operation: Operation) -> list[GenerationMode]:
    """Return how an operation can be driven: one without parameters and body cannot be given wrong ones."""
    if operation.body or operation.query or operation.path_parameters or operation.headers:
        return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return [GenerationMode.POSITIVE]


def test_the_document_can_be_read_whole() -> None:
    assert len(OPERATIONS) == len(list(DESCRIBED.get_all_operations())) > 80


CASES = [
    pytest.param(operation, mode, id=f"{operation.label}-{mode.value}")
    for operation in OPERATIONS
    for mode in modes(operation)
]


@pytest.mark.parametrize(("operation", "mode"), CASES)
def test_no_request_gets_an_answer_that_the_document_does_not_foresee(
    server_url: str, ids: dict[str, str], operation: Operation, mode: GenerationMode
) -> None:
    @settings(
        max_examples=EXAMPLES_PER_OPERATION, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def drive(case: Case) -> None:
        aim(case, ids)
        case.call_and_validate(base_url=server_url, checks=CHECKS)

    drive()
