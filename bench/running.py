# SPDX-License-Identifier: Apache-2.0
"""Portico running on a lab host, to be measured."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.load import Connect, exchange, request
from portico.testing.lab import Lab, LabHost

PORTICO = str(Path(sys.executable).with_name("portico"))
API_SOCKET = "/run/portico/api.sock"


class Target:
    """An API to be measured.

    Args:
        connect: opens a connection to it.
        token: of who asks; empty for a connection that is trusted.
    """

    def __init__(self, connect: Connect, token: str = "") -> None:
        self.connect = connect
        self._token = token

    def request(self, method: str, path: str, body: object = None) -> bytes:
        """Return a request as bytes."""
        return request(method, path, body, self._token)

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the decoded answer of one request.

        Raises:
            RuntimeError: it was refused.
        """
        connection = self.connect()
        try:
            status, raw = exchange(connection, self.request(method, path, body))
        finally:
            connection.close()
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {raw.decode()}")
        return msgspec.json.decode(raw) if raw else None

    def network(self, cidr: str, **attributes: object) -> str:
        """Make a network with one subnet and return its id."""
        network_id: str = self.call("POST", "/v2.0/networks", {"network": {"name": "bench"}})["network"]["id"]
        subnet = {"network_id": network_id, "cidr": cidr, "ip_version": 4, **attributes}
        self.call("POST", "/v2.0/subnets", {"subnet": subnet})
        return network_id


class Site(Target):
    """A lab host with `portico up`. `started_s` is how long it took until the API answered."""

    def __init__(self, host: LabHost, **settings: str) -> None:
        super().__init__(connector(host.path(API_SOCKET)))
        self.host = host
        self._settings = settings
        start = time.perf_counter()
        self.up = host.spawn([PORTICO, "up"], log="up", env=settings)
        wait_for(self.connect, self.up.tail)
        self.started_s = time.perf_counter() - start

    def another_api(self) -> Connect:
        """Start a second API server on the database, and return what connects to it."""
        folder = "/run/portico-2"
        places = {"STATE_DIR": folder, "RUN_DIR": folder, "LISTEN": f"unix:{folder}/api.sock"}
        env = {**self._settings, **{f"PORTICO_{name}": value for name, value in places.items()}}
        process = self.host.spawn([PORTICO, "api"], log="api-2", env=env)
        connect = connector(self.host.path(f"{folder}/api.sock"))
        wait_for(connect, process.tail)
        return connect

    def memory_mb(self) -> float:
        """Return the resident memory of all processes of Portico on the host, dnsmasq included, in MB (10^6 bytes)."""
        listing = self.host.run(["/bin/ps", "axo", "rss=,args="], timeout_s=10).out
        lines = [line.split(None, 1) for line in listing.splitlines()]
        ours = [int(rss) for rss, words in lines if "portico" in words and "holder.py" not in words]
        return sum(ours) * 1024 / 1e6  # ps(1) counts in KiB


def wait_for(connect: Connect, log: Callable[[], str]) -> None:
    """Wait until an API answers.

    Raises:
        RuntimeError: it does not; with what its log says.
    """
    for _ in range(2000):
        with contextlib.suppress(OSError):
            connection = connect()
            status, _ = exchange(connection, request("GET", "/healthz"))
            connection.close()
            if status == 200:
                return
        time.sleep(0.005)
    raise RuntimeError(f"Portico does not answer: {log()}")


def connector(path: Path) -> Connect:
    """Return what connects to a unix socket."""

    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        return connection

    return connect


@contextlib.contextmanager
def site(**settings: str) -> Iterator[Site]:
    """Yield Portico on a fresh lab host, with `settings` in its environment."""
    with Lab() as lab:
        yield Site(lab.host("h1"), **settings)
