# SPDX-License-Identifier: Apache-2.0
"""Portico's API as a process of its own, on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from conformance import process
from conformance.keystone import SERVICE, Keystone
from portico.testing.folder import temporary

START_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Server:
    """An API that runs: its URL for everybody, without `/v2.0`, the one for what runs beside it, and its log."""

    url: str
    local_url: str
    log: Path


@contextlib.contextmanager
def running(settings: Mapping[str, str]) -> Iterator[Server]:
    """Yield an API with these settings, by their dotted names, on an SQLite database unless they name another.

    Raises:
        NotReady: it does not answer; the message holds the end of its log.
    """
    with temporary("portico") as folder:
        port = process.free_port()
        socket = f"unix:{folder}/api.sock"
        places = {"state_dir": str(folder), "run_dir": str(folder), "listen": f"127.0.0.1:{port},{socket}"}
        pairs = [word for name, value in {**places, **settings}.items() for word in ("--set", f"{name}={value}")]
        argv = [sys.executable, "-m", "portico.cli", "--config", os.devnull, *pairs, "api"]
        url = f"http://127.0.0.1:{port}"
        with process.stopping(process.start(argv, folder / "log", {}, folder=folder)) as server:
            process.await_answer(server, lambda: _answers(url), START_TIMEOUT_S)
            yield Server(url, socket, folder / "log")


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/healthz").is_success
    return False


def identity_settings(identity: Keystone, folder: Path) -> dict[str, str]:
    """Return the settings with which Portico asks this Keystone who may do what."""
    password_file = folder / "password"
    password_file.write_text(SERVICE.password)
    password_file.chmod(0o600)
    return {
        "auth": "keystone",
        "keystone.auth_url": identity.url,
        "keystone.username": SERVICE.user,
        "keystone.password_file": str(password_file),
        "keystone.project_name": SERVICE.project,
    }
