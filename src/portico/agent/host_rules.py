# SPDX-License-Identifier: Apache-2.0
"""Our nft table in the host's namespace: what leaves by an uplink's host, and the ports that the host publishes. Pure.

Every rule carries its object's key and a digest of all the rules of that object in its comment, so that a new agent
knows what is there. `docs/published-ports.md` tells the way of a packet.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from portico.agent import addresses, owner
from portico.agent.addresses import Net
from portico.hoststate import ROUTED, Publish, Space, Target, Uplink

ANY = {4: "0.0.0.0", 6: "::"}  # noqa: S104 (a word of the wanted state, nothing is bound to it)

CHAINS: Mapping[str, str] = {
    "arriving": "type nat hook prerouting priority -100; policy accept;",
    "made": "type nat hook output priority -100; policy accept;",
    "forward": "type filter hook forward priority 0; policy accept;",
    "saying": "type filter hook output priority 0; policy accept;",
    "leaving": "type nat hook postrouting priority 100; policy accept;",
    "published": "",
}
_FIXED = {
    "arriving": "fib daddr type local goto published",
    "made": "fib daddr type local goto published",
    "saying": "meta l4proto != { icmp, ipv6-icmp } accept",
}
"""Rules that are nobody's: what somebody sends to the host, or the host to itself, may be published. The last spares
what the host sends the others."""

Rules = tuple[tuple[str, str], ...]
"""The rules of an object: each with its chain."""

_COMMENTED = re.compile(r'\s*(?P<text>\S.* comment "(?P<key>\S+) (?P<digest>\S+)")')
_CHAIN = re.compile(r"\s*chain (\S+) \{")


def host_link(network_id: str, netns: str) -> str:
    """Return the host's link to a network, or to the routed space."""
    return owner.space_link(netns) if network_id == ROUTED else owner.uplink_host_link(network_id)


def way_key(network_id: str) -> str:
    """Return the key of what leads from a network, or from the routed space, to the host."""
    return f"space/{ROUTED}" if network_id == ROUTED else f"uplink/{network_id}"


def of_uplink(item: Uplink) -> Rules:
    """Return the rules of an uplink.

    What a port of the network sends to a port that the host publishes goes back the way it came, and nobody there is
    to learn a shorter one.

    Raises:
        ValueError: an address in it is not one.
    """
    link = f'"{owner.uplink_host_link(item.network_id)}"'
    nets = [addresses.network(cidr, f"masquerade[{number}]") for number, cidr in enumerate(item.masquerade)]
    return (
        ("saying", f"oifname {link} icmp type redirect drop"),
        ("saying", f"oifname {link} icmpv6 type nd-redirect drop"),
        ("leaving", f"oifname {link} ip saddr 127.0.0.0/8 masquerade"),
        ("leaving", f"iifname {link} oifname {link} ct status dnat masquerade"),
        *(("leaving", f"iifname {link} oifname != {link} {_ip(net.version)} saddr {net} masquerade") for net in nets),
    )


def of_space(item: Space, link_name: str) -> Rules:
    """Return the rules of the routed space of a host with a way out; its link there is called `link_name`.

    As with an uplink, what a port sends to a port that the host publishes comes back to the host, which it would else
    not: ports of one host reach each other without it.

    Raises:
        ValueError: an address in it is not one.
    """
    link = f'"{link_name}"'
    nets = [addresses.network(cidr, f"masquerade[{number}]") for number, cidr in enumerate(item.masquerade)]
    known = [addresses.network(cidr, f"known[{number}]") for number, cidr in enumerate(item.known)]
    return (
        ("saying", f"oifname {link} icmp type redirect drop"),
        ("saying", f"oifname {link} icmpv6 type nd-redirect drop"),
        ("leaving", f"oifname {link} ip saddr 127.0.0.0/8 masquerade"),
        ("leaving", f"iifname {link} oifname {link} ct status dnat masquerade"),
        *(("leaving", row) for version in (4, 6) for row in _way_out(link, nets, known, version)),
    )


def _way_out(link: str, nets: Sequence[Net], known: Sequence[Net], version: int) -> Iterator[str]:
    """Yield the rule by which what is from `nets` and for none of `known` has the host's address outside."""
    ours, theirs = (", ".join(str(net) for net in some if net.version == version) for some in (nets, known))
    if ours:
        ip = _ip(version)
        yield f"iifname {link} oifname != {link} {ip} saddr {{ {ours} }} {ip} daddr != {{ {theirs} }} masquerade"


def of_publish(item: Publish, link_name: str) -> Rules:
    """Return the rules of published ports.

    What is not published at all addresses is for nobody else: a neighbour that sends to the target by way of the host
    is refused. A port of the routed space that has an IPv6 address is reached by that, whatever is published.

    Args:
        item: what is published.
        link_name: the host's link to the targets.

    Raises:
        ValueError: an address in it is not one.
    """
    link = f'"{link_name}"'
    targets = {addresses.address(target.address, "targets.address").version: target for target in item.targets}
    rules = []
    for text in item.addresses:
        version = addresses.address(text, "addresses").version
        if version in targets:
            rules.append(("published", f"{_at(text, version)} {_ports(item)} {_to(item, targets[version], version)}"))
    for version, target in targets.items():
        if ANY[version] not in item.addresses and (version == 4 or item.network_id != ROUTED):
            match = f"{_ip(version)} daddr {target.address} {item.protocol} dport {_range(target.ports)}"
            rules.append(("forward", f"oifname {link} ct state new ct status & dnat == 0 {match} drop"))
    return tuple(rules)


def digest(rules: Rules) -> str:
    """Return a short text that differs when the rules do."""
    return hashlib.sha256(repr(rules).encode()).hexdigest()[:16]


def commented(key: str, rules: Rules) -> Rules:
    """Return rules with the comment by which they are known."""
    told = digest(rules)
    return tuple((chain, f'{text} comment "{key} {told}"') for chain, text in rules)


def render(table: str, rules: Mapping[str, Rules]) -> str:
    """Return the commands that make `rules`, commented ones by key, the whole of a table; none at all: no table.

    Every packet of the host passes the hooks that are there, so there are none without rules.
    """
    lines = [f"add table inet {table}", f"delete table inet {table}"]
    if rules:
        lines.append(f"table inet {table} {{")
        for chain, head in CHAINS.items():
            fixed = [_FIXED[chain]] if chain in _FIXED else []
            own = [text for key in sorted(rules) for place, text in rules[key] if place == chain]
            if own or fixed or not head:
                lines += [f"chain {chain} {{", *([head] if head else []), *fixed, *own, "}"]
        lines.append("}")
    return "\n".join([*lines, ""])


def standing(listing: str) -> dict[str, list[tuple[str, str]]]:
    """Return the commented rules of a table as nft lists it, by key."""
    found: dict[str, list[tuple[str, str]]] = {}
    chain = ""
    for line in listing.splitlines():
        if head := _CHAIN.fullmatch(line):
            chain = head[1]
        elif rule := _COMMENTED.fullmatch(line):
            found.setdefault(rule["key"], []).append((chain, rule["text"]))
    return found


def clashes(items: Iterable[Publish]) -> Iterator[tuple[Publish, Publish]]:
    """Yield those that want what an earlier one has, with that one."""
    holders: dict[tuple[str, int], list[Publish]] = {}
    for item in items:
        places = [(item.protocol, port) for port in range(item.ports[0], item.ports[1] + 1)]
        rivals = (other for place in places for other in holders.get(place, ()) if _share_address(item, other))
        if (rival := next(rivals, None)) is not None:
            yield item, rival
            continue
        for place in places:
            holders.setdefault(place, []).append(item)


def _share_address(one: Publish, other: Publish) -> bool:
    pairs = ((a, b) for a in one.addresses for b in other.addresses)
    return any((":" in a) == (":" in b) and (a == b or {a, b} & {*ANY.values()}) for a, b in pairs)


def _at(text: str, version: int) -> str:
    """Return what matches an address of the host; ::1 leads nowhere, the kernel sends it by no other link."""
    if text == ANY[version]:
        return "meta nfproto ipv4" if version == 4 else "ip6 daddr != ::1"
    return f"{_ip(version)} daddr {ipaddress.ip_address(text)}"


def _ports(item: Publish) -> str:
    return f"{item.protocol} dport {_range(item.ports)}"


def _to(item: Publish, target: Target, version: int) -> str:
    verdict = f"dnat {_ip(version)} to"
    if item.ports == target.ports:
        return f"{verdict} {target.address}"
    address = target.address if version == 4 else f"[{target.address}]"
    first, last = item.ports
    if first == last:
        return f"{verdict} {address}:{target.ports[0]}"
    start, end = target.ports
    pairs = (f"{port} : {min(port - first + start, end)}" for port in range(first, last + 1))
    return f"{verdict} {address}:{item.protocol} dport map {{ {', '.join(pairs)} }}"


def _range(ports: tuple[int, int]) -> str:
    first, last = ports
    return str(first) if first == last else f"{first}-{last}"


def _ip(version: int) -> str:
    return "ip" if version == 4 else "ip6"
