# SPDX-License-Identifier: Apache-2.0
"""Token bucket filters by traffic control: what a link sends waits until its rate allows for it.

Sources: tc-tbf(8), `net/sched/sch_tbf.c`, `include/uapi/linux/pkt_sched.h`.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

from portico.agent import netlink
from portico.agent.netlink import NetlinkError, attr, nest, text
from portico.hoststate import Limit

_NEW_QDISC, _DEL_QDISC, _GET_QDISC = 36, 37, 38
_TCMSG = struct.Struct("=BxxxiIII")
_ROOT = 0xFFFFFFFF
_KIND, _OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64 = 1, 4
# A tc_ratespec for the rate, one for the peak, which there is none of; queue, bucket, and a number that is not used.
_PARMS = struct.Struct("=BBHhHI12xIII")
_ETHERNET = 1
_RATE_MAX = 0xFFFFFFFF
_TICK_NS = 64
_TICKS_MAX = _RATE_MAX // _TICK_NS
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.EINVAL)

_HEADER = 18
"""Bytes of an Ethernet header, with a tag: what a packet has besides its MTU."""

_BURST_S = 0.01
_BURST_MIN = 64 * 1024
_QUEUE_S = 0.1
_QUEUE_MIN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Shape:
    """A filter as the kernel tells of it: bytes a second, a bucket in ticks of 64 ns at that rate, a queue in bytes."""

    rate: int
    ticks: int
    queue: int


def shape(limit: Limit, mtu: int) -> Shape:
    """Return the filter that realises a limit of bandwidth.

    A bucket of 10 ms or 64 KiB is what one TCP connection needs to come up to the rate. One that is asked for is at
    least one packet and one millisecond, for less would let nothing, or never the rate, pass.
    """
    rate = limit.rate * 125
    least = max(mtu + _HEADER, rate // 1000)
    burst = max(limit.burst * 125, least) if limit.burst else max(int(rate * _BURST_S), _BURST_MIN)
    ticks = -(-burst * 1_000_000_000 // (rate * _TICK_NS))
    return Shape(rate, min(ticks, _TICKS_MAX), min(max(int(rate * _QUEUE_S), _QUEUE_MIN), _RATE_MAX))


class Shapers:
    """The token bucket filters of the links of one network namespace, over a socket opened there."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route
        # Of links that were looked at or changed since everything was read; without a filter None.
        self._known: dict[int, Shape | None] = {}

    def is_known(self, kind: int, body: bytes) -> bool:
        """Tell whether a message of `redirect.GROUP` says of a link only what was found or put there.

        The kernel tells everybody of a qdisc that somebody asks for: who looked because of that would never end.
        """
        index = int(_TCMSG.unpack_from(body)[1])
        if kind != _NEW_QDISC or index not in self._known:
            return False
        found = _parse(body)
        return self._known[index] == (found[1] if found else None)

    def all(self) -> dict[int, Shape]:
        """Return the filters of all links, by index."""
        found = (_parse(answer) for answer in self._route.dump(_GET_QDISC, _TCMSG.pack(0, 0, 0, 0, 0)))
        shapes = dict(pair for pair in found if pair is not None)
        self._known = dict(shapes)
        return shapes

    def at(self, index: int) -> Shape | None:
        """Return the filter of one link; None without one."""
        found = self._known[index] = self._at(index)
        return found

    def _at(self, index: int) -> Shape | None:
        try:
            # The kernel tells of a qdisc as of news: to who asks only by request.
            answers = self._route.ask(_GET_QDISC, _TCMSG.pack(0, index, 0, _ROOT, 0), netlink.NLM_F_ECHO)
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return None
            raise
        pairs = [pair for answer in answers if (pair := _parse(answer)) is not None]
        return pairs[0][1] if pairs else None

    def put(self, index: int, wanted: Shape) -> None:
        """Give a link a filter; one that is there is changed, and keeps what waits."""
        rate = min(wanted.rate, _RATE_MAX)
        parms = _PARMS.pack(0, _ETHERNET, 0, 0, 0, rate, wanted.queue, wanted.ticks, 0)
        options = attr(_TBF_PARMS, parms)
        if wanted.rate > _RATE_MAX:
            options += attr(_TBF_RATE64, struct.pack("=Q", wanted.rate))
        body = _TCMSG.pack(0, index, 0, _ROOT, 0) + text(_KIND, "tbf") + nest(_OPTIONS, options)
        self._route.ask(_NEW_QDISC, body, netlink.NLM_F_CREATE | netlink.NLM_F_REPLACE)
        self._known[index] = wanted

    def remove(self, index: int) -> None:
        """Take a link's filter away; no error if there is none."""
        if self.at(index) is not None:
            self._route.ask(_DEL_QDISC, _TCMSG.pack(0, index, 0, _ROOT, 0))


def _parse(answer: bytes) -> tuple[int, Shape] | None:
    _, index, _, parent, _ = _TCMSG.unpack_from(answer)
    found = netlink.attributes(answer, _TCMSG.size)
    if parent != _ROOT or netlink.string(found.get(_KIND, b"")) != "tbf":
        return None
    options = netlink.attributes(found.get(_OPTIONS, b""))
    _, _, _, _, _, rate, queue, ticks, _ = _PARMS.unpack_from(options[_TBF_PARMS])
    if wide := options.get(_TBF_RATE64):
        rate = netlink.number(wide)
    return int(index), Shape(rate, ticks, queue)
