# SPDX-License-Identifier: Apache-2.0
"""A real API on a loopback port, and OpenStack's own command, for the tests of other people's clients."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from portico.client import Client
from portico.errors import Unavailable

START_TIMEOUT_S = 20

Openstack = Callable[[str], Any]


class CommandFailed(Exception):
    """What an `openstack` command wrote to standard error before it ended with another code than 0."""


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an API that asks nobody who they are."""
    folder = tmp_path_factory.mktemp("api")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = ["--state-dir", str(folder), "--run-dir", str(folder), "--listen", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not answers(url):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()


def answers(url: str) -> bool:
    with Client(url) as client, contextlib.suppress(Unavailable):
        client.get_json("/healthz")
        return True
    return False


# Runs the client's own main function for each line of words: starting Python for each takes two seconds.
COMMANDS = """
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


@pytest.fixture(scope="module")
def openstack(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Openstack]:
    """Run a command as a user types it behind `openstack`; returns what `create`, `show` and `list` print."""
    home = tmp_path_factory.mktemp("home")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with (home / "log").open("w") as log, subprocess.Popen(
        [sys.executable, "-c", COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        env=environment, cwd=home,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run(line: str) -> Any:
            words = shlex.split(line)
            prints = not {"create", "list", "show"}.isdisjoint(words)
            form = ["-f", "json"] if prints else []
            stdin.write(json.dumps(["--os-auth-type", "none", "--os-endpoint", endpoint, *words, *form]) + "\n")
            stdin.flush()
            answer = stdout.readline()
            assert answer, (home / "log").read_text()
            code, out, err = json.loads(answer)
            if code != 0:
                raise CommandFailed(err)
            assert prints or out == "", f"{line}: {out}"
            return json.loads(out) if prints else None

        yield run
        stdin.close()
