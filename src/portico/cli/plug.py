# SPDX-License-Identifier: Apache-2.0
"""`portico port plug`: a port on this host, as a tap for a hypervisor."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from portico.cli.context import Context
from portico.cli.find import find_id
from portico.docker.record import part
from portico.errors import Conflict, Unavailable
from portico.model.load import as_needed

# What plugging writes into binding:profile, and unplugging takes out again; the rest is other people's.
OUR_KEYS = ("plug", "tap_name", "make_tap")
# How soon a reason that is new is printed while waiting.
TELL_EVERY_S = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take the port, and what its link is called."""
    parser.add_argument("port", metavar="PORT", help="name or id")
    parser.add_argument(
        "--tap", metavar="NAME", help="name of the tap (default: tap and the first 11 letters of the id)"
    )
    parser.add_argument("--host", help="host to plug it on (default: this one)")
    parser.add_argument("--no-make", action="store_true", help="do not make the tap; the hypervisor does")
    parser.add_argument("--force", action="store_true", help="even if somebody else's program has the port")
    parser.add_argument("--wait", type=float, default=10, metavar="S", help="seconds to wait until it is up; 0: do not")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Bind the port, wait until it is ACTIVE and print what the hypervisor must know."""
    client = context.client
    port_id = find_id(client, as_needed()["port"], arguments.port)
    before = client.show("ports", port_id)
    if not arguments.force:
        check_unowned(before, arguments.port)
    profile = {**others_profile(before), "plug": "tap", "make_tap": not arguments.no_make}
    if arguments.tap:
        profile["tap_name"] = arguments.tap
    host = arguments.host or context.settings.host
    bound_to = before["binding:host_id"]
    if bound_to and bound_to != host:
        raise Conflict(f"port {arguments.port}: is plugged on host {bound_to!r}; unplug it there first")
    port = client.update("ports", port_id, {"binding:host_id": host, "binding:profile": profile})
    details = port["binding:vif_details"] or {}
    name = details.get("tap_name", "")
    addresses = ", ".join(fixed["ip_address"] for fixed in port["fixed_ips"]) or "no address"
    sys.stdout.write(f"{name}  mac {port['mac_address']}  {addresses}  on {host}\n")
    if arguments.wait > 0:
        sys.stdout.flush()  # a script that starts the hypervisor now needs the tap's name before the wait is over
        _wait(context, port_id, arguments)
    return 0


def check_unowned(port: Mapping[str, Any], word: str) -> None:
    """Refuse a port that a program plugs and unplugs itself: Docker, Nova, a DHCP server.

    Raises:
        Conflict: says whose it is, and how to do it all the same.
    """
    owner = port["device_owner"] or ("docker" if part(port) else "")
    if owner:
        whose = f"{owner} {port['device_id']}".strip()
        raise Conflict(f"port {word}: belongs to {whose}, which plugs and unplugs it itself; --force does it anyway")


def others_profile(port: Mapping[str, Any]) -> dict[str, Any]:
    """Return a port's binding:profile without what plugging writes there."""
    return {key: value for key, value in (port["binding:profile"] or {}).items() if key not in OUR_KEYS}


def _wait(context: Context, port_id: str, arguments: argparse.Namespace) -> None:
    """Return when the port is ACTIVE; say meanwhile, once each, why it is not.

    Raises:
        Unavailable: it is not within the time, and why.
    """
    path = f"/portico/v1/ports/{quote(port_id, safe='')}/status"
    end_s = time.monotonic() + arguments.wait
    said = ""
    while True:
        left_s = max(0.0, end_s - time.monotonic())
        found = context.client.get_json(path, wait="ACTIVE", timeout_s=math.ceil(min(left_s, TELL_EVERY_S)))
        if found["status"] == "ACTIVE":
            return
        why = found["reason"] or "the agent has not reported yet; does it run? (`portico agent list`)"
        if time.monotonic() >= end_s:
            raise Unavailable(
                f"port {arguments.port}: is {found['status']}, not ACTIVE, after {arguments.wait:g} s: {why}"
            )
        if why != said:
            sys.stderr.write(f"waiting: port {arguments.port} is {found['status']}: {why}\n")
            said = why
