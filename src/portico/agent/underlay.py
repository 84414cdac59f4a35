# SPDX-License-Identifier: Apache-2.0
"""At which addresses other hosts reach this one.

Sources: rtnetlink(7), `include/uapi/linux/if_addr.h`; udp(7): to connect sends nothing, but chooses route and source.
"""

from __future__ import annotations

import ipaddress
import socket
import struct

from portico.agent import netlink
from portico.agent.links import Links

# Nobody has them (RFC 5737, RFC 3849): the way to them is the default route.
_ANYWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_DISCARD = 9

_GET_ADDRESS = 22
_ADDRESS, _LOCAL = 1, 2
_GLOBAL = 0
_PASSING = 0x01 | 0x08 | 0x20 | 0x40
"""Temporary, failed, deprecated and tentative addresses (IFA_F_*): they will not be there for long."""
_IFADDR = struct.Struct("=BBBBI")


def address(version: int) -> str:
    """Return the address of an IP version that this host sends from when it goes far away; empty if it has none.

    Without a default route it is the first address, valid everywhere, of the first link that is up and no bridge.
    """
    with socket.socket(_FAMILY[version], socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as trial:
        try:
            trial.connect((_ANYWHERE[version], _DISCARD))
        except OSError:
            return _first(version)
        return _usable(str(trial.getsockname()[0]))


def _first(version: int) -> str:
    with netlink.Socket(netlink.ROUTE) as route:
        usable = {link.index for link in Links(route).all() if link.up and link.kind != "bridge"}
        found = []
        for answer in route.dump(_GET_ADDRESS, _IFADDR.pack(_FAMILY[version], 0, 0, 0, 0)):
            family, _, flags, scope, index = _IFADDR.unpack_from(answer)
            values = netlink.attributes(answer, _IFADDR.size)
            if family == _FAMILY[version] and scope == _GLOBAL and not flags & _PASSING and index in usable:
                text = _usable(str(ipaddress.ip_address(values.get(_LOCAL) or values[_ADDRESS])))
                found += [(index, text)] if text else []
    return min(found, default=(0, ""), key=lambda item: item[0])[1]


def _usable(text: str) -> str:
    """Return an address that another host may send to, or ""."""
    found = ipaddress.ip_address(text)
    return "" if found.is_loopback or found.is_link_local or found.is_unspecified else text
