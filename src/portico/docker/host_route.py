# SPDX-License-Identifier: Apache-2.0
"""What this host has routes to: the engine takes no prefix there that it did not ask for itself.

It compares each IPv4 prefix that a driver has chosen with the routes of its namespace, which is this one (moby,
libnetwork/netutils, CheckRouteOverlaps). Only looked at, never changed.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import NamedTuple

from portico.docker.pool import IpNetwork

FOLDER = Path("/proc/net")
# The agent's links, to external networks and to the routed space (docs/design/ownership.md).
_OURS = ("px", "pr")


class Route(NamedTuple):
    """A route, and whether its network is on the link itself."""

    net: IpNetwork
    link: str
    direct: bool


def networks(version: int, folder: Path = FOLDER) -> set[IpNetwork]:
    """Return the prefixes that the host has routes to, without the default one."""
    return {route.net for route in _routes(version, folder)}


def beside(net: IpNetwork, folder: Path = FOLDER) -> str:
    """Return in which network the host is already, by a link of others, that overlaps another; empty if in none."""
    return next(
        (
            f"{route.net} (link {route.link})"
            for route in _routes(net.version, folder)
            if route.direct and not route.link.startswith(_OURS) and net.overlaps(route.net)
        ),
        "",
    )


def _routes(version: int, folder: Path) -> list[Route]:
    """Return the host's routes but for the default one.

    Source: proc(5); Linux, net/ipv4/fib_trie.c and net/ipv6/route.c.
    """
    with suppress(FileNotFoundError):  # of a kernel without IPv6
        found = _ipv4(folder / "route") if version == 4 else _ipv6(folder / "ipv6_route")
        return [route for route in found if route.net.prefixlen]
    return []


def _ipv4(path: Path) -> Iterator[Route]:
    for line in path.read_text().splitlines()[1:]:
        words = line.split()
        net, mask = (socket.inet_ntoa(struct.pack("=I", int(words[at], 16))) for at in (1, 7))
        yield Route(IPv4Network((net, mask), strict=False), words[0], not int(words[2], 16))


def _ipv6(path: Path) -> Iterator[Route]:
    for line in path.read_text().splitlines():
        words = line.split()
        net = IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
        yield Route(net, words[9], not int(words[4], 16))
