# SPDX-License-Identifier: Apache-2.0
"""A remote Portico behind a socket, on a wire that loses answers, hangs and brings server errors when told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from portico.testing.remote_portico import RemotePortico

Behave = Callable[[str, str], str]
"""Gets method and path; returns "" for as usual, "lost" (done, and the connection closed), "hang", or a status code."""


class Wire:
    """Where the remote is reached. `requests` are those that came, as "METHOD path"."""

    def __init__(self, remote: RemotePortico, port: int) -> None:
        self.remote = remote
        self.url = f"http://127.0.0.1:{port}"
        self.behave: Behave = lambda _method, _path: ""
        self.requests: list[str] = []
        self.released = threading.Event()
        self.lock = threading.Lock()


@contextmanager
def wire(remote: RemotePortico) -> Iterator[Wire]:
    """Put a remote behind a socket of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            here.requests.append(f"{self.command} {self.path}")
            fate = here.behave(self.command, self.path)
            if fate == "hang":
                here.released.wait(20)
            if fate.isdecimal():
                self._send(int(fate), b"an upset server")
                return
            with here.lock:
                found = remote.answer(self.command, f"{here.url}{self.path}", content, dict(self.headers.items()))
            if fate:
                self.close_connection = True
            else:
                self._send(found.status_code, found.content)

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Wire(remote, server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield here
    finally:
        here.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
