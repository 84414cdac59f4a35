# SPDX-License-Identifier: Apache-2.0
"""What an engine says that it has."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

import pytest

from portico.docker import engine

ENDPOINT = {"NetworkID": "n1", "EndpointID": "e1", "MacAddress": "02:42:0A:01:00:02"}
# As engines answer: a container that is being removed or was never started has less to say.
ANSWERS: dict[str, Any] = {
    "/networks": [{"Id": "n1", "Name": "blue"}],
    "/containers/json?all=1": [
        {"Names": ["/web"], "NetworkSettings": {"Networks": {"blue": ENDPOINT}}},
        {"Names": None, "NetworkSettings": {"Networks": {"blue": {**ENDPOINT, "EndpointID": "e2", "MacAddress": ""}}}},
        {"Names": [], "NetworkSettings": {"Networks": {"blue": {"EndpointID": ""}}}},
        {"Names": ["/idle"], "NetworkSettings": {"Networks": None}},
        {"Names": ["/odd"], "NetworkSettings": None},
    ],
}


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(ANSWERS[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (http.server's name)
        pass


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    with ThreadingUnixStreamServer(str(tmp_path / "docker.sock"), Engine) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield str(tmp_path / "docker.sock")
        server.shutdown()
        thread.join()


def test_containers_without_names_or_networks_are_no_trouble(path: str) -> None:
    found = engine.ask(path)
    assert found is not None
    assert (found.networks, found.endpoints) == ({"n1": "blue"}, {"e1": "web", "e2": ""})
    assert found.by_mac == {("n1", "02:42:0a:01:00:02"): "e1"}


def test_no_engine_and_one_that_hangs_give_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.ask(str(tmp_path / "absent")) is None
    monkeypatch.setattr(engine, "TIMEOUT_S", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "hangs"))
        listener.listen(1)
        assert engine.ask(str(tmp_path / "hangs")) is None
