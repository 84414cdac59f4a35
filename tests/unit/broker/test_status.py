# SPDX-License-Identifier: Apache-2.0
"""What agents say of DHCP servers and bridges is told beside the objects."""

from __future__ import annotations

from typing import Literal

from portico.broker.status import reason, write_report
from portico.hoststate import Report, Status

from .conftest import Desk, Row

HOST, OTHER = "host-a", "host-b"


def tell(desk: Desk, host: str, key: str, state: Literal["active", "waiting", "error", "gone"], why: str = "") -> None:
    with desk.store.write() as tx:
        write_report(tx, host, Report(revision=1, statuses=(Status(key, state, why),)))


def seen(desk: Desk, resource: str, object_id: str) -> tuple[str, str]:
    with desk.store.read() as tx:
        row = tx.get(resource, object_id)
        assert row is not None
        return row["status"], reason(tx, resource, object_id)


def served_network(desk: Desk) -> tuple[Row, Row]:
    """A network with a tap port, and its DHCP server's port."""
    network = desk.create("network", name="blue")
    desk.create("subnet", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    with desk.store.read() as tx:
        (server,) = tx.find("port", network_id=network["id"], device_owner="network:dhcp")
    return network, server


def test_a_dhcp_server_that_does_not_start_shows_at_its_port(desk: Desk) -> None:
    network, server = served_network(desk)
    tell(desk, HOST, f"dhcp/{network['id']}", "error", "dnsmasq ended with exit code 2")
    assert seen(desk, "port", server["id"]) == ("ERROR", "host host-a: dnsmasq ended with exit code 2")
    tell(desk, HOST, f"dhcp/{network['id']}", "active")
    assert seen(desk, "port", server["id"]) == ("ACTIVE", "")


def test_a_bridge_that_cannot_be_made_shows_at_its_network(desk: Desk) -> None:
    network, _ = served_network(desk)
    tell(desk, HOST, f"bridge/{network['id']}", "error", "link add: no such device")
    assert seen(desk, "network", network["id"]) == ("ERROR", "host host-a: link add: no such device")


def test_one_host_that_is_well_does_not_hide_another_that_is_not(desk: Desk) -> None:
    network, server = served_network(desk)
    tell(desk, HOST, f"dhcp/{network['id']}", "error", "no dnsmasq")
    tell(desk, OTHER, f"dhcp/{network['id']}", "active")
    assert seen(desk, "port", server["id"]) == ("ERROR", "host host-a: no dnsmasq")


def test_a_lease_in_trouble_shows_at_its_port_once_that_is_plugged(desk: Desk) -> None:
    network, _ = served_network(desk)
    port = desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    vif, lease = f"vif/{port['id']}", f"lease/{port['id']}"
    tell(desk, HOST, lease, "error", "name is not one word")
    assert seen(desk, "port", port["id"]) == ("DOWN", "")
    tell(desk, HOST, vif, "active")
    assert seen(desk, "port", port["id"]) == ("ERROR", "DHCP: name is not one word")
    tell(desk, OTHER, lease, "active")
    tell(desk, HOST, vif, "active")
    assert seen(desk, "port", port["id"]) == ("ERROR", "DHCP: name is not one word")
    tell(desk, HOST, lease, "error", "another")
    assert seen(desk, "port", port["id"]) == ("ERROR", "DHCP: another")
    tell(desk, HOST, lease, "active")
    assert seen(desk, "port", port["id"]) == ("ACTIVE", "")
    tell(desk, HOST, lease, "error", "again")
    tell(desk, HOST, vif, "error", "no link")
    tell(desk, HOST, lease, "active")
    assert seen(desk, "port", port["id"]) == ("ERROR", "no link")


def test_a_lease_of_a_port_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    network, _ = served_network(desk)
    port = desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    tell(desk, HOST, f"lease/{port['id']}", "error", "no")
    desk.delete("port", port["id"])
    tell(desk, HOST, f"lease/{port['id']}", "gone")
    with desk.store.read() as tx:
        assert reason(tx, "lease", port["id"]) == ""
