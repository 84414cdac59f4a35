# SPDX-License-Identifier: Apache-2.0
"""Raw Ethernet frames, right or wrong on purpose, to throw at a filter."""

from __future__ import annotations

import ipaddress
import struct

IPV4, ARP, VLAN, IPV6, OUTER_VLAN, LOCAL_EXPERIMENT = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88A8, 0x88B5
UDP, FRAGMENT, ICMPV6 = 17, 44, 58
HOP_BY_HOP, ROUTING, DESTINATION = 0, 43, 60
REQUEST, REPLY = 1, 2
ROUTER_SOLICIT, ROUTER_ADVERT, SOLICIT, ADVERT = 133, 134, 135, 136


def mac(text: str) -> bytes:
    """Pack a MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ethernet(destination: str, source: str, kind: int, payload: bytes) -> bytes:
    """Return a frame."""
    return mac(destination) + mac(source) + struct.pack("!H", kind) + payload


def tagged(vlan_id: int, frame: bytes, kind: int = VLAN) -> bytes:
    """Return `frame` with an 802.1Q tag, or an outer one (802.1ad) when `kind` is `OUTER_VLAN`."""
    return frame[:12] + struct.pack("!HH", kind, vlan_id) + frame[12:]


def arp(operation: int, sender_mac: str, sender: str, target: str, lengths: tuple[int, int] = (6, 4)) -> bytes:
    """Return an ARP packet, which may say wrongly how long its addresses are."""
    head = struct.pack("!HHBBH", 1, IPV4, *lengths, operation)
    return head + mac(sender_mac) + ipaddress.ip_address(sender).packed + bytes(6) + ipaddress.ip_address(target).packed


def ipv4(source: str, destination: str, protocol: int, payload: bytes) -> bytes:
    """Return an IPv4 packet with a right header checksum."""
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    start = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 7, 0, 64, protocol)
    return start + struct.pack("!H", checksum(start + addresses)) + addresses + payload


def ipv6(source: str, destination: str, following: int, payload: bytes) -> bytes:
    """Return an IPv6 packet."""
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return struct.pack("!IHBB", 0x60000000, len(payload), following, 255) + addresses + payload


def udp(source: int, destination: int, payload: bytes = b"") -> bytes:
    """Return a UDP datagram without a checksum."""
    return struct.pack("!HHHH", source, destination, 8 + len(payload), 0) + payload


def opening(protocol: int, source: int, destination: int, payload: bytes) -> bytes:
    """Return the first packet of a connection of SCTP, DCCP or UDP-Lite, or as of UDP, sound enough for connection
    tracking.

    `payload` is a multiple of four bytes long.
    """
    ports = struct.pack("!HH", source, destination)
    match protocol:
        case 33:  # DCCP-Request with a long sequence number (RFC 4340 section 5.1)
            return ports + struct.pack("!BBHBBHII", 5, 0, 1, 1, 0, 0, 1, 1) + payload
        case 132:  # INIT (RFC 9260 section 3.3.2), the payload as a parameter of it
            chunk = struct.pack("!BBHIIHHI", 1, 0, 24 + len(payload), 1, 1500, 1, 1, 1)
            return ports + struct.pack("!II", 0, 0) + chunk + struct.pack("!HH", 0x8000, 4 + len(payload)) + payload
        case 136:  # the checksum covers the header (RFC 3828 section 3.1)
            return ports + struct.pack("!HH", 8, 1) + payload
        case _:
            return udp(source, destination, payload)


def icmpv6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    """Return an IPv6 packet with an ICMPv6 message, its checksum right."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    return ipv6(source, destination, ICMPV6, summed(source, destination, ICMPV6, message, 2))


def summed(source: str, destination: str, protocol: int, body: bytes, at: int) -> bytes:
    """Return what follows an IP header with its checksum, whose place `at` holds zeros, with a pseudo-header.

    Connection tracking takes a packet whose checksum is wrong for one of no connection.
    """
    pseudo = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    total = checksum(pseudo + struct.pack("!II", len(body), protocol) + body)
    return body[:at] + struct.pack("!H", total) + body[at + 2 :]


def neighbor(kind: int, source: str, destination: str, target: str) -> bytes:
    """Return a neighbour solicitation or advertisement (RFC 4861) for `target`."""
    return icmpv6(source, destination, kind, bytes(4) + ipaddress.ip_address(target).packed)


def fragments(packet: bytes, first: int) -> tuple[bytes, bytes]:
    """Return an IP packet cut in two after `first` bytes (a multiple of 8) of what follows its header."""
    length = 40 if packet[0] >> 4 == 6 else 20
    head, rest = packet[:length], packet[length:]
    cut = _fragment6 if packet[0] >> 4 == 6 else _fragment4
    return cut(head, rest[:first], 0, more=True), cut(head, rest[first:], first, more=False)


def _fragment4(head: bytes, piece: bytes, offset: int, *, more: bool) -> bytes:
    start = head[:2] + struct.pack("!H", 20 + len(piece)) + head[4:6]
    start += struct.pack("!H", offset // 8 | more << 13) + head[8:10]
    return start + struct.pack("!H", checksum(start + head[12:])) + head[12:] + piece


def _fragment6(head: bytes, piece: bytes, offset: int, *, more: bool) -> bytes:
    extension = struct.pack("!BBHI", head[6], 0, offset | more, 0x1234)
    size = struct.pack("!H", len(extension) + len(piece))
    return head[:4] + size + bytes([FRAGMENT]) + head[7:] + extension + piece


def behind(packet: bytes, *headers: int) -> bytes:
    """Return an IPv6 packet with extension headers before what it carries (RFC 8200 section 4), eight bytes each.

    A fragment header says that this is all there is, a routing header that it has arrived.
    """
    following, rest = packet[6], packet[40:]
    for kind in reversed(headers):
        body = (
            bytes([0, 1, 4, 0, 0, 0, 0]) if kind in (HOP_BY_HOP, DESTINATION) else bytes(3) + struct.pack("!I", 0x1234)
        )
        following, rest = kind, bytes([following]) + body + rest
    return packet[:4] + struct.pack("!H", len(rest)) + bytes([following]) + packet[7:40] + rest


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071)."""
    padded = data + b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
