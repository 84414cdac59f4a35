# SPDX-License-Identifier: Apache-2.0
"""Security group rules: their nftables text, and whether they admit a connection. Pure.

Both readings of a rule stand here side by side, for they have to say the same: the kernel judges new connections by
the text; `fitting` and `admits_remote` judge those that were let in before the rules changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from portico.agent import addresses
from portico.agent.addresses import Address
from portico.hoststate import Rule

ICMP = 1
ICMPV6 = 58
PORTED = frozenset({6, 17, 33, 132, 136})
"""Protocols with ports in the first four bytes of their header: TCP, UDP, DCCP, SCTP, UDP-Lite."""

_EXTENSION_HEADERS = {0: "hbh", 43: "rt", 44: "frag", 60: "dst"}
"""IPv6 extension headers that have a protocol number; nftables' `meta l4proto` skips them."""

ZONE_MASK = 0xFFFF

YES = {"egress": "goto receive", "ingress": "accept"}
"""The verdict that lets a packet through in a direction: what may be sent is still to be received."""


@dataclass(frozen=True, slots=True)
class Flow:
    """A new connection as one port sees it, whoever is at its other end.

    `version` is that of IP; `low`, `high`: source and destination port, or ICMP type and code.
    """

    direction: str
    version: int
    protocol: int
    low: int
    high: int


def member_set(group_id: str, family: str) -> str:
    """Return the name of the set of a group's addresses; `family` is "4" or "6"."""
    return f"m{family}-{group_id}"


def member_net_set(group_id: str, family: str) -> str:
    """Return the name of the set of a group's address ranges."""
    return f"n{family}-{group_id}"


def lines(rule: Rule, *, routed: bool = False) -> list[str]:
    """Return the statements of a rule; a rule with a remote group needs two, for its addresses and its ranges.

    They are for what passes a bridge, or with `routed` for what is routed: its frames' types are no longer to be seen.

    Raises:
        ValueError: the remote is not a CIDR, or not of the rule's IP version.
    """
    family, word = ("4", "ip") if rule.ethertype == "IPv4" else ("6", "ip6")
    match = _protocol(rule, word)
    version = f"meta nfproto ipv{family}" if routed else f"ether type {word}"
    side = "saddr" if rule.direction == "ingress" else "daddr"
    if rule.remote_group_id is not None:
        key = f"meta mark & {ZONE_MASK:#x} . {word} {side}"
        names = (member_set(rule.remote_group_id, family), member_net_set(rule.remote_group_id, family))
        return [f"{version} {key} @{name}{match} {YES[rule.direction]}" for name in names]
    remote = ""
    if rule.remote_cidr is not None:
        net = addresses.network(rule.remote_cidr, "remote_cidr")
        if str(net.version) != family:
            raise ValueError(f"remote_cidr {rule.remote_cidr!a} is not of the rule's ethertype, {rule.ethertype}")
        remote = f" {word} {side} {net}"
    return [f"{version}{remote}{match} {YES[rule.direction]}"]


def fitting(rules: Iterable[Rule], flow: Flow) -> list[Rule]:
    """Return the rules that let a new connection through, if they do so for who is at its other end."""
    return [rule for rule in rules if _fits(rule, flow)]


def admits_remote(rule: Rule, remote: Address, is_member: Callable[[str, Address], bool]) -> bool:
    """Return whether a rule lets connections with `remote` through; `is_member` answers for a remote group."""
    if rule.remote_group_id is not None:
        return is_member(rule.remote_group_id, remote)
    if rule.remote_cidr is None:
        return True
    net = _network(rule.remote_cidr)
    return net is not None and remote in net


def _protocol(rule: Rule, word: str) -> str:
    if rule.protocol is None:
        return ""
    if word == "ip6" and rule.protocol in _EXTENSION_HEADERS:
        return f" exthdr {_EXTENSION_HEADERS[rule.protocol]} exists"
    match = f" meta l4proto {rule.protocol}"
    if rule.protocol in PORTED:
        return match + _range(" th dport", rule.port_min, rule.port_max, 65535)
    if rule.protocol == (ICMP if word == "ip" else ICMPV6):
        name = "icmp" if word == "ip" else "icmpv6"
        match += "" if rule.port_min is None else f" {name} type {rule.port_min}"
        match += "" if rule.port_max is None else f" {name} code {rule.port_max}"
    return match


def _range(field: str, low: int | None, high: int | None, top: int) -> str:
    if low is None and high is None:
        return ""
    first, last = low or 0, top if high is None else high
    return f"{field} {first}" if first == last else f"{field} {first}-{last}"


def _fits(rule: Rule, flow: Flow) -> bool:
    version = 4 if rule.ethertype == "IPv4" else 6
    if rule.direction != flow.direction or flow.version != version:
        return False
    return rule.protocol is None or _admits_protocol(rule, flow, version)


@lru_cache(maxsize=1024)
def _network(cidr: str) -> addresses.Net | None:
    """Return a network; None for what is none, which has nobody in it: that is told where rules are made of it."""
    try:
        return addresses.network(cidr, "remote_cidr")
    except ValueError:
        return None


def _admits_protocol(rule: Rule, flow: Flow, version: int) -> bool:
    if version == 6 and rule.protocol in _EXTENSION_HEADERS:
        return True  # a tracked connection does not tell its extension headers: let it be
    if rule.protocol != flow.protocol:
        return False
    if rule.protocol in PORTED:
        return (rule.port_min or 0) <= flow.high <= (65535 if rule.port_max is None else rule.port_max)
    if rule.protocol == (ICMP if version == 4 else ICMPV6):
        return rule.port_min in (None, flow.low) and rule.port_max in (None, flow.high)
    return True
