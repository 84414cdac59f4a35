# SPDX-License-Identifier: Apache-2.0
"""`portico backend`: what realises networks here, on which hosts, and how it fares."""

from __future__ import annotations

import argparse
import sys
from typing import Any
from urllib.parse import quote

from portico.cli import output
from portico.cli.context import Context

COLUMNS = ("name", "network_types", "status", "reason", "hosts", "networks", "ports")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take what to do."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    output.add_arguments(verbs.add_parser("list", help="list backends; the first is the default"))
    show = verbs.add_parser("show", help="show one backend")
    output.add_arguments(show)
    show.add_argument("name", metavar="NAME", help="its name")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do what the verb says."""
    path = "/portico/v1/backends"
    if arguments.verb == "show":
        found = context.client.get_json(f"{path}/{quote(arguments.name, safe='')}")["backend"]
        shown = _short(found) if arguments.format == "table" else found
        sys.stdout.write(output.render_object(shown, arguments.column, arguments.format))
        return 0
    rows = context.client.get_json(path)["backends"]
    if arguments.format in ("table", "csv", "value"):
        rows = [_short(row) for row in rows]
    sys.stdout.write(output.render_list(rows, arguments.column or COLUMNS, arguments.format))
    return 0


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """Return a backend whose hosts are words: a host that cannot realise it comes with the reason."""
    hosts = [item["host"] if item["able"] else f"{item['host']}: {item['reason']}" for item in row["hosts"]]
    return {**row, "hosts": hosts}
