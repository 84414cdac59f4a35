# SPDX-License-Identifier: Apache-2.0
"""Shares of a link by traffic control: what it sends waits, by its address, until the rate of that allows for it.

A hierarchical token bucket with a class for each share, and one classic BPF program that finds the class. What no share
is for passes at once. Sources: tc-htb(8), tc-bpf(8), `net/sched/sch_htb.c`, `net/sched/cls_bpf.c`,
`include/uapi/linux/pkt_sched.h`, `pkt_cls.h`, `filter.h`.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise

from portico.agent import netlink
from portico.agent.netlink import NetlinkError, attr, text, u32
from portico.agent.shaper import Shape

_NEW_QDISC, _DEL_QDISC, _GET_QDISC = 36, 37, 38
_NEW_CLASS, _GET_CLASS = 40, 42
_NEW_FILTER, _GET_FILTER = 44, 46
_TCMSG = struct.Struct("=BxxxiIII")
_ROOT = 0xFFFFFFFF
_HANDLE = 0x10000
"""Of the bucket; a class is this and its number. As a class it stands for "at once"."""
_KIND, _OPTIONS = 1, 2
_HTB_PARMS, _HTB_INIT, _HTB_DIRECT, _HTB_RATE64, _HTB_CEIL64 = 1, 2, 5, 6, 7
# A tc_ratespec for the rate, one for the most; both buckets; quantum, level, priority.
_PARMS = struct.Struct("=BBHhHIBBHhHIIIIII")
_GLOBAL = struct.Struct("=IIIII")
_ETHERNET = 1
_RATE_MAX = 0xFFFFFFFF
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.EINVAL)
_QUANTUM = 1 << 16
_DIRECT_PACKETS = 1000
_BPF_OPS_LEN, _BPF_OPS = 4, 5
_ETH_P_ALL = socket.htons(3)
_PREFERENCE = 1

# struct sock_filter, and the codes that are used: load 2, 4 or 1 bytes at a place, compare, answer.
_STEP = struct.Struct("=HBBI")
_LOAD_HALF, _LOAD_WORD, _LOAD_BYTE = 0x28, 0x20, 0x30
_EQUALS, _AT_LEAST, _ANSWER = 0x15, 0x35, 0x06
_IPV4, _IPV6, _ICMPV6 = 0x0800, 0x86DD, 58
_TYPE, _SOURCE, _TARGET, _NEXT_HEADER, _ICMPV6_TYPE = 12, 26, 30, 20, 54
# Neighbour discovery: RFC 4861, section 4. What keeps the link alive does not wait.
_DISCOVERY = (133, 137)

MOST = 1000
"""How many shares a link has at most: a program has 4096 steps, two of them for each share."""


@dataclass(frozen=True, slots=True)
class Division:
    """What a link is divided into: the classes, in order, and the program that finds one."""

    classes: tuple[tuple[int, int], ...]
    """Bytes a second and a bucket in ticks of 64 ns, as in `Shape`."""
    program: bytes

    def __str__(self) -> str:
        """Return it for people to read: addresses with their rates, and that of what has no share."""
        steps = list(_STEP.iter_unpack(self.program))
        found = [
            f"{IPv4Address(value)} {self._rate(number)}"
            for (code, _, unless, value), (_, _, _, number) in pairwise(steps)
            if (code, unless) == (_EQUALS, 1)
        ]
        return ", ".join([*found, f"else {self._rate(steps[-1][3] if steps else 0)}"])

    def _rate(self, number: int) -> str:
        place = number - _HANDLE - 1
        return f"{self.classes[place][0] * 8 // 1000} kbit/s" if 0 <= place < len(self.classes) else "unlimited"


def division(shares: Sequence[tuple[IPv4Address | None, Shape | None]], *, sends: bool) -> Division:
    """Return what divides a link among addresses, None for all others; they are the senders' or the receivers'.

    Raises:
        ValueError: there are too many.
    """
    if len(shares) > MOST:
        raise ValueError(f"there are {len(shares)} addresses with limits of their own, and at most {MOST} can be")
    classes: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    rest = _HANDLE
    for address, shape in shares:
        number = _HANDLE
        if shape is not None:
            classes.append((shape.rate, shape.ticks))
            number += len(classes)
        if address is None:
            rest = number
        else:
            found.append((int(address), number))
    return Division(tuple(classes), _program(found, rest, _SOURCE if sends else _TARGET))


def _program(found: Sequence[tuple[int, int]], rest: int, place: int) -> bytes:
    """Return the steps that answer with a class; jumps count the steps that are passed over."""
    addresses = [step for value, number in found for step in ((_EQUALS, 0, 1, value), (_ANSWER, 0, 0, number))]
    first, beyond = _DISCOVERY
    steps = [
        (_LOAD_HALF, 0, 0, _TYPE),
        (_EQUALS, 7, 0, _IPV4),
        (_EQUALS, 1, 0, _IPV6),
        (_ANSWER, 0, 0, _HANDLE),
        (_LOAD_BYTE, 0, 0, _NEXT_HEADER),
        (_EQUALS, 0, 4, _ICMPV6),
        (_LOAD_BYTE, 0, 0, _ICMPV6_TYPE),
        (_AT_LEAST, 0, 2, first),
        (_AT_LEAST, 1, 0, beyond + 1),
    ]
    # IPv6 has no address of its own here; discovery goes at once.
    steps += [(_ANSWER, 0, 0, _HANDLE), (_ANSWER, 0, 0, rest)]
    steps[1] = (_EQUALS, len(steps) - 2, 0, _IPV4)
    return b"".join(
        _STEP.pack(*step) for step in [*steps, (_LOAD_WORD, 0, 0, place), *addresses, (_ANSWER, 0, 0, rest)]
    )


class Shares:
    """The divisions of the links of one network namespace, over a socket opened there."""

    def __init__(self, route: netlink.Socket) -> None:
        self._route = route

    def indexes(self) -> set[int]:
        """Return the indexes of all links that are divided."""
        found = set()
        for answer in self._route.dump(_GET_QDISC, _TCMSG.pack(0, 0, 0, 0, 0)):
            _, index, handle, parent, _ = _TCMSG.unpack_from(answer)
            if parent == _ROOT and handle == _HANDLE:
                found.add(int(index))
        return found

    def at(self, index: int) -> Division | None:
        """Return how a link is divided; None if it is not."""
        classes = {}
        for answer in self._dump(_GET_CLASS, index, 0):
            _, _, handle, _, _ = _TCMSG.unpack_from(answer)
            found = netlink.attributes(answer, _TCMSG.size)
            if netlink.string(found.get(_KIND, b"")) == "htb":
                classes[handle] = _class(netlink.attributes(found.get(_OPTIONS, b"")))
        if not classes:
            return None
        return Division(tuple(classes[handle] for handle in sorted(classes)), self._program_at(index))

    def _program_at(self, index: int) -> bytes:
        programs = []
        for answer in self._dump(_GET_FILTER, index, _HANDLE):
            if _TCMSG.unpack_from(answer)[2]:
                options = netlink.attributes(netlink.attributes(answer, _TCMSG.size).get(_OPTIONS, b""))
                programs.append(options.get(_BPF_OPS, b""))
        return programs[0] if len(programs) == 1 else b""

    def _dump(self, kind: int, index: int, parent: int) -> list[bytes]:
        try:
            return list(self._route.dump(kind, _TCMSG.pack(0, index, 0, parent, 0)))
        except NetlinkError as error:
            if error.errno in _ABSENT:
                return []
            raise

    def put(self, index: int, wanted: Division, queues: Sequence[int]) -> None:
        """Divide a link, which then forgets what waited; each class has a queue of so many bytes.

        Raises:
            NetlinkError: the kernel cannot.
        """
        self.remove(index)
        start = attr(_HTB_INIT, _GLOBAL.pack(3, 10, 0, 0, 0)) + u32(_HTB_DIRECT, _DIRECT_PACKETS)
        self._make(_NEW_QDISC, index, _HANDLE, _ROOT, "htb", start)
        for number, ((rate, ticks), queue) in enumerate(zip(wanted.classes, queues, strict=True), 1):
            low = min(rate, _RATE_MAX)
            spec = (0, _ETHERNET, 0, 0, 0, low)
            options = attr(_HTB_PARMS, _PARMS.pack(*spec, *spec, ticks, ticks, _QUANTUM, 0, 0))
            if rate > _RATE_MAX:
                options += attr(_HTB_RATE64, struct.pack("=Q", rate)) + attr(_HTB_CEIL64, struct.pack("=Q", rate))
            self._make(_NEW_CLASS, index, _HANDLE + number, _HANDLE, "htb", options)
            self._make(_NEW_QDISC, index, 0, _HANDLE + number, "bfifo", struct.pack("=I", queue))
        length = attr(_BPF_OPS_LEN, struct.pack("=H", len(wanted.program) // _STEP.size))
        program = length + attr(_BPF_OPS, wanted.program)
        self._make(_NEW_FILTER, index, 0, _HANDLE, "bpf", program, _PREFERENCE << 16 | _ETH_P_ALL)

    def _make(self, kind: int, index: int, handle: int, parent: int, word: str, options: bytes, info: int = 0) -> None:
        body = _TCMSG.pack(0, index, handle, parent, info) + text(_KIND, word) + attr(_OPTIONS, options)
        self._route.ask(kind, body, netlink.NLM_F_CREATE | netlink.NLM_F_EXCL)

    def remove(self, index: int) -> None:
        """Let all that a link sends go at once; no error if it does, or if the link has gone."""
        try:
            self._route.ask(_DEL_QDISC, _TCMSG.pack(0, index, 0, _ROOT, 0))
        except NetlinkError as error:
            if error.errno not in _ABSENT:
                raise


def _class(options: dict[int, bytes]) -> tuple[int, int]:
    parms = _PARMS.unpack_from(options[_HTB_PARMS])
    wide = options.get(_HTB_RATE64)
    return netlink.number(wide) if wide else parms[5], parms[12]
