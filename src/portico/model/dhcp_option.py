# SPDX-License-Identifier: Apache-2.0
"""Which DHCP options a port may have of its own: dnsmasq's names and numbers, and values that are one line of text.

Source: `dnsmasq --help dhcp` and `dnsmasq --help dhcp6` (dnsmasq 2.90).
"""

from __future__ import annotations

from collections.abc import Mapping

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


def value_fault(value: str) -> str:
    """Return the rule that an option's value breaks; empty if none."""
    return "" if value.isprintable() else "has a character that is not printable, such as the end of a line"
