# SPDX-License-Identifier: Apache-2.0
"""The API server, killed in the middle of writes: what it acknowledged is there, and nothing is half made."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from portico.client import Client
from portico.errors import PorticoError, Unavailable
from portico.model.load import load
from portico.store import journal
from portico.store.store import Store

WRITERS = 4
ROUNDS = 3
START_TIMEOUT_S = 20

Row = dict[str, Any]


@contextmanager
def server(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serve on a unix socket until the end of the block or until killed."""
    url = f"unix:{folder}/api.sock"
    options = ["--state-dir", str(folder), "--run-dir", str(folder), "--listen", url, "--log-level", "warning"]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options]
    with (folder / "log").open("a") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not answers(url):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with Client(url) as client, contextlib.suppress(Unavailable):
        client.get_json("/healthz")
        return True
    return False


class Writer(threading.Thread):
    """Creates, changes and deletes ports until the server goes away; notes what was acknowledged."""

    def __init__(self, folder: Path, network: Row) -> None:
        super().__init__()
        self.network = network["id"]
        self.url = f"unix:{folder}/api.sock"
        self.there: dict[str, str] = {}
        self.gone: set[str] = set()
        # What was asked for without an answer may be done or not.
        self.unsure: set[str] = set()

    def run(self) -> None:
        with Client(self.url) as client, contextlib.suppress(PorticoError):
            for turn in range(100_000):
                bulk = [{"network_id": self.network, "name": f"{turn}"} for _ in range(3)]
                for port in client.request("POST", "/v2.0/ports", {"ports": bulk})["ports"]:
                    self.there[port["id"]] = port["name"]
                first, second, _third = list(self.there)[-3:]
                self.unsure = {first, second}
                client.update("ports", first, {"name": "changed"})
                self.there[first] = "changed"
                client.delete("ports", second)
                del self.there[second]
                self.gone.add(second)
                self.unsure = set()


def check_whole(store: Store, writers: list[Writer]) -> None:
    with store.read() as tx:
        ports = {row["id"]: row for row in tx.find("port")}
        for writer in writers:
            for port_id, name in writer.there.items():
                if port_id not in writer.unsure:
                    assert ports[port_id]["name"] == name
            assert not writer.gone & ports.keys()
        # Addresses, group links and counters belong to ports that exist, and each port has its own.
        held = {(row.ip, row.port_id) for row in tx.connection.execute(tx.tables.address.select())}
        assert held == {(item["ip_address"], row["id"]) for row in ports.values() for item in row["fixed_ips"]}
        linked = {row.port_id for row in tx.connection.execute(tx.tables.port_group.select())}
        assert linked == ports.keys()
        assert tx.used("port", "default") == len(ports)
        # A bulk create is there in threes but for what was deleted since, and the journal tells the same story.
        alive: set[str] = set()
        revisions: dict[int, int] = {}
        for entry in journal.since(tx, 0, 10**9):
            if entry.resource == "port":
                (alive.discard if entry.change == "delete" else alive.add)(entry.id)
                revisions[entry.revision] = revisions.get(entry.revision, 0) + (entry.change == "create")
        assert alive == ports.keys() and set(revisions.values()) <= {0, 3}


def test_a_killed_server_has_kept_what_it_acknowledged_and_nothing_in_halves(tmp_path: Path) -> None:
    with server(tmp_path), Client(f"unix:{tmp_path}/api.sock") as client:
        network = client.create("networks", {})
        client.create("subnets", {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/16"})
    done: list[Writer] = []
    store = Store(f"sqlite:///{tmp_path}/portico.db", load())
    for turn in range(ROUNDS):
        writers = [Writer(tmp_path, network) for _ in range(WRITERS)]
        with server(tmp_path) as process:
            for writer in writers:
                writer.start()
            time.sleep(0.5 + 0.37 * turn)
            process.send_signal(signal.SIGKILL)
            process.wait()
            for writer in writers:
                writer.join()
        assert all(writer.there for writer in writers)
        done += writers
        check_whole(store, done)
    with server(tmp_path), Client(f"unix:{tmp_path}/api.sock") as client:
        made = client.create("ports", {"network_id": network["id"]})
        assert client.show("ports", made["id"]) == made
    store.close()
