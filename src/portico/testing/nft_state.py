# SPDX-License-Identifier: Apache-2.0
"""What nft commands make: tables, chains, sets and maps, as far as the agent's rules use them. Transactions are atomic.

Refuses what the kernel refuses: what is not there, what is in use, elements that overlap. Sources: nft(8), and the
kernel's answers to the same commands (tests/lab/backends runs them there).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from portico.agent.drivers.libnftables import NftError
from portico.model.snapshot import IpAddress, IpNetwork

Part = str | int | range | IpAddress | IpNetwork
Key = tuple[Part, ...]

RANGES = (range, IPv4Network, IPv6Network)

_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "srcnat": 100}
_NUMBER = re.compile(r"(0x[0-9a-f]+|\d+)(-(0x[0-9a-f]+|\d+))?")
_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(slots=True)
class Container:
    """A set or map; single elements by their parts, those that end in a range apart. A set's values are empty."""

    single: dict[Key, str] = field(default_factory=dict)
    ranges: dict[Key, str] = field(default_factory=dict)

    def find(self, key: Key) -> str | None:
        """Return the value of `key`; None when there is no such element."""
        found = self.single.get(key)
        if found is not None or not self.ranges:
            return found
        return next((value for own, value in self.ranges.items() if _covers(own, key)), None)

    def add(self, key: Key, value: str) -> None:
        """Add an element; the same again is no error, another value or an overlap is."""
        if self.find(key) not in (None, value) or (_is_range(key) and any(_overlap(key, own) for own in self.ranges)):
            raise NftError(f"Error: element {key} exists or overlaps")
        (self.ranges if _is_range(key) else self.single)[key] = value

    def remove(self, key: Key) -> None:
        """Remove an element that is there."""
        if (self.ranges if _is_range(key) else self.single).pop(key, None) is None:
            raise NftError(f"Error: element {key} does not exist")


@dataclass(slots=True)
class Chain:
    """A chain; one with a hook is a base chain."""

    hook: str = ""
    kind: str = "filter"
    priority: int = 0
    policy: str = "accept"
    rows: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Table:
    """A table of one family."""

    containers: dict[str, Container] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)

    def hooked(self, hook: str) -> list[Chain]:
        """Return the chains of a hook that filter, in the order in which packets meet them."""
        found = (chain for chain in self.chains.values() if (chain.hook, chain.kind) == (hook, "filter"))
        return sorted(found, key=lambda chain: chain.priority)


class NftState:
    """The tables of one network namespace, by (family, name), and the generation of the last transaction."""

    def __init__(self) -> None:
        self.tables: dict[tuple[str, str], Table] = {}
        self.generation = 1

    def run(self, commands: str) -> None:
        """Do `commands` as one transaction.

        Raises:
            NftError: one is refused; nothing has happened.
        """
        self.tables = self.outcome(commands)
        self.generation += 1

    def outcome(self, commands: str) -> dict[tuple[str, str], Table]:
        """Return what the tables would be after `commands`."""
        tables = copy.deepcopy(self.tables)
        lines = iter(line.strip() for line in commands.splitlines())
        for line in lines:
            if line and not line.startswith("#"):
                _do(tables, line, lines)
        for table in tables.values():
            _check_references(table)
        return tables


def listing(name: str, table: Table) -> str:
    """Return a table as nft lists it, near enough to tell one from another."""
    lines = [f"table {name} {{"]
    for kind, things in (("map", table.containers), ("chain", table.chains)):
        for own, thing in things.items():
            lines.append(f"\t{kind} {own} {{")
            lines += _body(thing)
            lines.append("\t}")
    return "\n".join([*lines, "}", ""])


def _body(thing: Container | Chain) -> list[str]:
    if isinstance(thing, Chain):
        hook = f"type {thing.kind} hook {thing.hook} priority {thing.priority}; policy {thing.policy};"
        return [*([hook] if thing.hook else []), *thing.rows]
    elements = {**thing.single, **thing.ranges}
    return [f"elements = {{ {', '.join(f'{key} : {value}' for key, value in elements.items())} }}"] if elements else []


def _do(tables: dict[tuple[str, str], Table], line: str, lines: Iterator[str]) -> None:
    words = line.split(maxsplit=5)
    if words[0] == "table":
        _read_table(tables.setdefault((words[1], words[2]), Table()), lines)
        return
    verb, kind, family, name = words[:4]
    if kind == "table":
        if verb == "add":
            tables.setdefault((family, name), Table())
        elif verb == "flush":
            for chain in tables[family, name].chains.values():
                chain.rows.clear()
        elif tables.pop((family, name), None) is None:
            raise NftError(f"Error: no table {family} {name}")
        return
    if (family, name) not in tables:
        raise NftError(f"Error: no table {family} {name}")
    _change(tables[family, name], verb, kind, words[4], words[5] if len(words) > 5 else "")


def _change(table: Table, verb: str, kind: str, name: str, rest: str) -> None:
    match verb, kind:
        case "add", "set":
            table.containers.setdefault(name, Container())
        case "add", "chain":
            _read_head(table.chains.setdefault(name, Chain()), rest.strip("{ }"))
        case "delete", "set" | "map":
            del table.containers[_known(table.containers, name)]
        case "delete", "chain":
            del table.chains[_known(table.chains, name)]
        case "flush", "chain":
            table.chains[_known(table.chains, name)].rows.clear()
        case "add", "rule":
            table.chains[_known(table.chains, name)].rows.append(rest)
        case (("add" | "delete"), "element"):
            container = table.containers[_known(table.containers, name)]
            for text in rest.strip("{} ").split(", "):
                key, _, value = text.partition(" : ")
                if verb == "add":
                    container.add(parse_key(key), value)
                else:
                    container.remove(parse_key(key))
        case _:
            raise NftError(f"Error: syntax error, unexpected {verb} {kind}")


def _known(things: Mapping[str, object], name: str) -> str:
    if name not in things:
        raise NftError(f"Error: no {name}")
    return name


def _read_table(table: Table, lines: Iterator[str]) -> None:
    """Read a table's block up to its closing brace."""
    for line in lines:
        if line == "}":
            return
        words = line.split()
        if words[:1] in (["set"], ["map"]):
            table.containers.setdefault(words[1], Container())
            for inner in lines:
                if inner == "}":
                    break
        elif words[:1] == ["chain"]:
            _read_chain(table.chains.setdefault(words[1], Chain()), lines)


def _read_chain(chain: Chain, lines: Iterator[str]) -> None:
    for line in lines:
        if line == "}":
            return
        if not _read_head(chain, line) and line and not line.startswith("#"):
            chain.rows.append(line)


def _read_head(chain: Chain, text: str) -> bool:
    """Take over where a chain is called from; return whether that is what the text tells."""
    found = re.fullmatch(r"type (filter|nat) hook (\w+) priority (\S+); policy (\w+);", text)
    if found:
        chain.kind, chain.hook, chain.policy = found[1], found[2], found[4]
        chain.priority = _PRIORITIES[found[3]] if found[3] in _PRIORITIES else int(found[3])
    return found is not None


def _check_references(table: Table) -> None:
    """Refuse rules and maps that name what is not there."""
    rows = [row for chain in table.chains.values() for row in chain.rows]
    values = [value for container in table.containers.values() for value in container.single.values()]
    for text in [*rows, *values]:
        for kind, name in _names(text):
            if name not in (table.chains if kind == "chain" else table.containers):
                raise NftError(f"Error: {text}: no {kind} {name}")


def _names(text: str) -> Iterator[tuple[str, str]]:
    for found in re.finditer(r"\b(?:jump|goto) ([^\s,]+)|@((?!th,)\S+)", text):
        yield ("chain", found[1]) if found[1] else ("set", found[2])


def parse_key(text: str) -> Key:
    """Return the parts of an element's key."""
    return tuple(parse_part(part) for part in text.strip().split(" . "))


def parse_part(text: str) -> Part:
    """Return one part: a quoted name, a number, a range of numbers, a MAC address, an IP address or a network."""
    if text.startswith('"'):
        return text.strip('"')
    if _MAC.fullmatch(text):
        return text
    if _NUMBER.fullmatch(text):
        low, _, high = text.partition("-")
        return range(int(low, 0), int(high, 0) + 1) if high else int(low, 0)
    return ip_network(text) if "/" in text else ip_address(text)


def _is_range(key: Key) -> bool:
    return isinstance(key[-1], RANGES)


def _covers(own: Key, key: Key) -> bool:
    last = own[-1]
    return own[:-1] == key[:-1] and isinstance(last, RANGES) and key[-1] in last


def _overlap(one: Key, other: Key) -> bool:
    a, b = one[-1], other[-1]
    if one[:-1] != other[:-1] or type(a) is not type(b):
        return False
    if isinstance(a, range) and isinstance(b, range):
        return a.start < b.stop and b.start < a.stop
    return bool(a.overlaps(b))  # type: ignore[union-attr,arg-type]
