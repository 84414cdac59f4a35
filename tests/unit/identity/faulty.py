# SPDX-License-Identifier: Apache-2.0
"""A server at Keystone's place that has faults on demand. What a sound one says is tried with a real Keystone."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from portico.settings_identity import KeystoneSettings

TIMEOUT_S = 1.0


class Faulty(ThreadingHTTPServer):
    """Gives everybody a token, and says of each token that begins with "good" that it is one.

    `fault` is empty or one of "slow" (but in time), "hang", "close", "garbage", "redirect", or a status; `asked` counts
    the questions about each token.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fault: str | int = ""
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/identity"

    def handle_error(self, *_: object) -> None:
        """Say nothing: whoever asked has gone, and that is what the test is about."""

    def settings(self, **changes: Any) -> KeystoneSettings:
        return KeystoneSettings(auth_url=self.url, timeout_s=TIMEOUT_S, **changes)


class Handler(BaseHTTPRequestHandler):
    """Of one request."""

    server: Faulty
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(201, description("portico"), {"X-Subject-Token": "ours"})

    def do_GET(self) -> None:
        token = self.headers["X-Subject-Token"]
        self.server.asked[token] += 1
        self.server.headers.append(dict(self.headers))
        match self.server.fault:
            case "hang":
                time.sleep(2 * TIMEOUT_S)
            case "close":
                self.close_connection = True
                return
            case "slow":
                time.sleep(TIMEOUT_S / 4)
            case "garbage":
                self._answer(200, {"token": {"user": "x"}})
                return
            case "redirect":
                self._answer(302, {}, {"Location": "http://127.0.0.1:9/"})
                return
            case int(status):
                self._answer(status, {"error": {"message": "a fault"}})
                return
        if token.startswith("good"):
            self._answer(200, description(token))
        else:
            self._answer(404, {"error": {"message": "unknown"}})

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def description(user: str, **changes: object) -> dict[str, Any]:
    """Return what Keystone says of a token of a project's member."""
    token = {
        "user": {"id": user, "name": user, "domain": {"id": "default", "name": "Default"}},
        "project": {"id": "p1", "name": "red", "domain": {"id": "default", "name": "Default"}},
        "roles": [{"id": "1", "name": "member"}, {"id": "2", "name": "reader"}],
        "expires_at": "2999-01-01T00:00:00.000000Z",
        "issued_at": "2026-01-01T00:00:00.000000Z",
        "methods": ["password"],
    }
    return {"token": {name: value for name, value in {**token, **changes}.items() if value is not None}}


@contextmanager
def faulty() -> Iterator[Faulty]:
    """Run one in a thread."""
    with Faulty() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
