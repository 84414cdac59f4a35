# SPDX-License-Identifier: Apache-2.0
"""What can be seen of a server from outside of its process, and how it ends."""

from __future__ import annotations

import json
import pstats
import signal
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from portico.client import Client
from portico.errors import SettingsError, Unavailable
from portico.settings import load
from portico.testing.api_process import ApiProcess
from portico.testing.lab.process import wait_until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def served(folder: Path, *settings: str) -> ApiProcess:
    return ApiProcess(folder, f"sqlite:///{folder}/portico.db", *settings)


def status_of(server: ApiProcess, path: str) -> tuple[int, Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.url.removeprefix("unix:"))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while more := client.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def metrics_at(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def test_a_server_tells_of_itself_in_log_audit_log_metrics_and_profiles(tmp_path: Path) -> None:
    port, audit, profiles = free_port(), tmp_path / "audit.log", tmp_path / "profiles"
    told = ["--log-format", "json", "--log-audit-file", str(audit), "--profile", str(profiles)]
    with served(tmp_path, *told, "--metrics-listen", f"127.0.0.1:{port}") as server:
        with Client(server.url) as client:
            made = client.create("networks", {"name": "blue"})
        # A request is counted when its answer is out, which its client may have before.
        counted = 'portico_http_requests_total{method="POST",route="/v2.0/networks",status="2xx"} 1.0'
        wait_until("the request counted", lambda: counted in metrics_at(port), 10)
        assert server.end() == 0
    [line] = [json.loads(text) for text in server.log.read_text().splitlines() if '"route":"/v2.0/networks"' in text]
    assert (line["status"], line["logger"], line["level"]) == (201, "portico.request", "info")
    [written] = [item for text in audit.read_text().splitlines() if (item := json.loads(text))["id"] == made["id"]]
    assert written["request_id"] == line["request_id"] and written["after"]["name"] == "blue"
    [profile] = [path for path in profiles.iterdir() if line["request_id"] in path.name]
    assert any(name == "create" for _, _, name in pstats.Stats(str(profile)).stats)  # type: ignore[attr-defined]


def test_before_the_end_load_balancers_are_told_and_requests_are_served(tmp_path: Path) -> None:
    with served(tmp_path, "--api-drain-s", "1.5") as server:
        with Client(server.url) as client:
            deadline = time.monotonic() + 10
            while status_of(server, "/readyz")[0] != 200:
                assert time.monotonic() < deadline
            begun = time.monotonic()
            server.tell(signal.SIGTERM)
            while (found := status_of(server, "/readyz"))[0] == 200:
                assert time.monotonic() < begun + 1
            assert found == (503, {"status": "server: it is about to end", "version": found[1]["version"]})
            assert client.get_json("/healthz")["status"] == "ok"
            client.create("networks", {})
        assert server.wait() == 0
        assert 1.4 < time.monotonic() - begun < 8


def test_who_asks_twice_does_not_wait_for_load_balancers(tmp_path: Path) -> None:
    with served(tmp_path, "--api-drain-s", "60") as server:
        server.tell(signal.SIGTERM)
        time.sleep(0.3)
        assert status_of(server, "/readyz")[0] == 503
        begun = time.monotonic()
        assert server.end() == 0 and time.monotonic() - begun < 10


def test_metrics_without_authentication_stay_on_loopback() -> None:
    for wrong in ("0.0.0.0:9697", "192.0.2.1:9697", "unix:/run/metrics.sock", "9697"):
        with pytest.raises(SettingsError, match=r"metrics\.listen = "):
            load(Path("/dev/null"), {"metrics.listen": wrong}, {})


def test_an_address_for_metrics_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = served(tmp_path, "--metrics-listen", f"127.0.0.1:{taken.getsockname()[1]}")
        server.launch()
        assert server.wait() != 0
    assert "metrics.listen: '127.0.0.1:" in server.log.read_text()
    with Client(server.url) as client, pytest.raises(Unavailable):
        client.get_json("/healthz")
