# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from portico import errors
from portico.client import Client, singular
from portico.client.connection import Connections


class Seen(list[tuple[str, str, Any]]):
    """Requests that the server got: method, target, body; `demands` are what their If-Match said."""

    connections = 0

    def __init__(self) -> None:
        self.demands: list[str | None] = []


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """An HTTP server whose answers the test gives by target."""

    daemon_threads = True
    answers: dict[str, tuple[int, object]]
    seen: Seen
    closes = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.seen.connections += 1

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = msgspec.json.decode(self.rfile.read(length)) if length else None
        self.server.seen.append((self.command, self.path, body))
        self.server.seen.demands.append(self.headers.get("If-Match"))
        status, answer = self.server.answers[self.path]
        if answer == "drop":
            self.close_connection = True
            return
        if answer == "hang":
            time.sleep(1)
        payload = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        if self.server.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 (http.server's names)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        pass

    def address_string(self) -> str:
        return "unix"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(str(tmp_path / "s"), Handler) as made:
        made.answers = {}
        made.seen = Seen()
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(f"unix:{server.server_address!s}", timeout_s=0.5)
    yield made
    made.close()


def test_an_object_is_wrapped_and_unwrapped_by_its_singular_name(server: Server, client: Client) -> None:
    server.answers["/v2.0/security-groups"] = (201, {"security_group": {"id": "1"}})
    assert client.create("security_groups", {"name": "web"}) == {"id": "1"}
    assert server.seen == [("POST", "/v2.0/security-groups", {"security_group": {"name": "web"}})]


def test_an_id_cannot_leave_its_place_in_the_path(server: Server, client: Client) -> None:
    server.answers["/v2.0/ports/..%2Fnetworks%3Fa"] = (204, b"")
    client.delete("ports", "../networks?a")
    assert server.seen == [("DELETE", "/v2.0/ports/..%2Fnetworks%3Fa", None)]


def test_a_revision_that_is_given_is_demanded_and_none_without_it(server: Server, client: Client) -> None:
    server.answers["/v2.0/ports/1"] = (200, {"port": {"id": "1"}})
    client.update("ports", "1", {"name": "a"}, revision=0)
    client.update("ports", "1", {"name": "a"})
    client.delete("ports", "1", revision=17)
    client.delete("ports", "1")
    client.create("ports/1", {})
    assert server.seen.demands == ["revision_number=0", None, "revision_number=17", None, None]


def test_a_list_follows_the_links_of_its_pages(server: Server, client: Client) -> None:
    link = {"rel": "next", "href": "http://elsewhere:1/v2.0/ports?name=a&name=b&up=true&marker=1"}
    server.answers["/v2.0/ports?name=a&name=b&up=true"] = (200, {"ports": [{"id": 1}], "ports_links": [link]})
    server.answers["/v2.0/ports?name=a&name=b&up=true&marker=1"] = (200, {"ports": [{"id": 2}], "ports_links": []})
    assert client.list("ports", name=["a", "b"], up=True, none=None) == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (400, "InvalidInput", errors.BadRequest),
        (400, "Unsupported", errors.Unsupported),
        (403, "PolicyNotAuthorized", errors.Forbidden),
        (404, "NetworkNotFound", errors.NotFound),
        (409, "NetworkInUse", errors.Conflict),
        (409, "OverQuota", errors.OverQuota),
        (412, "RevisionNumberConstraintFailed", errors.PreconditionFailed),
        (503, "ServiceUnavailable", errors.Unavailable),
        (500, "HTTPInternalServerError", errors.PorticoError),
    ],
)
def test_the_servers_error_comes_back_with_its_words(
    server: Server, client: Client, status: int, kind: str, error: type[errors.PorticoError]
) -> None:
    server.answers["/v2.0/networks/x"] = (status, {"NeutronError": {"type": kind, "message": "why", "detail": "more"}})
    with pytest.raises(errors.PorticoError) as caught:
        client.show("networks", "x")
    assert (type(caught.value), caught.value.type, caught.value.message, caught.value.detail) == (
        error,
        kind,
        "why",
        "more",
    )


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"NeutronError": "text"}'])
def test_an_error_in_another_form_is_still_an_error(server: Server, client: Client, body: bytes) -> None:
    server.answers["/healthz"] = (404, body)
    with pytest.raises(errors.NotFound):
        client.get_json("/healthz")


def test_nobody_listening_is_unavailable_and_names_the_url(tmp_path: Path) -> None:
    url = f"unix:{tmp_path}/absent"
    with pytest.raises(errors.Unavailable, match=f"{url} does not answer: No such file"):
        Client(url).list("networks")


def test_a_dropped_connection_is_unavailable_and_nothing_is_sent_twice(server: Server, client: Client) -> None:
    server.answers["/v2.0/networks"] = (200, "drop")
    with pytest.raises(errors.Unavailable, match="gave no answer to POST"):
        client.create("networks", {})
    assert len(server.seen) == 1


def test_a_server_that_hangs_is_given_up(server: Server, client: Client) -> None:
    server.answers["/v2.0/networks"] = (200, "hang")
    started = time.monotonic()
    with pytest.raises(errors.Unavailable, match="timed out"):
        client.list("networks")
    assert time.monotonic() - started < 0.9


def test_a_connection_is_used_again_and_replaced_when_the_server_closed_it(server: Server, client: Client) -> None:
    server.answers["/a"] = (200, {})
    server.answers["/v2.0/drop"] = (200, "drop")
    client.get_json("/a")
    client.get_json("/a")
    assert server.seen.connections == 1
    with pytest.raises(errors.Unavailable):
        client.get_json("/v2.0/drop")
    client.get_json("/a")
    assert server.seen.connections == 2


def test_threads_that_fight_for_one_idle_connection_never_fail(tmp_path: Path) -> None:
    """Every switch between threads that can happen does happen: a tracer gives way after each line of the pool."""
    connections = Connections(f"unix:{tmp_path}/s", 1)
    ours = Connections.take.__code__.co_filename

    def give_way(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code.co_filename != ours:
            return None
        time.sleep(0)
        return give_way

    def fight(_number: int) -> None:
        sys.settrace(give_way)
        try:
            for _ in range(60):
                connections.give_back(connections.take(1))
        finally:
            sys.settrace(None)

    with socket.socket(socket.AF_UNIX) as listener, ThreadPoolExecutor(16) as pool:
        listener.bind(f"{tmp_path}/s")
        listener.listen(64)
        list(pool.map(fight, range(16)))
        connections.close()


def test_a_stream_yields_its_lines_without_the_signs_of_life(server: Server, client: Client) -> None:
    server.answers["/portico/v1/watch?since=3"] = (200, b'{"revision":4}\n\n{"revision":5}\n')
    assert list(client.stream("/portico/v1/watch", since=3)) == [{"revision": 4}, {"revision": 5}]


def test_a_stream_that_ends_inside_a_line_is_unavailable(server: Server, client: Client) -> None:
    server.answers["/s"] = (200, b'{"revision":4}\n{"revi')
    stream = client.stream("/s")
    assert next(stream) == {"revision": 4}
    with pytest.raises(errors.Unavailable):
        next(stream)


def test_a_stream_that_is_refused_raises_the_servers_error(server: Server, client: Client) -> None:
    server.answers["/s"] = (400, {"NeutronError": {"type": "InvalidInput", "message": "since: no number"}})
    with pytest.raises(errors.BadRequest, match="since: no number"):
        next(client.stream("/s"))


@pytest.mark.parametrize(
    ("plural", "one"),
    [
        ("networks", "network"),
        ("network_ip_availabilities", "network_ip_availability"),
        ("address_scopes", "address_scope"),
    ],
)
def test_the_singular_of_a_collection(plural: str, one: str) -> None:
    assert singular(plural) == one


def test_an_answer_after_which_the_server_closes_is_read_like_any_other(server: Server, client: Client) -> None:
    server.answers["/a"] = (200, {"b": 1})
    server.closes = True
    with client.within(5):
        assert client.get_json("/a") == client.get_json("/a") == {"b": 1}
    assert server.seen.connections == 2
