# SPDX-License-Identifier: Apache-2.0
"""Whether ports of this host are free to be published; asked in its own network namespace."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}

TRACKING = Path("/proc/sys/net/netfilter")
"""The sysctls of connection tracking."""


def obstacle(protocol: str, address: str, port: int, tracking: Path = TRACKING) -> str:
    """Return what keeps a port of an address of this host from being published; empty if nothing does.

    Found out by taking the port for a moment. Nothing listens on it, so nobody notices.
    """
    if protocol not in _KINDS:
        return ""
    if protocol == "sctp" and not _tracks_sctp(tracking):
        return "the kernel does not track SCTP (CONFIG_NF_CT_PROTO_SCTP), so its ports cannot lead elsewhere"
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


def _tracks_sctp(tracking: Path) -> bool:
    """Tell whether the kernel translates ports of SCTP.

    Without that it takes SCTP for a protocol without ports, and would deliver what is published to the wrong one. There
    are no sysctls before anything is tracked: then it is not known, and nothing is held against it.

    Source: Linux, net/netfilter/nf_conntrack_standalone.c.
    """
    return (tracking / "nf_conntrack_sctp_timeout_established").exists() or not (tracking / "nf_conntrack_max").exists()
