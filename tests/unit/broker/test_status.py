# SPDX-License-Identifier: Apache-2.0
"""What agents say of DHCP servers and bridges is told beside the objects."""

from __future__ import annotations

from typing import Any, Literal

from portico.broker.status import reason, write_report, write_statuses
from portico.contract import Binding, ObjectStatus
from portico.hoststate import Report, Status
from portico.rules import TABLE
from portico.store import journal
from portico.testing.statements import asked

from .conftest import Desk, Row

HOST, OTHER = "host-a", "host-b"


def tell(desk: Desk, host: str, key: str, state: Literal["active", "waiting", "error", "gone"], why: str = "") -> None:
    with desk.store.write() as tx:
        write_report(tx, host, Report(revision=1, statuses=(Status(key, state, why),)))


def newest(desk: Desk) -> int:
    with desk.store.read() as tx:
        return journal.newest(tx)


def changes(desk: Desk) -> int:
    with desk.store.read() as tx:
        return len(journal.since(tx, 0))


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


def test_a_way_to_the_host_that_cannot_be_made_shows_at_its_network_whatever_else_is_told(desk: Desk) -> None:
    network, _ = served_network(desk)
    bridge, uplink = (f"{kind}/{network['id']}" for kind in ("bridge", "uplink"))
    taken = ("ERROR", "host host-a: the host has 100.64.0.9/16 on link eth0")
    tell(desk, HOST, uplink, "error", "the host has 100.64.0.9/16 on link eth0")
    assert seen(desk, "network", network["id"]) == taken
    for host, key in ((HOST, bridge), (OTHER, bridge), (OTHER, uplink)):
        tell(desk, host, key, "active")
        assert seen(desk, "network", network["id"]) == taken
    tell(desk, HOST, bridge, "error", "link add: no such device")
    assert seen(desk, "network", network["id"]) == ("ERROR", "host host-a: link add: no such device")
    tell(desk, HOST, bridge, "active")
    assert seen(desk, "network", network["id"]) == taken
    before = newest(desk)
    again = (Status(bridge, "active"), Status(uplink, "error", "the host has 100.64.0.9/16 on link eth0"))
    desk.store.write_news(lambda tx: write_report(tx, HOST, Report(1, again)))
    assert newest(desk) == before, "it is no news"
    tell(desk, HOST, uplink, "active")
    assert seen(desk, "network", network["id"]) == ("ACTIVE", "")


def test_a_way_to_the_host_of_a_network_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    network = desk.create("network", name="blue")
    tell(desk, HOST, f"uplink/{network['id']}", "error", "refused")
    desk.delete("network", network["id"])
    tell(desk, HOST, f"uplink/{network['id']}", "gone")
    with desk.store.read() as tx:
        assert reason(tx, "uplink", network["id"]) == ""


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


def forwarding(desk: Desk, port: Row, number: int) -> str:
    """Make a port forwarding to a port, as far as its status goes; return its id."""
    with desk.store.write() as tx:
        fields = {"protocol": "tcp", "internal_ip_address": "192.0.2.9", "floatingip_id": "f", "project_id": "p"}
        ports = dict.fromkeys(("external_port_range", "internal_port_range"), f"{number}:{number}")
        own = {"id": f"forwarding-{number}", "internal_port_id": port["id"], "portico:host_addresses": ["192.0.2.1"]}
        return str(tx.insert("port_forwarding", {**fields, **ports, **own})["id"])


def test_a_port_of_the_host_that_somebody_has_shows_at_the_port_it_would_lead_to(desk: Desk) -> None:
    network, _ = served_network(desk)
    port = desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    web, dns = (forwarding(desk, port, number) for number in (80, 53))
    tell(desk, HOST, f"publish/{web}", "error", "a program has it")
    tell(desk, HOST, f"vif/{port['id']}", "active")
    assert seen(desk, "port", port["id"]) == ("ERROR", f"port forwarding {web}: a program has it")
    tell(desk, HOST, f"publish/{dns}", "active")
    assert seen(desk, "port", port["id"])[0] == "ERROR"
    tell(desk, OTHER, f"publish/{web}", "active")
    assert seen(desk, "port", port["id"])[0] == "ERROR"
    tell(desk, HOST, f"publish/{dns}", "error", "another, too")
    assert seen(desk, "port", port["id"]) == ("ERROR", f"port forwarding {dns}: another, too")
    with desk.store.write() as tx:
        tx.delete("port_forwarding", tx.find("port_forwarding", id=dns)[0])
    tell(desk, HOST, f"publish/{dns}", "gone")
    assert seen(desk, "port", port["id"]) == ("ERROR", f"port forwarding {web}: a program has it")
    tell(desk, HOST, f"publish/{web}", "active")
    assert seen(desk, "port", port["id"]) == ("ACTIVE", "")
    with desk.store.read() as tx:
        assert [reason(tx, "publish", one) for one in (web, dns)] == ["", ""] and not reason(
            tx, "published", port["id"]
        )


OVS = Binding(vif_type="ovs", vif_details={"bridge_name": "br-int"})


def remote_port(desk: Desk) -> Row:
    network = desk.create("network", name="far")
    return desk.create(
        "port", network_id=network["id"], **{"binding:host_id": HOST, "binding:profile": {"plug": "veth"}}
    )


def test_a_binding_that_comes_later_is_shown_and_the_port_waits_for_its_host(desk: Desk) -> None:
    port = remote_port(desk)
    outlet = f"outlet/{port['id']}"
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "ACTIVE", host=HOST, binding=OVS)])
    with desk.store.read() as tx:
        row = tx.get("port", port["id"])
    assert row is not None
    assert (row["binding:vif_type"], row["binding:vif_details"]) == ("ovs", {"bridge_name": "br-int"})
    assert row["revision_number"] == port["revision_number"], "no client wrote it"
    assert seen(desk, "port", port["id"]) == ("DOWN", "host host-a has not plugged it yet")
    tell(desk, OTHER, outlet, "active")
    assert seen(desk, "port", port["id"]) == ("DOWN", "host host-a has not plugged it yet")
    tell(desk, HOST, outlet, "error", "no ovs-vsctl")
    assert seen(desk, "port", port["id"]) == ("ERROR", "no ovs-vsctl")
    tell(desk, HOST, outlet, "active")
    assert seen(desk, "port", port["id"]) == ("ACTIVE", "")
    tell(desk, HOST, outlet, "waiting", "tap0 is gone")
    assert seen(desk, "port", port["id"]) == ("DOWN", "tap0 is gone")


def test_an_outlet_that_works_does_not_hide_what_the_service_says(desk: Desk) -> None:
    port = remote_port(desk)
    down = ObjectStatus("port", port["id"], "DOWN", "port x of the remote is DOWN", HOST, OVS)
    write_statuses(desk.store, [down])
    tell(desk, HOST, f"outlet/{port['id']}", "active")
    assert seen(desk, "port", port["id"]) == ("DOWN", "port x of the remote is DOWN")
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "ACTIVE", "", HOST, OVS)])
    assert seen(desk, "port", port["id"]) == ("ACTIVE", "")


def test_a_binding_of_another_host_is_passed_over(desk: Desk) -> None:
    port = remote_port(desk)
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "ACTIVE", "", OTHER, OVS)])
    with desk.store.read() as tx:
        assert tx.get("port", port["id"]) == port


def test_why_a_binding_failed_is_shown_until_the_port_is_bound_anew(desk: Desk) -> None:
    port = remote_port(desk)
    failed = Binding(vif_type="binding_failed", vif_details={})
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "ERROR", "refused", HOST, failed)])
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "DOWN", "bound to no host")])
    assert seen(desk, "port", port["id"]) == ("ERROR", "refused")
    desk.update("port", port["id"], **{"binding:host_id": HOST})
    assert seen(desk, "port", port["id"]) == ("DOWN", "")


def test_the_outlet_of_a_port_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    port = remote_port(desk)
    write_statuses(desk.store, [ObjectStatus("port", port["id"], "ACTIVE", "", HOST, OVS)])
    desk.delete("port", port["id"])
    tell(desk, HOST, f"outlet/{port['id']}", "gone")
    with desk.store.read() as tx:
        assert reason(tx, "outlet", port["id"]) == ""


def test_a_report_that_tells_nothing_new_writes_nothing_and_takes_no_revision(desk: Desk) -> None:
    network, server = served_network(desk)
    tell(desk, HOST, f"bridge/{network['id']}", "error", "link add: no such device")
    news = Report(
        1,
        (
            Status(f"bridge/{network['id']}", "error", "link add: no such device"),
            Status(f"vif/{server['id']}", "gone"),
            Status(f"lease/{server['id']}", "active"),
            Status("vif/unknown", "active"),
        ),
    )
    before = newest(desk)
    with asked(desk.store) as statements:
        desk.store.write_news(lambda tx: write_report(tx, HOST, news))
    # Ports, networks, reasons, and the port that is none.
    assert [text.split()[0] for text in statements] == ["SELECT"] * 4
    assert newest(desk) == before


def test_a_report_that_tells_something_new_is_written(desk: Desk) -> None:
    network, server = served_network(desk)
    before = newest(desk)
    desk.store.write_news(
        lambda tx: write_report(tx, HOST, Report(1, (Status(f"dhcp/{network['id']}", "error", "no dnsmasq"),)))
    )
    assert seen(desk, "port", server["id"]) == ("ERROR", "host host-a: no dnsmasq")
    assert newest(desk) == before + 1


def test_likely_news_are_written_in_one_transaction_and_take_no_revision_if_they_are_none(desk: Desk) -> None:
    network, server = served_network(desk)
    before = newest(desk)
    kinds: list[str] = []
    told: list[int] = []
    desk.store.on_transaction(lambda kind, _waited, _took: kinds.append(kind))
    desk.store.on_commit(told.append)
    report = Report(1, (Status(f"dhcp/{network['id']}", "error", "no dnsmasq"),))
    for _ in range(2):
        desk.store.write_news(lambda tx: write_report(tx, HOST, report), likely=True)
    assert kinds == ["write", "write"]
    assert told == [before + 1]
    assert seen(desk, "port", server["id"]) == ("ERROR", "host host-a: no dnsmasq")
    assert newest(desk) == before + 1


def test_a_router_that_a_host_cannot_have_shows_with_its_ports_until_no_host_is_against_it(desk: Desk) -> None:
    network, _ = served_network(desk)
    router = desk.create("router", name="edge")
    key = f"router/{router['id']}"
    with desk.store.write() as tx:
        (subnet,) = tx.find("subnet", network_id=network["id"])
        add = TABLE["router"].actions["add_router_interface"]
        answer: Any = add(tx, desk.context, router, {"subnet_id": subnet["id"]})
        floating = {"id": "f", "project_id": "acme", "floating_network_id": network["id"], "status": "ACTIVE"}
        tx.insert("floatingip", {**floating, "floating_ip_address": "203.0.113.9", "router_id": router["id"]})
    port_id = answer["port_id"]
    tell(desk, HOST, key, "active")
    assert seen(desk, "router", router["id"]) == seen(desk, "port", port_id) == ("ACTIVE", "")
    tell(desk, HOST, key, "error", "router: Permission denied")
    tell(desk, OTHER, key, "active")
    trouble = ("ERROR", "host host-a: router: Permission denied")
    assert seen(desk, "router", router["id"]) == seen(desk, "port", port_id) == seen(desk, "floatingip", "f") == trouble
    before = changes(desk)
    tell(desk, HOST, key, "error", "router: Permission denied")
    assert changes(desk) == before
    tell(desk, HOST, key, "gone")
    assert seen(desk, "router", router["id"]) == seen(desk, "port", port_id) == ("ACTIVE", "")
    tell(desk, HOST, "router/no-more", "error", "gone meanwhile")
