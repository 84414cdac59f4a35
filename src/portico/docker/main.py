# SPDX-License-Identifier: Apache-2.0
"""`portico docker`: serves the plugin's socket until it is told to stop, and sweeps in the background."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from portico import garbage
from portico.client import Access, Client
from portico.docker import engine, link
from portico.docker.endpoint import PLUG_WITHIN_S, Surroundings
from portico.docker.engine import Inventory
from portico.docker.held import Held
from portico.docker.later import Later
from portico.docker.plugin import Plugin
from portico.docker.record import Records
from portico.docker.server import Server, listen
from portico.docker.sweep import Sweeper
from portico.errors import PorticoError, Unavailable
from portico.settings import Settings

LOG = logging.getLogger(__name__)

REQUEST_WITHIN_S = 10
CONNECT_WITHIN_S = 1
# For the calls that are being carried out: a Join that has just begun waits for the agent, and for the API a little.
STOP_WITHIN_S = PLUG_WITHIN_S + 3
FLUSH_WITHIN_S = 2
# How long after a network was made its name is asked for: the engine keeps its locks while a driver call lasts.
NAME_AFTER_S = 1.0


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Containers keep their links when the plugin stops.

    Raises:
        SettingsError, Conflict: the settings are wrong or the socket cannot be served; one line says why.
        Unavailable: the socket takes no connections any more.
    """
    stopping = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    access = Access.read(settings.api_user, settings.api_password_file, settings.api_ca, settings.api_certificate)
    api = Client(settings.api_url, REQUEST_WITHIN_S, CONNECT_WITHIN_S, access)
    records = Records(api, settings.host)
    held, later = Held(), Later()
    inventory = partial(_inventory, settings.docker.engine_socket)
    upkeep = Upkeep(
        Sweeper(api, settings.host, records, inventory, link.is_here, held),
        settings.docker.sweep_s,
    )
    surroundings = Surroundings(link.is_made_soon, later, held=held)
    plugin = Plugin(api, settings, records, upkeep.network_made, surroundings)
    path = settings.docker.socket
    server = Server(listen(path), plugin.answer, partial(os.kill, os.getpid(), signal.SIGTERM))
    inode = path.stat().st_ino
    server.start()
    upkeep.start()
    garbage.collect_less()
    LOG.info("Docker plugin listens on %s", path)
    signal.sigwait(stopping)
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()
    server.stop(STOP_WITHIN_S)
    later.flush(FLUSH_WITHIN_S)
    if server.failure:
        raise Unavailable(f"docker.socket: {path} takes no connections any more: {server.failure}")


class Upkeep:
    """Sweeps every `sweep_s` seconds, and names networks soon after they were made, in a thread of its own."""

    def __init__(self, sweeper: Sweeper, sweep_s: float) -> None:
        self._sweeper = sweeper
        self._sweep_s = sweep_s
        self._made = threading.Event()

    def start(self) -> None:
        """Begin with a round."""
        threading.Thread(target=self._run, name="upkeep", daemon=True).start()

    def network_made(self) -> None:
        """Ask for the names of networks."""
        self._made.set()

    def _run(self) -> None:
        next_round_s = time.monotonic()
        while True:
            if self._made.wait(max(0.0, next_round_s - time.monotonic())):
                self._made.clear()
                time.sleep(NAME_AFTER_S)
                _try(self._sweeper.name)
            if time.monotonic() >= next_round_s:
                _try(self._sweeper.round)
                _try(self._sweeper.name)
                next_round_s = time.monotonic() + self._sweep_s


def _try(step: Callable[[], object]) -> None:
    """Carry a step out; what fails is tried again in the next round."""
    try:
        step()
    except PorticoError as error:
        LOG.warning("upkeep: %s", error.message)
    except Exception:
        LOG.exception("upkeep")


def _inventory(path: str) -> Inventory | None:
    return engine.ask(path) if path and Path(path).exists() else None
