# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as a client of one server speaks it: a request, and the answer, whole or line by line.

The standard library's http.client takes an answer's head apart with its parser of mail: 0.2 ms, more than all the rest
of a request to a server on this host, and 3 MB of modules. Sources: RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

MAX_HEAD = 65_536
_AT_ONCE = 65_536
_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
# Statuses whose answers have no body.
_BODILESS = (204, 304)


class Broken(ConnectionError):
    """The other side ended the connection inside of an answer, or what it says is no HTTP/1.1."""


class Connection:
    """A connection, for one request at a time; it opens with the first one, and again after it was closed.

    `sock` is None while it is closed.

    Args:
        host: name or address of the server, or of a unix socket what it calls itself.
        port: of TCP; None for a unix socket.
        path: of the unix socket.
        timeout_s: how long connecting, and each read or write, may take; None for ever.
        context: of TLS; None for none.
    """

    def __init__(
        self,
        host: str,
        port: int | None,
        *,
        path: str = "",
        timeout_s: float | None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.path = path
        self.context = context
        self.sock: socket.socket | None = None
        self._timeout_s = timeout_s
        self._unread = b""
        name = f"[{host}]" if ":" in host else host.encode("idna").decode()
        self._host_line = f"Host: {name}\r\n" if port in (None, 443 if context else 80) else f"Host: {name}:{port}\r\n"

    def connect(self) -> None:
        """Open it.

        Raises:
            OSError: nothing listens there, or it shows no certificate that is believed.
        """
        self._unread = b""
        if self.port is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            sock = socket.create_connection((self.host, self.port), self._timeout_s)
        try:
            if self.port is None:
                sock.settimeout(self._timeout_s)
                sock.connect(self.path)
            else:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock = self.context.wrap_socket(sock, server_hostname=self.host) if self.context else sock
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def close(self) -> None:
        """Close it; closed already is fine."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def limit(self, timeout_s: float | None) -> None:
        """Bound each read and write from now on, while it is open."""
        if self.sock is not None:
            self.sock.settimeout(timeout_s)

    def request(self, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request, in one piece, and return the answer as soon as its head is there.

        Raises:
            OSError: it cannot be sent, or no answer comes; the connection is of no use any more.
        """
        if self._unread:
            raise Broken("the server said more than it was asked")
        if not (target.isascii() and target.isprintable()) or " " in target:
            raise Broken(f"{target!a} is no target of a request")
        length = f"Content-Length: {len(body or b'')}\r\n" if body is not None or method in ("POST", "PUT") else ""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {target} HTTP/1.1\r\n{self._host_line}{length}{lines}\r\n".encode("ascii")
        if self.sock is None:
            self.connect()
        assert self.sock is not None  # noqa: S101 (for mypy)
        self.sock.sendall(head + body if body else head)
        while True:
            answer = Answer(self, self.take_until(_HEAD_END, MAX_HEAD))
            if answer.status >= 200:
                return answer

    def has(self, length: int) -> bool:
        """Tell whether so many bytes have come already."""
        return len(self._unread) >= length

    def take_until(self, end: bytes, most: int) -> bytes:
        """Return what comes before `end`, of at most `most` bytes."""
        while (place := self._unread.find(end)) < 0:
            if len(self._unread) > most:
                raise Broken(f"more than {most} bytes of an answer's head")
            self._unread += self._receive()
        found, self._unread = self._unread[:place], self._unread[place + len(end) :]
        return found

    def take(self, most: int) -> bytes:
        """Return some bytes, at most so many; waits only if there are none."""
        data = self._unread or self._receive()
        found, self._unread = data[:most], data[most:]
        return found

    def _receive(self) -> bytes:
        data = self.sock.recv(_AT_ONCE) if self.sock is not None else b""
        if not data:
            raise Broken("the server closed the connection")
        return data


class Answer:
    """An answer whose head has come. Its body is read once: by `read`, or by `lines`."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        self._connection = connection
        first, *lines = head.split(_LINE_END)
        version, _, rest = first.partition(b" ")
        if not (version.startswith(b"HTTP/1.") and rest[:3].isdigit()):
            raise Broken(f"an answer begins with {first[:60]!a}")
        self.status = int(rest[:3])
        pairs = (line.partition(b":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        coding = headers.get(b"transfer-encoding", b"").lower()
        length = headers.get(b"content-length", b"")
        if coding not in (b"", b"chunked") or not (length.isdigit() or not length):
            raise Broken(f"an answer's body is of coding {coding!a} and length {length!a}")
        self._is_chunked = coding == b"chunked"
        self._length = 0 if self.status in _BODILESS else int(length) if length and not coding else None
        words = headers.get(b"connection", b"").lower()
        self.will_close = (
            b"close" in words
            or (version == b"HTTP/1.0" and b"keep-alive" not in words)
            or (self._length is None and not self._is_chunked)
        )

    @property
    def is_here(self) -> bool:
        """Whether all of the body has come already."""
        return self._length is not None and self._connection.has(self._length)

    def read(self) -> bytes:
        """Return the body.

        Raises:
            OSError: it does not come whole.
        """
        return b"".join(self._parts())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they come, without their ends; of the last one there may be only a part.

        Raises:
            OSError: the connection ends before the body does.
        """
        begun = b""
        for part in self._parts():
            *whole, begun = (begun + part).split(b"\n")
            yield from whole
        if begun:
            yield begun

    def _parts(self) -> Iterator[bytes]:
        if self._is_chunked:
            yield from self._chunks()
        elif self._length is None:
            yield from self._rest()
        else:
            yield from self._exactly(self._length)

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            part = self._connection.take(left)
            left -= len(part)
            yield part

    def _chunks(self) -> Iterator[bytes]:
        take_line = self._connection.take_until
        while True:
            line = take_line(_LINE_END, MAX_HEAD)
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError as error:
                raise Broken(f"a chunk begins with {line[:60]!a}") from error
            if size == 0:
                break
            yield from self._exactly(size)
            if take_line(_LINE_END, MAX_HEAD):
                raise Broken("a chunk is longer than it says")
        while take_line(_LINE_END, MAX_HEAD):
            pass

    def _rest(self) -> Iterator[bytes]:
        """Yield what comes until the server closes the connection: what it says is whole by that alone."""
        try:
            while True:
                yield self._connection.take(_AT_ONCE)
        except Broken:
            return
