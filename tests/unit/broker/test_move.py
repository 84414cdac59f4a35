# SPDX-License-Identifier: Apache-2.0
"""A port on its way from host to host: what either host is told, and whose word on it counts."""

from __future__ import annotations

from typing import Any

from portico.broker.status import write_report
from portico.hoststate import Report, Status, Vif, key_of
from portico.rules import port_binding

from .conftest import Desk, Followed, Row

SOURCE, DESTINATION = "host-a", "host-b"


def moving(desk: Desk) -> Row:
    network = desk.create("network", name="blue")
    desk.create("subnet", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    named = {"binding:host_id": SOURCE, "device_owner": "compute:nova"}
    return desk.create("port", network_id=network["id"], **named)


def ask(desk: Desk, function: Any, *about: Any) -> None:
    with desk.store.write() as tx:
        function(tx, desk.context, *about)
    while desk.broker.step(everything=False):
        pass


def vif(feed: Followed, port: Row) -> Vif | None:
    found = feed.objects.get(f"vif/{port['id']}")
    assert found is None or isinstance(found, Vif)
    return found


def status(desk: Desk, port: Row) -> str:
    with desk.store.read() as tx:
        row = tx.get("port", port["id"])
    assert row is not None
    return str(row["status"])


def report(desk: Desk, host: str, port: Row, state: Any) -> None:
    with desk.store.write() as tx:
        write_report(tx, host, Report(revision=1, statuses=(Status(f"vif/{port['id']}", state),)))


def test_the_destination_is_ready_before_it_is_active_and_the_source_is_free_afterwards(desk: Desk) -> None:
    port = moving(desk)
    source, destination = desk.follow(SOURCE), desk.follow(DESTINATION)
    desk.broker.step(everything=True)
    report(desk, SOURCE, port, "active")
    ask(desk, port_binding.create, port["id"], {"host": DESTINATION})
    here, there = vif(source, port), vif(destination, port)
    assert here is not None and here.admin_up
    assert there is not None and not there.admin_up
    kinds = {key.partition("/")[0] for key in destination.objects}
    assert kinds == {key.partition("/")[0] for key in source.objects} >= {"bridge", "vif", "group", "dhcp", "lease"}
    report(desk, DESTINATION, port, "error")
    assert status(desk, port) == "ACTIVE"
    ask(desk, port_binding.activate, port["id"], DESTINATION)
    assert source.objects == {}
    there = vif(destination, port)
    assert there is not None and there.admin_up
    assert status(desk, port) == "DOWN"
    report(desk, SOURCE, port, "gone")
    report(desk, DESTINATION, port, "active")
    assert status(desk, port) == "ACTIVE"


def test_a_migration_that_is_called_off_leaves_nothing_at_the_destination(desk: Desk) -> None:
    port = moving(desk)
    source, destination = desk.follow(SOURCE), desk.follow(DESTINATION)
    desk.broker.step(everything=True)
    before = dict(source.objects)
    ask(desk, port_binding.create, port["id"], {"host": DESTINATION})
    ask(desk, port_binding.delete, port["id"], DESTINATION)
    assert (source.objects, destination.objects) == (before, {})
    assert f"vif/{port['id']}" in {key_of(item) for item in before.values()}


def test_a_port_deleted_on_its_way_is_gone_from_both_hosts(desk: Desk) -> None:
    port = moving(desk)
    source, destination = desk.follow(SOURCE), desk.follow(DESTINATION)
    desk.broker.step(everything=True)
    ask(desk, port_binding.create, port["id"], {"host": DESTINATION})
    desk.delete("port", port["id"])
    while desk.broker.step(everything=False):
        pass
    assert source.objects == destination.objects == {}
