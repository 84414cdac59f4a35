# SPDX-License-Identifier: Apache-2.0
"""Connection tracking entries of our namespace, by ctnetlink: list them, remove some.

Sources: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`, `net/netfilter/nf_conntrack_netlink.c`.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Callable, Iterator

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


class Conntrack:
    """The entries of the namespace that `netfilter` was opened in."""

    def __init__(self, netfilter: netlink.Socket) -> None:
        self._netfilter = netfilter

    def remove(self, unwanted: Callable[[Connection], bool]) -> int:
        """Remove the entries that `unwanted` says; return how many."""
        doomed = [entry for entry in self._entries() if unwanted(_connection(entry))]
        for entry in doomed:
            self._delete(entry)
        return len(doomed)

    def clear_zone(self, zone: int) -> None:
        """Remove all entries of a zone."""
        wanted = struct.pack("!H", zone)
        for entry in [entry for entry in self._entries() if entry.get(_ZONE) == wanted]:
            self._delete(entry)

    def _entries(self) -> Iterator[dict[int, bytes]]:
        body = _NFGEN.pack(socket.AF_UNSPEC, 0, 0)
        for answer in self._netfilter.dump(_CT_GET, body):
            entry = netlink.attributes(answer, _NFGEN.size)
            entry[0] = answer[:1]
            yield entry

    def _delete(self, entry: dict[int, bytes]) -> None:
        body = _NFGEN.pack(entry[0][0], 0, 0) + netlink.attr(_TUPLE_ORIG | _NESTED, entry[_TUPLE_ORIG])
        body += netlink.attr(_ID, entry[_ID])
        if _ZONE in entry:
            body += netlink.attr(_ZONE, entry[_ZONE])
        try:
            self._netfilter.ask(_CT_DELETE, body)
        except NetlinkError as error:
            if not netlink.is_absent(error):
                raise


def _connection(entry: dict[int, bytes]) -> Connection:
    parts = netlink.attributes(entry[_TUPLE_ORIG])
    ip = netlink.attributes(parts[_TUPLE_IP])
    proto = netlink.attributes(parts[_TUPLE_PROTO])
    if _SRC4 in ip:
        source, destination = ip[_SRC4], ip[_DST4]
    else:
        source, destination = ip[_SRC6], ip[_DST6]
    low = proto.get(_SRC_PORT) or proto.get(_ICMP_TYPE) or proto.get(_ICMP6_TYPE) or b""
    high = proto.get(_DST_PORT) or proto.get(_ICMP_CODE) or proto.get(_ICMP6_CODE) or b""
    return Connection(
        zone=int.from_bytes(entry.get(_ZONE, b""), "big"),
        source=ipaddress.ip_address(source),
        destination=ipaddress.ip_address(destination),
        protocol=proto[_PROTO_NUM][0],
        low=int.from_bytes(low, "big"),
        high=int.from_bytes(high, "big"),
    )
