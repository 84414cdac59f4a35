# SPDX-License-Identifier: Apache-2.0
"""The broker takes from this process what this process wrote, and all else from the journal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.broker import broker, commits
from portico.errors import Unavailable
from portico.hoststate import key_of
from portico.model.resource import Registry
from portico.store import journal, schema
from portico.store.store import Store
from portico.testing.lab import wait_until
from portico.testing.postgresql import PostgresqlServer

from .conftest import Desk

HOST = "host-a"


@pytest.fixture(scope="module")
def servers(registry: Registry) -> Iterator[tuple[Desk, Desk]]:
    """Two servers on one database, the first of which hears of the other's commits."""
    with PostgresqlServer() as server, contextlib.ExitStack() as stack:
        stores = [stack.enter_context(contextlib.closing(Store(server.url(), registry))) for _ in range(2)]
        schema.ensure(stores[0])
        yield Desk(stores[0]), Desk(stores[1])


def bind(desk: Desk) -> str:
    """Make a network with a port on the host, and return what the host is told of it."""
    network = desk.create("network", name="blue")
    port = desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
    return f"vif/{port['id']}"


def reads_of_a_step(desk: Desk) -> int:
    kinds: list[str] = []
    desk.store.on_transaction(lambda kind, _waited, _took: kinds.append(kind))
    desk.broker.step(everything=False)
    return kinds.count("read")


def test_what_this_process_wrote_is_not_read_again(desk: Desk) -> None:
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    key = bind(desk)
    assert reads_of_a_step(desk) == 0
    assert key in feed.objects
    with desk.store.read() as tx:
        assert desk.broker.revision == tx.find("network")[0]["revision_number"] + 1


def test_a_write_without_a_change_leaves_no_gap(desk: Desk) -> None:
    desk.broker.step(everything=True)
    with desk.store.write():
        pass
    bind(desk)
    assert reads_of_a_step(desk) == 0


def tell_status(desk: Desk, key: str, status: str) -> int:
    """Write a port's status, and return the revision."""
    with desk.store.write() as tx:
        (port,) = tx.find("port", id=key.partition("/")[2])
        tx.update("port", port, {"status": status}, touch=False)
        return tx.revision


def test_statuses_alone_wake_nobody_until_there_are_many(desk: Desk) -> None:
    woken: list[int] = []
    heard = commits.Commits(desk.store, lambda: woken.append(len(heard)))
    key = bind(desk)
    assert woken.pop() and woken.pop() and not woken
    newest = tell_status(desk, key, "ACTIVE")
    assert not woken
    bind(desk)
    assert len(woken) == 2
    heard.is_behind = False
    ours = heard.after(newest - 3)
    assert ours is not None
    assert [bool(item.objects) for item in ours] == [True, True, False, True, True]
    for number in range(commits.MOST // 4 + 2):
        tell_status(desk, key, ("DOWN", "ACTIVE")[number % 2])
    assert len(woken) > 2


def test_statuses_alone_are_followed_all_the_same(desk: Desk) -> None:
    key = bind(desk)
    desk.broker.start()
    try:
        wait_until("the broker to have followed", lambda: not desk.broker.trouble, 10)
        newest = tell_status(desk, key, "ACTIVE")
        wait_until("the revision of a status", lambda: desk.broker.revision >= newest, 10)
    finally:
        desk.broker.stop()


def test_that_ports_go_or_who_uses_them_is_no_hurry(desk: Desk) -> None:
    woken: list[int] = []
    heard = commits.Commits(desk.store, lambda: woken.append(1))
    port_id = bind(desk).partition("/")[2]

    def is_hurry(change: Callable[[], object]) -> bool:
        heard.hurry.clear()
        woken.clear()
        change()
        assert woken == [1]
        return heard.hurry.is_set()

    assert heard.hurry.is_set()
    assert not is_hurry(lambda: desk.update("port", port_id, device_id="web", device_owner="docker:endpoint"))
    assert is_hurry(lambda: desk.update("port", port_id, device_id="db", **{"binding:host_id": "host-b"}))
    assert is_hurry(lambda: desk.update("port", port_id, admin_state_up=False))
    assert not is_hurry(lambda: desk.delete("port", port_id))
    network = desk.create("network", name="green")
    assert is_hurry(lambda: desk.delete("network", network["id"]))


def test_a_port_that_is_gone_goes_with_the_next_news(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "GATHER_S", 20.0)
    feed = desk.follow(HOST)
    key = bind(desk)
    desk.broker.start()
    try:
        wait_until("the host to be told of the port", lambda: key in feed.objects, 10)
        desk.delete("port", key.partition("/")[2])
        time.sleep(0.05)
        with desk.store.read() as tx:
            [network] = tx.find("network", name="blue")
        port = desk.create("port", network_id=network["id"], **{"binding:host_id": HOST})
        other = f"vif/{port['id']}"
        wait_until("the host to be told of the next one", lambda: other in feed.objects, 10)
    finally:
        desk.broker.stop()
    [told] = [update for update in feed.updates if key in update.gone]
    assert other in {key_of(item) for item in told.objects}


def test_a_port_that_is_gone_is_told_soon_all_the_same(desk: Desk) -> None:
    feed = desk.follow(HOST)
    key = bind(desk)
    desk.broker.start()
    try:
        wait_until("the host to be told of the port", lambda: key in feed.objects, 10)
        desk.delete("port", key.partition("/")[2])
        wait_until("the host to be told that it is gone", lambda: key not in feed.objects, 10)
    finally:
        desk.broker.stop()


@pytest.mark.parametrize("why", ["a lost answer", "too many"])
def test_what_may_have_been_missed_is_read(desk: Desk, why: str) -> None:
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    key = bind(desk)
    if why == "too many":
        for _ in range(commits.MOST):
            with desk.store.write():
                pass
    else:
        with pytest.raises(Unavailable), desk.store.write():
            raise Unavailable("the server hung up")
    assert reads_of_a_step(desk) == 1
    assert key in feed.objects


@pytest.mark.parametrize("reads", [False, True])
def test_a_host_is_not_asked_again_for_what_it_has_just_told(desk: Desk, reads: bool) -> None:
    desk.broker.step(everything=True)
    feed = desk.follow(HOST)
    key = bind(desk)
    desk.broker.step(everything=False)
    known = len(feed.updates)
    desk.update("port", key.partition("/")[2], device_id="web")
    tell_status(desk, key, "DOWN")
    if reads:
        with pytest.raises(Unavailable), desk.store.write():
            raise Unavailable("the server hung up")
    assert reads_of_a_step(desk) == int(reads)
    assert len(feed.updates) == known


@settings(max_examples=15, deadline=None)
@given(steps=st.lists(st.sampled_from(["ours", "theirs", "no change of theirs", "step"]), max_size=10))
def test_whoever_wrote_following_comes_to_what_loading_gives(servers: tuple[Desk, Desk], steps: list[str]) -> None:
    ours, theirs = servers
    ours.broker.step(everything=True)
    feed = ours.follow(HOST)
    made: list[str] = []
    for step in steps:
        match step:
            case "ours" | "theirs":
                made.append(bind(ours if step == "ours" else theirs))
            case "step":
                ours.broker.step(everything=False)
            case _:
                with theirs.store.write():
                    pass
    with theirs.store.read() as tx:
        newest = journal.newest_entry(tx)

    def has_followed() -> bool:
        ours.broker.step(everything=False)
        return ours.broker.revision >= newest

    wait_until("the server to hear of all", has_followed, 10)
    assert set(made) <= feed.objects.keys()
    theirs.broker.step(everything=True)
    assert feed.objects == theirs.follow(HOST).objects
    feed.end()
