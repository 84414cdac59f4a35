# SPDX-License-Identifier: Apache-2.0
"""The rules that concern one port, in nft's own words: as they should be, and as they are in force.

What is wanted is loaded into an empty network namespace and listed from there, so that both sides are told by the same
program and any difference is a real one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from portico.agent import fragment as parts
from portico.agent import policies, ruleset
from portico.agent.delta import Wanted
from portico.agent.drivers.libnftables import Nft
from portico.agent.fragment import Fragment
from portico.agent.policies import Pace

_BLOCK = re.compile(r"\t(?:chain|set|map|ct helper) (\S+) \{")
_OF_SOME = ("ingress-", "egress-", "meter-", "log-")
_MEMBERS = re.compile(r"@([mn][46]-\S+)")


@dataclass(frozen=True, slots=True)
class Text:
    """A chain's rules, or the elements of a set that concern the port, as wanted and as in force; None: not there."""

    name: str
    wanted: tuple[str, ...] | None
    actual: tuple[str, ...] | None


def compare(wanted: Wanted, link: str, piece: Fragment, pace: Pace | None) -> list[Text]:
    """Return what concerns the port whose end in the bridge is `link`; call it in our namespace.

    `pace` is as in `Ruleset`.

    The chains that every packet passes, those of the port's groups, the port's elements, and the members of groups
    that its rules name.
    """
    pieces, _ = parts.fragments(wanted, wanted.objects)
    rules = ruleset.Ruleset(pace)
    rules.change(pieces)
    nft = Nft()
    try:
        actual = nft.tables(ruleset.TABLES)
        there = nft.tables_after(ruleset.render_whole(rules), ruleset.TABLES)
    finally:
        nft.close()
    return list(_texts(blocks(there), blocks(actual), link, _chains_of(piece)))


def _chains_of(piece: Fragment) -> set[str]:
    names = {*piece.chains}
    for policy in piece.policies:
        for direction in policies.DIRECTIONS:
            names |= {f"{policy.table}{policies.policy_chain(direction, policy)}"}
            names |= {f"{policy.table}{policies.group_chain(direction, group_id)}" for group_id in policy.groups}
        names |= {name for name, _ in policies.log_chains(policy, Pace())}
    return names


def _texts(
    wanted: Mapping[str, tuple[str, ...]], actual: Mapping[str, tuple[str, ...]], link: str, chains: set[str]
) -> Iterator[Text]:
    members = {
        f"{parts.INET if chain.startswith(parts.INET) else ''}{name}"
        for chain in chains
        for row in wanted.get(chain, ())
        for name in _MEMBERS.findall(row)
    }
    for name in sorted({*wanted, *actual}):
        left, right = wanted.get(name), actual.get(name)
        if name in chains or name in members:
            yield Text(name, left, right)
        elif _is_set(left or right or ()):
            ours = [
                rows and tuple(row for row in rows if not _is_element(row) or row.startswith(f'"{link}"'))
                for rows in (left, right)
            ]
            yield Text(name, ours[0], ours[1])
        elif not name.removeprefix(parts.INET).startswith(_OF_SOME):
            yield Text(name, left, right)


def blocks(tables: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return chains, sets and maps of listings by name, each as its rows; elements are rows of their own, in order.

    `tables` are by family; the names of what is in that of "inet" begin as in `fragment`.
    """
    found: dict[str, tuple[str, ...]] = {}
    for family, text in tables.items():
        name, rows = "", list[str]()
        for line in text.splitlines():
            if block := _BLOCK.fullmatch(line):
                name, rows = f"{parts.INET if family == 'inet' else ''}{block[1]}", []
            elif line == "\t}":
                found[name] = tuple(_rows(rows))
            else:
                rows.append(line.strip())
    return found


def _rows(lines: list[str]) -> Iterator[str]:
    """Yield what a block says; its elements, which nft lists several to a line, one by one and in order."""
    text = "\n".join(lines)
    head, _, elements = text.partition("elements = {")
    yield from head.splitlines()
    yield from sorted(element.strip() for element in elements.rstrip(" }").split(",") if element.strip())


def _is_set(rows: tuple[str, ...]) -> bool:
    return any(row.startswith(("type ", "typeof ")) and " hook " not in row for row in rows)


def _is_element(row: str) -> bool:
    return not row.startswith(("type ", "typeof ", "flags ", "size ", "counter"))
