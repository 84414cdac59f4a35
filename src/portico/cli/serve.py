# SPDX-License-Identifier: Apache-2.0
"""`portico api`, `portico agent` and `portico docker`: each of the processes alone."""

from __future__ import annotations

import argparse
import os
import sys

from portico.cli import overrides
from portico.cli.children import PARENT_VARIABLE, die_with_parent
from portico.cli.context import Context, access_of
from portico.cli.place import place_of
from portico.errors import PorticoError
from portico.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the settings."""
    if parser.get_default("command") == "agent":
        parser.add_argument("--purge", action="store_true", help="remove everything of Portico from this host, and end")
    overrides.add_arguments(parser)


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Run the process until it gets SIGTERM or SIGINT."""
    from portico.cli import log

    if parent := os.environ.get(PARENT_VARIABLE):
        die_with_parent(int(parent))
    settings = overrides.apply(arguments, context)
    process = arguments.command
    if process != "api" and os.geteuid() != 0:
        raise PorticoError(f"{process}: must run as root: it changes the network of this host")
    if process == "agent" and arguments.purge:
        return _purge(settings)
    log.configure(settings.log, process)
    return START[process](settings)


def _api(settings: Settings) -> int:
    from portico.api.server import serve

    serve(settings)
    return 0


def _agent(settings: Settings) -> int:
    from portico.agent.main import run

    told = {name: getattr(settings.agent, name) for name in ("availability_zone", "address_v4", "address_v6")}
    carried = {name: getattr(settings.agent, name) for name in ("bandwidth_kbps", "packet_rate_kpps")}
    told |= {name: str(value) for name, value in carried.items() if value}
    told["physical_networks"] = " ".join(f"{name}:{link}" for name, link in settings.agent.physical_networks.items())
    access = access_of(settings)
    return run(place_of(settings), host=settings.host, told=told, api_url=settings.api_url, access=access)


def _purge(settings: Settings) -> int:
    from portico.agent.purge import purge

    for removed in purge(place_of(settings)):
        sys.stdout.write(f"removed {removed}\n")
    return 0


def _docker(settings: Settings) -> int:
    from portico.docker.main import run

    run(settings)
    return 0


START = {"api": _api, "agent": _agent, "docker": _docker}
