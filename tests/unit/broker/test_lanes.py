# SPDX-License-Identifier: Apache-2.0
"""Backends beside each other: what one does not manage is no other one's trouble, and is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from portico.backends.bridge import BridgeBackend
from portico.broker import degrade
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.broker.status import reason, write_report
from portico.contract import FEATURES, Binding, Capabilities, Change, Dirty, ObjectStatus
from portico.hoststate import Bridge, Report, Status
from portico.model.snapshot import Port, Snapshot
from portico.store.store import Store

from .conftest import Desk, Row

HOST = "host-a"


class Odd:
    """A backend that can be made to fail, to hang, to take its time, and to leave bindings for later."""

    vif_type = "tap"

    def __init__(self, hosts: HostStates) -> None:
        self.hosts = hosts
        self.act: Callable[[], object] = lambda: None
        self.seen: list[tuple[set[str], Dirty]] = []

    def describe(self) -> Capabilities:
        return Capabilities("odd", ("odd",), FEATURES)

    def admit(self, _want: Snapshot, _change: Change) -> None:
        pass

    def bind(self, port: Port, _host: str) -> Binding:
        return Binding(self.vif_type, {"tap_name": f"tap{port.id[:11]}"} if self.vif_type == "tap" else {})

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        self.act()
        self.seen.append((set(want.networks), dirty))
        self.hosts.keep("odd", want.ports_of_host)
        for host, networks in want.networks_of_host.items():
            self.hosts.replace("odd", host, [Bridge(network_id, 1500) for network_id in networks])
        return ()


class TwoLanes(Desk):
    """A desk with two backends; a sync that takes 0.2 s hangs."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.hosts = HostStates()
        self.odd = Odd(self.hosts)
        self.broker = Broker(
            store, self.hosts, [BridgeBackend(self.hosts), self.odd], hang_s=0.2, patience_s=0.1
        )  # fmt: skip
        self.context = self.context.__class__(
            project_id="acme", is_admin=True, limits=self.context.limits, broker=self.broker
        )

    def port_on(self, backend: str, host: str = HOST) -> tuple[Row, Row]:
        network = self.create("network", **{"portico:backend": backend})
        return network, self.create("port", network_id=network["id"], **{"binding:host_id": host})

    def told(self, resource: str, row: Row) -> tuple[str, str]:
        with self.store.read() as tx:
            found = tx.get(resource, row["id"])
            assert found is not None
            return found["status"], reason(tx, resource, row["id"])


@pytest.fixture
def desk(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwoLanes]:
    monkeypatch.setattr(degrade, "SHOW_AFTER_S", 0.0)
    desk = TwoLanes(store)
    yield desk
    desk.odd.act = lambda: None
    desk.broker.stop()


def until(true: Callable[[], Any], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fail() -> None:
    raise ConnectionError("the engine does not answer")


def test_a_backend_gets_its_own_networks_and_no_hint_of_others(desk: TwoLanes) -> None:
    network, _ = desk.port_on("odd")
    desk.port_on("bridge")
    desk.broker.step(everything=True)
    assert [networks for networks, _ in desk.odd.seen] == [{network["id"]}]
    _, port = desk.port_on("bridge")
    desk.update("port", port["id"], name="other")
    while desk.broker.step(everything=False):
        pass
    assert len(desk.odd.seen) == 1
    group = desk.create("security_group", name="web")
    desk.broker.step(everything=False)
    assert desk.odd.seen[-1][1].ids["security_group"] == {group["id"]}


def test_a_network_that_changes_its_backend_goes_here_and_comes_there(desk: TwoLanes) -> None:
    network, port = desk.port_on("bridge")
    feed = desk.follow(HOST)
    desk.broker.step(everything=True)
    assert f"vif/{port['id']}" in feed.objects
    desk.delete("port", port["id"])
    desk.update("network", network["id"], **{"portico:backend": "odd"})
    desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    while desk.broker.step(everything=False):
        pass
    assert set(feed.objects) == {f"bridge/{network['id']}"}
    assert desk.odd.seen[-1][0] == {network["id"]}
    assert desk.broker.lanes["bridge"].want.networks == {}


def test_a_backend_that_throws_stops_no_other_and_is_told_until_it_works_again(desk: TwoLanes) -> None:
    syncs: set[tuple[str, bool]] = set()
    desk.broker.on_sync(lambda name, _took_s, failed: syncs.add((name, failed)))
    desk.broker.start()
    feed = desk.follow(HOST)
    until(lambda: feed.updates)
    desk.odd.act = fail
    network, port = desk.port_on("odd")
    _, good = desk.port_on("bridge")
    until(lambda: f"vif/{good['id']}" in feed.objects)
    why = "backend odd: the engine does not answer"
    until(lambda: desk.told("port", port) == ("ERROR", why))
    assert desk.told("network", network) == ("ERROR", why)
    assert desk.told("port", good) == ("DOWN", "")
    assert desk.broker.lanes["odd"].health().failing == "the engine does not answer"
    assert desk.broker.lanes["bridge"].health().failing == "" and desk.broker.trouble == ""
    desk.odd.act = lambda: None
    until(lambda: desk.told("port", port) == ("DOWN", ""))
    assert desk.told("network", network) == ("ACTIVE", "")
    assert f"bridge/{network['id']}" in feed.objects
    assert syncs == {("bridge", False), ("odd", True), ("odd", False)}, "what metrics count"


def test_a_port_whose_binding_was_to_come_later_is_told_why_it_does_not(desk: TwoLanes) -> None:
    desk.odd.vif_type = "unbound"
    desk.odd.act = fail
    _, port = desk.port_on("odd")
    desk.broker.start()
    until(lambda: desk.told("port", port) == ("ERROR", "backend odd: the engine does not answer"))


def test_what_was_realised_stays_active_while_its_backend_fails(desk: TwoLanes) -> None:
    network, port = desk.port_on("odd")
    with desk.store.write() as tx:
        write_report(tx, HOST, Report(1, (Status(f"vif/{port['id']}", "active"),)))
    desk.odd.act = fail
    desk.broker.start()
    until(lambda: desk.told("network", network)[0] == "ERROR")
    assert desk.told("port", port) == ("ACTIVE", "")


def test_a_backend_that_hangs_stops_no_other_nor_the_end(desk: TwoLanes) -> None:
    release = threading.Event()
    desk.broker.start()
    feed = desk.follow(HOST)
    until(lambda: feed.updates)
    desk.odd.act = lambda: release.wait(20)
    _, port = desk.port_on("odd")
    _, good = desk.port_on("bridge")
    until(lambda: f"vif/{good['id']}" in feed.objects)
    until(lambda: desk.told("port", port) == ("ERROR", "backend odd: a sync has not ended within 0.2 s"))
    assert desk.told("port", good) == ("DOWN", "")
    release.set()
    until(lambda: desk.told("port", port) == ("DOWN", ""))
    release.clear()
    desk.create("port", network_id=port["network_id"], **{"binding:host_id": HOST})
    until(lambda: desk.broker.lanes["odd"].health().failing)
    begun = time.monotonic()
    desk.broker.stop()
    assert time.monotonic() - begun < 3
    release.set()


def test_a_backend_that_hangs_from_the_start_leaves_agents_the_others_and_their_own_part_untouched(
    desk: TwoLanes,
) -> None:
    release = threading.Event()
    desk.odd.act = lambda: release.wait(20)
    network, _ = desk.port_on("odd")
    _, good = desk.port_on("bridge")
    desk.broker.start()
    feed = desk.follow(HOST)
    until(lambda: feed.updates)
    assert feed.updates[0].complete and feed.updates[0].unknown == ("odd",)
    assert f"vif/{good['id']}" in feed.objects
    late = desk.follow(HOST)
    assert late.updates[0].unknown == ("odd",)
    _, second = desk.port_on("bridge")
    until(lambda: f"vif/{second['id']}" in feed.objects)
    release.set()
    until(lambda: feed.updates[-1].complete and not feed.updates[-1].unknown)
    assert {f"bridge/{network['id']}", f"vif/{good['id']}", f"vif/{second['id']}"} <= feed.objects.keys()


def test_a_slow_backend_takes_in_at_once_what_came_meanwhile(desk: TwoLanes) -> None:
    slow, release = threading.Event(), threading.Event()
    desk.broker.start()
    until(lambda: desk.odd.seen)

    def take_time() -> None:
        slow.set()
        release.wait(20)

    desk.odd.act = take_time
    desk.port_on("odd")
    assert slow.wait(10)
    ports = [desk.port_on("odd")[1] for _ in range(7)]
    last = desk.port_on("bridge")[1]["id"]
    until(lambda: last in desk.broker.lanes["bridge"].want.ports)
    before = len(desk.odd.seen)
    release.set()
    until(lambda: ports[-1]["id"] in desk.broker.lanes["odd"].want.ports and len(desk.odd.seen[-1][0]) == 8)
    assert len(desk.odd.seen) == before + 2, "the slow sync, and one for all that came"


def test_networks_of_a_backend_that_is_not_installed_any_more_say_so(desk: TwoLanes, store: Store) -> None:
    network, port = desk.port_on("odd")
    alone = Desk(store)
    alone.broker.start()
    why = "backend odd: it is not among the setting backends"
    until(lambda: (desk.told("network", network), desk.told("port", port)) == (("ERROR", why), ("ERROR", why)))
    alone.broker.stop()
    desk.broker.start()
    until(lambda: desk.told("network", network) == ("ACTIVE", ""))


def test_a_group_that_two_backends_want_is_the_newer_one() -> None:
    hosts = HostStates()
    hosts.expect(["a", "b"])
    old, new = Bridge("n", 1400), Bridge("n", 1500)
    hosts.put("b", "h1", [old], ())
    hosts.publish(1, "b")
    hosts.put("a", "h1", [new], ())
    hosts.publish(2, "a")
    updates: list[Any] = []
    hosts.follow("h1", updates.append)
    assert updates[0].objects == (new,)
    hosts.put("a", "h1", (), ["bridge/n"])
    hosts.publish(3, "a")
    assert updates[-1].objects == (old,)


def test_a_network_that_names_no_mtu_has_what_its_backend_leaves_of_it(store: Store) -> None:
    class Wrapped(Odd):
        def describe(self) -> Capabilities:
            return Capabilities("odd", ("odd",), FEATURES, overhead=58)

    desk = TwoLanes(store)
    desk.broker = Broker(store, desk.hosts, [BridgeBackend(desk.hosts), Wrapped(desk.hosts)])
    desk.context = msgspec.structs.replace(desk.context, broker=desk.broker)
    made = {name: desk.create("network", **{"portico:backend": name}) for name in ("bridge", "odd")}
    assert {name: row["mtu"] for name, row in made.items()} == {"bridge": 1500, "odd": 1442}
    assert desk.create("network", mtu=1400, **{"portico:backend": "odd"})["mtu"] == 1400
    desk.update("network", made["odd"]["id"], mtu=1300)
    assert desk.update("network", made["odd"]["id"], mtu=0)["mtu"] == 1442


def test_a_backend_that_has_to_look_often_gets_everything_that_often(store: Store) -> None:
    class Watchful(Odd):
        def describe(self) -> Capabilities:
            return Capabilities("odd", ("odd",), FEATURES, look_s=0.05)

    hosts = HostStates()
    odd = Watchful(hosts)
    broker = Broker(store, hosts, [odd])
    broker.start()
    until(lambda: len(odd.seen) >= 4)
    broker.stop()
    assert all(dirty.everything for _, dirty in odd.seen)
