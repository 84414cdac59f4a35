# SPDX-License-Identifier: Apache-2.0
"""Connections that are meant to hurt: what they can make the server hold is bounded in time and memory."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.identity.site import Site, serving

from portico.api import connection, message
from portico.api.connection import MAX_HEAD
from portico.api.message import MAX_BODY
from portico.client import Client
from portico.model.check import MAX_ITEMS

POST = b"POST /v2.0/networks HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /v2.0/networks HTTP/1.1\r\nHost: localhost\r\n"
# What may be on its way in buffers of both kernels, although nobody reads it.
BUFFERED = 12_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("site"), api__connections_max="48", log__requests="false") as found:
        yield found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server give up sooner than in earnest."""
    monkeypatch.setattr(connection, "HEAD_S", 0.4)
    monkeypatch.setattr(message, "BODY_S", 0.4)


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.ports[0]), timeout=10)


def read(client: socket.socket) -> tuple[int, bytes]:
    """Return status and body of an answer, or (0, b"") if the server has closed."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return 0, data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    [length] = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < length:
        body += client.recv(65536)
    return int(head.split()[1]), body


def ended(client: socket.socket) -> bool:
    """Return whether the server closes within a while, whatever it says before."""
    try:
        while client.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


def is_well(site: Site) -> bool:
    """Return whether the server answers others at once."""
    begun = time.monotonic()
    with connect(site) as client:
        client.sendall(GET + b"\r\n")
        return read(client)[0] == 200 and time.monotonic() - begun < 2


def pour(client: socket.socket, first: bytes, again: bytes, most: int = 64_000_000) -> int:
    """Send `again` after `first` until the server has had enough; return how many bytes it took."""
    sent, stop = 0, time.monotonic() + 15
    try:
        client.sendall(first)
        while sent < most and time.monotonic() < stop:
            client.sendall(again)
            sent += len(again)
    except (ConnectionError, TimeoutError):
        pass
    return sent


def test_a_body_that_is_announced_as_huge_is_refused_unread(site: Site) -> None:
    with connect(site) as client:
        client.sendall(POST + b"Content-Length: 10000000000\r\n\r\n")
        status, body = read(client)
        assert status == 413 and json.loads(body)["NeutronError"]["type"] == "HTTPRequestEntityTooLarge"


@pytest.mark.usefixtures("quick")
def test_a_body_without_end_is_refused_and_then_thrown_away_only_for_a_while(site: Site) -> None:
    with connect(site) as client:
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        client.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(MAX_BODY // 65536 + 1):
            client.sendall(chunk)
        assert read(client)[0] == 413
        begun = time.monotonic()
        pour(client, b"", chunk, most=10**12)
        assert time.monotonic() - begun < 5
    assert is_well(site)


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"GET /", b"x" * 65536),
        (GET + b"X: ", b"x" * 65536),
        (GET, b"X-Y: z\r\n" * 8192),
        (GET, b"x" * 65536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", b"x" * 65536),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Y: z\r\n" * 8192),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;x=", b"x" * 65536),
        (b"", b"\r\n" * 32768),
        (b"", b"\x16\x03\x01" * 20000),
    ],
    ids=["url", "header", "headers", "name", "trailer", "trailers", "extension", "empty-lines", "no-http"],
)
def test_a_head_without_end_is_not_kept(site: Site, first: bytes, again: bytes) -> None:
    with connect(site) as client:
        assert pour(client, first, again) < BUFFERED
        assert ended(client)
    assert is_well(site)


def test_a_head_that_is_too_large_is_431(site: Site) -> None:
    with connect(site) as client:
        client.sendall(GET + b"X: " + b"x" * MAX_HEAD + b"\r\n\r\n")
        status, body = read(client)
    assert status == 431 and json.loads(body)["NeutronError"]["type"] == "HTTPRequestHeaderFieldsTooLarge"
    with connect(site) as client:
        client.sendall(GET + b"X: " + b"x" * (MAX_HEAD - 200) + b"\r\n\r\n")
        assert read(client)[0] == 200


NO_CHUNK = POST + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"net\r\nno length\r\n'


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", NO_CHUNK])
def test_what_is_no_request_is_400_in_the_apis_own_words(site: Site, sent: bytes) -> None:
    with connect(site) as client:
        client.sendall(sent)
        status, body = read(client)
        assert (status, json.loads(body)["NeutronError"]["type"]) == (400, "HTTPBadRequest")
        assert ended(client)


def test_a_refusal_does_not_pass_for_the_answer_of_an_earlier_request(site: Site) -> None:
    with connect(site) as client:
        client.sendall(GET + b"\r\n" + NO_CHUNK)
        assert read(client)[0] in (0, 200)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("first", "drip"), [(GET + b"X: ", b"x"), (b"", b"\r\n")], ids=["head", "empty-lines"])
def test_who_sends_a_head_byte_by_byte_is_dropped(site: Site, first: bytes, drip: bytes) -> None:
    for before in (b"", GET + b"\r\n"):
        with connect(site) as client:
            client.sendall(before)
            if before:
                assert read(client)[0] == 200
            begun = time.monotonic()
            try:
                for part in [first, *[drip] * 100]:
                    client.sendall(part)
                    time.sleep(0.05)
            except ConnectionError:
                pass
            assert time.monotonic() - begun < 3


@pytest.mark.usefixtures("quick")
def test_who_connects_and_says_nothing_is_dropped(site: Site) -> None:
    with connect(site) as client:
        begun = time.monotonic()
        assert ended(client) and time.monotonic() - begun < 3


@pytest.mark.usefixtures("quick")
def test_a_body_that_comes_too_slowly_is_408(site: Site) -> None:
    with connect(site) as client:
        client.sendall(POST + b'Content-Length: 100\r\n\r\n{"')
        status, body = read(client)
        assert (status, json.loads(body)["NeutronError"]["type"]) == (408, "HTTPRequestTimeout")
        assert ended(client)


def test_slow_clients_hold_no_worker(site: Site) -> None:
    clients = [connect(site) for _ in range(30)]
    for client in clients:
        client.sendall(POST + b"Content-Length: 33\r\n\r\n")
    for byte in b'{"network':
        for client in clients:
            client.sendall(bytes([byte]))
        assert is_well(site)
    for client in clients:
        client.sendall(b'":{"name":"slow"}}      ')
    assert {read(client)[0] for client in clients} == {201}
    for client in clients:
        client.close()


def test_a_body_of_a_million_values_holds_up_nobody(site: Site) -> None:
    body = b'{"network":{"name":[' + b",".join([b"[]"] * 1_000_000) + b"]}}"
    begun = time.monotonic()
    json.loads(body)
    bound_s = (time.monotonic() - begun) / 2
    waits: list[float] = []
    done = threading.Event()

    def ask() -> None:
        with connect(site) as client:
            while not done.is_set():
                asked = time.monotonic()
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert read(client)[0] == 200
                waits.append(time.monotonic() - asked)

    other = threading.Thread(target=ask)
    other.start()
    for _ in range(3):
        with connect(site) as client:
            client.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            status, answer = read(client)
            assert status == 400 and "100000 commas" in json.loads(answer)["NeutronError"]["message"]
    done.set()
    other.join()
    assert max(waits) < bound_s


@pytest.mark.usefixtures("quick")
def test_who_hangs_up_in_the_middle_is_no_error(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with connect(site) as client:
        client.sendall(POST + b'Content-Length: 100\r\n\r\n{"')
        time.sleep(0.1)
    time.sleep(0.2)
    assert is_well(site)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_connections_are_bounded_and_the_hosts_own_are_not(site: Site) -> None:
    clients = [connect(site) for _ in range(48)]
    time.sleep(0.2)
    with connect(site) as one_more:
        status, body = read(one_more)
        assert status == 503 and "48 connections" in json.loads(body)["NeutronError"]["message"]
        assert ended(one_more)
    with socket.socket(socket.AF_UNIX) as own:
        own.connect(site.unix.removeprefix("unix:"))
        own.sendall(GET + b"\r\n")
        assert read(own)[0] == 200
    for client in clients:
        client.close()
    time.sleep(0.2)
    assert is_well(site)


def test_requests_sent_ahead_are_bounded(site: Site) -> None:
    with connect(site) as client:
        client.sendall((GET + b"\r\n") * 1000)
        assert ended(client)
    with connect(site) as client:
        client.sendall((GET + b"\r\n") * 20)
        answers = 0
        while answers < 20:
            answers += client.recv(65536).count(b"HTTP/1.1 200")
    assert is_well(site)


def test_who_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "UNREAD_S", 0.5)
    with serving(tmp_path, log__requests="false") as site:
        with connect(site) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stop = time.monotonic() + 15
            request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
            dropped = False
            while not dropped and time.monotonic() < stop:
                try:
                    client.sendall(request)
                except ConnectionError:
                    dropped = True
                time.sleep(0.05)
            assert dropped
        assert is_well(site)


def test_a_flood_of_bad_requests_leaves_nothing_behind(site: Site) -> None:
    threads_before = threading.active_count()
    before = len(site.server.server_state.connections)
    for _ in range(200):
        with connect(site) as client:
            client.sendall(b"POST /v2.0/networks HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
    time.sleep(0.3)
    assert is_well(site) and threading.active_count() <= threads_before + 4
    assert len(site.server.server_state.connections) <= before + 1


def test_a_large_body_does_not_hold_up_others(site: Site) -> None:
    with Client(site.url()) as client:
        network = client.create("networks", {})["id"]
        values = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/8", "enable_dhcp": False}
        subnet = client.create("subnets", values)["id"]
    body = json.dumps({"port": {"network_id": network, "fixed_ips": [{"subnet_id": subnet}] * MAX_ITEMS}}).encode()
    with connect(site) as large:
        begun, longest = time.monotonic(), 0.0
        large.sendall(POST.replace(b"networks", b"ports") + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not select.select([large], [], [], 0.001)[0]:
            asked = time.monotonic()
            with connect(site) as small:
                small.sendall(GET + b"\r\n")
                assert read(small)[0] == 200
            longest = max(longest, time.monotonic() - asked)
        took = time.monotonic() - begun
        assert read(large)[0] == 201
    assert took < 20 and longest < took / 2, (longest, took)
