# SPDX-License-Identifier: Apache-2.0
"""`portico trace`: does a packet pass from a port to another one, or to an address, and what decides it?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from portico.cli import explain, output
from portico.cli.context import Context
from portico.errors import NotFound, PorticoError, Unavailable

COLUMNS = ("verdict", "object", "what", "why")
# Packets whose way nobody can tell: wrong questions, no API, nothing seen of the kernel.
UNKNOWN = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take both ends and the packet."""
    output.add_arguments(parser)
    parser.description = (
        "Tell whether a packet passes, hop by hop, and what decides it. The exit code is 0 if it passes, 1 if not, "
        "and 2 if that cannot be told."
    )
    parser.add_argument("source", metavar="PORT", help="whose packet it is: a port's name or id")
    parser.add_argument("destination", metavar="DESTINATION", help="a port's name or id, or an address")
    parser.add_argument(
        "packet", metavar="PACKET", nargs="?", default="icmp", help="such as tcp/80, udp/53, icmp (default), 112"
    )
    parser.add_argument("--kernel", action="store_true", help="look into hosts' kernels, too (on this host as root)")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Print the hops; the last one decides."""
    try:
        found = _ask(arguments, context)
        if arguments.kernel:
            found = _in_kernel(found, context)
    except PorticoError as error:
        sys.stderr.write(f"portico: {error.message}\n")
        return UNKNOWN
    if arguments.format == "table":
        sys.stdout.write(_lines(found, context))
    elif arguments.format == "json":
        sys.stdout.write(output.render_object(found, arguments.column, "json"))
    else:
        sys.stdout.write(output.render_list(found["hops"], arguments.column or COLUMNS, arguments.format))
    return 0 if found["passes"] else 1


def _ask(arguments: argparse.Namespace, context: Context) -> dict[str, Any]:
    protocol, _, port = arguments.packet.partition("/")
    body: dict[str, Any] = {"source": arguments.source, "destination": arguments.destination, "protocol": protocol}
    if port:
        body["port"] = int(port) if port.isascii() and port.isdecimal() else port
    found: dict[str, Any] = context.client.request("POST", "/portico/v1/trace", body)
    return found


def _in_kernel(found: dict[str, Any], context: Context) -> dict[str, Any]:
    """Return the answer with what hosts' kernels have otherwise, of each port on the way.

    Raises:
        PorticoError: a kernel cannot be looked into.
    """
    hops, seen = [], set()
    for hop in found["hops"]:
        hops.append(hop)
        kind, _, port_id = hop["object"].partition("/")
        if kind == "port" and port_id not in seen:
            seen.add(port_id)
            hops += _differences(port_id, context)
    first = next((number for number, hop in enumerate(hops) if hop["verdict"] != "pass"), None)
    if first is None:
        return {**found, "hops": hops}
    return {"passes": False, "reason": hops[first]["why"], "hops": hops[: first + 1]}


def _differences(port_id: str, context: Context) -> list[dict[str, str]]:
    port = context.client.show("ports", port_id)
    where = port["binding:host_id"]
    if not where:
        return []
    what = "in this host's kernel" if where == context.settings.host else f"in the kernel of host {where}"
    rows = [row for row in explain.look(context, where, port_id) if not row.same]
    found = [("missing", f"{row.aspect}: wanted {row.wanted}, found {row.actual}") for row in rows]
    return [
        {"object": f"port/{port_id}", "what": what, "verdict": verdict, "why": why}
        for verdict, why in found or [("pass", "the kernel has it as wanted")]
    ]


def _lines(found: dict[str, Any], context: Context) -> str:
    names: dict[str, str] = {}
    rows = [
        (hop["verdict"], _name(hop["object"], names, context), f"{hop['what']}: {hop['why']}") for hop in found["hops"]
    ]
    width = max((len(name) for _, name, _ in rows), default=0)
    lines = [f"{verdict:<8} {name:<{width}}  {text}" for verdict, name, text in rows]
    return "\n".join([*lines, "it passes" if found["passes"] else f"it does not pass: {found['reason']}"]) + "\n"


def _name(key: str, names: dict[str, str], context: Context) -> str:
    """Return an object's kind and name, or its id if it has none."""
    if key not in names:
        kind, _, object_id = key.partition("/")
        try:
            name = context.client.show(f"{kind}s", object_id)["name"]
        except (NotFound, Unavailable):
            name = ""
        names[key] = f"{kind} {name or object_id}"
    return names[key]
