# SPDX-License-Identifier: Apache-2.0
"""Addresses in the wanted state, read: what is none is told with its attribute, its value and the rule. Pure.

All raise ValueError, which is a trouble of the object that has the attribute, and of no other.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Net = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


# A port's address comes again as a member of its groups, and reading it is most of what a port's rules take.
_read = lru_cache(2048)(ipaddress.ip_network)


def network(text: str, attribute: str) -> Net:
    """Return the network that `text` names in CIDR notation; bits behind the prefix do not count."""
    try:
        return _read(text, False)
    except ValueError as error:
        raise ValueError(f"{attribute} {text!a} is not an IPv4 or IPv6 network in CIDR notation") from error


def address(text: str, attribute: str) -> Address:
    """Return the IP address that `text` is."""
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"{attribute} {text!a} is not an IPv4 or IPv6 address") from error


def mac(text: str, attribute: str) -> str:
    """Return a MAC address in lower case."""
    lower = text.lower()
    if not _MAC.fullmatch(lower):
        raise ValueError(f"{attribute} {text!a} is not a MAC address: six pairs of hexadecimal digits between colons")
    return lower


def link_local(mac: str) -> ipaddress.IPv6Address:
    """Return the link-local address made from a MAC address (modified EUI-64, RFC 4291 appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    eui = bytes([raw[0] ^ 2, *raw[1:3], 0xFF, 0xFE, *raw[3:]])
    return ipaddress.IPv6Address(b"\xfe\x80" + b"\0" * 6 + eui)
