# SPDX-License-Identifier: Apache-2.0
"""Where the programs of the fast path are: at both hooks of traffic control of a link, before all other filters.

Sources: tc-bpf(8), `include/uapi/linux/pkt_cls.h`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Collection

from portico.agent import netlink
from portico.agent.netlink import NetlinkError, nest, text, u32
from portico.agent.redirect import CLSACT_HANDLE, EGRESS, INGRESS, TCMSG, ensure_hook, filters

FIRST = 1
"""Our preference: what another filter takes for itself is seen before, so that no packet passes unseen."""

_NEW_QDISC, _NEW_FILTER, _DEL_FILTER = 36, 44, 45
_ETH_P_ALL = socket.htons(3)
_HANDLE = 0x706F
_KIND, _OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS = 6, 7, 8
_DIRECT = 1
_NAME = "portico-fast-path"
_SIDES = (INGRESS, EGRESS)


def is_own(kind: int, body: bytes) -> bool:
    """Tell whether a message of `redirect.GROUP` says only that a link has got our programs, or room for filters."""
    _, _, handle, _, info = TCMSG.unpack_from(body)
    if kind == _NEW_QDISC:
        return bool(handle == CLSACT_HANDLE)
    return kind == _NEW_FILTER and info >> 16 == FIRST and handle == _HANDLE


class Hooks:
    """Our programs at the links of one network namespace, over a socket opened there."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route

    def put(self, index: int, *programs: int) -> None:
        """Have the first program see what comes in at a link, and the second what is about to leave by it.

        Raises:
            NetlinkError: the kernel refuses.
        """
        ensure_hook(self._route, index)
        for parent, program in zip(_SIDES, programs, strict=True):
            options = nest(_OPTIONS, u32(_BPF_FD, program), text(_BPF_NAME, _NAME), u32(_BPF_FLAGS, _DIRECT))
            body = _place(index, parent) + text(_KIND, "bpf") + options
            self._route.ask(_NEW_FILTER, body, netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE)

    def remove(self, indexes: Collection[int]) -> None:
        """Take our programs away from links; no error where there are none."""
        for index in indexes:
            for parent in _SIDES:
                try:
                    self._route.ask(_DEL_FILTER, _place(index, parent))
                except NetlinkError as error:
                    if error.errno not in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                        raise

    def are_alone(self, index: int) -> bool:
        """Return whether nobody else has filters at a link."""
        found = (one for parent in _SIDES for one in filters(self._route, index, parent))
        return all(preference == FIRST for _, preference, _ in found)


def _place(index: int, parent: int) -> bytes:
    return TCMSG.pack(0, index, _HANDLE, parent, FIRST << 16 | _ETH_P_ALL)
