# SPDX-License-Identifier: Apache-2.0
"""What PostgreSQL would refuse is refused before it, whatever the database: NUL characters and over-long words."""

from __future__ import annotations

from typing import Any

import pytest

from .asker import Asker

LONG = "x" * 256
REPORT: dict[str, Any] = {"revision": 1}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(("project", "rule"), [(LONG, "255"), ("a%00b", "NUL")])
def test_what_is_no_projects_id_has_no_quota(api: Asker, method: str, project: str, rule: str) -> None:
    body = {"quota": {"network": 1}} if method == "PUT" else None
    answer = api.ask(method, f"quotas/{project}", body)
    assert answer.error == (400, "HTTPBadRequest") and "project_id" in answer.message and rule in answer.message
    assert api.ask("GET", f"quotas/{project}/details").error == (400, "HTTPBadRequest")
    assert api.list("quotas") == []


@pytest.mark.parametrize(("host", "rule"), [(LONG, "255"), ("a%00b", "NUL")])
def test_what_is_no_hosts_name_is_refused(api: Asker, host: str, rule: str) -> None:
    for method, what, body in (("GET", "wanted", None), ("PUT", "status", REPORT)):
        answer = api.ask(method, f"/portico/v1/hosts/{host}/{what}", body)
        assert answer.error == (400, "HTTPBadRequest") and "host" in answer.message and rule in answer.message
    assert api.list("agents") == []


@pytest.mark.parametrize(
    ("report", "rule"),
    [
        ({**REPORT, "facts": {"availability_zone": LONG}}, "255"),
        ({**REPORT, "facts": {"availability_zone": "a\0b"}}, "can be stored"),
        ({**REPORT, "facts": {"kernel": "a\0b"}}, "can be stored"),
        ({**REPORT, "statuses": [{"key": "vif/x", "state": "error", "reason": "a\0b"}]}, "can be stored"),
        ({**REPORT, "statuses": [{"key": "vif/\0", "state": "active", "reason": ""}]}, "can be stored"),
    ],
)
def test_a_report_that_cannot_be_kept_is_refused(api: Asker, report: Any, rule: str) -> None:
    answer = api.ask("PUT", "/portico/v1/hosts/h1/status", report)
    assert answer.status == 400 and "h1" in answer.message and rule in answer.message
    assert api.list("agents") == []


def test_a_report_may_speak_of_nul(api: Asker) -> None:
    report = {**REPORT, "facts": {"kernel": r"a\u0000b", "availability_zone": "x" * 255}}
    assert api.ask("PUT", "/portico/v1/hosts/h1/status", report).status == 204
    (agent,) = api.list("agents")
    assert agent["configurations"] == {"kernel": r"a\u0000b"}


@pytest.mark.parametrize(
    "path",
    ["network-ip-availabilities?network_id=%00", "network-ip-availabilities?project_id=a%00",
     "availability_zones?name=%00", "quotas?project_id=%00", "networks?name=%00", "ports?fixed_ips=subnet_id=%00",
     "networks?limit=1&marker=%00"],
)  # fmt: skip
def test_nothing_that_a_database_cannot_look_for_reaches_it(api: Asker, path: str) -> None:
    answer = api.ask("GET", path)
    assert answer.error == (400, "HTTPBadRequest") and "NUL" in answer.message


@pytest.mark.parametrize("path", ["networks/%00", "network-ip-availabilities/%00", "/portico/v1/ports/%00/status"])
def test_an_id_with_nul_is_nobodys(api: Asker, path: str) -> None:
    assert api.ask("GET", path).error[0] == 404


@pytest.mark.parametrize("collection", ["network-ip-availabilities", "availability_zones"])
def test_computed_lists_take_no_more_values_than_others(api: Asker, collection: str) -> None:
    key = "name" if collection == "availability_zones" else "network_id"
    answer = api.ask("GET", f"{collection}?" + "&".join([f"{key}=a"] * 5001))
    assert answer.error == (400, "HTTPBadRequest") and "5000" in answer.message


@pytest.mark.parametrize(
    ("collection", "values"),
    [
        ("networks", {"name": "a\0b"}),
        ("networks", {"description": "a\0b"}),
        ("networks", {"tags": ["a\0b"]}),
        ("networks", {"a\0b": 1}),
        ("ports", {"binding:profile": {"deep": [{"a\0b": 1}]}}),
        ("ports", {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1\0"}]}),
        ("ports", {"device_id": "a\0b"}),
        ("security-groups", {"name": "a\0b"}),
    ],
)
def test_no_attribute_of_a_body_holds_nul(api: Asker, collection: str, values: dict[str, Any]) -> None:
    body = {"network_id": api.network()["id"], **values} if collection == "ports" else values
    assert api.try_create(collection, **body).error[0] == 400


def test_no_body_of_another_kind_holds_nul(api: Asker) -> None:
    path = f"networks/{api.network()['id']}/tags"
    assert api.ask("PUT", path, {"tags": ["a\0b"]}).error[0] == 400
    assert api.ask("PUT", f"{path}/%00").error[0] == 400
    assert api.ask("PUT", "quotas/red", {"quota": {"a\0b": 1}}).error[0] == 400
    assert api.ask("PUT", "quotas/red", {"quota": {"network": "1\0"}}).error[0] == 400
