# SPDX-License-Identifier: Apache-2.0
"""A host of a lab: namespaces of its own, and ways to run things in them."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, Any, TypeVar

from portico.testing.lab import namespaces as ns
from portico.testing.lab.process import PATIENCE, CommandFailed, NotReady, Process, Result
from portico.testing.lab.running import HOLDER

T = TypeVar("T")


class _Thread:
    """A thread that has entered namespaces and runs callables there, one after another."""

    def __init__(self, name: str, pidfd: int, flags: int) -> None:
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        entered: Future[None] = Future()
        self._thread = threading.Thread(target=self._serve, args=(entered, pidfd, flags), name=name, daemon=True)
        self._thread.start()
        entered.result()

    def _serve(self, entered: Future[None], pidfd: int, flags: int) -> None:
        try:
            ns.unshare(ns.CLONE_FS)  # a mount namespace cannot be entered while the working directory is shared
            ns.setns(pidfd, flags)
        except OSError as error:
            entered.set_exception(error)
            return
        entered.set_result(None)
        while job := self._jobs.get():
            future, work = job
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 (belongs to the caller, whatever it is)
                future.set_exception(error)

    def call(self, work: Callable[[], T]) -> T:
        future: Future[T] = Future()
        self._jobs.put((future, work))
        return future.result()

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()


class LabHost:
    """A machine of a lab: network, mount, process, UTS and IPC namespaces of its own.

    It sees the file system of the real machine, but /run (with /run/netns and /run/docker/plugins), /var/lib/portico,
    /var/lib/docker and /var/lib/containerd are empty tmpfs, what it writes elsewhere in /etc and /var/lib it keeps for
    itself, and /proc, /sys and the host name are its own. It has a loopback link and, if the lab gives it one, an
    underlay link `eth0`. Everything in it ends with its holder process, and that with the process which made the lab.
    """

    def __init__(self, lab: str, name: str) -> None:
        self.lab = lab
        self.name = name
        self._started: list[subprocess.Popen[Any]] = []
        self._holder = subprocess.Popen(
            [sys.executable, "-I", "-S", str(HOLDER), lab, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
        )
        self.pid = self._read_pid()
        self._pidfd = os.pidfd_open(self.pid)
        inside = ns.CLONE_NEWNET | ns.CLONE_NEWNS | ns.CLONE_NEWUTS | ns.CLONE_NEWIPC
        self._spawner = _Thread(f"{name}-spawner", self._pidfd, inside | ns.CLONE_NEWPID)
        self._caller = _Thread(f"{name}-caller", self._pidfd, ns.CLONE_NEWNET | ns.CLONE_NEWNS)
        self.run(["ip", "link", "set", "lo", "up"])

    def _read_pid(self) -> int:
        assert self._holder.stdout and self._holder.stderr
        line = self._holder.stdout.readline()
        self._holder.stdout.close()
        if not line:
            raise NotReady(f"lab host {self.name}: {self._holder.stderr.read().decode().strip()}")
        self._holder.stderr.close()
        return int(line)

    def popen(self, argv: Sequence[str | os.PathLike[str]], **options: Any) -> subprocess.Popen[Any]:
        """Start `argv` on the host; `options` are those of `subprocess.Popen`. Standard input is empty by default."""
        options = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": "/", **options}
        popen: subprocess.Popen[Any] = self._spawner.call(lambda: subprocess.Popen(list(argv), **options))
        self._started = [each for each in self._started if each.returncode is None]
        self._started.append(popen)
        return popen

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        pass_fds: Sequence[int] = (),
    ) -> Result:
        """Run `argv` on the host to its end.

        Args:
            env: is added to the environment.
            check: raise for an exit code other than 0.
            pass_fds: open files that the command inherits.

        Raises:
            CommandFailed: the command failed and `check` is set, or it took longer than `timeout_s` and was killed.
        """
        started = time.monotonic()
        popen = self.popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            text=True,
            errors="replace",
            pass_fds=pass_fds,
        )
        why = ""
        try:
            out, err = popen.communicate(stdin, timeout_s * PATIENCE)
        except subprocess.TimeoutExpired:
            why = f"not ended after {timeout_s:g} s"
            _kill_session(popen)
            out, err = popen.communicate()
        seconds = time.monotonic() - started
        result = Result(tuple(map(str, argv)), popen.returncode, out, err, seconds)
        if why or (check and not result.ok):
            raise CommandFailed(self.name, result, why)
        return result

    def spawn(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        log: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start `argv` on the host and let it run; what it writes is appended to /run/lab/log/NAME of the host.

        Args:
            log: NAME of the log, by default the program's name.
            env: is added to the environment.
        """
        name = log or Path(argv[0]).name
        path = self.path(f"/run/lab/log/{name}")
        with path.open("ab") as file:
            output: dict[str, IO[bytes]] = {"stdout": file, "stderr": file}
            popen = self.popen(argv, env={**os.environ, **(env or {})}, **output)
        return Process([str(word) for word in argv], popen, path)

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in this process, in a thread that is in the host's network and mount namespaces.

        Sockets and files that it opens are the host's. One call at a time.
        """
        return self._caller.call(work)

    def path(self, path: str) -> Path:
        """Return where this process finds the host's absolute `path`, /run and all."""
        return Path(f"/proc/{self.pid}/root") / path.lstrip("/")

    def keep(self) -> None:
        """Let the host outlive this process. SIGTERM to `pid` then ends it."""
        assert self._holder.stdin
        self._holder.stdin.write(b"keep\n")
        self._holder.stdin.close()

    def close(self) -> None:
        """End the host and everything in it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        for popen in self._started:
            popen.wait()
        assert self._holder.stdin
        self._holder.wait()
        self._holder.stdin.close()
        self._spawner.close()
        self._caller.close()
        os.close(self._pidfd)


def _kill_session(popen: subprocess.Popen[Any]) -> None:
    """Kill a command that took too long together with what it started, which may hold its output open."""
    try:
        os.killpg(popen.pid, signal.SIGKILL)
    except ProcessLookupError:
        popen.kill()
