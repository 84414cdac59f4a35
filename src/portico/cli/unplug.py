# SPDX-License-Identifier: Apache-2.0
"""`portico port unplug`."""

from __future__ import annotations

import argparse

from portico.cli.context import Context
from portico.cli.find import find_id
from portico.cli.plug import check_unowned, others_profile
from portico.model.load import as_needed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the port."""
    parser.add_argument("port", metavar="PORT", help="name or id")
    parser.add_argument("--force", action="store_true", help="even if somebody else's program has the port")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Unbind the port; the agent of its host removes what it made."""
    port_id = find_id(context.client, as_needed()["port"], arguments.port)
    port = context.client.show("ports", port_id)
    if not arguments.force:
        check_unowned(port, arguments.port)
    context.client.update("ports", port_id, {"binding:host_id": "", "binding:profile": others_profile(port)})
    return 0
