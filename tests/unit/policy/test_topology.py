# SPDX-License-Identifier: Apache-2.0
"""The topology: to each project its own, and what is shared with it."""

from __future__ import annotations

from portico.api import topology
from portico.broker.status import write_statuses
from portico.contract import ObjectStatus

from .asker import Asker, Row, everything


def told(asker: Asker, since: int = 0) -> Row:
    follows = asker.context.policy.allows(asker.context, "portico:watch")
    return topology.read(asker.service, asker.context, since, topology.Page(100), follows=follows)


def names(answer: Row, *kinds: str) -> list[str]:
    return sorted(row["name"] for kind in kinds for row in answer[kind])


def test_nothing_of_another_project_is_in_the_topology(red: Asker, blue: Asker, root: Asker) -> None:
    secret = everything(red)
    port = red.create("port", network_id=secret["network"]["id"], name="secret")
    before = told(blue)["revision"]
    own = blue.create("network", name="mine")
    write_statuses(red.service.store, [ObjectStatus("port", port["id"], "ERROR", "secret")])
    red.delete("port", port["id"])
    # Who may not follow the journal is told of no change by itself: what goes, and when, tells of others.
    for answer in (told(blue), told(blue, since=before)):
        assert answer["complete"]
        assert [row["id"] for row in answer["networks"]] == [own["id"]]
        assert "secret" not in str(answer) and secret["network"]["id"] not in str(answer)
        assert answer["gone"] == [] and answer["reasons"] == {}
    assert names(told(root), "networks", "routers") == ["mine", "secret", "secret"]
    assert told(root, since=before)["gone"] == [f"port/{port['id']}"]


def test_what_is_shared_is_in_the_topology(red: Asker, blue: Asker) -> None:
    network = red.create("network", name="shared")
    red.create("subnet", network_id=network["id"], cidr="192.0.2.0/24", ip_version=4)
    red.create("port", network_id=network["id"], name="secret")
    policy = {"object_type": "network", "object_id": network["id"], "action": "access_as_shared"}
    red.create("rbac_policy", target_tenant="blue", **policy)
    answer = told(blue)
    assert names(answer, "networks", "ports") == ["shared"]
    assert [row["cidr"] for row in answer["subnets"]] == ["192.0.2.0/24"]
