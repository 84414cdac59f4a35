# SPDX-License-Identifier: Apache-2.0
"""Connection tracking entries of our namespace, by ctnetlink: list them, remove some.

Sources: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `net/netfilter/nf_conntrack_netlink.c`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection, Iterator

from portico.agent import netlink
from portico.agent.netlink import NetlinkError
from portico.agent.verdict import Connection

_CT_GET = 0x0101
_CT_DELETE = 0x0102
_NFGEN = struct.Struct("=BBH")

_TUPLE_ORIG = 1
_ID = 12
_ZONE = 18
_TUPLE_IP = 1
_TUPLE_PROTO = 2
_SRC4, _DST4, _SRC6, _DST6 = 1, 2, 3, 4
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_ICMP_TYPE, _ICMP_CODE, _ICMP6_TYPE, _ICMP6_CODE = 5, 6, 8, 9
_NESTED = 0x8000

_ZONES_AT_ONCE = 4
"""For more zones than these the whole table is asked for once: the kernel goes through all of it each time."""


class Conntrack:
    """The entries of the namespace that `netfilter` was opened in."""

    def __init__(self, netfilter: netlink.Socket) -> None:
        self._netfilter = netfilter

    def remove(self, zones: Collection[int] | None, unwanted: Callable[[Connection], bool]) -> int:
        """Remove the entries in `zones` (None for all) that `unwanted` says; return how many."""
        doomed = [entry for entry, connection in self._connections(zones) if unwanted(connection)]
        for entry in doomed:
            self._delete(entry)
        return len(doomed)

    def clear_zone(self, zone: int) -> None:
        """Remove all entries of a zone."""
        self.remove([zone], lambda _: True)

    def _connections(self, zones: Collection[int] | None) -> Iterator[tuple[bytes, Connection]]:
        """Yield each entry as the kernel tells it, and read.

        Linux from 6.8 on tells those of one zone when asked to; an older one tells all, and so is everyone when there
        are many zones, for each question goes through the whole table.
        """
        if zones is None or len(zones) > _ZONES_AT_ONCE:
            questions = [b""]
        else:
            questions = [netlink.attr(_ZONE, struct.pack("!H", zone)) for zone in zones]
        for question in questions:
            asked = zones if not question else [int.from_bytes(question[4:6], "big")]
            for entry in self._netfilter.dump(_CT_GET, _NFGEN.pack(socket.AF_UNSPEC, 0, 0) + question):
                zone, original = _zone_and_original(entry)
                if asked is None or zone in asked:
                    yield entry, _connection(zone, original)

    def _delete(self, entry: bytes) -> None:
        parts = netlink.attributes(entry, _NFGEN.size)
        body = _NFGEN.pack(entry[0], 0, 0) + netlink.attr(_TUPLE_ORIG | _NESTED, parts[_TUPLE_ORIG])
        body += netlink.attr(_ID, parts[_ID])
        if _ZONE in parts:
            body += netlink.attr(_ZONE, parts[_ZONE])
        try:
            self._netfilter.ask(_CT_DELETE, body)
        except NetlinkError as error:
            if not netlink.is_absent(error):
                raise


def _zone_and_original(entry: bytes) -> tuple[int, bytes]:
    """Return the zone and the original tuple, without unpacking the rest: the kernel tells these first."""
    original = b""
    for kind, value in netlink.each_attribute(entry, _NFGEN.size):
        if kind == _TUPLE_ORIG:
            original = value
        elif kind == _ZONE:
            return int.from_bytes(value, "big"), original
    return 0, original


def _connection(zone: int, original: bytes) -> Connection:
    parts = netlink.attributes(original)
    ip = netlink.attributes(parts[_TUPLE_IP])
    proto = netlink.attributes(parts[_TUPLE_PROTO])
    low = proto.get(_SRC_PORT) or proto.get(_ICMP_TYPE) or proto.get(_ICMP6_TYPE) or b""
    high = proto.get(_DST_PORT) or proto.get(_ICMP_CODE) or proto.get(_ICMP6_CODE) or b""
    return Connection(
        zone=zone,
        source=ip[_SRC4] if _SRC4 in ip else ip[_SRC6],
        destination=ip[_DST4] if _DST4 in ip else ip[_DST6],
        protocol=proto[_PROTO_NUM][0],
        low=int.from_bytes(low, "big"),
        high=int.from_bytes(high, "big"),
    )
