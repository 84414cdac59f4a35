# SPDX-License-Identifier: Apache-2.0
"""The transport: what engines send is answered, always."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from portico.docker.api import ANSWER_WITHIN_S
from portico.docker.endpoint import PLUG_WITHIN_S
from portico.docker.main import STOP_WITHIN_S
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


def test_a_call_that_comes_while_others_are_finished_is_answered_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    server = Server(listen(path), echo)
    server.start()
    with connect(path) as slow, connect(path) as late:
        assert post(late, "/first")[0] == 200
        slow.sendall(b"POST /slow HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        thread = threading.Thread(target=server.stop, args=(5,))
        thread.start()
        time.sleep(0.05)
        status, answer = post(late, "/late")
        assert status == 503 and "just being stopped: try again" in msgspec.json.decode(answer)["Err"]
        assert read(slow)[0] == 200
        thread.join(1)
        assert not thread.is_alive()


def test_one_deadline_holds_for_all_calls_together_and_is_longer_than_the_longest(tmp_path: Path) -> None:
    assert STOP_WITHIN_S > PLUG_WITHIN_S + ANSWER_WITHIN_S
    path = tmp_path / "a.sock"
    may_end = threading.Event()
    server = Server(listen(path), lambda _target, _body: (200 if may_end.wait(5) else 500, b"{}"))
    server.start()
    with connect(path) as sock:
        sock.sendall(b"POST /hangs HTTP/1.1\r\nHost:\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.1)
        started = time.monotonic()
        server.stop(0.2)
        assert 0.1 < time.monotonic() - started < 1
        may_end.set()


class FailingSocket(socket.socket):
    """A listening socket whose `accept` fails first with each of `errors`."""

    errors: tuple[int, ...] = ()

    def accept(self) -> tuple[socket.socket, Any]:
        if self.errors:
            number, *rest = self.errors
            self.errors = tuple(rest)
            raise OSError(number, os.strerror(number))
        return super().accept()


def failing(path: Path, *errors: int) -> FailingSocket:
    sock = FailingSocket(fileno=listen(path).detach())
    sock.errors = errors
    return sock


def test_a_want_of_descriptors_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    server = Server(failing(path, errno.EMFILE, errno.ECONNABORTED), echo)
    server.start()
    with connect(path) as sock:
        assert post(sock, "/a")[0] == 200
    server.stop(1)


def test_a_socket_that_is_broken_is_told(tmp_path: Path) -> None:
    told = threading.Event()
    server = Server(failing(tmp_path / "a.sock", errno.EBADF), echo, told.set)
    server.start()
    assert told.wait(5) and "Bad file descriptor" in server.failure
    server.stop(1)
