# SPDX-License-Identifier: Apache-2.0
"""Logs of security groups: who may have what written down, of which ports, and how long a log is there."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from portico.api import action
from portico.policy.policy import Policy
from portico.rules import agent
from portico.store.store import Store

from .asker import Asker, Row, refusal

ABSENT = (404, "LogResourceNotFound", "Log resource ID could not be found.")
NOBODY = "1ccccccc-0000-4000-8000-000000000000"


@pytest.fixture
def head(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "red", "manager", "member", "reader")


def log(asker: Asker, **body: Any) -> Row:
    return asker.create("log", **{"resource_type": "security_group", **body})


def port_in(asker: Asker, *groups: Row, host: str = "") -> Row:
    network = asker.create("network")
    body = {"binding:host_id": host} if host else {}
    return asker.create("port", network_id=network["id"], security_groups=[item["id"] for item in groups], **body)


def test_managers_have_logs_of_their_project_and_members_do_not_see_them(
    head: Asker, red: Asker, blue: Asker, root: Asker
) -> None:
    made = log(head, name="l", description="d")
    assert (made["project_id"], made["event"], made["enabled"]) == ("red", "ALL", True)
    assert [row["id"] for row in root.list("log")] == [made["id"]]
    changed = head.update("log", made["id"], enabled="false", name="m")
    assert (changed["enabled"], changed["name"], changed["revision_number"]) == (False, "m", 2)
    for asker in (red, blue):
        assert asker.list("log") == []
        assert refusal(partial(asker.show, "log", made["id"]), made["id"]) == ABSENT
        assert refusal(partial(log, asker))[:2] == (403, "PolicyNotAuthorized")
    assert refusal(partial(head.update, "log", made["id"], event="DROP"))[0] == 400
    head.delete("log", made["id"])
    assert root.list("log") == []


def test_what_cannot_be_logged_is_refused_in_neutron_s_words(head: Asker, blue: Asker) -> None:
    assert refusal(partial(log, head, resource_type="firewall"))[:2] == (400, "InvalidLogResourceType")
    assert refusal(partial(log, head, event="REJECT"))[0] == 400
    theirs = blue.create("security_group", name="theirs")
    for absent in (NOBODY, theirs["id"]):
        told = refusal(partial(log, head, resource_id=absent), absent)
        assert told == (404, "ResourceNotFound", "Resource ID could not be found.")
    for absent in (NOBODY, port_in(blue, theirs)["id"]):
        told = refusal(partial(log, head, target_id=absent), absent)
        assert told == (404, "TargetResourceNotFound", "Target resource ID could not be found.")
    group, other = (head.create("security_group", name=name) for name in "ab")
    port = port_in(head, group)
    both = partial(log, head, target_id=port["id"])
    assert refusal(partial(both, resource_id=other["id"]))[:2] == (400, "InvalidResourceConstraint")
    assert both(resource_id=group["id"])["target_id"] == port["id"]


def test_a_log_goes_with_its_group_and_with_its_port(head: Asker) -> None:
    group, other = (head.create("security_group", name=name) for name in "ab")
    port = port_in(head, other)
    kept = log(head, name="kept")
    log(head, resource_id=group["id"])
    log(head, target_id=port["id"], enabled=False)
    head.delete("security_group", group["id"])
    assert {row["target_id"] for row in head.list("log")} == {None, port["id"]}
    head.delete("port", port["id"])
    assert [row["id"] for row in head.list("log")] == [kept["id"]]


def test_a_port_on_a_host_that_cannot_log_has_no_log(head: Asker, root: Asker) -> None:
    group = root.create("security_group", name="g")
    ports = [port_in(root, group, host=host) for host in ("old", "able", "silent")]
    with root.service.store.write() as tx:
        for host, able in (("old", "bridge"), ("able", "bridge logging"), ("silent", None)):
            told = {"version": "0", **({} if able is None else {"able": able})}
            agent.heartbeat(tx, host, "Portico agent", "portico-agent", {"configurations": told}, time.time())
    status, kind, text = refusal(partial(log, root, target_id=ports[0]["id"]), ports[0]["id"])
    assert (status, kind) == (409, "LoggingTypeNotSupported")
    assert text.startswith("Logging type security_group is not supported on port ID: host old: ")
    own = port_in(head, head.create("security_group", name="own"))
    root.update("port", own["id"], **{"binding:host_id": "old"})
    assert "port ID: host ***: its agent" in refusal(partial(log, head, target_id=own["id"]), own["id"])[2]
    for port in ports[1:]:
        assert log(root, target_id=port["id"])["target_id"] == port["id"]


def test_the_kinds_that_can_be_logged_are_told_to_managers(head: Asker, red: Asker) -> None:
    told = action.list_loggable_resources(head.service, head.context, (), "http://api.test")
    assert told == {"loggable_resources": [{"type": "security_group"}]}
    assert refusal(lambda: action.list_loggable_resources(red.service, red.context, (), ""))[0] == 403
