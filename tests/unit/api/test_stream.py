# SPDX-License-Identifier: Apache-2.0
"""What waits or streams, over a socket: the watch, wanted state, status."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn

from portico.api.app import Api, make_app
from portico.api.server import Server
from portico.api.stream import IDLE_S
from portico.client import Client
from portico.errors import BadRequest, NotFound, RevisionGone
from portico.model.resource import Registry
from portico.store import journal, schema
from portico.store.store import Store

Row = dict[str, Any]
DEADLINE_S = 20


class InThread(Server):
    """Takes no signals: that is the main thread's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@pytest.fixture
def server(tmp_path: Path, registry: Registry, make_api: Callable[[Store], Api]) -> Iterator[tuple[Server, Api]]:
    """A server on a unix socket under its database's folder, and what it serves."""
    store = Store(f"sqlite:///{tmp_path}/portico.db", registry)
    schema.ensure(store)
    made = make_api(store)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen(64)
        config = uvicorn.Config(make_app(made), http="httptools", log_config=None, timeout_graceful_shutdown=1)
        server = InThread(config, made.ending)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started)
        yield server, made
        server.should_exit = True
        thread.join(DEADLINE_S)
    store.close()


@pytest.fixture
def api(server: tuple[Server, Api]) -> Api:
    return server[1]


@pytest.fixture
def client(api: Api, tmp_path: Path) -> Iterator[Client]:
    with Client(f"unix:{tmp_path}/api.sock", timeout_s=DEADLINE_S) as made:
        yield made


@pytest.fixture
def network(client: Client) -> Row:
    made = client.create("networks", {})
    client.create("subnets", {"network_id": made["id"], "ip_version": 4, "cidr": "192.0.2.0/24"})
    return made


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.01)


def newest(api: Api) -> int:
    with api.service.store.read() as tx:
        return journal.newest(tx)


def report(client: Client, host: str, port: Row, state: str, reason: str = "") -> None:
    statuses = [{"key": f"vif/{port['id']}", "state": state, "reason": reason}]
    client.put_json(f"/portico/v1/hosts/{host}/status", {"revision": 1, "statuses": statuses})


def test_every_watcher_sees_every_change_once_and_in_order_whenever_it_comes(api: Api, client: Client) -> None:
    writers, watchers, rounds = 4, 6, 25

    def write(number: int) -> None:
        for turn in range(rounds):
            made = client.create("networks", {"name": f"{number}-{turn}"})
            client.update("networks", made["id"], {"name": "x"})
            if turn % 3 == 0:
                client.delete("networks", made["id"])

    def watch(number: int) -> tuple[int, list[Row]]:
        chosen = random.Random(number)
        time.sleep(chosen.random() / 2)
        since = chosen.randint(0, newest(api))
        seen = []
        for entry in client.stream("/portico/v1/watch", since=since):
            seen.append(entry)
            if entry["resource"] == "subnetpool":
                break
        return since, seen

    with ThreadPoolExecutor(writers + watchers) as pool:
        watching = [pool.submit(watch, number) for number in range(watchers)]
        for done in [pool.submit(write, number) for number in range(writers)]:
            done.result(DEADLINE_S)
        last = client.create("subnetpools", {"name": "the last", "prefixes": ["192.0.2.0/24"]})
        results = [one.result(DEADLINE_S) for one in watching]
    with api.service.store.read() as tx:
        whole = [msgspec.to_builtins(entry) for entry in journal.since(tx, 0, 10**6)]
    assert len(whole) > writers * rounds * 2
    for since, seen in results:
        expected = [entry for entry in whole if entry["revision"] > since]
        assert seen == expected[: len(seen)] and seen[-1]["id"] == last["id"]


def test_a_watch_from_what_is_no_longer_kept_or_still_to_come_is_gone(api: Api, client: Client) -> None:
    for _ in range(5):
        client.create("networks", {})
    with api.service.store.write() as tx:
        journal.prune(tx, keep=2)
        oldest = tx.revision - 2
    with pytest.raises(RevisionGone, match=str(oldest)) as caught:
        next(client.stream("/portico/v1/watch", since=0))
    assert caught.value.type == "RevisionGone"
    assert next(client.stream("/portico/v1/watch", since=oldest))["revision"] == oldest + 1
    with pytest.raises(RevisionGone):
        next(client.stream("/portico/v1/watch", since=newest(api) + 1))
    with pytest.raises(BadRequest, match="since"):
        next(client.stream("/portico/v1/watch", since=-1))


def test_the_broker_keeps_the_journal_at_its_bound(store: Store, make_api: Callable[[Store], Api]) -> None:
    with store.write() as tx:
        tx.record("network", "n", "red", "delete")
        tx.connection.execute(tx.tables.revision.update().values(number=journal.KEEP + 10 * journal.BATCH))
    broker = make_api(store).broker
    broker.start()

    def entries() -> list[Any]:
        with store.read() as tx:
            return list(tx.connection.execute(tx.tables.journal.select()).all())

    wait_until(lambda: entries()[0].revision >= 9 * journal.BATCH)
    broker.stop()
    assert [entry.change for entry in entries()] == [journal.PRUNED]


def test_wanted_state_comes_whole_first_and_then_as_changes(client: Client, network: Row) -> None:
    bound = {"network_id": network["id"], "binding:host_id": "h1", "binding:profile": {"plug": "veth"}}
    first = client.create("ports", bound)
    feed = client.stream("/portico/v1/hosts/h1/wanted")
    update = next(feed)
    while not any(item["kind"] == "vif" for item in update["objects"]):
        update = next(feed)
    kinds = {item["kind"] for item in update["objects"]}
    assert kinds >= {"bridge", "vif", "group"}
    second = client.create("ports", bound)
    update = next(feed)
    assert not update["complete"] and second["id"] in [item.get("port_id") for item in update["objects"]]
    client.delete("ports", first["id"])
    update = next(feed)
    assert f"vif/{first['id']}" in update["gone"]
    client.update("ports", second["id"], {"binding:host_id": "h2"})
    update = next(feed)
    assert f"vif/{second['id']}" in update["gone"] and f"bridge/{network['id']}" in update["gone"]
    other = next(client.stream("/portico/v1/hosts/h2/wanted"))
    assert other["complete"] and second["id"] in [item.get("port_id") for item in other["objects"]]
    empty = next(client.stream("/portico/v1/hosts/h3/wanted"))
    assert empty["complete"] and empty["objects"] == []


def test_status_comes_back_beside_the_object_and_is_no_change_of_it(api: Api, client: Client, network: Row) -> None:
    port = client.create("ports", {"network_id": network["id"], "binding:host_id": "h1"})
    since = newest(api)
    report(client, "h1", port, "active")
    shown = client.show("ports", port["id"])
    assert shown["status"] == "ACTIVE"
    assert {**shown, "status": "DOWN"} == port
    entry = next(client.stream("/portico/v1/watch", since=since))
    assert (entry["resource"], entry["id"], entry["change"]) == ("port", port["id"], "status")
    report(client, "h2", port, "error", "not mine")
    assert client.show("ports", port["id"])["status"] == "ACTIVE"
    report(client, "h1", port, "error", "no such link")
    status = client.get_json(f"/portico/v1/ports/{port['id']}/status")
    assert status == {"status": "ERROR", "reason": "no such link", "revision": port["revision_number"]}
    client.update("ports", port["id"], {"binding:host_id": ""})
    assert client.show("ports", port["id"])["status"] == "DOWN"
    report(client, "h1", port, "active")
    assert client.show("ports", port["id"])["status"] == "DOWN"
    client.delete("ports", port["id"])
    report(client, "h1", port, "active")


def test_a_report_that_says_nothing_new_is_no_news_to_watchers(api: Api, client: Client, network: Row) -> None:
    port = client.create("ports", {"network_id": network["id"], "binding:host_id": "h1"})
    facts = {"revision": 1, "statuses": [{"key": f"vif/{port['id']}", "state": "active"}], "facts": {"kernel": "6"}}
    client.put_json("/portico/v1/hosts/h1/status", facts)
    since = newest(api)
    client.put_json("/portico/v1/hosts/h1/status", facts)
    with api.service.store.read() as tx:
        assert journal.since(tx, since) == []
    (agent,) = client.list("agents")
    assert (agent["host"], agent["alive"], agent["configurations"]) == ("h1", True, {"kernel": "6"})


def test_a_report_tells_the_hosts_zone_and_when_its_agent_started(client: Client) -> None:
    def told(**more: Any) -> Row:
        body = {"revision": 1, "facts": {"kernel": "6", "availability_zone": "west"}, **more}
        client.put_json("/portico/v1/hosts/h1/status", body)
        (row,) = client.list("agents")
        return row

    first = told(started=True)
    assert (first["availability_zone"], first["configurations"]) == ("west", {"kernel": "6"})
    assert {"name": "west", "resource": "network", "state": "available"} in client.list("availability_zones")
    time.sleep(1.1)  # times are told in whole seconds
    assert told()["started_at"] == first["started_at"]
    assert told(started=True)["started_at"] > first["started_at"]


@pytest.mark.parametrize("body", [None, 1, [], {}, {"revision": "x"}, {"revision": 1, "statuses": [{"key": "x"}]}])
def test_what_is_no_report_is_refused(client: Client, body: Any) -> None:
    with pytest.raises(BadRequest):
        client.put_json("/portico/v1/hosts/h1/status", body)
    with pytest.raises(BadRequest, match="255"):
        client.put_json(f"/portico/v1/hosts/{'h' * 256}/status", {"revision": 1, "facts": {"a": "b"}})
    assert client.list("agents") == []


def test_a_status_that_is_waited_for_is_told_as_soon_as_it_is_so(client: Client, network: Row) -> None:
    port = client.create("ports", {"network_id": network["id"], "binding:host_id": "h1"})
    path = f"/portico/v1/ports/{port['id']}/status"
    begun = time.monotonic()
    assert client.get_json(path, wait="DOWN", timeout_s=20)["status"] == "DOWN"
    assert client.get_json(path, wait="ACTIVE", timeout_s=1)["status"] == "DOWN"
    assert 1 <= time.monotonic() - begun < 5
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        waiting = pool.submit(client.get_json, path, wait="ACTIVE", timeout_s=20)
        time.sleep(0.2)
        report(client, "h1", port, "active")
        assert waiting.result(DEADLINE_S)["status"] == "ACTIVE"
        assert time.monotonic() - begun < 10
        waiting = pool.submit(client.get_json, path, wait="ERROR", timeout_s=20)
        time.sleep(0.2)
        client.delete("ports", port["id"])
        with pytest.raises(NotFound):
            waiting.result(DEADLINE_S)
    with pytest.raises(BadRequest, match="timeout_s"):
        client.get_json(path, wait="ACTIVE", timeout_s="x")


def test_streams_that_nobody_reads_any_more_end(api: Api, client: Client) -> None:
    def open_streams() -> int:
        return len(api.commits._waiting) + len(api.hosts._followers)  # noqa: SLF001 (nothing outside shows a leak)

    streams = [client.stream("/portico/v1/watch", since=0), client.stream("/portico/v1/hosts/h1/wanted")]
    client.create("networks", {})
    assert all(next(stream) for stream in streams)
    assert open_streams() == 2
    # Nothing refers to the iterators any more: that closes their connections.
    streams.clear()
    wait_until(lambda: open_streams() == 0)


def test_streams_on_which_nothing_happens_show_signs_of_life(api: Api, tmp_path: Path) -> None:
    def open_stream(path: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(IDLE_S * 3)
        sock.connect(str(tmp_path / "api.sock"))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return sock

    def wait_for_blank_line(sock: socket.socket) -> float:
        begun, text = time.monotonic(), b""
        while not text.endswith(b"\r\n1\r\n\n\r\n"):  # one byte, as HTTP frames it
            text += sock.recv(65536)
        return time.monotonic() - begun

    paths = ("/portico/v1/watch", "/portico/v1/hosts/h1/wanted")
    with ThreadPoolExecutor(len(paths)) as pool:
        socks = [open_stream(path) for path in paths]
        for waited in [pool.submit(wait_for_blank_line, sock) for sock in socks]:
            assert IDLE_S / 2 < waited.result(DEADLINE_S) < IDLE_S * 2
        for sock in socks:
            sock.close()


def test_when_the_server_ends_what_waits_ends_at_once_and_is_not_broken_off(
    server: tuple[Server, Api], client: Client, network: Row, caplog: pytest.LogCaptureFixture
) -> None:
    port = client.create("ports", {"network_id": network["id"], "binding:host_id": "h1"})
    streams = [client.stream("/portico/v1/watch", since=0), client.stream("/portico/v1/hosts/h1/wanted")]
    assert all(next(stream) for stream in streams)
    path = f"/portico/v1/ports/{port['id']}/status"
    with ThreadPoolExecutor(3) as pool:
        waiting = pool.submit(client.get_json, path, wait="ACTIVE", timeout_s=20)
        ends = [pool.submit(list, stream) for stream in streams]
        time.sleep(0.2)
        begun = time.monotonic()
        server[0].should_exit = True
        assert waiting.result(DEADLINE_S)["status"] == "DOWN"
        for end in ends:
            end.result(DEADLINE_S)  # a stream that is broken off raises
    assert time.monotonic() - begun < 0.7
    wait_until(lambda: not server[0].server_state.tasks)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("path", ["/portico/v1/watch", "/portico/v1/hosts/h1/wanted"])
def test_the_head_of_a_stream_is_all_of_it(api: Api, tmp_path: Path, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(IDLE_S / 2)
        sock.connect(str(tmp_path / "api.sock"))
        for _ in range(2):  # the second shows that the server is done with the first
            sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            answer = sock.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200") and b"application/x-ndjson" in answer
    assert api.hosts._followers == {}  # noqa: SLF001 (nothing outside shows a leak)
