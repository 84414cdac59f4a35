# SPDX-License-Identifier: Apache-2.0
"""Connection tracking entries of our namespace, by ctnetlink: list them, remove some.

Sources: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `net/netfilter/nf_conntrack_netlink.c`.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator, Sequence

from portico.agent import netlink
from portico.agent.delta import ROUTED_ZONE
from portico.agent.rules import PORTED
from portico.agent.translated import Ends, Translated
from portico.agent.verdict import Connection, Judge

_CT_GET = 0x0101
_CT_DELETE = 0x0102
_CT_GET_STATS = 0x0105
_NFGEN = struct.Struct("=BBH")

_TUPLE_ORIG, _TUPLE_REPLY, _TUPLE_MASTER = 1, 2, 14
_ID = 12
_STATS_ENTRIES = 1
_ZONE = 18
_TUPLE_IP = 1
_TUPLE_PROTO = 2
_SRC4, _DST4, _SRC6, _DST6 = 1, 2, 3, 4
_PROTO_NUM, _SRC_PORT, _DST_PORT = 1, 2, 3
_ICMP_TYPE, _ICMP_CODE, _ICMP6_TYPE, _ICMP6_CODE = 5, 6, 8, 9
_NESTED = 0x8000

_HEAD = struct.Struct("=HH")
_USUAL = [
    (
        size,
        _HEAD.pack(12 + 2 * size, _TUPLE_IP | _NESTED) + _HEAD.pack(4 + size, source),
        _HEAD.pack(4 + size, destination),
    )
    for size, source, destination in ((4, _SRC4, _DST4), (16, _SRC6, _DST6))
]
"""Of an original tuple with IPv4 and with IPv6: an address's length, and the headers before source and destination."""

_ZONES_AT_ONCE = 4
"""For more zones than these the whole table is asked for once: the kernel goes through all of it each time."""


class Conntrack:
    """The entries of the namespace that `netfilter` was opened in."""

    def __init__(self, netfilter: netlink.Socket) -> None:
        self._netfilter = netfilter

    def remove(self, judge: Judge) -> int:
        """Remove the entries that `judge` says are unwanted; return how many.

        Most are told apart by their addresses alone: the rest of an entry is read only when the judge is concerned.
        """
        doomed = []
        for zone, original, entry in self._entries(judge.zones):
            source, destination = _addresses(original)
            # What was sent to a floating address is its port's business by the one that it came to stand for.
            sent_to, reply = destination, _attribute(entry, _TUPLE_REPLY) if zone == ROUTED_ZONE else b""
            destination = _addresses(reply)[0] if reply else sent_to
            if judge.concerns(zone, source) or judge.concerns(zone, destination):
                master = _attribute(entry, _TUPLE_MASTER)
                protocol, low, high = _transport(master or original)
                if master:  # what was agreed on in another connection stands and falls with that
                    source, destination = _addresses(master)
                elif destination != sent_to and protocol in PORTED:
                    high = _transport(reply)[1]
                if judge.is_unwanted(Connection(zone, source, destination, protocol, low, high)):
                    doomed.append(_deletion(zone, original, entry))
        self._delete(doomed)
        return len(doomed)

    def clear_zone(self, zone: int) -> None:
        """Remove all entries of a zone."""
        self._delete([_deletion(*found) for found in self._entries({zone})])

    def forget_datagrams(self, ports: tuple[int, int]) -> None:
        """Remove what is known of UDP to ports, first to last: with each packet it would go on where it went so far."""
        doomed = []
        for found in self._entries(None):
            protocol, _, port = _transport(found[1])
            if protocol == socket.IPPROTO_UDP and ports[0] <= port <= ports[1]:
                doomed.append(_deletion(*found))
        self._delete(doomed)

    def forget(self, addresses: Collection[bytes] | None) -> None:
        """Remove all entries of connections that were begun from or to `addresses` (packed); None: of all."""
        found = self._entries(None)
        self._delete(
            [
                _deletion(*item)
                for item in found
                if addresses is None or any(address in addresses for address in _addresses(item[1]))
            ]
        )

    def forget_floating(self, addresses: Collection[bytes]) -> None:
        """Remove the entries of connections, begun from either side, in which `addresses` (packed) are translated."""
        found = self._entries({ROUTED_ZONE})
        doomed = (
            it
            for it in found
            if any(_addresses(ends)[1] in addresses for ends in (it[1], _attribute(it[2], _TUPLE_REPLY)))
        )
        self._delete([_deletion(*item) for item in doomed])

    def forget_mistranslated(self, now: Translated) -> None:
        """Remove the entries of connections that would be translated otherwise if they began now."""
        doomed = []
        for found in self._entries({ROUTED_ZONE}):
            original, reply = found[1], _attribute(found[2], _TUPLE_REPLY)
            sent, back = _addresses(original), _addresses(reply)
            if sent == back[::-1]:
                continue
            protocol, _, asked = _transport(original)
            _, answering, _ = _transport(reply)
            ports = (asked, answering) if protocol in PORTED else (0, 0)
            if not now.is_right(protocol, *(Ends(*pair, port) for pair, port in zip((sent, back), ports, strict=True))):
                doomed.append(found)
        self._delete([_deletion(*item) for item in doomed])

    def _entries(self, zones: Collection[int] | None) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield zone, original tuple and message of the entries in `zones`, or of all.

        Linux from 6.8 on tells those of one zone when asked to; an older one tells all, and so does any when there are
        many zones, for each question goes through the whole table: some 5 ms, even when nothing is in it.
        """
        if not self._count():
            return
        body = _NFGEN.pack(socket.AF_UNSPEC, 0, 0)
        questions: list[tuple[Collection[int] | None, bytes]] = [(zones, body)]
        if zones is not None and len(zones) <= _ZONES_AT_ONCE:
            questions = [({zone}, body + netlink.attr(_ZONE, struct.pack("!H", zone))) for zone in zones]
        for asked, question in questions:
            for entry in self._netfilter.dump(_CT_GET, question):
                zone, original = _zone_and_original(entry)
                if asked is None or zone in asked:
                    yield zone, original, entry

    def _count(self) -> int:
        """Return how many entries there are."""
        answer = self._netfilter.get(_CT_GET_STATS, _NFGEN.pack(socket.AF_UNSPEC, 0, 0))
        return int.from_bytes(netlink.attributes(answer, _NFGEN.size)[_STATS_ENTRIES], "big")

    def _delete(self, requests: Sequence[bytes]) -> None:
        """Have entries deleted; one that has gone meanwhile is no trouble, and none keeps the others."""
        refusals = self._netfilter.ask_all(_CT_DELETE, requests)
        for error in refusals:
            if not netlink.is_absent(error):
                raise error


def _deletion(zone: int, original: bytes, entry: bytes) -> bytes:
    """Return the body of the request that deletes an entry, and none that has come in its place since."""
    own_id = next(value for kind, value in netlink.each_attribute(entry, _NFGEN.size) if kind == _ID)
    body = _NFGEN.pack(entry[0], 0, 0) + netlink.attr(_TUPLE_ORIG | _NESTED, original) + netlink.attr(_ID, own_id)
    return body + netlink.attr(_ZONE, struct.pack("!H", zone)) if zone else body


def _zone_and_original(entry: bytes) -> tuple[int, bytes]:
    """Return the zone and the original tuple, without unpacking the rest: the kernel tells these first."""
    original = b""
    for kind, value in netlink.each_attribute(entry, _NFGEN.size):
        if kind == _TUPLE_ORIG:
            original = value
        elif kind == _ZONE:
            return int.from_bytes(value, "big"), original
    return 0, original


def _attribute(entry: bytes, wanted: int) -> bytes:
    """Return an attribute; empty if the entry has none."""
    return next((value for kind, value in netlink.each_attribute(entry, _NFGEN.size) if kind == wanted), b"")


def _addresses(original: bytes) -> tuple[bytes, bytes]:
    """Return source and destination; the order in which every kernel so far tells them is tried first."""
    for size, first, second in _USUAL:
        if original.startswith(first) and original.startswith(second, 8 + size):
            return original[8 : 8 + size], original[12 + size : 12 + 2 * size]
    ip = netlink.attributes(netlink.attributes(original)[_TUPLE_IP])
    return (ip[_SRC4], ip[_DST4]) if _SRC4 in ip else (ip[_SRC6], ip[_DST6])


def _transport(original: bytes) -> tuple[int, int, int]:
    """Return the protocol with source and destination port, or ICMP type and code."""
    proto = netlink.attributes(netlink.attributes(original)[_TUPLE_PROTO])
    low = proto.get(_SRC_PORT) or proto.get(_ICMP_TYPE) or proto.get(_ICMP6_TYPE) or b""
    high = proto.get(_DST_PORT) or proto.get(_ICMP_CODE) or proto.get(_ICMP6_CODE) or b""
    return proto[_PROTO_NUM][0], int.from_bytes(low, "big"), int.from_bytes(high, "big")
