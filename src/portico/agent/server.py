# SPDX-License-Identifier: Apache-2.0
"""A running dnsmasq: started in a namespace, found again, told to read its files, ended."""

from __future__ import annotations

import errno
import hashlib
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from portico.agent import kernel
from portico.agent.daemon import Daemon, program

START_MAX_S = 10.0
_CONFIG = "config-"
_ARGUMENT = "--conf-file="


class Server(Daemon):
    """A dnsmasq process."""

    @classmethod
    def all_of(cls, folder: Path) -> list[Server]:
        """Return every server that was started on a configuration in `folder`, in whatever namespace it is.

        One whose namespace lost its name, or whose pid file is gone, is found by its arguments alone.
        """
        start = f"{_ARGUMENT}{folder}/{_CONFIG}"

        def has_folder(server: Server) -> bool:
            name, *arguments = server.arguments() or [""]
            is_one = name.endswith("dnsmasq") and any(argument.startswith(start) for argument in arguments)
            return is_one and server.sees(folder)

        return cls.all(has_folder)

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
            for argument in self.arguments():
                if argument.startswith(_ARGUMENT):
                    return Path(argument.removeprefix(_ARGUMENT)).read_text()
        return ""

    def reload(self) -> None:
        """Have the process read its hosts, names and options again."""
        self.send(signal.SIGHUP)


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
    found = program("dnsmasq")
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "dnsmasq is not installed (package dnsmasq-base)")
    return found
