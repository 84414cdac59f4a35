# SPDX-License-Identifier: Apache-2.0
"""Reading addresses as the reference implementation (neutron-lib on netaddr) reads them, spelling by spelling.

`ipaddress` differs from it in what it accepts (scope ids, host bits, masks), so the accepted spellings are spelled out.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from typing import Any

IpAddress = IPv4Address | IPv6Address
IpNetwork = IPv4Network | IPv6Network
Row = Mapping[str, Any]
Interface = IPv4Interface | IPv6Interface

_WHITESPACE = re.compile(r"\s")
_HEX = "[0-9A-Fa-f]"
# Spellings of a MAC address, each with the digits that a group must have to be whole.
_MAC_FORMS = tuple(
    (re.compile(pattern), digits)
    for pattern, digits in (
        (":".join([f"({_HEX}{{1,2}})"] * 6), 2),
        ("-".join([f"({_HEX}{{1,2}})"] * 6), 2),
        (":".join([f"({_HEX}{{1,4}})"] * 3), 4),
        ("-".join([f"({_HEX}{{1,4}})"] * 3), 4),
        (r"\.".join([f"({_HEX}{{1,4}})"] * 3), 4),
        ("-".join([f"({_HEX}{{5,6}})"] * 2), 6),
        (":".join([f"({_HEX}{{5,6}})"] * 2), 6),
        (f"({_HEX}{{11,12}})", 12),
    )
)
_USUAL_MAC = re.compile(":".join([f"{_HEX}{{2}}"] * 6))


def read_address(text: object) -> IpAddress | None:
    """Return the address that `text` spells, or None. IPv4 needs four octets without leading zeros; no scope ids."""
    if not isinstance(text, str) or "/" in text:
        return None
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return ip_address(socket.inet_pton(family, text))
    except (OSError, ValueError):
        return None


def canonical(address: IpAddress) -> str:
    """Return `address` as the C library prints it: ::ffff:192.0.2.1, where `ipaddress` prints ::ffff:c000:201."""
    return socket.inet_ntop(socket.AF_INET6 if address.version == 6 else socket.AF_INET, address.packed)


def read_interface(text: object) -> Interface | None:
    """Return the address and prefix that `text` spells, or None. Without `/` the prefix is one address.

    What follows `/` is a prefix length, a netmask, or a netmask's inverse.
    """
    if not isinstance(text, str):
        return None
    host, slash, suffix = text.partition("/")
    address = read_address(host)
    if address is None:
        return None
    prefix = _prefix_length(suffix, address.version) if slash else address.max_prefixlen
    if prefix is None or not 0 <= prefix <= address.max_prefixlen:
        return None
    if isinstance(address, IPv4Address):
        return IPv4Interface((address, prefix))
    return IPv6Interface((address, prefix))


def _prefix_length(suffix: str, version: int) -> int | None:
    try:
        return int(suffix)
    except ValueError:
        mask = read_address(suffix)
    if mask is None or mask.version != version:
        return None
    width, value = mask.max_prefixlen, int(mask)
    inverse = value ^ ((1 << width) - 1)
    if inverse & (inverse + 1) == 0:
        return width - inverse.bit_length()
    if value & (value + 1) == 0:
        return width - value.bit_length()
    return None


def canonical_mac(text: str) -> str | None:
    """Return the MAC address that `text` spells as aa:bb:cc:dd:ee:ff, or None."""
    if _USUAL_MAC.fullmatch(text):
        return text.lower()
    for form, digits in _MAC_FORMS:
        if match := form.fullmatch(text):
            packed = "".join(group.zfill(digits) for group in match.groups()).lower()
            return ":".join(packed[i : i + 2] for i in range(0, 12, 2))
    return None


def has_whitespace(text: str) -> bool:
    """Return whether any character of `text` is white space."""
    return _WHITESPACE.search(text) is not None


def host_name(address: str) -> str:
    """Return the name of an address whose port has none, e.g. `host-192-0-2-7`."""
    return "host-" + address.replace(".", "-").replace(":", "-")
