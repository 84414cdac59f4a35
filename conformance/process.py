# SPDX-License-Identifier: Apache-2.0
"""Programs that run beside the tests and end with them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from portico.testing.lab.process import NotReady, Process, wait_until

STOP_TIMEOUT_S = 20


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def start(argv: Sequence[str], log: Path, environment: Mapping[str, str], *, folder: Path) -> Process:
    """Start a server that gets SIGTERM when this process ends, however that ends (setpriv(1))."""
    with log.open("ab") as out:
        popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=folder,
            env={**os.environ, **environment},
        )
    return Process(argv, popen, log)


def await_answer(process: Process, answers: Callable[[], bool], timeout_s: float) -> None:
    """Wait until a server answers.

    Raises:
        NotReady: it ended or did not answer in time; the message holds the end of its log.
    """

    def ready() -> bool:
        if not process.alive:
            raise NotReady(f"{process.argv[0]}: ended with exit code {process.code}\n{process.tail()}")
        return answers()

    wait_until(f"{process.argv[0]}: an answer", ready, timeout_s, process.tail)


@contextlib.contextmanager
def stopping(process: Process) -> Iterator[Process]:
    """Yield the process, and stop it at the end."""
    try:
        yield process
    finally:
        process.stop(STOP_TIMEOUT_S)


def run(argv: Sequence[str], environment: Mapping[str, str], *, folder: Path, timeout_s: float) -> str:
    """Run a program to its end, and return what it wrote to standard output.

    Raises:
        NotReady: its exit code is not 0; the message holds what it wrote.
    """
    found = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=timeout_s,
    )
    if found.returncode:
        raise NotReady(f"{' '.join(argv)}: exit code {found.returncode}\n{found.stdout}{found.stderr}".rstrip())
    return found.stdout
