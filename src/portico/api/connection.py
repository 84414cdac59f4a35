# SPDX-License-Identifier: Apache-2.0
"""A client's connection, with bounds: what is sent before anybody knows who sends it takes little memory and time."""

from __future__ import annotations

import asyncio
import resource

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from portico.api import fault

# The request line with all headers, and whatever else comes that is no body. Room for a filter of 1,600 ids.
MAX_HEAD = 65_536
# From the connection, or the first byte of another request, to the end of its headers.
HEAD_S = 10.0
# In which a client must take in some of what it asked for.
UNREAD_S = 60.0
# Requests that were sent before the answer of the first one.
MAX_WAITING = 64
# Files that a server has open besides connections: database, logs, sockets that listen.
OTHER_FILES = 256

_TYPES = {400: "HTTPBadRequest", 431: "HTTPRequestHeaderFieldsTooLarge", 503: "HTTPServiceUnavailable"}


class Connection(HttpToolsProtocol):
    """uvicorn's, but that it gives up on who sends too much or too slowly.

    An answer that comes before the end of its request lets the client send on for `HEAD_S`, unread, so that it sees
    the answer; RFC 9112 section 9.6 tells why closing at once would lose it.
    """

    connections_max = 1000
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head = False
    # Bytes of headers, and bytes that led to nothing.
    _header_bytes = 0
    _idle_bytes = 0
    _refusal = (400, "Invalid HTTP request received.")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a client, unless there are too many; unix sockets are for this host's own processes."""
        super().connection_made(transport)
        is_local = self.server is not None and self.server[1] is None
        if not is_local and len(self.connections) > self.connections_max:
            self._refuse(503, f"More than {self.connections_max} connections.")
            return
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._stop()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self.transport.is_closing():
            return
        self._idle_bytes += len(data)
        super().data_received(data)
        if self._idle_bytes > MAX_HEAD:
            self._refuse(431, f"More than {MAX_HEAD} bytes that are no body.")
        elif self._in_head or self.cycle is None or self.cycle.response_complete:
            self._start()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if len(self.pipeline) >= MAX_WAITING:
            self._break_off(400, f"More than {MAX_WAITING} requests that wait for the first one's answer.")
        self._in_head = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header or a trailer."""
        self._idle_bytes = 0
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Have the request answered."""
        self._in_head = False
        self._idle_bytes = 0
        self._stop()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the rest of this one only as long as for a head."""
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self._start()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._idle_bytes = 0
        super().on_body(body)

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly, but not for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on to write."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that was not used for long."""
        self._close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, or one that was broken off."""
        del msg
        self._refuse(*self._refusal)

    def _count(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > MAX_HEAD:
            self._break_off(431, f"The request line and the headers have more than {MAX_HEAD} bytes.")

    def _break_off(self, status: int, words: str) -> None:
        # The parser ends at an error of what it calls, and uvicorn then asks for an answer 400.
        self._refusal = status, words
        raise httptools.HttpParserError(words)

    def _refuse(self, status: int, words: str) -> None:
        if self.transport.is_closing():
            return
        # In the middle of an answer there is no place for another one, nor before one to a request that came earlier.
        cycle = self.cycle
        is_in_body = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if cycle is None or cycle.response_complete or is_in_body:
            body = bytes(fault.answer(status, _TYPES[status], words).body)
            head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
            self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self._close()

    def _close(self) -> None:
        self.transport.close()
        # That waits for who does not read what was sent.
        self.loop.call_later(HEAD_S, self.transport.abort)

    def _start(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self._close)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(connections_max: int) -> type[Connection]:
    """Return the protocol of a server with at most so many connections over TCP, and let it open as many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections_max + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return type("Bounded", (Connection,), {"connections_max": connections_max})
