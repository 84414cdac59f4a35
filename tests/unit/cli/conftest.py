# SPDX-License-Identifier: Apache-2.0
"""A real API in a process of its own, and the commands against it in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from portico.cli.main import main
from portico.client import Client
from portico.errors import Unavailable


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Portico = Callable[..., Done]


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("api")
    url = f"unix:{directory}/api.sock"
    options = ["--state-dir", str(directory), "--run-dir", str(directory), "--listen", url, "--log-level", "warning"]
    command = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options]
    with (directory / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        _wait_until_it_answers(url, directory / "log", process)
        yield url
        process.terminate()


def _wait_until_it_answers(url: str, log: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with Client(url) as client:
                client.get_json("/healthz")
        except Unavailable:
            time.sleep(0.05)
        else:
            return
    process.kill()
    raise AssertionError(log.read_text())


@pytest.fixture
def portico(api_url: str, capsys: pytest.CaptureFixture[str]) -> Portico:
    def run(*words: str) -> Done:
        capsys.readouterr()
        try:
            code = main(["--config", os.devnull, "--url", api_url, *words])
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        text = capsys.readouterr()
        return Done(code, text.out, text.err)

    return run


@pytest.fixture
def network(portico: Portico) -> Iterator[str]:
    """The name of a network with an IPv4 subnet `<name>4`, gone after the test with all that is on it."""
    name = f"net{time.monotonic_ns()}"
    portico("network", "create", name, "-f", "json").json  # noqa: B018 (asserts)
    portico("subnet", "create", "--network", name, "--name", f"{name}4", "10.1.0.0/24", "-f", "json").json  # noqa: B018
    yield name
    for port in portico("port", "list", "--network", name, "-f", "json").json:
        if port["device_owner"] != "network:dhcp":
            portico("port", "delete", port["id"])
    assert portico("network", "delete", name).err == ""
