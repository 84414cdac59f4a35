# SPDX-License-Identifier: Apache-2.0
"""Whether a port of the host can be published: a program may have it."""

from __future__ import annotations

import errno
import socket

from portico.agent import kernel

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class HostPorts:
    """Ports of the namespace that `netns` describes."""

    def __init__(self, netns: int) -> None:
        self._netns = netns

    def obstacle(self, protocol: str, addresses: tuple[str, ...], ports: tuple[int, int]) -> str:
        """Return why ports, first to last, of addresses cannot be published; empty if they can be."""
        if protocol not in _KINDS:
            return ""

        def look() -> str:
            tries = ((address, port) for address in addresses for port in range(ports[0], ports[1] + 1))
            return next((why for address, port in tries if (why := _why_not(protocol, address, port))), "")

        return kernel.within(self._netns, look)


def _why_not(protocol: str, address: str, port: int) -> str:
    """Return what is in the way of one port; whoever listens there gets no more than a try to listen too."""
    kind, number = _KINDS[protocol]
    is_ipv6 = ":" in address
    try:
        with socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, kind, number) as trial:
            if protocol != "udp":  # else what is left of connections that have ended would be in the way
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_ipv6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind((address, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"a program on the host uses {protocol} port {port} of address {address}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"the host does not have address {address}"
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT):
            return ""  # nobody can have it
        return f"{protocol} port {port} of address {address}: {error.strerror}"
    return ""
