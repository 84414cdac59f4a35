# SPDX-License-Identifier: Apache-2.0
"""Without authentication, a web page in the user's browser may not use the API."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from portico.api.identity import SameOrigin

TCP = ("127.0.0.1", 9696)
UNIX = ("/run/portico/api.sock", None)


def status_of(server: tuple[str, int | None], **headers: str) -> int:
    """The status with which a request is answered; 200 is the application's own."""
    told: list[int] = []

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "server": server, "headers": pairs}
    asyncio.run(SameOrigin(application)(scope, receive, send))
    return told[0]


@pytest.mark.parametrize("host", ["127.0.0.1:9696", "localhost:9696", "[::1]:9696", "127.0.0.53", "api.localhost"])
def test_loopback_names_are_served(host: str) -> None:
    assert status_of(TCP, host=host) == 200


@pytest.mark.parametrize("host", ["evil.example:9696", "192.0.2.1", "localhost.evil.example", "[2001:db8::1]:9696"])
def test_a_name_that_was_made_to_resolve_to_loopback_is_refused(host: str) -> None:
    assert status_of(TCP, host=host) == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "https://localhost:9696", "null", "http://localhost:3000"])
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    assert status_of(TCP, host="localhost:9697", origin=origin) == 403


@pytest.mark.parametrize("words", ["[", "http://[::1", "//[x]", "http://\u2100.example", "\x00"])
def test_what_is_no_url_is_refused(words: str) -> None:
    assert status_of(TCP, host=words) == 403
    assert status_of(TCP, host="localhost:9696", origin=words) == 403
    assert status_of(TCP, origin=f"http://{words}") == 403


def test_a_page_of_the_same_origin_is_served() -> None:
    assert status_of(TCP, host="localhost:9696", origin="http://localhost:9696") == 200


def test_over_the_unix_socket_any_host_name_will_do() -> None:
    assert status_of(UNIX, host="portico") == 200
    assert status_of(UNIX) == 200
