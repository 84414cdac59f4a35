# SPDX-License-Identifier: Apache-2.0
"""The transport: what engines send is answered, always."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from portico.docker.server import Server, listen
from portico.errors import Conflict, SettingsError


def echo(target: str, body: bytes) -> tuple[int, bytes]:
    if target == "/slow":
        time.sleep(0.3)
    return 200, msgspec.json.encode({"target": target, "body": body.decode()})


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "plugins" / "portico.sock"
    server = Server(listen(path), echo)
    server.start()
    yield path
    server.stop(1)


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(5)
    sock.connect(str(path))
    return sock


def read(sock: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(4096)
        assert part, "the connection was dropped without an answer"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
    while len(body) < length:
        body += sock.recv(4096)
    return int(head.split()[1]), body


def post(sock: socket.socket, target: str, body: bytes = b"", host: str = "") -> tuple[int, bytes]:
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {len(body)}\r\n"
    )
    sock.sendall(f"{head}Accept: application/vnd.docker.plugins.v1.2+json\r\n\r\n".encode() + body)
    return read(sock)


@pytest.mark.parametrize("host", ["", "plugin.moby.localhost", "%2Frun%2Fdocker%2Fplugins%2Fportico.sock"])
def test_every_form_of_host_header_is_accepted(path: Path, host: str) -> None:
    with connect(path) as sock:
        assert post(sock, "/Plugin.Activate", host=host) == (200, b'{"target":"/Plugin.Activate","body":""}')


def test_a_connection_carries_many_calls_with_and_without_body(path: Path) -> None:
    with connect(path) as sock:
        for body in (b"", b'{"a": 1}\n', b"", b"x" * 100_000):
            status, answer = post(sock, "/IpamDriver.RequestPool", body)
            assert status == 200 and msgspec.json.decode(answer)["body"].encode() == body


def test_a_call_in_small_pieces_is_put_together(path: Path) -> None:
    with connect(path) as sock:
        for byte in b"POST /a HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\nhi":
            sock.sendall(bytes([byte]))
        assert read(sock) == (200, b'{"target":"/a","body":"hi"}')


def test_calls_run_side_by_side(path: Path) -> None:
    def slow(_number: int) -> int:
        with connect(path) as sock:
            return post(sock, "/slow")[0]

    started = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(slow, range(16))) == [200] * 16
    assert time.monotonic() - started < 2


def test_what_is_not_http_is_answered_before_it_is_dropped(path: Path) -> None:
    with connect(path) as sock:
        sock.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        status, body = read(sock)
        assert status == 400 and set(msgspec.json.decode(body)) == {"Err", "Error"}


def test_stopping_answers_what_is_being_carried_out(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    server = Server(listen(path), echo)
    server.start()
    with connect(path) as sock:
        sock.sendall(b"POST /slow HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        thread = threading.Thread(target=server.stop, args=(2,))
        thread.start()
        assert read(sock)[0] == 200
        thread.join()


def test_the_socket_is_the_owners_alone_and_replaces_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with listen(path):
        assert path.stat().st_mode & 0o777 == 0o600
    with listen(path):
        assert [item.name for item in tmp_path.iterdir()] == ["p.sock"]


def test_a_socket_in_use_or_out_of_reach_stops_the_start_in_one_line(tmp_path: Path) -> None:
    with listen(tmp_path / "p.sock"), pytest.raises(Conflict, match="another process serves"):
        listen(tmp_path / "p.sock")
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"docker\.socket = .*file/p\.sock"):
        listen(tmp_path / "file" / "p.sock")
