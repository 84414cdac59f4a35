# SPDX-License-Identifier: Apache-2.0
"""`portico api` as a process of its own, on a unix socket, with what it needs in one folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from portico.client import Client
from portico.errors import Unavailable
from portico.testing.lab.process import wait_until

START_TIMEOUT_S = 30


class ApiProcess:
    """An API server on a database that others may share; entered, it serves until the end of the block.

    Args:
        folder: for its socket and its log.
        database: the URL of its database.
        settings: options besides, as on the command line.
    """

    def __init__(self, folder: Path, database: str, *settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = f"unix:{folder}/api.sock"
        self.log = folder / "log"
        options = ["--state-dir", str(folder), "--run-dir", str(folder), "--listen", self.url, "--database", database]
        self._argv = [sys.executable, "-m", "portico.cli", "--config", os.devnull, "api", *options, *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again if it was ended, and wait until it answers.

        Raises:
            NotReady: it does not; the message holds its log.
        """
        self.launch()
        wait_until("the API answers", self._answers, START_TIMEOUT_S, self.log.read_text)

    def launch(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, stderr=log)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code, which is negative if the signal killed it."""
        if self._process is None:
            return 0
        self._process.send_signal(how)
        return self.wait()

    def tell(self, how: signal.Signals) -> None:
        """Send it a signal and do not wait."""
        if self._process is not None:
            self._process.send_signal(how)

    @property
    def pid(self) -> int:
        """Its number, while it runs."""
        assert self._process is not None
        return self._process.pid

    def wait(self) -> int:
        """Wait until it ends by itself, and return its exit code."""
        if self._process is None:
            return 0
        code = self._process.wait(START_TIMEOUT_S)
        self._process = None
        return code

    def _answers(self) -> bool:
        with Client(self.url) as client, contextlib.suppress(Unavailable):
            client.get_json("/healthz")
            return True
        return False

    def __enter__(self) -> ApiProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(signal.SIGKILL)
