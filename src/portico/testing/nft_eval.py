# SPDX-License-Identifier: Apache-2.0
"""What rules do with the first packet of a connection: reads the statements in an `NftState` as the kernel does.

Only the words that the agent's rules use. An expression for which the packet has no field does not match. Source:
nft(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from portico.model.snapshot import IpAddress
from portico.testing.nft_state import RANGES, Chain, Part, Table, parse_part
from portico.trace.packet import PORTED, Packet

Value = str | int | IpAddress

_NUMBERS = {
    "udp": 17, "tcp": 6, "ipv6-icmp": 58, "icmp": 1, "ip": 0x0800, "ip6": 0x86DD, "arp": 0x0806, "ipv4": 2, "ipv6": 10,
    "dnat": 0x20,
}  # fmt: skip
_FAMILIES = {"ether type": {4: 0x0800, 6: 0x86DD}, "meta nfproto": {4: 2, 6: 10}}
_FIELDS = (
    "iifname", "oifname", "ether saddr", "ether type", "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr", "meta mark",
    "meta l4proto", "th dport", "udp sport", "udp dport", "icmp type", "icmp code", "icmpv6 type", "icmpv6 code",
    "@th,64,128", "meta nfproto", "ct status", "arp operation", "arp saddr ether", "arp saddr ip",
    "arp htype", "arp ptype", "arp hlen", "arp plen",
)  # fmt: skip
_VERDICTS = re.compile(r"(accept|drop)$|(jump|goto) (\S+)$")
_MATCH = re.compile(
    rf"(?P<left>(?:{'|'.join(map(re.escape, _FIELDS))})(?: & \S+)?"
    rf"(?: \. (?:{'|'.join(map(re.escape, _FIELDS))})(?: & \S+)?)*)"
    r" (?:(?P<how>vmap )?@(?P<name>[^ ,]+)|vmap (?P<verdicts>\{[^}]*\})|(?P<not>!= )?(?:== )?(?P<right>\{[^}]*\}|\S+))"
)
_MARKING = re.compile(r"meta mark set (?P<key>.+?) map @(?P<map>\w+) ?")
_IGNORED = re.compile(r"ct zone set .*|ct state \S+ .*|limit rate over .*|ip6? dscp set .*")


class Dropped(Exception):
    """The packet ends here."""


class Accepted(Exception):
    """The packet leaves the base chain."""


@dataclass(slots=True)
class Seen:
    """A packet on its way over a bridge, from one of its ports to another, or from one routed link to another.

    `status` has the bits that connection tracking has for it (`enum ip_conntrack_status`).
    """

    iif: str
    oif: str
    packet: Packet
    mark: int = 0
    status: int = 0

    def value(self, name: str) -> Value | None:
        """Return a field, or None when the packet has none of that name."""
        packet = self.packet
        family = "ip" if packet.source.version == 4 else "ip6"
        icmp = {("ip", 1): "icmp", ("ip6", 58): "icmpv6"}.get((family, packet.protocol), "")
        match name.split():
            case ["iifname"]:
                return self.iif
            case ["oifname"]:
                return self.oif
            case ["ether", "saddr"]:
                return packet.mac.lower()
            case ["ether", "type"] | ["meta", "nfproto"]:
                return _FAMILIES[name][packet.source.version]
            case [("ip" | "ip6") as word, side]:
                return None if word != family else packet.source if side == "saddr" else packet.destination
            case ["meta", "l4proto"]:
                return packet.protocol
            case ["meta", "mark"] | ["ct", "status"]:
                return self.mark if name == "meta mark" else self.status
            case ["th" | "udp" as word, port] if packet.protocol == 17 or (word == "th" and packet.protocol in PORTED):
                return packet.low if port == "sport" else packet.high
            case [("icmp" | "icmpv6") as word, part] if word == icmp:
                return packet.low if part == "type" else packet.high
        return None


@dataclass(frozen=True, slots=True)
class Test:
    """One expression: fields against a container, or one field against values, each of which may have a verdict."""

    fields: tuple[tuple[str, int], ...]
    container: str
    is_verdict_map: bool
    values: tuple[Part, ...]
    negated: bool
    verdicts: tuple[str, ...] = ()


def passes(table: Table, hook: str, packet: Seen) -> bool:
    """Return whether `packet` gets through all base chains of a hook."""
    return all(passes_chain(table, chain, packet) for chain in table.hooked(hook))


def passes_chain(table: Table, chain: Chain, packet: Seen) -> bool:
    """Return whether `packet` gets through one base chain."""
    try:
        _walk(table, chain, packet)
    except Accepted:
        return True
    except Dropped:
        return False
    return chain.policy == "accept"


def _walk(table: Table, chain: Chain, packet: Seen) -> bool:
    """Go through a chain; return whether the packet goes on in the calling chain (a `goto` from there ends it too)."""
    for row in chain.rows:
        verdict = _row_verdict(table, row, packet)
        if verdict and not _obey(table, verdict, packet):
            return False
    return True


def _obey(table: Table, verdict: str, packet: Seen) -> bool:
    """Follow a verdict; return whether the rules after it are looked at."""
    word, _, name = verdict.partition(" ")
    if word == "accept":
        raise Accepted
    if word == "drop":
        raise Dropped
    _walk(table, table.chains[name], packet)
    return word == "jump"


def _row_verdict(table: Table, row: str, packet: Seen) -> str:
    if _IGNORED.fullmatch(row):
        return ""
    while marking := _MARKING.search(row):
        before = row[: marking.start()].rstrip()
        if before and any(_try(table, test, packet) is None for test in parse_row(before)[0]):
            return ""
        key = tuple(packet.value(name) for name in marking["key"].split(" . "))
        mark = None if None in key else table.containers[marking["map"]].find(key)  # type: ignore[arg-type]
        if mark is None:
            return ""
        packet.mark = int(mark, 0)
        row = row[marking.end() :]
    if not row:
        return ""
    tests, verdict = parse_row(row)
    for test in tests:
        found = _try(table, test, packet)
        if found is None:
            return ""
        if test.is_verdict_map:
            return found
    return verdict


def _try(table: Table, test: Test, packet: Seen) -> str | None:
    """Return None when a test fails, else the value of what it found."""
    values = tuple(_masked(packet.value(name), mask) for name, mask in test.fields)
    if any(value is None for value in values):
        return None
    if test.container:
        return table.containers[test.container].find(values)  # type: ignore[arg-type]  # none of them is None
    if test.verdicts:
        pairs = zip(test.values, test.verdicts, strict=True)
        return next((verdict for part, verdict in pairs if _equals(part, values[0])), None)
    return "" if any(_equals(part, values[0]) for part in test.values) != test.negated else None


def _masked(value: Value | None, mask: int) -> Value | None:
    return value & mask if isinstance(value, int) else value


def _equals(part: Part, value: object) -> bool:
    if isinstance(part, str) and part.endswith("*"):
        return str(value).startswith(part[:-1])
    return value in part if isinstance(part, RANGES) else value == part


@lru_cache(maxsize=4096)
def parse_row(row: str) -> tuple[tuple[Test, ...], str]:
    """Return a rule's tests and its verdict.

    Raises:
        ValueError: the rule has words that are not known here.
    """
    tests = []
    position = 0
    while not (end := _VERDICTS.match(row, position)):
        if extension := re.compile(r"exthdr \w+ exists ?").match(row, position):
            tests.append(Test((("arp operation", -1),), "", is_verdict_map=False, values=(), negated=False))
            position = extension.end()
            continue
        found = _MATCH.match(row, position)
        if not found:
            raise ValueError(f"nft rule not understood from {row[position:]!r} on: {row}")
        tests.append(_test(found))
        position = found.end() + 1
        if position > len(row):
            return tuple(tests), ""
    return tuple(tests), end[0]


def _test(found: re.Match[str]) -> Test:
    fields = []
    for text in found["left"].split(" . "):
        name, _, mask = text.partition(" & ")
        fields.append((name, int(mask, 0) if mask else -1))
    listed = found["verdicts"].strip("{ }").split(", ") if found["verdicts"] else ()
    verdicts = [(one, verdict) for one, _, verdict in (each.partition(" : ") for each in listed)]
    return Test(
        fields=tuple(fields),
        container=found["name"] or "",
        is_verdict_map=bool(found["how"] or found["verdicts"]),
        values=tuple(_literals(found["right"])) if found["right"] else tuple(parse_part(one) for one, _ in verdicts),
        negated=bool(found["not"]),
        verdicts=tuple(verdict for _, verdict in verdicts),
    )


def _literals(text: str) -> Iterator[Part]:
    for word in text.strip("{ }").split(", "):
        yield _NUMBERS[word] if word in _NUMBERS else parse_part(word)
