# SPDX-License-Identifier: Apache-2.0
"""A running dnsmasq: started in a namespace, found again, told to read its files, ended."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from portico.agent import dnsmasq, kernel

END_MAX_S = 2.0
START_MAX_S = 10.0
_SBIN = "/usr/sbin:/sbin"
_CONFIG = "config-"
_ARGUMENT = "--conf-file="


class Server:
    """A dnsmasq process, held by a descriptor, so that its number cannot come to mean another process."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)

    @classmethod
    def find(cls, netns: Path, folder: Path) -> Server | None:
        """Return the server whose pid file is in `folder`, if it runs in the namespace `netns`."""
        try:
            server = cls(int((folder / dnsmasq.PID).read_text()))
        except (OSError, ValueError):
            return None
        with suppress(OSError):
            if Path(f"/proc/{server.pid}/ns/net").stat().st_ino == netns.stat().st_ino:
                return server
        server.close()
        return None

    @classmethod
    def all_of(cls, folder: Path) -> list[Server]:
        """Return every server that was started on a configuration in `folder`, in whatever namespace it is.

        One whose namespace lost its name, or whose pid file is gone, is found by its arguments alone. `folder` must be
        the same one to the process: another mount namespace may have another of that name.
        """
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            with suppress(OSError):
                server = cls(int(entry.name))
                if server._has(folder):  # asked after the process is held, so that it is of the one that is ended
                    found.append(server)
                else:
                    server.close()
        return found

    def _has(self, folder: Path) -> bool:
        start = f"{_ARGUMENT}{folder}/{_CONFIG}".encode()
        with suppress(OSError):
            program, *arguments = Path(f"/proc/{self.pid}/cmdline").read_bytes().split(b"\0")
            if program.endswith(b"dnsmasq") and any(argument.startswith(start) for argument in arguments):
                return Path(f"/proc/{self.pid}/root{folder}").samefile(folder)
        return False

    @staticmethod
    def start(netns: int, folder: Path, config: str) -> None:
        """Start a server in the namespace `netns`; it is ready when this returns.

        The configuration's file is named after its text, so that a server tells by its arguments which one it has.

        Raises:
            OSError: dnsmasq is not there, or refused; with its own words.
        """
        path = folder / f"{_CONFIG}{hashlib.sha256(config.encode()).hexdigest()[:16]}"
        for old in folder.glob(f"{_CONFIG}*"):
            old.unlink()
        path.write_text(config)
        argv = [_program(), f"{_ARGUMENT}{path}"]

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_MAX_S, check=False
            )

        try:
            done = kernel.within(netns, run)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(errno.ETIMEDOUT, f"dnsmasq has not started in {START_MAX_S:g} s") from error
        if done.returncode != 0:
            raise OSError(done.returncode, done.stderr.strip() or f"dnsmasq ended with {done.returncode}")

    def config(self) -> str:
        """Return the configuration that the process has."""
        with suppress(OSError):
            for argument in Path(f"/proc/{self.pid}/cmdline").read_text().split("\0"):
                if argument.startswith(_ARGUMENT):
                    return Path(argument.removeprefix(_ARGUMENT)).read_text()
        return ""

    def reload(self) -> None:
        """Have the process read its hosts, names and options again."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGHUP)

    def end(self) -> None:
        """End the process and wait for that."""
        for number, wait_s in ((signal.SIGTERM, END_MAX_S), (signal.SIGKILL, END_MAX_S)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            if poll.poll(wait_s * 1000):
                break
        self.close()

    def fileno(self) -> int:
        """Return the descriptor; readable when the process has ended."""
        return self._pidfd

    def close(self) -> None:
        """Let go of the process."""
        os.close(self._pidfd)


def check_options(text: str) -> None:
    """Have dnsmasq judge the text of an options file: of one that it reads on SIGHUP it only logs what is wrong.

    Raises:
        OSError: it would not take it; with the line and its words.
    """
    lines = text.splitlines()
    argv = [_program(), "--test", f"{_ARGUMENT}-"]
    given = "".join(f"dhcp-option={line}\n" for line in lines)
    try:
        done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=START_MAX_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(errno.ETIMEDOUT, f"dnsmasq has not judged in {START_MAX_S:g} s") from error
    if done.returncode != 0:
        words = done.stderr.strip()
        at = re.search(r" at line (\d+)", words)
        guilty = f" ({lines[int(at[1]) - 1]})" if at and 0 < int(at[1]) <= len(lines) else ""
        raise OSError(errno.EINVAL, f"{words}{guilty}")


def _program() -> str:
    program = shutil.which("dnsmasq", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        raise FileNotFoundError(errno.ENOENT, "dnsmasq is not installed (package dnsmasq-base)")
    return program
