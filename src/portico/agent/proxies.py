# SPDX-License-Identifier: Apache-2.0
"""Addresses of others for which links answer neighbour solicitations (RFC 4861, section 7.2.8), by rtnetlink.

Sources: ip-neighbour(8), `include/uapi/linux/neighbour.h`, `pneigh_lookup` in `net/core/neighbour.c`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from ipaddress import ip_address

from portico.agent import netlink
from portico.agent.netlink import attr

Proxy = tuple[int, str]
"""The index of a link, and an IPv6 address."""

_NEW, _DEL, _GET = 28, 29, 30
_NDMSG = struct.Struct("=BBHiHBB")
_DST = 1
_PROXY = 0x08


class Proxies:
    """Those of the namespace that `route` was opened in."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route

    def all(self) -> set[Proxy]:
        """Return all that there are."""
        return {_parse(answer) for answer in self._route.dump(_GET, _header(0))}

    def put(self, wanted: Collection[Proxy]) -> set[Proxy]:
        """Make them just these, and return those that are new."""
        there = self.all()
        for index, address in there - {*wanted}:
            try:
                self._route.ask(_DEL, _body(index, address))
            except netlink.NetlinkError as error:
                if not netlink.is_absent(error):
                    raise
        new = {*wanted} - there
        for index, address in sorted(new):
            self._route.ask(_NEW, _body(index, address), netlink.NLM_F_CREATE)
        return new


def _header(index: int) -> bytes:
    return _NDMSG.pack(socket.AF_INET6, 0, 0, index, 0, _PROXY, 0)


def _body(index: int, address: str) -> bytes:
    return _header(index) + attr(_DST, ip_address(address).packed)


def _parse(answer: bytes) -> Proxy:
    index = _NDMSG.unpack_from(answer)[3]
    return index, str(ip_address(netlink.attributes(answer, _NDMSG.size)[_DST]))
