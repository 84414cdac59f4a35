# SPDX-License-Identifier: Apache-2.0
"""Several API servers' stores on one PostgreSQL server, which is restarted and killed under them."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from portico.errors import SettingsError, Unavailable
from portico.model.resource import Registry
from portico.store import allocate, journal, postgresql, schema
from portico.store.journal import Entry
from portico.store.store import Store
from portico.testing.folder import PREFIX
from portico.testing.lab import wait_until
from portico.testing.postgresql import PostgresqlServer

SUBNET = "s"
ADDRESSES = 256
WRITERS = 4
SOCKET = ".s.PGSQL.5432"
READY = b"Z\0\0\0\5"
FAREWELL = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(durable=True) as server:
        yield server


@pytest.fixture
def pair(server: PostgresqlServer, registry: Registry) -> Iterator[tuple[Store, Store]]:
    """Two stores on one new database."""
    name = f"t{uuid.uuid4().hex}"
    server.create(name)
    with ExitStack() as stack:
        stores = []
        for _ in range(2):
            store = Store(server.url(name), registry)
            stack.callback(store.close)
            schema.ensure(store)
            stores.append(store)
        yield stores[0], stores[1]


def test_a_server_is_in_a_folder_that_goes_with_its_process(server: PostgresqlServer) -> None:
    assert server.folder.name.startswith(PREFIX)


def add(store: Store, *ids: str) -> str:
    """Add networks, in one transaction."""
    ids = ids or (str(uuid.uuid4()),)
    with store.write() as tx:
        for network_id in ids:
            tx.insert("network", {"id": network_id, "project_id": "red"})
    return ids[0]


def history(store: Store) -> list[Entry]:
    """Return the whole journal, as a reader follows it."""
    entries: list[Entry] = []
    while True:
        with store.read() as tx:
            more = journal.since(tx, entries[-1].revision if entries else 0, 7)
        if not more:
            return entries
        entries += more


def test_each_server_hears_of_the_others_commits_and_of_none_that_failed(pair: tuple[Store, Store]) -> None:
    heard: list[int] = []
    came = threading.Event()

    def told(revision: int) -> None:
        heard.append(revision)
        came.set()

    pair[1].on_commit(told)
    assert came.wait(5)  # it listens
    came.clear()
    with pytest.raises(sa.exc.IntegrityError):
        add(pair[0], "n", "n")
    add(pair[0])
    assert came.wait(5)
    assert heard == [0, 1]


def test_a_server_hears_of_its_own_commit_once(pair: tuple[Store, Store]) -> None:
    heard: list[int] = []
    others: list[int] = []
    pair[0].on_commit(heard.append)
    pair[1].on_commit(others.append)
    wait_until("both to listen", lambda: heard == [0] and others == [0], 5)
    add(pair[0])
    wait_until("the other server to hear", lambda: others == [0, 1], 5)
    add(pair[1])
    wait_until("the first one to hear of the second", lambda: heard[-1] == 2, 5)
    assert heard == [0, 1, 2]


def test_a_commit_is_told_only_where_another_server_listens(pair: tuple[Store, Store]) -> None:
    one, other = pair
    heard: list[int] = []
    others: list[int] = []
    with contextlib.closing(one.engine.raw_connection()) as pooled:
        outsider: Any = pooled.driver_connection  # it hears all that is told, and nobody knows that it listens
        outsider.execute(f"LISTEN {postgresql.CHANNEL}; LISTEN the_end")
        came: list[str] = []
        outsider.add_notify_handler(lambda note: came.append(note.payload))

        def told() -> list[str]:
            outsider.execute("NOTIFY the_end, 'the end'")  # all come in the order of their commits
            wait_until("the end", lambda: outsider.execute("SELECT") and "the end" in came, 10)
            until_now, came[:] = came[:-1], []
            return until_now

        add(one)
        assert told() == [f"1 {one.server}"]  # before it listens, others may
        one.on_commit(heard.append)
        wait_until("it to listen", lambda: heard == [0], 10)
        add(one)
        assert told() == []
        other.on_commit(others.append)
        wait_until("the other one to listen", lambda: others == [0], 10)
        add(one)
        add(other)
        assert told() == [f"3 {one.server}", f"4 {other.server}"]
        wait_until("both to hear", lambda: heard == [0, 2, 3, 4] and others == [0, 3, 4], 10)


def test_who_begins_to_listen_while_another_server_writes_misses_nothing(pair: tuple[Store, Store]) -> None:
    for _ in range(6):
        with ExitStack() as stack:
            one, other = (Store(str(pair[0].engine.url), item.registry, item.tables) for item in pair)
            stack.callback(other.close)
            stack.callback(one.close)
            _listen_to_a_writer(stack, one, other)
        wait_until("no server to listen any more", lambda: not _listeners(pair[0]), 10)


def _listeners(store: Store) -> int:
    with store.read() as tx:
        return int(tx.connection.scalar(sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) or 0)


def _listen_to_a_writer(stack: ExitStack, one: Store, other: Store) -> None:
    """Have `other` begin to listen while `one` writes, and compare what it finds then and hears from then on."""
    begun, ended = threading.Event(), threading.Event()
    one.on_commit(lambda revision: begun.set() if not revision else None)
    assert begun.wait(10)

    def write() -> None:
        while not ended.is_set():
            add(one)

    writer = threading.Thread(target=write)
    stack.callback(writer.join)
    stack.callback(ended.set)
    writer.start()
    found: list[int] = []
    heard: list[int] = []

    def told(revision: int) -> None:
        with other.read() as tx:
            (heard if revision else found).append(revision or journal.newest(tx))

    other.on_commit(told)
    wait_until("it to hear of commits", lambda: len(heard) > 5, 20)
    # It may hear of what it has found, for it listens before it looks.
    after = [revision for revision in list(heard) if revision > found[0]]
    assert after == list(range(found[0] + 1, found[0] + 1 + len(after)))


def test_who_follows_looks_when_a_commit_may_have_come_without_its_answer(pair: tuple[Store, Store]) -> None:
    heard: list[int] = []
    pair[0].on_commit(heard.append)
    wait_until("it to listen", lambda: heard == [0], 5)

    def write_and_be_cut_off() -> None:
        with pair[0].write() as tx:
            tx.insert("network", {"id": "n", "project_id": "red"})
            pid = tx.connection.scalar(sa.text("SELECT pg_backend_pid()"))
            with pair[1].read() as other:
                other.connection.execute(sa.text(f"SELECT pg_terminate_backend({pid})"))

    with pytest.raises(Unavailable):
        write_and_be_cut_off()
    assert heard == [0, 0]


def test_who_follows_sees_every_change_once_and_in_order_while_many_take_addresses(pair: tuple[Store, Store]) -> None:
    with pair[0].write() as tx:
        allocate.set_pools(tx, SUBNET, [(ip_address("10.0.0.0"), ip_address("10.0.0.255"))])
    taken: list[str] = []
    seen: dict[int, list[Entry]] = {0: [], 1: []}
    done = threading.Event()

    def take(store: Store) -> None:
        while True:
            with store.write() as tx:
                address = allocate.take_next(tx, SUBNET, 4)
                if address is None:
                    return
                port = str(uuid.uuid4())
                allocate.record(tx, SUBNET, address, port)
                tx.insert("port", {"id": port, "project_id": "red", "network_id": "n", "mac_address": port[:17]})
            taken.append(str(address))

    def follow(which: int) -> None:
        while not done.is_set():
            with pair[which].read() as tx:
                seen[which] += journal.since(tx, seen[which][-1].revision if seen[which] else 0)

    followers = [threading.Thread(target=follow, args=[which]) for which in seen]
    writers = [threading.Thread(target=take, args=[pair[number % 2]]) for number in range(WRITERS)]
    for thread in (*followers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    time.sleep(0.2)
    done.set()
    for thread in followers:
        thread.join()
    assert len(taken) == len(set(taken)) == ADDRESSES
    whole = history(pair[0])
    assert len({entry.id for entry in whole}) == len(whole) == ADDRESSES
    revisions = [entry.revision for entry in whole]
    assert revisions == sorted(set(revisions))
    assert seen[0] == seen[1] == whole


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_server_that_ends_under_load_costs_refusals_and_no_acknowledged_write(
    server: PostgresqlServer, pair: tuple[Store, Store], how: signal.Signals
) -> None:
    acknowledged: list[str] = []
    refusals: list[str] = []
    done = threading.Event()

    def write(store: Store) -> None:
        while not done.is_set():
            try:
                acknowledged.append(add(store))
            except Unavailable as error:
                refusals.append(error.message)
                time.sleep(0.01)

    writers = [threading.Thread(target=write, args=[store]) for store in pair]
    for thread in writers:
        thread.start()
    time.sleep(0.3)
    server.stop(how)
    time.sleep(0.2)
    server.start()
    before = len(acknowledged)
    give_up = time.monotonic() + 20
    while len(acknowledged) < before + 20 and time.monotonic() < give_up:
        time.sleep(0.02)
    done.set()
    for thread in writers:
        thread.join()
    assert refusals and not any("\n" in text for text in refusals)
    assert len(acknowledged) >= before + 20
    present = [entry.id for entry in history(pair[1])]
    assert len(present) == len(set(present))
    # A commit whose answer was lost may be there; one that was acknowledged must be.
    assert set(acknowledged) <= set(present)


def test_a_listener_hears_again_after_its_connection_was_lost(
    server: PostgresqlServer, pair: tuple[Store, Store]
) -> None:
    heard: list[int] = []
    pair[1].on_commit(heard.append)
    server.stop(signal.SIGKILL)
    server.start()
    give_up = time.monotonic() + 20
    revision = 0
    while revision not in heard[1:] and time.monotonic() < give_up:
        try:
            with pair[0].write() as tx:
                tx.insert("network", {"id": str(uuid.uuid4()), "project_id": "red"})
                revision = tx.revision
        except Unavailable:
            pass
        time.sleep(0.05)
    assert heard.count(0) >= 1 and revision in heard


def test_a_database_that_is_neither_is_refused_with_its_password_hidden(registry: Registry) -> None:
    with pytest.raises(SettingsError) as caught:
        Store("mysql://portico:secret@db/portico", registry)
    assert "sqlite://, postgresql://" in str(caught.value) and "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_told_with_one_line_and_without_the_password(registry: Registry) -> None:
    store = Store("postgresql://portico:secret@127.0.0.1:1/portico", registry)
    with pytest.raises(Unavailable) as caught:
        schema.ensure(store)
    assert "127.0.0.1" in str(caught.value) and "secret" not in str(caught.value) and "\n" not in str(caught.value)
    store.close()


def test_a_database_that_only_reads_refuses_writes_until_it_takes_them_again(pair: tuple[Store, Store]) -> None:
    one, other = pair

    def only_reads(word: str) -> None:
        with other.engine.begin() as connection:
            name = connection.engine.url.database
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = {word}")
        one.close()  # it counts for new connections

    only_reads("on")
    with pytest.raises(Unavailable, match=r"^database: cannot execute UPDATE in a read-only transaction$"):
        add(one, "refused")
    with one.read() as tx:
        assert tx.find("network") == []
    only_reads("off")
    add(one, "kept")


class Between:
    """Stands between clients and the server, and makes it say farewell where it says that it is ready.

    A server that is shut down does so, and its stream ends a moment later; what comes in that moment is hard to meet.
    """

    def __init__(self, folder: Path, server: PostgresqlServer) -> None:
        self.says_farewell = False
        self._far = str(server.folder / SOCKET)
        self._ends = [socket.socket(socket.AF_UNIX)]
        self._ends[0].bind(str(folder / SOCKET))
        self._ends[0].listen()
        self._start(self._accept)

    def _start(self, what: Callable[..., None], *ends: socket.socket) -> None:
        threading.Thread(target=what, args=ends, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self._ends[0].accept()[0], socket.socket(socket.AF_UNIX)
                self._ends += near, far
                far.connect(self._far)
                self._start(self._pass_on, near, far)
                self._start(self._pass_on, far, near)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                if self.says_farewell and data[-6:-1] == READY:
                    data = data[:-6] + b"E" + (len(FAREWELL) + 4).to_bytes(4, "big") + FAREWELL
                sink.sendall(data)

    def close(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_write_whose_server_says_farewell_at_its_end_is_refused_in_one_line_and_the_next_one_is_kept(
    pair: tuple[Store, Store], server: PostgresqlServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    between = Between(tmp_path, server)
    url = server.url(str(pair[0].engine.url.database)).replace(str(server.folder), str(tmp_path))
    store = Store(url, pair[0].registry)
    audited: list[tuple[str, bool]] = []
    store.audit(lambda _, edits, certain: audited.extend((edit.id, certain) for edit in edits))
    with contextlib.closing(between), contextlib.closing(store), caplog.at_level(logging.WARNING):
        add(store, "before")

        def write() -> None:
            with store.write() as tx:
                tx.insert("network", {"id": "n", "project_id": "red"})
                between.says_farewell = True

        with pytest.raises(Unavailable, match=r"^database: terminating connection due to administrator command$"):
            write()
        between.says_farewell = False
        add(store, "after")
    assert not caplog.records
    # The commit is there, as it happens here, and nobody knows.
    assert audited == [("before", True), ("n", False), ("after", True)]
    with pair[0].read() as tx:
        assert {row["id"] for row in tx.find("network")} >= {"before", "after"}
