# SPDX-License-Identifier: Apache-2.0
"""Telling neighbours of an address before they ask: who had it elsewhere in mind sends to its new place at once.

A gratuitous ARP request (RFC 5227 section 3) for IPv4, an unsolicited neighbour advertisement (RFC 4861 section 7.2.6)
for IPv6, sent once: neighbours that miss it ask when what they know has become stale.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable

from portico.agent.links import pack_mac

_ARP, _IPV6 = 0x0806, 0x86DD
_ICMPV6 = 58
_ALL_NODES = ipaddress.IPv6Address("ff02::1")
_OVERRIDE_AS_ROUTER = 0xA0000000


def announce(link: str, mac: str, addresses: Iterable[str]) -> None:
    """Announce addresses (without prefix lengths) on a link of the calling thread's namespace.

    Raises:
        OSError: the link is not there, or down.
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((link, 0))
        for text in addresses:
            sender.send(frame(mac, text))


def frame(mac: str, text: str) -> bytes:
    """Return the frame that announces an address."""
    address, own = ipaddress.ip_address(text), pack_mac(mac)
    if isinstance(address, ipaddress.IPv4Address):
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + address.packed + bytes(6) + address.packed
        return b"\xff" * 6 + own + struct.pack("!H", _ARP) + body
    target = struct.pack("!II", 136 << 24, _OVERRIDE_AS_ROUTER) + address.packed + b"\x02\x01" + own
    pseudo = address.packed + _ALL_NODES.packed + struct.pack("!II", len(target), _ICMPV6)
    target = target[:2] + struct.pack("!H", _checksum(pseudo + target)) + target[4:]
    head = struct.pack("!IHBB", 6 << 28, len(target), _ICMPV6, 255) + address.packed + _ALL_NODES.packed
    return b"\x33\x33\0\0\0\x01" + own + struct.pack("!H", _IPV6) + head + target


def _checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
