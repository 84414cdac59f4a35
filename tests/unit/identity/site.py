# SPDX-License-Identifier: Apache-2.0
"""A whole API server in a thread of this process, with real sockets, users and certificates."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bcrypt

from portico.api.server import Server, listen, make_api, make_authenticator, make_config
from portico.api.tls import Tls
from portico.settings import load

DEADLINE_S = 20
# The least that bcrypt has: tests need not wait.
COST = 4


class InThread(Server):
    """Takes no signals: that is the main thread's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True)
class Site:
    """Where a server listens."""

    server: Server
    ports: tuple[int, ...]
    unix: str

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.ports[0]}"


@contextmanager
def serving(folder: Path, addresses: tuple[str, ...] = ("127.0.0.1:0",), **settings: str) -> Iterator[Site]:
    """Serve on TCP addresses and a unix socket, with settings by their names with `__` for dots."""
    given = {name.replace("__", "."): value for name, value in settings.items()}
    places = {"state_dir": str(folder), "run_dir": str(folder), "listen": f"{','.join(addresses)},unix:{folder}/s"}
    made = load(Path("/dev/null"), {**places, **given}, {})
    authenticator = make_authenticator(made)
    tls = Tls(made.tls) if made.tls.certificate else None
    api = make_api(made)
    sockets = listen(made.listen)
    ports = tuple(sock.getsockname()[1] for sock in sockets[:-1])
    config = make_config(made, api, authenticator)
    server = InThread(config, api.ending, tls=tls)
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield Site(server, ports, f"unix:{folder}/s")
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        api.service.store.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.01)


def line_of(name: str, password: str) -> str:
    """Return a line as `htpasswd -B` makes it; it writes 2y where others write 2b, which means the same."""
    # One salt for all: tests are named by these lines, and are the same in every process.
    hashed = bcrypt.hashpw(password.encode(), b"$2b$%02d$" % COST + b"portico.portico.portie").decode()
    return f"{name}:{hashed.replace('$2b$', '$2y$')}\n"
