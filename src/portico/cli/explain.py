# SPDX-License-Identifier: Apache-2.0
"""`portico port explain`: what is wanted of a port, what the kernel has of it, and why they differ."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import msgspec

from portico.cli import output
from portico.cli.context import Context
from portico.cli.find import find
from portico.cli.place import place_of
from portico.errors import PorticoError, Unavailable
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.load import as_needed
from portico.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Generator

    from portico.client import Client
    from portico.hoststate import Update
    from portico.hoststate.look import Aspect

COLUMNS = ("same", "aspect", "wanted", "actual")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the port and the form."""
    output.add_arguments(parser)
    parser.add_argument("port", metavar="PORT", help="name or id")
    parser.add_argument("--all", action="store_true", help="print what is as wanted, too")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the differences, or every aspect; the exit code is 1 when there are differences."""
    client = context.client
    port = find(client, as_needed()["port"], arguments.port)
    host = port["binding:host_id"]
    status = client.get_json(f"/portico/v1/ports/{quote(port['id'], safe='')}/status")
    if arguments.format == "table":
        sys.stdout.write(_head(port, status))
        sys.stdout.writelines(f"{line}\n" for line in gateways(client, port))
    if not host:
        return 0
    rows = look(context, host, port["id"])
    different = [row for row in rows if not row.same]
    shown = [
        msgspec.structs.asdict(row) for row in (rows if arguments.all or arguments.format != "table" else different)
    ]
    if shown or arguments.format != "table":
        sys.stdout.write(output.render_list(shown, arguments.column or COLUMNS, arguments.format))
    if not different and arguments.format == "table":
        sys.stdout.write(f"the kernel has all {len(rows)} aspects as wanted\n")
    return 1 if different else 0


def look(context: Context, host: str, port_id: str) -> list[Aspect]:
    """Return the aspects of a port: on this host by one's own eyes, as root, on another by those of its agent.

    Raises:
        PorticoError: the port is here, and this is not root.
        Unavailable: no agent has run here, or the API tells nothing.
    """
    if host != context.settings.host:
        from portico.hoststate.look import Aspect

        found = context.client.get_json(f"/portico/v1/ports/{quote(port_id, safe='')}/kernel")
        return msgspec.convert(found["aspects"], list[Aspect])
    if os.geteuid() != 0:
        raise PorticoError("explain: must run as root to look into the data plane of this host")
    return _rows(context.settings, _wanted(context.client, host), port_id)


def _head(port: dict[str, Any], status: dict[str, Any]) -> str:
    where = f"on {port['binding:host_id']} as {port['binding:vif_type']}" if port["binding:host_id"] else "not plugged"
    reason = f": {status['reason']}" if status["reason"] else ""
    return f"port {port['name'] or port['id']}  {status['status']}{reason}  {where}\n"


def gateways(client: Client, port: dict[str, Any]) -> list[str]:
    """Return what is wrong with the gateways of routers on a port's network, a line for each."""
    near = client.list("ports", network_id=port["network_id"], device_owner=INTERFACE_OWNER)
    found = set()
    for router_id in {row["device_id"] for row in near}:
        for row in client.list("ports", device_id=router_id, device_owner=GATEWAY_OWNER):
            status = client.get_json(f"/portico/v1/ports/{quote(row['id'], safe='')}/status")
            found |= {f"router {router_id}: {status['reason']}"} if status["reason"] else set()
    return sorted(found)


def _wanted(client: Client, host: str) -> Update:
    """Return the whole wanted state of a host: the first line of its feed."""
    from portico.hoststate import Update

    stream = cast("Generator[Any]", client.stream(f"/portico/v1/hosts/{quote(host, safe='')}/wanted", silence_s=10))
    with closing(stream):
        for update in stream:
            return msgspec.convert(update, Update)
    raise Unavailable(f"the API at {client.url} ended the feed of host {host!r} before it told anything")


def _rows(settings: Settings, wanted: Update, port_id: str) -> list[Aspect]:
    from portico.agent.explain import explain

    try:
        return explain(place_of(settings), wanted.objects, port_id)
    except FileNotFoundError as error:
        netns = settings.agent.netns
        raise Unavailable(f"this host has no network namespace {netns!r}: no agent has run here") from error
