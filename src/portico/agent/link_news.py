# SPDX-License-Identifier: Apache-2.0
"""News of links in the host's namespace: of those that something wanted depends on, and of no others.

Engines make and remove links all the time, and each of them speaks at every step: to be woken for all of them costs
the agent as much as a port of its own does. A socket filter drops them in the kernel. Sources: socket(7)
(SO_ATTACH_FILTER), `include/uapi/linux/filter.h`, `rtnl_fill_ifinfo` in `net/core/rtnetlink.c` (the name comes first).
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Set

from portico.agent import links, netlink, redirect

MAX_NAMES = 50
"""For more names than these all links are told of: a name takes up to nine instructions, and what a socket may have for
filters, the old one and the new one together, is 20 KiB (net.core.optmem_max)."""

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _IF_EQUAL, _RETURN = 0x20, 0x28, 0x30, 0x15, 0x06
_TYPE_AT, _FAMILY_AT, _FIRST_ATTRIBUTE_AT, _NAME_AT = 4, 16, 34, 36
_TAKE, _DROP = (_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)

Instruction = tuple[int, int, int, int]


class LinkNews:
    """A listener in the calling thread's namespace: `events` tells of traffic control, and at first of no link."""

    def __init__(self) -> None:
        self.events = netlink.Socket(netlink.ROUTE, [links.GROUP_LINK, redirect.GROUP])
        self._names: frozenset[str] = frozenset()
        attach(self.events.option, program(()))

    def attend(self, names: Mapping[str, Set[str]]) -> None:
        """Tell of links with these names, by whatever key they are given; what else was told of is dropped.

        Before whoever wants to know of a link looks at it: what happens between is told.
        """
        every = frozenset[str]().union(*names.values())
        if every != self._names:
            attach(self.events.option, program(every))
            self._names = every


def program(names: Collection[str]) -> list[Instruction]:
    """Return the filter for messages about links with these names, and about everything that is no link."""
    if len(names) > MAX_NAMES:
        return [_TAKE]
    new, gone, name = (socket.htons(kind) for kind in (links.RTM_NEWLINK, links.RTM_DELLINK, links.IFLA_IFNAME))
    return [
        (_LOAD_HALF, 0, 0, _TYPE_AT),
        (_IF_EQUAL, 2, 0, new),
        (_IF_EQUAL, 1, 0, gone),
        _TAKE,
        # What a bridge tells of its ports is of another family.
        (_LOAD_BYTE, 0, 0, _FAMILY_AT),
        (_IF_EQUAL, 1, 0, socket.AF_UNSPEC),
        _DROP,
        (_LOAD_HALF, 0, 0, _FIRST_ATTRIBUTE_AT),
        (_IF_EQUAL, 1, 0, name),
        _TAKE,
        *(instruction for one in sorted(names) for instruction in _is_named(one)),
        _DROP,
    ]


def _is_named(name: str) -> Iterator[Instruction]:
    """Yield what takes a message whose first attribute is this name, word by word with the zeros behind it."""
    text = name.encode() + b"\0"
    text += b"\0" * (-len(text) % 4)
    for place in range(0, len(text), 4):
        yield _LOAD_WORD, 0, 0, _NAME_AT + place
        # Filters load numbers in network order. What is left of this name is skipped, with its _TAKE.
        yield _IF_EQUAL, 0, (len(text) - place) // 4 * 2 - 1, int.from_bytes(text[place : place + 4], "big")
    yield _TAKE


def attach(option: Callable[[int, int, bytes], object], instructions: Collection[Instruction]) -> None:
    """Give the socket whose options `option` sets a filter, in place of the one that it has."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in instructions))
    option(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(code)))
