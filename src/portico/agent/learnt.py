# SPDX-License-Identifier: Apache-2.0
"""The routes that a BIRD of ours has put into the kernel, once it is there no more. Source: rtnetlink(7)."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from portico.agent import kernel, netlink, owner
from portico.agent.netlink import attr, u32

_DEL_ROUTE, _GET_ROUTE = 25, 26
_RTMSG = struct.Struct("=BBBBBBBBI")
_DST, _PRIORITY = 1, 6
_TABLE_MAIN = 254
_SCOPE_NOWHERE = 255
_SOL_NETLINK, _STRICT = 270, 12


class LearntRoutes:
    """Those of the namespace that `route` was opened in; the socket is for nothing else."""

    def __init__(self, route: netlink.Socket) -> None:
        route.option(_SOL_NETLINK, _STRICT, 1)
        self._route = route

    def any(self) -> bool:
        """Return whether there are any."""
        return bool([*self._found()])

    def remove_all(self) -> None:
        """Remove them all.

        Raises:
            NetlinkError: the kernel refuses one; the others are gone.
        """
        for error in self._route.ask_all(_DEL_ROUTE, [*self._found()]):
            if not netlink.is_absent(error):
                raise error

    def _found(self) -> Iterator[bytes]:
        """Yield for each the message that removes it; a route of several next hops goes whole without naming any."""
        for family in (socket.AF_INET, socket.AF_INET6):
            question = _RTMSG.pack(family, 0, 0, 0, _TABLE_MAIN, owner.BGP_PROTOCOL, 0, 0, 0)
            for answer in self._route.dump(_GET_ROUTE, question):
                values = netlink.attributes(answer, _RTMSG.size)
                if netlink.number(values.get(_PRIORITY, b"")) == owner.BGP_METRIC:
                    yield _removal(answer, values.get(_DST, b""))


class LearntElsewhere(LearntRoutes):
    """Those of another namespace, `netns`, which may be gone when they are to go."""

    def __init__(self, netns: Path) -> None:
        self._netns = netns

    def any(self) -> bool:
        """Return that there are none which a BIRD that is started again should keep: others are there to fall to."""
        return False

    def remove_all(self) -> None:
        """See LearntRoutes."""
        try:
            netns = os.open(self._netns, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            with kernel.within(netns, lambda: netlink.Socket(netlink.ROUTE)) as route:
                LearntRoutes(route).remove_all()
        finally:
            os.close(netns)


def _removal(answer: bytes, destination: bytes) -> bytes:
    family, length, kind = answer[0], answer[1], answer[7]
    scope = _SCOPE_NOWHERE if family == socket.AF_INET else 0
    body = _RTMSG.pack(family, length, 0, 0, _TABLE_MAIN, owner.BGP_PROTOCOL, scope, kind, 0)
    return body + (attr(_DST, destination) if destination else b"") + u32(_PRIORITY, owner.BGP_METRIC)
