# SPDX-License-Identifier: Apache-2.0
"""`portico db backup` beside an API server that is written to, and the way back to the copy."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from portico.client import Client
from portico.errors import RevisionGone
from portico.testing.api_process import ApiProcess
from portico.testing.lab.process import wait_until

BULK = 3
COPIES = 3


def test_a_copy_taken_while_clients_write_is_one_state_that_a_server_goes_on_with(tmp_path: Path) -> None:
    path, done, made = tmp_path / "portico.db", threading.Event(), list[str]()
    api = ApiProcess(tmp_path / "api", f"sqlite:///{path}")

    def write() -> None:
        with Client(api.url) as client:
            while not done.is_set():
                body = {"networks": [{"name": str(len(made))}] * BULK}
                made.append(client.request("POST", "/v2.0/networks", body)["networks"][0]["name"])

    copies, before = [tmp_path / f"{number}.db" for number in range(COPIES)], []
    with api:
        writer = threading.Thread(target=write)
        writer.start()
        for copy in copies:
            at_least = len(made) + 1
            wait_until("a write", lambda: len(made) >= at_least, 20)  # noqa: B023 (called before the next turn)
            before.append(len(made))
            backup(path, copy)
        done.set()
        writer.join()
        with Client(api.url) as client:
            newest = max(row["revision_number"] for row in client.list("networks"))
        api.end()
    for copy, acknowledged in zip(copies, before, strict=True):
        for old in tmp_path.glob("portico.db*"):
            old.unlink()
        copy.rename(path)
        with api, Client(api.url) as client:
            counted = Counter(row["name"] for row in client.list("networks"))
            assert set(counted.values()) == {BULK} and len(counted) >= acknowledged
            with pytest.raises(RevisionGone):
                next(client.stream("/portico/v1/watch", since=newest + 1))
            assert client.create("networks", {"name": "new"})["name"] == "new"


def backup(path: Path, copy: Path) -> None:
    argv = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "db", "backup", str(copy)]
    subprocess.run([*argv, "--database", f"sqlite:///{path}"], check=True, capture_output=True, timeout=60)
