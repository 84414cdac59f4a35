# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 on a unix socket for the Docker Engine: a thread for each of its few connections, and no framework.

The engine repeats a call whose connection broke, with an empty body; so every request is answered, whatever happens. It
sends an empty Host header up to 23.0.6 and 24.0.4, which is fine here. Idle connections are never closed from this
side: the engine might be using one at that very moment.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from pathlib import Path

import httptools
import msgspec

from portico.errors import Conflict, SettingsError

LOG = logging.getLogger(__name__)

BACKLOG = 128
# Calls that are carried out at the same time; others wait for their turn.
MAX_RUNNING = 32
MAX_BODY = 4 * 1024 * 1024
STOPPING = "Portico's Docker plugin is just being stopped: try again."
CONTENT_TYPE = "application/vnd.docker.plugins.v1.2+json"

# Until a connection is taken again when the process, or the machine, has no descriptor, memory or thread left.
PAUSE_S = 0.1
# Errors after which a socket never takes a connection again.
BROKEN = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})

Answer = Callable[[str, bytes], tuple[int, bytes]]


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at `path`, in place of one that nobody serves any more.

    Raises:
        Conflict: another process serves it.
        SettingsError: it cannot be made.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    beside = path.with_name(f".{path.name}.new")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, contextlib.suppress(OSError):
            probe.connect(str(path))
            raise Conflict(f"docker.socket: another process serves {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        sock.bind(str(beside))
        beside.chmod(0o600)
        sock.listen(BACKLOG)
        # The name appears, or changes its owner, only now that connections are taken.
        beside.rename(path)
    except OSError as error:
        sock.close()
        raise SettingsError(f"docker.socket = '{path}': {error.strerror}") from error
    except Conflict:
        sock.close()
        raise
    return sock


class Server:
    """Serves `answer` on a listening socket.

    Args:
        broken: is called when the socket takes no connection any more; `failure` says why.
    """

    def __init__(self, sock: socket.socket, answer: Answer, broken: Callable[[], None] = lambda: None) -> None:
        self.failure = ""
        self._sock = sock
        self._answer = answer
        self._broken = broken
        self._turns = threading.BoundedSemaphore(MAX_RUNNING)
        self._ended = threading.Condition()
        self._running = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, name="accept", daemon=True)

    def start(self) -> None:
        """Begin to take connections."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """Take no more connections, and wait until the calls that are being carried out are answered.

        A call that comes now gets an answer too, that says so.
        """
        self._stopping = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        with self._ended:
            if not self._ended.wait_for(lambda: self._running == 0, within_s):
                LOG.error("%d calls of the engine are left without an answer", self._running)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError as error:
                if self._stopping:
                    return
                LOG.error("no connection can be taken: %s", error)  # noqa: TRY400 (where it happened is plain)
                if error.errno in BROKEN:
                    self.failure = str(error)
                    self._broken()
                    return
                time.sleep(PAUSE_S)
            else:
                self._start(connection)

    def _start(self, connection: socket.socket) -> None:
        while True:
            try:
                threading.Thread(target=self._serve, args=(connection,), name="connection", daemon=True).start()
            except RuntimeError as error:
                LOG.error("a connection waits: %s", error)  # noqa: TRY400
                time.sleep(PAUSE_S)
            else:
                return

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = _Request()
            parser = httptools.HttpRequestParser(request)
            while data := connection.recv(65536):
                try:
                    parser.feed_data(data)
                except httptools.HttpParserError as error:
                    connection.sendall(_response(HTTPStatus.BAD_REQUEST, _error(str(error)), close=True))
                    return
                if request.size > MAX_BODY:
                    connection.sendall(
                        _response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _error("body too large"), close=True)
                    )
                    return
                if request.complete:
                    self._carry_out(connection, request)
                    request.clear()

    def _carry_out(self, connection: socket.socket, request: _Request) -> None:
        with self._ended:
            self._running += 1
        try:
            with self._turns:
                if self._stopping:
                    status, body = int(HTTPStatus.SERVICE_UNAVAILABLE), _error(STOPPING)
                else:
                    status, body = self._answer(request.target.decode(errors="replace"), b"".join(request.parts))
                connection.sendall(_response(status, body))
        finally:
            with self._ended:
                self._running -= 1
                self._ended.notify_all()


class _Request:
    """Collects what httptools parses; the engine sends the next request only when it has read the answer."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.target = b""
        self.parts: list[bytes] = []
        self.size = 0
        self.complete = False

    def on_url(self, part: bytes) -> None:
        self.target += part

    def on_body(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)

    def on_message_complete(self) -> None:
        self.complete = True


def _error(text: str) -> bytes:
    return msgspec.json.encode({"Err": text, "Error": text})


def _response(status: int, body: bytes, *, close: bool = False) -> bytes:
    ending = "Connection: close\r\n\r\n" if close else "\r\n"
    return f"{_begin(status)}Content-Length: {len(body)}\r\n{ending}".encode() + body


@cache
def _begin(status: int) -> str:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {CONTENT_TYPE}\r\n"
