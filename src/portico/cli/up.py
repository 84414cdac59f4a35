# SPDX-License-Identifier: Apache-2.0
"""`portico up`: API and broker in this process; agent and Docker plugin as children that are kept running."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from portico import settings as settings_module
from portico.cli import log, overrides
from portico.cli.children import Child
from portico.cli.context import Context
from portico.errors import Conflict, PorticoError
from portico.settings import Settings
from portico.settings_identity import SECRET_VARIABLES

LOG = logging.getLogger(__name__)
# The Docker plugin answers calls that wait for the agent, and then writes down what is left: 13 s at most.
STOP_TIMEOUT_S = 14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the settings."""
    overrides.add_arguments(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run everything until SIGTERM or SIGINT."""
    settings = overrides.apply(arguments, context)
    if os.geteuid() != 0:
        raise PorticoError("up: must run as root: it changes the network of this host (`sudo portico up`)")
    log.configure(settings.log, "up")
    with _only_one(settings.state_dir):
        _serve(settings)
    return 0


def _serve(settings: Settings) -> None:
    from portico.api.server import serve

    children = [_child(name, settings) for name in _wanted(settings)]
    for child in children:
        child.start()

    def ask_to_stop() -> None:
        for child in children:
            child.ask_to_stop()

    try:
        # The children go first, so that a request of theirs that is under way still gets its answer.
        serve(settings, ending=ask_to_stop)
    finally:
        ask_to_stop()
        for child in children:
            child.stop(STOP_TIMEOUT_S)


def _wanted(settings: Settings) -> Sequence[str]:
    return ("agent", "docker") if settings.docker.enabled else ("agent",)


def _child(name: str, settings: Settings) -> Child:
    """Return a child that has exactly these settings, whatever the file says when it is started again.

    It has no business with what the API is in Keystone.
    """
    own = {variable: value for variable, value in os.environ.items() if variable not in SECRET_VARIABLES}
    environment = {**own, **settings_module.as_environment(settings)}
    return Child(name, [sys.executable, "-m", "portico.cli", "--config", os.devnull, name], environment)


@contextmanager
def _only_one(state_dir: Path) -> Iterator[None]:
    """Hold the state directory for this process.

    Raises:
        Conflict: another `portico up` holds it.
        PorticoError: it cannot be made.
    """
    path = state_dir / "up.lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+")
    except OSError as error:
        raise PorticoError(f"up: state_dir {state_dir}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise Conflict(f"up: process {file.read().strip()} already runs with state_dir {state_dir}") from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
