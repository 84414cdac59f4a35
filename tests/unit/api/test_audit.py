# SPDX-License-Identifier: Apache-2.0
"""What stands in the audit log about every way to write."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.api.app import make_app
from portico.store import journal
from portico.store.store import Store
from portico.telemetry.audit import AuditLog

from .asker import Asker
from .conftest import MakeApi

Line = dict[str, Any]


class Audited(Asker):
    """An API with an audit log."""

    path: Path

    def lines(self) -> list[Line]:
        """Return what was written since the last call."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        self.path.unlink()
        return found


@pytest.fixture
def audited(store: Store, make_api: MakeApi, tmp_path: Path) -> Iterator[Audited]:
    log = AuditLog(tmp_path / "audit.log")
    store.audit(log.write)
    with Audited(make_app(make_api(store))) as asker:
        asker.path = tmp_path / "audit.log"
        yield asker
    log.close()


def of(lines: list[Line], resource: str) -> Line:
    [line] = [line for line in lines if line["resource"] == resource]
    return line


def test_a_create_tells_who_did_what_with_which_revision(audited: Audited) -> None:
    answer = audited.ask(
        "POST",
        "networks",
        {"network": {"name": "blue"}},
        x_project_id="red",
        x_openstack_request_id="req-01234567-89ab-cdef-0123-456789abcdef",
    )
    line = of(audited.lines(), "network")
    made = answer.body["network"]
    assert line["id"] == made["id"] and line["revision"] == made["revision_number"]
    assert (line["verb"], line["method"], line["route"]) == ("create", "POST", "/v2.0/networks")
    assert line["before"] == {} and line["after"]["name"] == "blue" and line["after"]["project_id"] == "red"
    assert line["request_id"] == answer.headers["x-openstack-request-id"]
    assert line["global_request_id"] == "req-01234567-89ab-cdef-0123-456789abcdef"
    assert line["project"] == "red" and "admin" in line["roles"] and line["user"] == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_an_update_tells_what_differs_and_nothing_else(audited: Audited) -> None:
    row = audited.network(name="blue", description="sea")
    audited.lines()
    audited.update("networks", row, name="green", description="sea")
    [line] = audited.lines()
    assert (line["before"], line["after"]) == ({"name": "blue"}, {"name": "green"})
    audited.update("networks", row, name="green")
    audited.network()
    assert {(line["resource"], line["verb"]) for line in audited.lines()} == {
        ("network", "create"),
        ("segment", "create"),
    }


def test_a_delete_tells_what_there_was(audited: Audited) -> None:
    row = audited.network(name="blue")
    audited.lines()
    audited.delete("networks", row)
    line = of(audited.lines(), "network")
    assert line["verb"] == "delete" and line["before"]["name"] == "blue" and line["after"] == {}


def test_what_a_write_brings_about_is_told_too(audited: Audited) -> None:
    row = audited.network()
    audited.lines()
    subnet = audited.subnet(row, "192.0.2.0/24")
    lines = audited.lines()
    assert of(lines, "subnet")["verb"] == "create"
    assert of(lines, "network")["after"]["subnets"] == [subnet["id"]]
    assert {line["revision"] for line in lines} == {subnet["revision_number"]}


def test_a_refused_write_is_not_told(audited: Audited) -> None:
    row = audited.network("192.0.2.0/24")
    audited.port(row)
    audited.lines()
    assert audited.try_delete("networks", row).status == 409
    assert audited.try_update("networks", row, mtu=1).status == 409
    assert not audited.path.exists()


def test_tags_quotas_actions_and_bindings_are_told(audited: Audited) -> None:
    network = audited.network("192.0.2.0/24")
    port = audited.port(network, device_owner="compute:nova", **{"binding:host_id": "host-a"})
    pool = audited.create("subnetpools", name="pool", prefixes=["198.51.100.0/24"])
    audited.lines()

    def told(method: str, path: str, body: Any = None) -> Line:
        answer = audited.ask(method, path, body)
        assert answer.status < 300, answer
        [line] = audited.lines()
        return line

    line = told("PUT", f"networks/{network['id']}/tags/deep")
    assert (line["before"], line["after"]) == ({"tags": []}, {"tags": ["deep"]})
    assert told("DELETE", f"networks/{network['id']}/tags")["after"] == {"tags": []}
    line = told("PUT", "quotas/red", {"quota": {"network": 7}})
    assert (line["resource"], line["id"]) == ("quota", "red")
    assert (line["before"], line["after"]) == ({"network": -1}, {"network": 7})
    line = told("DELETE", "quotas/red")
    assert line["verb"] == "delete" and line["before"]["network"] == 7
    line = told("PUT", f"subnetpools/{pool['id']}/add_prefixes", {"prefixes": ["198.51.101.0/24"]})
    assert line["after"] == {"prefixes": ["198.51.100.0/23"]}
    line = told("POST", f"ports/{port['id']}/bindings", {"binding": {"host": "host-b"}})
    assert [item["host"] for item in line["after"]["inactive_bindings"]] == ["host-b"]
    line = told("PUT", f"ports/{port['id']}/bindings/host-b/activate")
    assert line["before"]["binding:host_id"] == "host-a" and line["after"]["binding:host_id"] == "host-b"


def test_lines_stand_in_the_order_of_revisions(audited: Audited, store: Store) -> None:
    def write(name: str) -> None:
        for _ in range(20):
            with store.write() as tx:
                tx.note_edit("network", name, "create", {}, {"name": name})

    threads = [threading.Thread(target=write, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    revisions = [line["revision"] for line in audited.lines()]
    assert len(revisions) == 80 and revisions == sorted(revisions)


def test_every_change_in_the_journal_has_its_line(audited: Audited, store: Store) -> None:
    with store.read() as tx:
        since = journal.newest(tx)
    group = audited.create("security-groups", name="web")
    audited.create("security-group-rules", security_group_id=group["id"], direction="ingress", protocol="tcp")
    scope = audited.create("address-scopes", name="scope", ip_version=4)
    pool = audited.create("subnetpools", name="pool", prefixes=["198.51.100.0/24"], address_scope_id=scope["id"])
    network = audited.network(shared=True)
    subnet = audited.create("subnets", network_id=network["id"], ip_version=4, subnetpool_id=pool["id"], prefixlen=28)
    port = audited.port(network, security_groups=[group["id"]])
    audited.update("ports", port, security_groups=[], fixed_ips=[{"subnet_id": subnet["id"]}])
    shared = {"object_type": "security_group", "object_id": group["id"], "action": "access_as_shared"}
    answer = audited.ask("POST", "rbac-policies", {"rbac_policy": {**shared, "target_tenant": "x"}})
    assert answer.status == 201, answer
    assert audited.ask("POST", "address-groups", {"address_group": {"addresses": ["192.0.2.7/32"]}}).status == 201
    for collection, row in (("ports", port), ("subnets", subnet), ("networks", network)):
        audited.delete(collection, row)
    with store.read() as tx:
        entries = journal.since(tx, since)
    told = {(line["revision"], line["resource"], line["id"], line["verb"]) for line in audited.lines()}
    made = {(entry.revision, entry.resource, entry.id, entry.change) for entry in entries}
    # A change that changes no more than the revision is in the journal alone.
    assert told == {entry for entry in made if entry[3] in ("create", "delete") or entry in told}
    kinds = {"port", "subnet", "network", "rbac_policy", "security_group_rule", "address_group", "address_scope"}
    assert {item[1] for item in told} >= kinds


def test_a_password_is_in_no_line(audited: Audited) -> None:
    peer = audited.create("bgp-peers", remote_as=65001, peer_ip="192.0.2.1", auth_type="md5", password="one")
    audited.update("bgp-peers", peer, password="two")
    audited.delete("bgp-peers", peer)
    told = [[line[when].get("password") for when in ("before", "after")] for line in audited.lines()]
    assert told == [[None, "***"], ["***", "***"], ["***", None]]
