# SPDX-License-Identifier: Apache-2.0
"""A real API on a loopback port, and OpenStack's own command, for the tests of other people's clients."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

API_ADDRESS = "http://127.0.0.1:9696"
"""Where a Portico is that nobody told otherwise, and so the documents' address of it."""
TIMEOUT_S = 60

Openstack = Callable[[str], Any]


class CommandFailed(Exception):
    """What an `openstack` command wrote to standard error before it ended with another code than 0."""


@contextmanager
def api(folder: Path, *options: str) -> Iterator[str]:
    """Run an API with these options of the command line; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    places = ["--state-dir", str(folder), "--run-dir", str(folder), "--listen", address]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *places, *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + TIMEOUT_S
            while not answers(f"http://{address}"):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield f"http://{address}"
        finally:
            process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=TIMEOUT_S).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an API that asks nobody who they are."""
    with api(tmp_path_factory.mktemp("api")) as url:
        yield url


def names(rows: list[dict[str, Any]]) -> list[str]:
    """Return the names in the rows of a list, in order."""
    return sorted(row["Name"] for row in rows)


# Runs the client's own main function for each line of words: starting Python for each takes two seconds.
LOOP = """
import contextlib, io, json, sys
from openstackclient.shell import main

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(json.loads(line))
        except SystemExit as leaving:
            code = leaving.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Commands:
    """Runs lines as a user types them behind `openstack`, in one process, with options before each."""

    def __init__(self, home: Path, *options: str) -> None:
        self._options = options
        self._log = home / "openstack.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={"PATH": os.environ["PATH"], "HOME": str(home)}, cwd=home,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.communicate()

    def __call__(self, line: str) -> Any:
        """Run a command; returns what it prints, if it is one of those that do.

        Raises:
            CommandFailed: its code is not 0.
        """
        words = shlex.split(line)
        prints = not {"create", "list", "show", "route", "gateway"}.isdisjoint(words)
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([*self._options, *words, *(["-f", "json"] if prints else [])]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self._log.read_text()
        code, out, err = json.loads(answer)
        if code != 0:
            raise CommandFailed(f"openstack {line}: {err or out}")
        assert prints or out == "", f"openstack {line}: {out}"
        return json.loads(out) if prints else None


@pytest.fixture(scope="module")
def openstack(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Openstack]:
    """Run commands against an API that asks nobody who they are."""
    home = tmp_path_factory.mktemp("home")
    with Commands(home, "--os-auth-type", "none", "--os-endpoint", endpoint) as run:
        yield run
