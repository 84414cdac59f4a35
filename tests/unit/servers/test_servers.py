# SPDX-License-Identifier: Apache-2.0
"""Three API servers on one PostgreSQL, under load, while they and it are killed: no client can tell but by refusals."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from portico.api.stream import IDLE_S
from portico.client import Client
from portico.errors import Conflict, Unavailable
from portico.model.load import load
from portico.store import journal
from portico.store.journal import Entry
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.testing.api_process import ApiProcess
from portico.testing.history import History, Write, faults_of, watch_faults
from portico.testing.lab.process import wait_until
from portico.testing.postgresql import PostgresqlServer

SERVERS = 3
CLIENTS = 6
# After each fault, and at the end, so many more writes must be acknowledged.
MORE = 40
BULK = 3
# The id in the journal's last entry, with which watchers end.
END = "end"
FIXED = [f"10.0.3.{number}" for number in range(1, 13)]
Object = dict[str, Any]


@dataclass
class Kept:
    """What one client knows of an object of its own: what it may be called, which tags it has, whether it is gone.

    Attributes:
        names: several when a change was not answered; "" stands for an object that is gone.
    """

    names: set[str]
    tags: tuple[list[str], ...] = ([],)


@dataclass(eq=False)
class Writer(threading.Thread):
    """Changes objects of its own over all servers in turn, one request at a time, until told to stop."""

    number: int
    urls: list[str]
    network: str
    subnet: str
    history: History
    done: threading.Event
    kept: dict[tuple[str, str], Kept] = field(default_factory=dict)
    bulks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(name=f"writer {self.number}")
        self.failure: BaseException | None = None
        self._random = random.Random(self.number)
        self._made = 0

    def run(self) -> None:
        clients = [Client(url) for url in self.urls]
        verbs = (self._ports, self._fixed, self._networks, self._rename, self._rename, self._tag, self._drop)
        try:
            while not self.done.is_set():
                try:
                    self._random.choice(verbs)(self._random.choice(clients))
                except Unavailable as error:
                    self.history.refuse(error.message)
                    time.sleep(0.02)
        except BaseException as error:  # noqa: BLE001 (the test raises it again)
            self.failure = error
        for client in clients:
            client.close()

    def _new_name(self) -> str:
        self._made += 1
        return f"{self.number}-{self._made}"

    def _created(self, collection: str, objects: list[Object], asked: float) -> None:
        answered, resource = time.monotonic(), collection.removesuffix("s")
        for made in objects:
            self.kept[collection, made["id"]] = Kept({made["name"]})
            addresses = tuple(item["ip_address"] for item in made.get("fixed_ips", ()))
            self.history.acknowledge(
                Write(resource, made["id"], "create", asked, answered, made["revision_number"], addresses)
            )

    def _ports(self, client: Client) -> None:
        name = self._new_name()
        self.bulks.append(name)
        asked = time.monotonic()
        body = {"ports": [{"network_id": self.network, "name": name}] * BULK}
        self._created("ports", client.request("POST", "/v2.0/ports", body)["ports"], asked)

    def _fixed(self, client: Client) -> None:
        fixed = [{"subnet_id": self.subnet, "ip_address": self._random.choice(FIXED)}]
        asked = time.monotonic()
        with contextlib.suppress(Conflict):  # another port has it
            body = {"network_id": self.network, "name": self._new_name(), "fixed_ips": fixed}
            self._created("ports", [client.create("ports", body)], asked)

    def _networks(self, client: Client) -> None:
        asked = time.monotonic()
        network = client.create("networks", {"name": self._new_name()})
        self._created("networks", [network], asked)
        asked = time.monotonic()
        body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.9.0.0/24", "name": self._new_name()}
        self._created("subnets", [client.create("subnets", body)], asked)

    def _certain(self, *collections: str) -> tuple[str, str] | None:
        """Choose an object whose state is known."""
        keys = [key for key, kept in self.kept.items() if key[0] in collections and len(kept.names) == 1]
        keys = [key for key in keys if self.kept[key].names != {""}]
        return self._random.choice(keys) if keys else None

    def _rename(self, client: Client) -> None:
        if (key := self._certain("networks", "subnets", "ports")) is None:
            return
        kept, name, asked = self.kept[key], self._new_name(), time.monotonic()
        before = set(kept.names)
        kept.names.add(name)
        made = client.update(*key, {"name": name})
        assert made["name"] == name
        kept.names -= before
        resource = key[0].removesuffix("s")
        self.history.acknowledge(Write(resource, key[1], "update", asked, time.monotonic(), made["revision_number"]))

    def _tag(self, client: Client) -> None:
        if (key := self._certain("networks", "subnets", "ports")) is None:
            return
        kept, tags = self.kept[key], sorted({self._new_name(), "same"})
        kept.tags = (*kept.tags, tags)
        client.put_json(f"/v2.0/{key[0]}/{key[1]}/tags", {"tags": tags})
        kept.tags = (tags,)

    def _drop(self, client: Client) -> None:
        if (key := self._certain("ports", "subnets")) is None:
            return
        kept, asked = self.kept[key], time.monotonic()
        kept.names.add("")
        client.delete(*key)
        kept.names = {""}
        self.history.acknowledge(Write(key[0].removesuffix("s"), key[1], "delete", asked, time.monotonic()))


class Watcher(threading.Thread):
    """Follows the journal at one server and, when that goes away, from where it was."""

    def __init__(self, url: str) -> None:
        super().__init__(name=f"watcher {url}", daemon=True)
        self.url = url
        self.seen: list[Entry] = []
        self.cuts = 0

    def run(self) -> None:
        while True:
            since = self.seen[-1].revision if self.seen else 0
            with Client(self.url) as client, contextlib.suppress(Unavailable):
                for line in client.stream("/portico/v1/watch", since=since):
                    self.seen.append(Entry(**line))
                    if self.seen[-1].id == END:
                        return
            self.cuts += 1
            # The last revision may have been cut in two.
            whole = self.seen[-1].revision if self.seen else 0
            self.seen = [entry for entry in self.seen if entry.revision < whole]
            time.sleep(0.05)


@pytest.fixture
def database() -> Iterator[PostgresqlServer]:
    with PostgresqlServer(durable=True) as server:
        yield server


def test_servers_and_database_fail_and_every_acknowledged_write_is_there_once_and_in_order(
    database: PostgresqlServer, tmp_path: Path
) -> None:
    history, done = History(), threading.Event()
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ApiProcess(tmp_path / f"{n}", database.url())) for n in range(SERVERS)]
        urls = [server.url for server in servers]
        with Client(urls[0]) as client:
            network = client.create("networks", {})["id"]
            body = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/16"}
            pools = {"allocation_pools": [{"start": "10.0.0.2", "end": "10.0.200.0"}]}
            subnet = client.create("subnets", body | pools)
        watchers = [Watcher(url) for url in urls]
        writers = [Writer(n, urls, network, subnet["id"], history, done) for n in range(CLIENTS)]
        for thread in (*watchers, *writers):
            thread.start()
        try:
            for fault in (restart, kill_one, crash_at_once, cut, kill_database):
                more(history, writers)
                fault(database, servers)
            more(history, writers)
        finally:
            done.set()
            for writer in writers:
                writer.join()
        store = Store(database.url(), load())
        stack.callback(store.close)
        with store.write() as tx:
            tx.record("port", END, "", "status")
        for watcher in watchers:
            watcher.join(20)
            assert not watcher.is_alive(), f"{watcher.name} saw revision {watcher.seen[-1].revision} last"
        with store.read() as tx:
            check(tx, history, writers, watchers, subnet)
        for server in servers:
            assert "Traceback" not in server.log.read_text()


def more(history: History, writers: list[Writer]) -> None:
    """Wait until more was acknowledged, to every writer."""
    before = len(history.writes)

    def enough() -> bool:
        for writer in writers:
            if writer.failure is not None:
                raise writer.failure
        return len(history.writes) >= before + MORE

    wait_until(f"{MORE} more writes", enough, 20, lambda: "\n".join(history.refusals[-5:]))


def restart(database: PostgresqlServer, _servers: list[ApiProcess]) -> None:
    database.stop(signal.SIGINT)
    database.start()


def kill_one(_database: PostgresqlServer, servers: list[ApiProcess]) -> None:
    servers[1].end(signal.SIGKILL)
    servers[1].start()


def crash_at_once(database: PostgresqlServer, _servers: list[ApiProcess]) -> None:
    database.stop(signal.SIGQUIT)
    # Watches look for themselves meanwhile.
    time.sleep(IDLE_S + 1)
    database.start()


def cut(database: PostgresqlServer, _servers: list[ApiProcess]) -> None:
    engine = sa.create_engine(database.url().replace("postgresql:", "postgresql+psycopg:"))
    statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'portico'"
    with engine.begin() as connection:
        ended = connection.exec_driver_sql(statement).scalars().all()
    engine.dispose()
    # Each server has at least its listener.
    assert len(ended) >= SERVERS


def kill_database(database: PostgresqlServer, _servers: list[ApiProcess]) -> None:
    database.stop(signal.SIGKILL)
    database.start()


def check(tx: Transaction, history: History, writers: list[Writer], watchers: list[Watcher], subnet: Object) -> None:
    whole = journal.since(tx, 0, 10**9)
    assert faults_of(history.writes, whole) == []
    for watcher in watchers:
        assert watch_faults(watcher.seen, whole) == []
    # Only who followed at the server that was killed has noticed anything.
    assert [watcher.cuts > 0 for watcher in watchers] == [False, True, False]
    assert history.refusals
    for collection in ("networks", "subnets", "ports"):
        check_objects(tx, collection, writers)
    check_bulks(tx, whole, writers)
    check_addresses(tx, subnet)


def check_objects(tx: Transaction, collection: str, writers: list[Writer]) -> None:
    """Hold what is there against what each client knows."""
    resource = collection.removesuffix("s")
    rows = {row["id"]: row for row in tx.find(resource)}
    assert tx.used(resource, "default") == len(rows)
    for writer in writers:
        for (kind, object_id), kept in writer.kept.items():
            if kind == collection:
                row = rows.get(object_id)
                assert (row["name"] if row else "") in kept.names, object_id
                assert row is None or row["tags"] in kept.tags, object_id


def check_bulks(tx: Transaction, whole: list[Entry], writers: list[Writer]) -> None:
    """Look for bulks that were not answered, of which there must be all or nothing, in one revision."""
    at = {entry.id: entry.revision for entry in whole if entry.change == "create"}
    known = {object_id for writer in writers for _, object_id in writer.kept}
    unanswered = [(row["name"], at[row["id"]]) for row in tx.find("port") if row["id"] not in known]
    names = {name for writer in writers for name in writer.bulks}
    counted = Counter(item for item in unanswered if item[0] in names)
    assert set(counted.values()) <= {BULK} and len({name for name, _ in counted}) == len(counted)


def check_addresses(tx: Transaction, subnet: Object) -> None:
    """Every address of the pool is free or of one port, and the tables agree with the ports."""
    tables, run = tx.tables, tx.connection.execute
    held = sorted((row.ip, row.port_id) for row in run(tables.address.select()) if row.subnet_id == subnet["id"])
    ports = tx.find("port", network_id=subnet["network_id"])
    assert held == sorted((item["ip_address"], row["id"]) for row in ports for item in row["fixed_ips"])
    assert len({address for address, _ in held}) == len(held)
    free = [row for row in run(tables.free_range.select()) if row.subnet_id == subnet["id"]]
    room = sum(int(row.last, 16) - int(row.first, 16) + 1 for row in free)
    [pool] = subnet["allocation_pools"]
    assert room + len(held) == int(ip_address(pool["end"])) - int(ip_address(pool["start"])) + 1
