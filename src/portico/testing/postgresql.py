# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL server of one's own in a temporary directory: on a unix socket, and gone with whoever started it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from portico.testing.folder import Folder
from portico.testing.lab.process import NotReady

# The server refuses to run as root; Debian's package makes this user.
USER = "postgres"
_VERSIONS = Path("/usr/lib/postgresql")
_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For databases that nobody misses after a power cut."""


class PostgresqlServer:
    """A server with the database `portico`, which `url` names.

    Args:
        durable: whether commits survive the machine; a server that is only killed keeps them in any case.
        administrator: the name of a superuser; nothing is made for Portico then.
    """

    def __init__(self, *, durable: bool = False, administrator: str = "") -> None:
        self.programs = _newest()
        self._superuser = administrator or "portico"
        self._held = Folder("postgresql")
        self.folder = self._held.path
        if os.geteuid() == 0:
            shutil.chown(self.folder, USER, USER)
        self._settings: Mapping[str, str] = {} if durable else _QUICK
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "--pgdata", f"{self.folder}/data", "--auth=trust", "--no-sync", f"--username={self._superuser}"
        )
        self.start()
        if not administrator:
            self.create("portico")

    def url(self, database: str = "portico") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://portico@/{database}?host={self.folder}"

    def create(self, database: str, *, template: str = "") -> None:
        """Make a database like `template`; without, an empty one that sorts as people do, for ours must not mind."""
        like = (
            [f"--template={template}"]
            if template
            else ["--template=template0", "--locale-provider=icu", "--icu-locale=en"]
        )
        self._run("createdb", *self._server(), *like, database)

    def _server(self) -> list[str]:
        return ["--host", str(self.folder), f"--username={self._superuser}"]

    def start(self) -> None:
        """Start the server, again if it was stopped or killed.

        Raises:
            NotReady: it does not answer; the message holds its log.
        """
        self._launch()
        for _ in range(1000):
            if self._run("pg_isready", "--quiet", "--host", str(self.folder), check=False) == 0:
                return
            time.sleep(0.02)
            if self._process is not None and self._process.poll() is not None:
                # It ends at once while processes of one that was killed still have the data directory.
                self._launch()
        raise NotReady(f"postgres: does not answer\n{(self.folder / 'log').read_text()[-2000:]}")

    def _launch(self) -> None:
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.folder), **self._settings}
        words = [f"{self.programs}/postgres", "-D", f"{self.folder}/data"]
        words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            # SIGQUIT ends the server with all its processes at once.
            argv = [*_as_user(), "--pdeathsig", "QUIT", *words]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT closes connections first, SIGKILL is a crash."""
        if self._process is None:
            return
        if how == signal.SIGKILL:
            # The others notice, end, and give the data directory free.
            self._process.kill()
        else:
            self._process.send_signal(how)
        self._process.wait(30)
        self._process = None

    def __enter__(self) -> PostgresqlServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop(signal.SIGQUIT)
        self._held.remove()

    def _run(self, program: str, *words: str, check: bool = True) -> int:
        argv = [*_as_user(), f"{self.programs}/{program}", *words]
        found = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, cwd="/")
        if check and found.returncode:
            raise NotReady(f"{program}: {found.stderr.strip()}")
        return found.returncode


def _as_user() -> list[str]:
    root = ["--reuid", USER, "--regid", USER, "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *root]


def _newest() -> Path:
    found: Iterator[Path] = (path / "bin" for path in _VERSIONS.glob("*") if (path / "bin" / "initdb").exists())
    newest = max(found, key=lambda path: int(re.sub(r"\D.*", "", path.parent.name)), default=None)
    if newest is None:
        raise FileNotFoundError(f"{_VERSIONS}: no PostgreSQL server (Debian package postgresql)")
    return newest
