# SPDX-License-Identifier: Apache-2.0
"""Who may have what counted, and see it."""

from __future__ import annotations

from functools import partial

import pytest

from portico.hoststate import Count
from portico.policy.policy import Policy
from portico.rules import metering
from portico.store.store import Store

from .asker import Asker, refusal

ROUTER = "1ccccccc-0000-4000-8000-000000000000"


@pytest.fixture
def head(store: Store, policy: Policy) -> Asker:
    return Asker(store, policy, "red", "manager", "member", "reader")


def test_managers_have_counted_and_members_see(head: Asker, red: Asker, blue: Asker, root: Asker) -> None:
    label = head.create("metering_label", name="l")
    rule = {"metering_label_id": label["id"], "direction": "egress"}
    made = head.create("metering_label_rule", **rule, source_ip_prefix="10.0.0.0/24")
    with head.service.store.write() as tx:
        metering.take(tx, "one", [Count(ROUTER, label["id"], "a", 3, 252)])
    assert red.show("metering_label", label["id"])["portico:bytes"] == 252
    (count,) = red.list("metering_count")
    objects = {"metering_label": label, "metering_label_rule": made, "metering_count": count}
    for name, row in objects.items():
        assert blue.list(name) == [] != root.list(name)
        assert refusal(partial(blue.show, name, row["id"]))[0] == 404
    for name in ("metering_label_rule", "metering_label"):
        assert refusal(partial(red.delete, name, objects[name]["id"]))[0] == 403
        assert refusal(partial(blue.delete, name, objects[name]["id"]))[0] == 404
    assert refusal(partial(red.create, "metering_label", name="x"))[:2] == (403, "PolicyNotAuthorized")
    head.delete("metering_label", label["id"])


def test_rules_of_another_projects_label_are_refused_as_if_it_were_not_there(head: Asker, root: Asker) -> None:
    label = root.create("metering_label", project_id="blue", shared=True)
    rule = partial(head.create, "metering_label_rule", direction="egress", source_ip_prefix="10.0.0.0/24")
    there = refusal(partial(rule, metering_label_id=label["id"]), label["id"])
    assert there == refusal(partial(rule, metering_label_id=ROUTER), ROUTER)
    assert there[:2] == (404, "MeteringLabelNotFound")


def test_only_administrators_count_what_passes_routers_of_all_projects(head: Asker) -> None:
    assert refusal(partial(head.create, "metering_label", shared=True))[:2] == (403, "PolicyNotAuthorized")
