# SPDX-License-Identifier: Apache-2.0
"""Child processes that are started again when they end, and that end with their parent."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

LOG = logging.getLogger(__name__)
PARENT_VARIABLE = "PORTICO_STARTED_BY"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A child that ran this long is well; when it ends, the pauses begin again with the first.
WELL_AFTER_S = 60.0


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGTERM when the parent process ends, however it ends (PR_SET_PDEATHSIG, prctl(2)).

    The signal comes when the *thread* that started us ends, so `Child` starts processes from a thread that lives as
    long as the process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        # It ended before the kernel knew of our wish.
        os.kill(os.getpid(), signal.SIGTERM)


class Child:
    """A process that is kept running.

    Args:
        name: for the log.
        argv: the command.
        environment: all of its environment but for the variable by which it knows its parent.
    """

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._argv = list(argv)
        self._environment = {**environment, PARENT_VARIABLE: str(os.getpid())}
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        # Reentrant: a signal's handler may stop us while the same thread does.
        self._lock = threading.RLock()
        self._thread = threading.Thread(target=self._keep_running, name=f"keeps {name}", daemon=True)

    def start(self) -> None:
        """Start it, now and whenever it ends, until `stop`."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End it: SIGTERM, and SIGKILL when it still runs after `timeout_s`."""
        self.ask_to_stop()
        self._thread.join(timeout_s)
        if self._thread.is_alive() and self._process:
            LOG.warning("%s did not end within %g s and is killed", self.name, timeout_s)
            self._process.kill()
            self._thread.join()

    def ask_to_stop(self) -> None:
        """Send SIGTERM and do not wait."""
        with self._lock:
            self._stopping.set()
            if self._process:
                self._process.terminate()

    def _keep_running(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._run_once()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > WELL_AFTER_S:
                pause_s = FIRST_PAUSE_S
            LOG.error("%s ended (%s); it starts again in %g s", self.name, _how(code), pause_s)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _run_once(self) -> int | None:
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                self._process = subprocess.Popen(self._argv, env=self._environment, stdin=subprocess.DEVNULL)
            except OSError:
                LOG.exception("%s cannot be started", self.name)
                return None
        return self._process.wait()


def _how(code: int | None) -> str:
    if code is None:
        return "not started"
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
