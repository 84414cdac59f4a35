# SPDX-License-Identifier: Apache-2.0
"""The broker on a real store: what is committed reaches hosts, completely, in order, and through failures."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.broker.broker import Broker
from portico.broker.status import reason, write_report
from portico.errors import Unavailable, Unsupported
from portico.hoststate import Report, Status, key_of
from portico.store.store import Store

from .conftest import Desk, Row

HOST = "host-a"


def network_with_port(desk: Desk, **port: object) -> tuple[Row, Row]:
    network = desk.create("network", name="blue")
    desk.create("subnet", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    return network, desk.create("port", network_id=network["id"], **{"binding:host_id": HOST, **port})


def test_what_is_committed_reaches_its_host(desk: Desk) -> None:
    feed, other = desk.follow(HOST), desk.follow("host-b")
    network, port = network_with_port(desk)
    desk.broker.step(everything=True)
    assert {f"bridge/{network['id']}", f"vif/{port['id']}", f"dhcp/{network['id']}"} <= feed.objects.keys()
    assert other.objects == {}


def test_a_change_is_followed_without_loading_everything(desk: Desk) -> None:
    _, port = network_with_port(desk, **{"binding:profile": {"plug": "veth"}})
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    desk.update("port", port["id"], admin_state_up=False)
    desk.broker.step(everything=False)
    assert [key_of(item) for item in feed.updates[-1].objects] == [f"vif/{port['id']}"]
    desk.delete("port", port["id"])
    desk.broker.step(everything=False)
    assert feed.objects == {}


def test_what_is_too_much_for_one_step_is_known_to_be_waiting(desk: Desk, store: Store) -> None:
    network, _ = network_with_port(desk)
    desk.broker.step(everything=True)
    for _ in range(2):
        with store.write() as tx:
            for _ in range(501):
                tx.record("network", network["id"], "acme", "update")
    assert desk.broker.step(everything=False)
    assert desk.broker.revision == tx.revision - 1
    assert not desk.broker.step(everything=False)
    assert desk.broker.revision == tx.revision


def test_following_comes_to_what_loading_gives(desk: Desk, store: Store) -> None:
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)

    def check() -> None:
        while desk.broker.step(everything=False):
            pass
        fresh = Desk(store)
        whole = fresh.follow(HOST)
        fresh.broker.step(everything=True)
        assert feed.objects == whole.objects

    network, port = network_with_port(desk)
    check()
    group = desk.create("security_group", name="web")
    desk.create(
        "security_group_rule", security_group_id=group["id"], direction="ingress", ethertype="IPv4",
        remote_group_id=port["security_groups"][0],
    )  # fmt: skip
    check()
    second = desk.create("port", network_id=network["id"], security_groups=[group["id"]], **{"binding:host_id": HOST})
    check()
    desk.update("port", port["id"], allowed_address_pairs=[{"ip_address": "192.0.2.200"}])
    check()
    desk.update("port", second["id"], **{"binding:host_id": "host-b"})
    check()
    six = desk.create("subnet", network_id=network["id"], ip_version=6, cidr="2001:db8::/64",
                      ipv6_ra_mode="slaac", ipv6_address_mode="slaac")  # fmt: skip
    check()
    addresses = desk.create("address_group", name="g", addresses=["192.0.2.0/28"])
    desk.create("security_group_rule", security_group_id=port["security_groups"][0], direction="ingress",
                ethertype="IPv4", remote_address_group_id=addresses["id"])  # fmt: skip
    check()
    assert f"member/{addresses['id']}/{network['id']}/192.0.2.0/28" in feed.objects
    desk.delete("port", second["id"])
    desk.delete("security_group", group["id"])
    check()
    desk.delete("port", port["id"])
    desk.delete("subnet", six["id"])
    check()
    desk.delete("network", network["id"])
    check()
    assert feed.objects == {}


def test_nothing_is_told_before_a_first_whole_sync(desk: Desk) -> None:
    network_with_port(desk)
    feed = desk.follow(HOST)
    desk.backend.broken = True
    with pytest.raises(Unavailable):
        desk.broker.step(everything=True)
    assert feed.updates == []
    desk.backend.broken = False
    desk.broker.step(everything=True)
    assert feed.updates[0].complete
    assert feed.objects


def test_a_failed_sync_is_not_forgotten(desk: Desk) -> None:
    desk.broker.start()
    feed = desk.follow(HOST)
    try:
        desk.backend.broken = True
        _, port = network_with_port(desk)
        time.sleep(0.05)
        desk.backend.broken = False
        deadline = time.monotonic() + 5
        while f"vif/{port['id']}" not in feed.objects and time.monotonic() < deadline:
            time.sleep(0.01)
        assert f"vif/{port['id']}" in feed.objects
    finally:
        desk.broker.stop()


def test_what_the_backend_does_not_declare_is_refused(desk: Desk) -> None:
    with pytest.raises(Unsupported, match="vlan_transparent True needs 'vlan-transparent'"):
        desk.broker.admit("network", None, {"id": "n", "portico:backend": "bridge", "vlan_transparent": True})


def test_an_agents_report_becomes_the_ports_status(desk: Desk, store: Store) -> None:
    _, port = network_with_port(desk)
    key = f"vif/{port['id']}"
    with store.write() as tx:
        write_report(tx, HOST, Report(1, (Status(key, "error", "the kernel says no"), Status("bridge/x", "active"))))
    with store.read() as tx:
        row = tx.get("port", port["id"])
        assert row is not None and row["status"] == "ERROR"
        assert reason(tx, "port", port["id"]) == "the kernel says no"
    with store.write() as tx:
        write_report(tx, "host-b", Report(2, (Status(key, "active"),)))
    with store.read() as tx:
        row = tx.get("port", port["id"])
        assert row is not None and row["status"] == "ERROR", "a host speaks only for its own ports"
    with store.write() as tx:
        write_report(tx, HOST, Report(3, (Status(key, "active"),)))
    with store.read() as tx:
        row = tx.get("port", port["id"])
        assert row is not None and row["status"] == "ACTIVE"
        assert reason(tx, "port", port["id"]) == ""


def test_a_status_is_no_change_to_hosts(desk: Desk, store: Store) -> None:
    _, port = network_with_port(desk)
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    with store.write() as tx:
        write_report(tx, HOST, Report(1, (Status(f"vif/{port['id']}", "active"),)))
    desk.broker.step(everything=False)
    assert len(feed.updates) == 1


def test_a_second_broker_finds_what_the_first_had(store: Store, desk: Desk) -> None:
    network_with_port(desk)
    desk.broker.step(everything=True)
    again = Desk(store)
    assert isinstance(again.broker, Broker)
    feed, expected = again.follow(HOST), desk.follow(HOST)
    again.broker.step(everything=True)
    assert feed.objects == expected.objects


@pytest.mark.parametrize("everything", [False, True])
def test_a_port_that_is_bound_anew_between_two_steps_is_told_again(desk: Desk, store: Store, everything: bool) -> None:
    _, port = network_with_port(desk, **{"binding:profile": {"plug": "veth"}})
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    with store.write() as tx:
        write_report(tx, HOST, Report(1, (Status(f"vif/{port['id']}", "active"),)))
    desk.update("port", port["id"], **{"binding:host_id": ""})
    desk.update("port", port["id"], **{"binding:host_id": HOST})
    desk.broker.step(everything=everything)
    assert [key_of(item) for item in feed.updates[-1].objects] == [f"vif/{port['id']}"]
    assert not feed.updates[-1].complete
    told = len(feed.updates)
    desk.broker.step(everything=True)
    assert len(feed.updates) == told, "a sync that finds nothing new asks nobody"


def test_a_port_that_is_changed_while_its_host_is_asked_already_is_not_told_again(desk: Desk) -> None:
    _, port = network_with_port(desk, **{"binding:profile": {"plug": "veth"}})
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    desk.update("port", port["id"], device_id="c1", device_owner="docker:endpoint")
    desk.broker.step(everything=False)
    assert len(feed.updates) == 1
    desk.update("port", port["id"], **{"binding:host_id": ""})
    desk.broker.step(everything=False)
    assert feed.updates[-1].gone
    desk.update("port", port["id"], **{"binding:host_id": HOST})
    desk.broker.step(everything=False)
    assert f"vif/{port['id']}" in feed.objects


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.sampled_from(["bind", "unbind", "rename", "follow", "answer"]), max_size=12))
def test_a_bound_port_becomes_active_whatever_happens_between_the_steps(lasting_store: Store, steps: list[str]) -> None:
    desk = Desk(lasting_store)
    network, port = network_with_port(desk, **{"binding:profile": {"plug": "veth"}})
    desk.broker.step(everything=True)
    feed, heard = desk.follow(HOST), 0
    key = f"vif/{port['id']}"

    def take(step: str) -> None:
        nonlocal heard
        match step:
            case "bind" | "unbind":
                desk.update("port", port["id"], **{"binding:host_id": HOST if step == "bind" else ""})
            case "rename":
                desk.update("port", port["id"], name=f"after {heard}")
            case "follow":
                desk.broker.step(everything=False)
            case _:
                told = [update for update in feed.updates[heard:] if key in map(key_of, update.objects)]
                heard = len(feed.updates)
                with lasting_store.write() as tx:
                    write_report(tx, HOST, Report(0, (Status(key, "active"),) if told else ()))

    for step in [*steps, "bind", "follow", "answer"]:
        take(step)
    with lasting_store.read() as tx:
        assert (row := tx.get("port", port["id"])) is not None and row["status"] == "ACTIVE"
    desk.delete("port", port["id"])
    desk.delete("network", network["id"])


def test_syncs_are_told_with_their_time_and_whether_they_failed(desk: Desk) -> None:
    told: list[tuple[str, float, bool]] = []
    desk.broker.on_sync(lambda *sync: told.append(sync))
    desk.broker.step(everything=True)
    desk.backend.broken = True
    with pytest.raises(Unavailable):
        desk.broker.step(everything=True)
    assert [(name, failed) for name, _, failed in told] == [("bridge", False), ("bridge", True)]
    assert all(0 <= took_s < 20 for _, took_s, _ in told)


def trouble(desk: Desk) -> str:
    return desk.broker.trouble


def test_a_failing_backend_is_no_reason_to_send_requests_elsewhere(desk: Desk) -> None:
    desk.backend.broken = True
    desk.broker.start()
    deadline = time.monotonic() + 20
    while trouble(desk):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    desk.broker.stop()
    assert trouble(desk) == "it does not run"


def test_a_database_that_fails_is_told_until_it_is_followed_again(desk: Desk, store: Store) -> None:
    nowhere = Store("sqlite:////nonexistent/folder/portico.db", store.registry)
    kept, store.connections = store.connections, nowhere.connections
    desk.broker.start()
    deadline = time.monotonic() + 20
    while "unable to open" not in trouble(desk):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    store.connections = kept
    while trouble(desk):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    desk.broker.stop()
