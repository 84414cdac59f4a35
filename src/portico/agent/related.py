# SPDX-License-Identifier: Apache-2.0
"""The nftables rules that have a helper of connection tracking read along in connections to a port. Pure.

What is agreed on there, as in FTP and TFTP, is then `related` for whoever tracks, and a router that translates does so
in what is said, too. A helper is given to a connection with its first packet, before anything is translated: else the
kernel may not know that what it changes has another length (nft(8), "CT HELPER"; `net/netfilter/nft_ct.c`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portico.hoststate.l3 import Reader

CHAIN = "related"
HOOK = "type filter hook prerouting priority mangle; policy accept;"
MAP = "helpers"
LOOKED_UP = tuple(
    f"ct state new iifname . ether {side} . meta l4proto . th dport vmap @{MAP}" for side in ("daddr", "saddr")
)
"""The rules for bridges: a connection is helped by what is on its way to a router, or comes from one."""

_NUMBERS = {"tcp": 6, "udp": 17}


def name(helper: str, protocol: str) -> str:
    """Return the name of the object that stands for a helper."""
    return f"{helper}-{protocol}"


def chain(named: str) -> str:
    """Return the name of the chain that gives a connection the helper of an object."""
    return f"{CHAIN}-{named}"


def given(named: str) -> str:
    """Return the rule that does."""
    return f'ct helper set "{named}"'


def declared(named: str, table: str = "") -> str:
    """Return an object as nft wants it, outside of a table's block with the table before its name."""
    helper, _, protocol = named.rpartition("-")
    return f'ct helper {table}{named} {{ type "{helper}" protocol {protocol}; }}'


def keys(helpers: Iterable[Reader], bridge: str, mac: str) -> Iterator[tuple[str, str]]:
    """Yield keys of the map for a router's leg on a bridge, with the names of objects.

    Raises:
        ValueError: a protocol or a port is none.
    """
    for item in helpers:
        if item.protocol not in _NUMBERS or not 0 < item.port <= 0xFFFF:
            raise ValueError(f"helpers: {item.helper!a} of {item.protocol!a} port {item.port} is none")
        yield f'"{bridge}" . {mac} . {_NUMBERS[item.protocol]} . {item.port}', name(item.helper, item.protocol)


def lines(helpers: Iterable[tuple[str, int, str]]) -> Iterator[str]:
    """Yield what the table of a router has of this: objects, and a chain that gives connections to ports theirs."""
    told = [(protocol, port, name(helper, protocol)) for protocol, port, helper in helpers]
    yield from (declared(named) for named in sorted({named for _, _, named in told}))
    yield f"chain {CHAIN} {{\n	{HOOK}"
    yield from (f"	{protocol} dport {port} {given(named)}" for protocol, port, named in told)
    yield "}"
