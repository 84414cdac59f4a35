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

from portico.docker.pool import IpNetwork

FOLDER = Path("/proc/net")


def networks(version: int, folder: Path = FOLDER) -> set[IpNetwork]:
    """Return the prefixes that the host has routes to, without the default one.

    Source: proc(5); Linux, net/ipv4/fib_trie.c and net/ipv6/route.c.
    """
    with suppress(FileNotFoundError):  # of a kernel without IPv6
        found = _ipv4(folder / "route") if version == 4 else _ipv6(folder / "ipv6_route")
        return {net for net in found if net.prefixlen}
    return set()


def _ipv4(path: Path) -> Iterator[IpNetwork]:
    for line in path.read_text().splitlines()[1:]:
        words = line.split()
        net, mask = (socket.inet_ntoa(struct.pack("=I", int(words[at], 16))) for at in (1, 7))
        yield IPv4Network((net, mask), strict=False)


def _ipv6(path: Path) -> Iterator[IpNetwork]:
    for line in path.read_text().splitlines():
        words = line.split()
        yield IPv6Network((bytes.fromhex(words[0]), int(words[1], 16)), strict=False)
