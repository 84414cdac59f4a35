# SPDX-License-Identifier: Apache-2.0
"""A join of two links by traffic control: what comes in at one goes out at the other.

clsact, a bpf classifier that matches everything, and the action mirred: the matchall and flower classifiers are
missing from some kernels, these three are in all. Sources: tc-bpf(8), tc-mirred(8), `include/uapi/linux/pkt_cls.h`,
`tc_act/tc_mirred.h`.
"""

from __future__ import annotations

import errno
import socket
import struct

from portico.agent import netlink
from portico.agent.netlink import NetlinkError, attr, nest, text

PREFERENCE = 28783
"""The preference (priority) of our filters: the sign by which we know them on a link that is not ours. 0x706f, "po"."""

GROUP = 4
"""The multicast group (RTNLGRP_TC) that tells of traffic control."""

_NEW_QDISC, _DEL_QDISC = 36, 37
_NEW_FILTER, _DEL_FILTER, _GET_FILTER = 44, 45, 46
FILTERS = (_NEW_FILTER, _DEL_FILTER, _DEL_QDISC)
"""Kinds of the messages of `GROUP` by which the filters of a link change; with a qdisc its filters go."""
TCMSG = struct.Struct("=BxxxiIII")
_CLSACT = 0xFFFFFFF1
CLSACT_HANDLE = 0xFFFF0000
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_ETH_P_ALL = socket.htons(3)
_KIND, _OPTIONS = 1, 2
_BPF_ACT, _BPF_OPS_LEN, _BPF_OPS = 1, 4, 5
_MIRRED_PARMS = 2
_MIRRED = struct.Struct("=IIiiiiI")
_STOLEN, _EGRESS_REDIRECT = 4, 1
_MATCH_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)


def changed_at(kind: int, body: bytes) -> int:
    """Return the index of the link at which a message of `GROUP` tells of any change; 0 if it is not about one."""
    return int(TCMSG.unpack_from(body)[1]) if kind in (_NEW_QDISC, _DEL_QDISC, _NEW_FILTER, _DEL_FILTER) else 0


def lost_at(kind: int, body: bytes) -> int:
    """Return the index of the link that lost a filter or a qdisc by the word of a message of `GROUP`; 0 if none did."""
    return int(TCMSG.unpack_from(body)[1]) if kind in (_DEL_QDISC, _DEL_FILTER) else 0


class Redirects:
    """Our redirections in one network namespace, over a socket opened there."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route

    def target(self, index: int) -> int:
        """Return the index of the link that the link `index` is redirected to by us; 0 if it is not."""
        for parent, preference, options in filters(self._route, index, INGRESS):
            if parent == INGRESS and preference == PREFERENCE:
                actions = netlink.attributes(netlink.attributes(options).get(_BPF_ACT, b""))
                action = netlink.attributes(next(iter(actions.values()), b""))
                parms = netlink.attributes(action.get(_OPTIONS, b"")).get(_MIRRED_PARMS)
                return int(_MIRRED.unpack_from(parms)[6]) if parms else 0
        return 0

    def put(self, index: int, target: int) -> None:
        """Redirect what comes in at `index` to `target`, instead of whatever we redirected it to before."""
        self._remove_filter(index)
        ensure_hook(self._route, index)
        mirred = _MIRRED.pack(0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
        action = nest(1, text(_KIND, "mirred"), nest(_OPTIONS, attr(_MIRRED_PARMS, mirred)))
        program = attr(_BPF_OPS_LEN, struct.pack("=H", 1)) + attr(_BPF_OPS, _MATCH_ALL)
        options = nest(_OPTIONS, program, nest(_BPF_ACT, action))
        body = TCMSG.pack(0, index, 1, INGRESS, PREFERENCE << 16 | _ETH_P_ALL) + text(_KIND, "bpf") + options
        self._route.ask(_NEW_FILTER, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)

    def remove(self, index: int) -> None:
        """Redirect no longer, and take the clsact qdisc away unless someone else uses it. No error if there is none."""
        if self.target(index) == 0:
            return
        self._remove_filter(index)
        self._forget_hook(index)

    def _forget_hook(self, index: int) -> None:
        """Take the clsact qdisc away unless something still uses it."""
        if not filters(self._route, index, INGRESS) and not filters(self._route, index, EGRESS):
            body = TCMSG.pack(0, index, CLSACT_HANDLE, _CLSACT, 0)
            self._route.ask(_DEL_QDISC, body)

    def _remove_filter(self, index: int) -> None:
        try:
            self._route.ask(_DEL_FILTER, TCMSG.pack(0, index, 0, INGRESS, PREFERENCE << 16 | _ETH_P_ALL))
        except NetlinkError as error:
            if error.errno not in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
                raise


def ensure_hook(route: netlink.Socket, index: int) -> None:
    """Give a link the clsact qdisc unless it has it."""
    try:
        body = TCMSG.pack(0, index, CLSACT_HANDLE, _CLSACT, 0) + text(_KIND, "clsact")
        route.ask(_NEW_QDISC, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise


def filters(route: netlink.Socket, index: int, parent: int) -> list[tuple[int, int, bytes]]:
    """Return (parent, preference, options) of the filters of one hook of a link."""
    found = []
    try:
        for answer in route.dump(_GET_FILTER, TCMSG.pack(0, index, 0, parent, 0)):
            _, _, handle, above, info = TCMSG.unpack_from(answer)
            if handle:
                options = netlink.attributes(answer, TCMSG.size).get(_OPTIONS, b"")
                found.append((above, info >> 16, options))
    except NetlinkError as error:
        if error.errno not in (errno.EINVAL, errno.ENODEV, errno.ENOENT):
            raise
    return found
