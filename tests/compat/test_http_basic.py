# SPDX-License-Identifier: Apache-2.0
"""OpenStack's command with a user and a password, over TLS, against the API as a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from portico.client import Access, Client
from portico.errors import Unavailable
from portico.testing.authority import Authority

TIMEOUT_S = 60
USERS = {"alice": "open sesame", "root": "a-secret-of-roots"}


@dataclass(frozen=True)
class Server:
    """An API with users and a certificate."""

    url: str
    port: int
    folder: Path
    authority: Authority
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("api")
    authority = Authority(tmp_path_factory.mktemp("authority"))
    for file, name in zip(authority.issue("localhost"), ("certificate", "key"), strict=True):
        shutil.copy(file, folder / name)
    lines = [f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}\n" for name, word in USERS.items()]
    (folder / "users").write_text("".join(lines))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    settings = {
        "state-dir": folder,
        "run-dir": folder,
        "listen": f"127.0.0.1:{port}",
        "auth": "http_basic",
        "http-basic-file": folder / "users",
        "http-basic-admins": "root",
        "tls-certificate": folder / "certificate",
        "tls-key": folder / "key",
        "log-level": "debug",
    }
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        made = Server(f"https://localhost:{port}", port, folder, authority, process)
        try:
            wait_until(lambda: process.poll() is not None or answers(made))
            assert process.poll() is None, made.log
            yield made
        finally:
            process.terminate()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.05)


def answers(server: Server) -> bool:
    access = Access("root", USERS["root"], str(server.authority.certificate))
    with Client(server.url, access=access) as client, contextlib.suppress(Unavailable):
        client.list("networks")
        return True
    return False


def openstack(server: Server, user: str, password: str, *words: str) -> subprocess.CompletedProcess[str]:
    given = {
        "OS_AUTH_TYPE": "http_basic",
        "OS_ENDPOINT": server.url,
        "OS_USERNAME": user,
        "OS_PASSWORD": password,
        "OS_CACERT": str(server.authority.certificate),
    }
    command = str(Path(sys.executable).parent / "openstack")
    environment = {"PATH": os.environ["PATH"], "HOME": str(server.folder), **given}
    return subprocess.run([command, *words], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)


def test_a_user_works_in_the_project_of_its_name(server: Server) -> None:
    made = openstack(server, "alice", USERS["alice"], "network", "create", "blue", "-f", "value", "-c", "project_id")
    assert (made.returncode, made.stdout) == (0, "alice\n"), made.stderr


def test_a_wrong_password_is_told_as_such(server: Server) -> None:
    refused = openstack(server, "alice", "wrong", "network", "list")
    assert refused.returncode == 1
    assert "401" in refused.stderr, refused.stderr


def test_no_password_is_in_the_log_or_the_list_of_processes(server: Server) -> None:
    assert answers(server)
    line = Path(f"/proc/{server.process.pid}/cmdline").read_text()
    for secret in (*USERS.values(), "$2b$"):
        assert secret not in server.log + line


def shown(server: Server) -> str:
    """Return the number of the certificate that new connections are shown."""
    context = ssl.create_default_context(cafile=server.authority.certificate)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as connection,
    ):
        return str((connection.getpeercert() or {})["serialNumber"])


def test_sighup_has_the_certificate_read_anew(server: Server) -> None:
    before = shown(server)
    for made, name in zip(server.authority.issue("localhost", "second"), ("certificate", "key"), strict=True):
        shutil.copy(made, server.folder / name)
    assert shown(server) == before
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: shown(server) != before)
    assert server.process.poll() is None and answers(server)
