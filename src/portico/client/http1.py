# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as a client of one server speaks it: a request, and the answer, whole or line by line.

httptools takes answers apart: the standard library's http.client does it with its parser of mail, which takes 0.2 ms,
more than all the rest of a request to a server on this host, and 3 MB of modules. Sources: RFC 9112, sections 2 to 7.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    import ssl

MAX_HEAD = 65_536
_AT_ONCE = 65_536


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
        self._answer: Answer | None = None
        name = f"[{host}]" if ":" in host else host.encode("idna").decode()
        self._host_line = f"Host: {name}\r\n" if port in (None, 443 if context else 80) else f"Host: {name}:{port}\r\n"

    def connect(self) -> None:
        """Open it.

        Raises:
            OSError: nothing listens there, or it shows no certificate that is believed.
        """
        self._answer = None
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
        if self._answer is not None and self._answer.has_more:
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
        self._answer = Answer(self.sock)
        self._answer.begin()
        return self._answer


class Answer:
    """An answer whose head has come. Its body is read once: by `read`, or by `lines`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._said = _Said()

    @property
    def status(self) -> int:
        """The status; 0 before the head has come."""
        return self._said.status

    @property
    def will_close(self) -> bool:
        """Whether the connection is of no use when the answer was read."""
        return self._said.will_close

    @property
    def is_here(self) -> bool:
        """Whether all of the body has come already."""
        return self._said.is_whole

    @property
    def has_more(self) -> bool:
        """Whether the server said something behind it."""
        return self._said.has_more

    def begin(self) -> None:
        """Wait for the head.

        Raises:
            OSError: none comes.
        """
        length = 0
        while not self.status:
            if length > MAX_HEAD:
                raise Broken(f"more than {MAX_HEAD} bytes of an answer's head")
            length += self._receive()

    def read(self) -> bytes:
        """Return the body.

        Raises:
            OSError: it does not come whole.
        """
        return b"".join(self._body())

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the body as they come, without their ends; of the last one there may be only a part.

        Raises:
            OSError: the connection ends before the body does.
        """
        begun = b""
        for part in self._body():
            *whole, begun = (begun + part).split(b"\n")
            yield from whole
        if begun:
            yield begun

    def _body(self) -> Iterator[bytes]:
        yield from self._said.take()
        while not self.is_here:
            self._receive()
            yield from self._said.take()

    def _receive(self) -> int:
        """Take in what comes next, and return how many bytes that were."""
        data = self._sock.recv(_AT_ONCE)
        if data:
            self._said.feed(data)
        elif not self._said.end():
            raise Broken("the server closed the connection")
        return len(data)


class _Said:
    """What a server has said; httptools calls its methods `on_...` as it reads.

    Without the socket: it and the parser hold each other, and may be there for a while after nobody needs them.
    """

    def __init__(self) -> None:
        self.status = 0
        self.will_close = False
        self.is_whole = False
        self.has_more = False
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        # The body ends with the connection, and is whole by that alone.
        self._is_open = True

    def feed(self, data: bytes) -> None:
        """Take in some bytes.

        Raises:
            Broken: they are no HTTP/1.1.
        """
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_whole:
                raise Broken(f"an answer that is no HTTP/1.1: {error} in {data[:60]!a}") from error
            self.has_more = True

    def end(self) -> bool:
        """Take in the connection's end; return whether the answer is whole by that."""
        self.is_whole = self.status > 0 and self._is_open
        return self.is_whole

    def take(self) -> list[bytes]:
        """Return what has come of the body since the last call."""
        parts, self._parts = self._parts, []
        return parts

    def on_message_begin(self) -> None:
        """Begin an answer: this one, after one or more of status 1xx, or one that nobody asked for."""
        self.has_more = self.is_whole

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or behind the body a trailer."""
        if self.status:
            return
        match name.lower():
            case b"content-length":
                self._is_open = False
            case b"transfer-encoding":
                self._is_open = False
                if value.strip().lower() != b"chunked":
                    raise Broken(f"an answer's body is of coding {value!a}")

    def on_headers_complete(self) -> None:
        """Note what the head says, unless it only says that the answer will come."""
        status = 0 if self.status else self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self.will_close = not self._parser.should_keep_alive()

    def on_body(self, part: bytes) -> None:
        """Take a part of the body."""
        if not self.is_whole:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """Note that all of it is here, unless it was one of status 1xx."""
        self.is_whole = self.status > 0
