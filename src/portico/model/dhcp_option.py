# SPDX-License-Identifier: Apache-2.0
"""Which DHCP options a port may have of its own: dnsmasq's names and numbers, and values: one line of text, of
the option's type where it has one.

Source: `dnsmasq --help dhcp` and `dnsmasq --help dhcp6` (dnsmasq 2.90).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Network, ip_address

_IPV4 = """
    netmask time-offset router dns-server log-server lpr-server boot-file-size domain-name swap-server root-path
    extension-path ip-forward-enable non-local-source-routing policy-filter max-datagram-reassembly default-ttl mtu
    all-subnets-local router-discovery router-solicitation static-route trailer-encapsulation arp-timeout
    ethernet-encap tcp-ttl tcp-keepalive nis-domain nis-server ntp-server netbios-ns netbios-dd netbios-nodetype
    netbios-scope x-windows-fs x-windows-dm T1 T2 vendor-class nis+-domain nis+-server tftp-server bootfile-name
    mobile-ip-home smtp-server pop3-server nntp-server irc-server user-class rapid-commit client-arch
    client-interface-id client-machine-id posix-timezone tzdb-timezone ipv6-only domain-search sip-server
    classless-static-route vendor-id-encap tftp-server-address server-ip-address
"""
_IPV6 = """
    sip-server-domain sip-server dns-server domain-search nis-server nis+-server nis-domain nis+-domain sntp-server
    information-refresh-time posix-timezone tzdb-timezone ntp-server bootfile-url bootfile-param
"""
NAMES: Mapping[int, frozenset[str]] = {4: frozenset(_IPV4.split()), 6: frozenset(_IPV6.split())}
"""Names by IP version, as dnsmasq writes them."""

# 255 ends a packet (RFC 2132 section 3.2) and is dnsmasq's number for the field siaddr; that one goes by its name.
MAX_NUMBER = 254

# The types of options whose values have one, by number: RFC 2132, RFC 3442, RFC 8415 and option.c of dnsmasq.
_ADDRESSES: Mapping[int, frozenset[int]] = {
    4: frozenset({1, 3, 6, 7, 9, 16, 21, 33, 41, 42, 44, 45, 48, 49, 65, 68, 69, 70, 71, 74, 150}),
    6: frozenset({22, 23, 27, 28, 31}),
}
_ROUTES = 121
_U8, _U16, _U32 = (0, 0xFF), (0, 0xFFFF), (0, 0xFFFFFFFF)
_INTEGERS: Mapping[int, Mapping[int, tuple[int, int]]] = {
    4: {
        **dict.fromkeys((19, 20, 23, 27, 31, 34, 36, 37, 46), _U8),
        **dict.fromkeys((13, 22, 93), _U16),
        **dict.fromkeys((35, 38, 58, 59, 108), _U32),
        2: (-0x80000000, 0x7FFFFFFF),
        26: (68, 0xFFFF),  # RFC 2132 section 5.1
    },
    6: {32: _U32},
}
_NUMBERS: Mapping[int, Mapping[str, int]] = {
    4: {
        "netmask": 1, "time-offset": 2, "router": 3, "dns-server": 6, "log-server": 7, "lpr-server": 9,
        "boot-file-size": 13, "swap-server": 16, "ip-forward-enable": 19, "non-local-source-routing": 20,
        "policy-filter": 21, "max-datagram-reassembly": 22, "default-ttl": 23, "mtu": 26, "all-subnets-local": 27,
        "router-discovery": 31, "static-route": 33, "trailer-encapsulation": 34, "arp-timeout": 35,
        "ethernet-encap": 36, "tcp-ttl": 37, "tcp-keepalive": 38, "nis-server": 41, "ntp-server": 42, "netbios-ns": 44,
        "netbios-dd": 45, "netbios-nodetype": 46, "x-windows-fs": 48, "x-windows-dm": 49, "t1": 58, "t2": 59,
        "nis+-server": 65, "mobile-ip-home": 68, "smtp-server": 69, "pop3-server": 70, "nntp-server": 71,
        "irc-server": 74, "client-arch": 93, "ipv6-only": 108, "classless-static-route": 121,
        "tftp-server-address": 150,
    },
    6: {
        "sip-server": 22, "dns-server": 23, "nis-server": 27, "nis+-server": 28, "sntp-server": 31,
        "information-refresh-time": 32,
    },
}  # fmt: skip

_LOWER = {version: frozenset(map(str.lower, names)) for version, names in NAMES.items()}


def name_fault(name: str, version: int) -> str:
    """Return the rule that an option's name breaks; empty if none."""
    if name.isascii() and name.isdecimal() and 1 <= int(name) <= MAX_NUMBER:
        return ""
    if name.lower() in _LOWER[version]:
        return ""
    return (
        f"is neither a number of 1 to {MAX_NUMBER} nor the name of a DHCP option for IPv{version} (RFC 2132, RFC 8415)"
    )


def value_fault(name: str, version: int, value: str) -> str:
    """Return the rule that an option's value breaks; empty if none. An empty value keeps the option from being sent."""
    if not value.isprintable():
        return "has a character that is not printable, such as the end of a line"
    number = int(name) if name.isdecimal() else _NUMBERS[version].get(name.lower(), 0)
    words = [word.strip() for word in value.split(",")]
    if not value:
        return ""
    if number in _ADDRESSES[version]:
        return "" if all(_is_address(word, version) for word in words) else f"is no list of IPv{version} addresses"
    if version == 4 and number == _ROUTES:
        pairs = [*zip(words[::2], words[1::2], strict=False)]
        right = len(words) % 2 == 0 and all(_is_network(net) and _is_address(hop, 4) for net, hop in pairs)
        return "" if right else "is no list of destinations and next hops, such as 192.0.2.0/24,10.0.0.1"
    first, last = _INTEGERS[version].get(number, (0, -1))
    if first <= last and not (re.fullmatch(r"-?[0-9]{1,10}", value) and first <= int(value) <= last):
        return f"is no integer of {first} to {last}"
    return ""


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text.removeprefix("[").removesuffix("]") if version == 6 else text).version == version
    except ValueError:
        return False


def _is_network(text: str) -> bool:
    try:
        return "/" in text and IPv4Network(text).version == 4
    except ValueError:
        return False
