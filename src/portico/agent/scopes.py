# SPDX-License-Identifier: Apache-2.0
"""What keeps address scopes apart in the routed space. Pure.

Addresses of different scopes mean nothing to each other, so only what is translated goes from one to another. It is
judged before connections are, so that what was begun while two scopes were one ends. Without scopes there is nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portico.agent import addresses
from portico.agent.addresses import Net
from portico.hoststate import Space

CHAIN = "scopes"
HOOK = "type filter hook forward priority filter; policy accept;"
_WORDS = {4: "ip", 6: "ip6"}


def chains(space: Space) -> dict[str, tuple[str, ...]]:
    """Return the chains of `inet portico`: one that finds the sender's scope, and for each what it may send to.

    Raises:
        ValueError: an address in it is not one.
    """
    if not space.scopes:
        return {}
    nets = {
        f"scope-{item.scope_id or 'none'}": [addresses.network(text, "scopes") for text in item.cidrs]
        for item in space.scopes
    }
    made = {name: (*_each(mine, "daddr {} accept"), "drop") for name, mine in nets.items()}
    everywhere = [net for mine in nets.values() for net in mine]
    floating = [addresses.network(f"{text}/32", "floating") for text in space.floating]
    rows = [
        "meta mark & 0xffff != 0 accept",
        "ct status dnat accept",
        *_each(floating, "daddr {} accept"),
        *_each(floating, "saddr {} accept"),
        *_each(everywhere, "daddr != {} accept"),
    ]
    for version, word in _WORDS.items():
        ways = [f"{net} : goto {name}" for name, mine in nets.items() for net in mine if net.version == version]
        rows += [f"{word} saddr vmap {{ {', '.join(ways)} }}"] if ways else []
    return {CHAIN: tuple(rows), **made}


def _each(nets: Iterable[Net], rule: str) -> Iterator[str]:
    """Yield a rule for each IP version that `nets` have."""
    found = list(nets)
    for version, word in _WORDS.items():
        if mine := [str(net) for net in found if net.version == version]:
            yield f"{word} {rule.format('{ ' + ', '.join(mine) + ' }')}"
