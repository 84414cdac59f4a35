# SPDX-License-Identifier: Apache-2.0
"""Connections that stay with one of a router's gateways: a mark, a rule and a table for each.

What nftables has marked with a gateway's number is sent by the table of that number, which knows that gateway alone;
but all that `main` says more of than where everything else goes comes first.

Sources: ip-rule(8), `include/uapi/linux/fib_rules.h`, `net/core/fib_rules.c`.
"""

from __future__ import annotations

import errno
import hashlib
import socket
import struct
from collections.abc import Collection, Iterable

from portico.agent import netlink, owner
from portico.agent.netlink import u8, u32
from portico.agent.routes import Route, Routes

Kept = tuple[int, int, str]
"""A gateway's number, the index of its link, and where it sends."""

_NEW_RULE, _DEL_RULE, _GET_RULE = 32, 33, 34
_HEADER = struct.Struct("=BBBBBBBBI")
_PRIORITY, _FWMARK, _SUPPRESS, _TABLE, _FWMASK, _PROTOCOL = 6, 10, 14, 15, 16, 21
_TO_TABLE = 1
_MAIN = 254
_ALL_BITS = 0xFFFFFFFF
_SPECIFIC_FIRST, _BY_MARK = 1000, 1001
"""Preferences of the rules: both before that of `main`, 32766."""
_EVERYWHERE = "0.0.0.0/0"
_HALF = 1
"""The length of the longest prefixes of `main` that count as where everything else goes; see `watch`."""


def numbers(port_ids: Iterable[str]) -> dict[str, int]:
    """Return a number for each of a router's gateways, by its port: it stays whatever others come and go."""
    found: dict[str, int] = {}
    for port_id in sorted(port_ids):
        number = 0x10000 | int(hashlib.sha256(port_id.encode()).hexdigest()[:6], 16)
        while number in found.values():
            number += 1
        found[port_id] = number
    return found


class Gateways:
    """Rules and tables of one network namespace, by the same socket as its routes."""

    def __init__(self, route: netlink.Socket, routes: Routes) -> None:
        self._route = route
        self._routes = routes

    def all(self) -> set[Kept]:
        """Return what is kept; without the rule that puts `main` first, nothing is."""
        found, is_whole = set(), False
        for mark, table in self._rules():
            is_whole |= mark == 0 and table == _MAIN
            if mark and mark == table:
                by = next((it for it in self._routes.of_table(table) if it.cidr == _EVERYWHERE), None)
                found.add((mark, by.index, by.gateway) if by else (mark, 0, ""))
        return found if is_whole else set()

    def put(self, wanted: Collection[Kept]) -> None:
        """Make what is kept just this."""
        there = self._rules()
        rules = {(mark, mark) for mark, _, _ in wanted} | ({(0, _MAIN)} if wanted else set())
        for mark, table in there - rules:
            self._ask(_DEL_RULE, mark, table)
            for route in self._routes.of_table(table) if table != _MAIN else ():
                self._routes.remove_from(table, route)
        for mark, index, gateway in wanted:
            self._routes.put_in(mark, Route(_EVERYWHERE, index, gateway))
        for mark, table in rules - there:
            self._ask(_NEW_RULE, mark, table)

    def _rules(self) -> set[tuple[int, int]]:
        """Return mark and table of the rules that are ours."""
        found = set()
        for answer in self._route.dump(_GET_RULE, _HEADER.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            values = netlink.attributes(answer, _HEADER.size)
            if values.get(_PROTOCOL) == bytes([owner.PROTOCOL]):
                found.add((netlink.number(values.get(_FWMARK, b"")), netlink.number(values.get(_TABLE, b""))))
        return found

    def _ask(self, kind: int, mark: int, table: int) -> None:
        body = _HEADER.pack(socket.AF_INET, 0, 0, 0, table if table < 256 else 0, 0, 0, _TO_TABLE, 0)
        body += u32(_TABLE, table) + u8(_PROTOCOL, owner.PROTOCOL)
        body += u32(_PRIORITY, _BY_MARK if mark else _SPECIFIC_FIRST)
        body += u32(_FWMARK, mark) + u32(_FWMASK, _ALL_BITS) if mark else u32(_SUPPRESS, _HALF)
        try:
            self._route.ask(kind, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL if kind == _NEW_RULE else 0)
        except netlink.NetlinkError as error:
            if error.errno != errno.EEXIST and not netlink.is_absent(error):
                raise
