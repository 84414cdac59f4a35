# SPDX-License-Identifier: Apache-2.0
"""Packets of which a rule with `log group` tells, as the kernel's nfnetlink_log gives them.

Nobody waits for whoever reads: without a reader, or with one that is too slow, the kernel tells nothing and goes on.
Sources: `include/uapi/linux/netfilter/nfnetlink_log.h`; RFC 791, 8200 and 4302 for the headers.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from portico.agent import netlink
from portico.agent.rules import ICMP, ICMPV6, PORTED

_PACKET, _CONFIGURE = 0x0400, 0x0401
_NFGEN = struct.Struct(">BBH")
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT = 1, 2, 4
_BIND, _COPY_PACKET = 1, 2
_HEAD, _IN, _OUT, _BRIDGE_IN, _BRIDGE_OUT, _PAYLOAD, _PREFIX = 1, 4, 5, 6, 7, 9, 10
COPIED = 192
"""So many bytes of a packet are told, from the IP header on: that is where all is that we show."""
TOGETHER_CS = 20
"""Hundredths of a second that the kernel gathers packets for one message, if there are not many."""

_IPV4, _IPV6 = 0x0800, 0x86DD
_FRAGMENT, _AUTHENTICATION = 44, 51
_LENGTHS = {0: 8, 43: 8, 60: 8, _FRAGMENT: 0, _AUTHENTICATION: 4}
"""IPv6 extension headers, each with the bytes that its length counts in (the fragment header has none)."""


class Packet(NamedTuple):
    """A packet, its rule's prefix, and the numbers of the links by which it came and would leave.

    The addresses are "" if it is no IP, `low` and `high` are source and destination port or ICMP type and code, None
    where there are none or they were not told. `length` is that of the whole packet, as it says itself.
    """

    prefix: str
    came_by: int
    leaves_by: int
    source: str = ""
    destination: str = ""
    length: int = 0
    protocol: int | None = None
    low: int | None = None
    high: int | None = None


def listen(group: int) -> netlink.Socket:
    """Return a socket that is told of the packets of an NFLOG group in the calling thread's namespace.

    Raises:
        OSError: somebody else is told of them already, or the kernel has no nfnetlink_log.
    """
    listener = netlink.Socket(netlink.NETFILTER)
    mode = struct.pack(">IBB", COPIED, _COPY_PACKET, 0)
    asked = [netlink.u8(_CFG_CMD, _BIND), netlink.attr(_CFG_MODE, mode)]
    asked.append(netlink.attr(_CFG_TIMEOUT, struct.pack(">I", TOGETHER_CS)))
    try:
        listener.ask(_CONFIGURE, _NFGEN.pack(socket.AF_UNSPEC, 0, group) + b"".join(asked))
    except OSError:
        listener.close()
        raise
    return listener


def packets(listener: netlink.Socket) -> Iterator[Packet]:
    """Yield what has been told, without waiting. What could not be told is left out: it was more than could be read."""
    while True:
        try:
            yield from (parse(body) for kind, body in listener.events() if kind == _PACKET)
        except netlink.NetlinkError as error:
            if error.errno != errno.ENOBUFS:
                raise
        else:
            return


def parse(body: bytes) -> Packet:
    """Read a message of the kernel."""
    found = netlink.attributes(body, _NFGEN.size)
    prefix = netlink.string(found.get(_PREFIX, b""))
    # On a bridge the links are its ports, and what is called a link otherwise is the bridge.
    came_by, leaves_by = (
        int.from_bytes(found.get(port) or found.get(link, b""), "big")
        for port, link in ((_BRIDGE_IN, _IN), (_BRIDGE_OUT, _OUT))
    )
    payload, kind = found.get(_PAYLOAD, b""), int.from_bytes(found.get(_HEAD, b"")[:2], "big")
    if kind == _IPV4 and len(payload) >= 20:
        return _ipv4(Packet(prefix, came_by, leaves_by), payload)
    if kind == _IPV6 and len(payload) >= 40:
        return _ipv6(Packet(prefix, came_by, leaves_by), payload)
    return Packet(prefix, came_by, leaves_by)


def _ipv4(packet: Packet, data: bytes) -> Packet:
    is_first = not int.from_bytes(data[6:8], "big") & 0x1FFF
    shown = packet._replace(
        source=str(ipaddress.IPv4Address(data[12:16])),
        destination=str(ipaddress.IPv4Address(data[16:20])),
        length=int.from_bytes(data[2:4], "big"),
    )
    return _transport(shown, data[9], data[(data[0] & 0xF) * 4 :] if is_first else b"")


def _ipv6(packet: Packet, data: bytes) -> Packet:
    shown = packet._replace(
        source=str(ipaddress.IPv6Address(data[8:24])),
        destination=str(ipaddress.IPv6Address(data[24:40])),
        length=40 + int.from_bytes(data[4:6], "big"),
    )
    protocol, at, is_first = data[6], 40, True
    while protocol in _LENGTHS and at + 8 <= len(data):
        if protocol == _FRAGMENT:
            is_first = not int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8
        step = 8 + data[at + 1] * _LENGTHS[protocol]
        protocol, at = data[at], at + step
        if not is_first:
            break
    return _transport(shown, protocol, data[at:] if is_first else b"")


def _transport(packet: Packet, protocol: int, data: bytes) -> Packet:
    """Add what the header after those of IP says."""
    if protocol in PORTED and len(data) >= 4:
        low, high = struct.unpack_from(">HH", data)
        return packet._replace(protocol=protocol, low=low, high=high)
    if protocol in (ICMP, ICMPV6) and len(data) >= 2:
        return packet._replace(protocol=protocol, low=data[0], high=data[1])
    return packet._replace(protocol=protocol)
