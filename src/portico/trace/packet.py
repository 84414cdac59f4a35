# SPDX-License-Identifier: Apache-2.0
"""A packet, and what is said of it on its way."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Literal

from portico.model.snapshot import IpAddress

TCP, UDP, SCTP, DCCP, UDP_LITE = 6, 17, 132, 33, 136
PORTED = frozenset({TCP, UDP, SCTP, DCCP, UDP_LITE})
ICMP, ICMPV6, VRRP = 1, 58, 112
ROUTED = "routed"
"""The type of networks without L2."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection between two ports, addressed to the receiver's MAC address, or a router's.

    `low` and `high` are source and destination port, or ICMP type and code, or 0.
    """

    sender: str
    receiver: str
    mac: str
    source: IpAddress
    destination: IpAddress
    protocol: int
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Hop:
    """One question on a packet's way: asked of `object` ("port/ID", "router/ID", "host/NAME"...), and its answer.

    `what` says what happens there and `why` what decides it. "missing": something that it takes is not there.
    """

    object: str
    what: str
    verdict: Literal["pass", "drop", "missing"]
    why: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a packet is delivered; `reason` says what forbids it, and `hops` which way it goes until there."""

    delivered: bool
    reason: str = ""
    hops: tuple[Hop, ...] = ()

    def __bool__(self) -> bool:
        return self.delivered


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address made from a MAC address (RFC 4291 appendix A, modified EUI-64)."""
    raw = bytearray.fromhex(mac.replace(":", ""))
    raw[0] ^= 2
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes(raw[:3]) + b"\xff\xfe" + bytes(raw[3:]))
