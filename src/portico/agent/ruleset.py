# SPDX-License-Identifier: Apache-2.0
"""All nftables rules of a host, put together from fragments, and the nft text of a change or of the whole. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from portico.agent import fragment as parts
from portico.agent import policies, related, rules
from portico.agent.addresses import Net
from portico.agent.fragment import Element, Fragment
from portico.agent.policies import Pace, Policy, log_chains

TABLES = (("bridge", "portico"), ("inet", "portico"))


@dataclass(slots=True)
class Change:
    """What differs between two states of the rules; applied as one transaction."""

    sets: set[str] = field(default_factory=set)
    gone_sets: set[str] = field(default_factory=set)
    chains: dict[str, tuple[str, ...]] = field(default_factory=dict)
    gone_chains: set[str] = field(default_factory=set)
    elements: dict[Element, str] = field(default_factory=dict)
    gone_elements: set[Element] = field(default_factory=set)

    def __bool__(self) -> bool:
        return any((self.sets, self.gone_sets, self.chains, self.gone_chains, self.elements, self.gone_elements))


class Ruleset:
    """The rules as they should be in force. `change` keeps count of what several fragments share.

    Args:
        pace: how much is written down for each log; None where the kernel cannot tell of packets: then nothing is.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace
        self.fragments: dict[str, Fragment] = {}
        self._elements: dict[Element, str] = {}
        self._chains: dict[str, tuple[str, ...]] = {
            f"{table}{parts.ESTABLISHED}": rows for table, rows in parts.SHORT_WAY.items()
        }
        self._sets: set[str] = set()
        self._groups: dict[str, bool] = {}
        self._policies: Counter[Policy] = Counter()
        self._untracked: set[Policy] = set()
        self._log_chains: dict[str, tuple[str, ...]] = {}
        self._members: Counter[str] = Counter()
        self._translated = 0
        self._counted: Counter[str] = Counter()
        self._helpers: Counter[str] = Counter()
        self._networks: dict[tuple[str, str], Counter[str]] = {}
        self._widest: dict[tuple[str, str], list[Element]] = {}

    def change(self, put: Mapping[str, Fragment], gone: Iterable[str] = ()) -> Change:
        """Replace and remove fragments by key; return what that changes."""
        elements: dict[Element, str] = {}
        chains: dict[str, tuple[str, ...] | None] = {}
        ranges: set[tuple[str, str]] = set()
        touched: set[Policy] = set()
        helped: set[str] = set()
        regrouped: set[str] = set()
        old = {key: self.fragments.pop(key) for key in [*put, *gone] if key in self.fragments}
        self.fragments.update(put)
        for sign, batch in ((-1, old), (1, put)):
            for key, piece in batch.items():
                if key.startswith("group/"):
                    regrouped |= self._regroup(key.partition("/")[2], piece, sign)
                chains.update(piece.chains if sign > 0 else dict.fromkeys(piece.chains))
                for element, value in piece.elements.items():
                    elements[element] = value if sign > 0 else _ABSENT
                for net in piece.networks:
                    ranges.add((net.container, net.scope))
                    self._networks.setdefault((net.container, net.scope), Counter())[net.cidr] += sign
                for policy in piece.policies:
                    touched.add(policy)
                    self._policies[policy] += sign
                for group_id in piece.members:
                    self._members[group_id] += sign
                self._translated += sign * piece.translates
                self._counted.update(dict.fromkeys(piece.counted, sign))
                helped |= piece.helpers
                self._helpers.update(dict.fromkeys(piece.helpers, sign))
        touched |= {policy for policy in self._policies if regrouped.intersection(policy.groups)}
        chains.update(self._judging(touched))
        chains.update(self._reading_along(helped))
        chains.update(parts.TRANSLATION if self._translated else dict.fromkeys(parts.TRANSLATION))
        slow = {policy.table for policy in self._untracked} | {*+self._counted}
        for table, rows in parts.SHORT_WAY.items():
            chains[f"{table}{parts.ESTABLISHED}"] = () if table in slow else rows
        return self._settle(elements, chains, ranges)

    def whole(self) -> Change:
        """Return everything, as a change from nothing."""
        return Change(sets=set(self._sets), chains=dict(self._chains), elements=dict(self._elements))

    def chain(self, name: str) -> tuple[str, ...]:
        """Return the rules of a chain."""
        return self._chains[name]

    def _regroup(self, group_id: str, piece: Fragment, sign: int) -> set[str]:
        if sign < 0:
            del self._groups[group_id]
        else:
            self._groups[group_id] = piece.stateful
        return {group_id}

    def _judging(self, touched: Collection[Policy]) -> dict[str, tuple[str, ...] | None]:
        """Return the chains of policies, and all that logs have, as they are to be; None for those that are to go."""
        chains = {name: rows for policy in touched for name, rows in self._policy(policy)}
        if self._pace and any(policy.logs for policy in touched):
            chains.update(dict.fromkeys(self._log_chains))
            self._log_chains = dict(pair for policy in self._policies for pair in log_chains(policy, self._pace))
            chains.update(self._log_chains)
        return chains

    def _policy(self, policy: Policy) -> Iterator[tuple[str, tuple[str, ...] | None]]:
        used = self._policies[policy] > 0
        if not used:
            del self._policies[policy]
        if used and not policies.is_tracked(policy.groups, self._groups):
            self._untracked.add(policy)
        else:
            self._untracked.discard(policy)
        heard = policy if self._pace else policy._replace(logs=())
        for direction in policies.DIRECTIONS:
            lines = policies.policy_lines(direction, heard, self._groups, self._group_rows) if used else None
            yield f"{policy.table}{policies.policy_chain(direction, policy)}", lines

    def _group_rows(self, name: str) -> tuple[str, ...]:
        """Return the rules of a group's chain; of one that is not there, none."""
        piece = self.fragments.get(f"group/{_split(name)[1].partition('-')[2]}")
        return piece.chains.get(name, ()) if piece else ()

    def _reading_along(self, helped: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...] | None]]:
        """Yield the chains that give connections their helpers, as far as that may have changed."""
        for name in helped:
            used = self._helpers[name] > 0
            yield f"{parts.INET}{related.chain(name)}", (related.given(name),) if used else None
        self._helpers = +self._helpers
        yield f"{parts.INET}{related.CHAIN}", related.LOOKED_UP if self._helpers else None

    def _settle(
        self,
        elements: dict[Element, str],
        chains: dict[str, tuple[str, ...] | None],
        ranges: set[tuple[str, str]],
    ) -> Change:
        """Take over what is wanted now, and return where it differs from before."""
        change = Change()
        for scope in ranges:
            elements.update(self._ranges(scope))
        for element, value in elements.items():
            before = self._elements.get(element, _ABSENT)
            if before == value:
                continue
            if before is not _ABSENT:
                change.gone_elements.add(element)
                del self._elements[element]
            if value is not _ABSENT:
                change.elements[element] = self._elements[element] = value
        for name, lines in chains.items():
            if lines is None:
                if self._chains.pop(name, None) is not None:
                    change.gone_chains.add(name)
            elif self._chains.get(name) != lines:
                change.chains[name] = self._chains[name] = lines
        self._members = +self._members
        wanted_sets = {name for group_id in self._members for name in _member_sets(group_id)}
        change.sets, change.gone_sets = wanted_sets - self._sets, self._sets - wanted_sets
        self._sets = wanted_sets
        change.gone_elements = {item for item in change.gone_elements if item.container not in change.gone_sets}
        return change

    def _ranges(self, scope: tuple[str, str]) -> dict[Element, str]:
        """Return the elements of one scope of an interval set: only the widest ranges, for they must not overlap."""
        container, prefix = scope
        found = dict.fromkeys(self._widest.pop(scope, ()), _ABSENT)
        counts = self._networks[scope] = +self._networks[scope]
        if not counts:
            del self._networks[scope]
            return found
        shown = [
            Element(container, f"{prefix} . {parts.literal(container, net)}")
            for net in _widest(ipaddress.ip_network(cidr) for cidr in counts)
        ]
        self._widest[scope] = shown
        return found | dict.fromkeys(shown, "")


def _widest(nets: Iterable[Net]) -> Iterator[Net]:
    """Yield the networks, all of one IP version, that lie in no other: in order, the wider comes before those in it."""
    last = -1
    for net in sorted(nets, key=lambda net: (int(net.network_address), net.prefixlen)):
        end = int(net.broadcast_address)
        if end > last:
            yield net
            last = end


_ABSENT = "\0"
"""Stands for `no element`: the empty string is the value of an element of a set."""


def render(change: Change) -> str:
    """Return `change` as nft commands, in an order in which nothing refers to what is not there."""
    lines = [f"add {related.declared(name, 'inet portico ')}" for name in sorted(_helpers(change.chains))]
    lines += [_set_text(name) for name in sorted(change.sets)]
    lines += [f"add chain {_address(name)}{_hook(name)}" for name in sorted(change.chains)]
    lines += [f"flush chain {_address(name)}" for name in sorted([*change.chains, *change.gone_chains])]
    for name, rows in sorted(change.chains.items()):
        lines += [f"add rule {_address(name)} {row}" for row in rows]
    lines += _element_text("delete", dict.fromkeys(change.gone_elements, ""))
    lines += _element_text("add", change.elements)
    lines += [f"delete chain {_address(name)}" for name in sorted(change.gone_chains)]
    lines += [f"delete ct helper inet portico {name}" for name in sorted(_helpers(change.gone_chains))]
    lines += [f"delete set {_address(name)}" for name in sorted(change.gone_sets)]
    return "\n".join(lines) + "\n"


def render_whole(ruleset: Ruleset) -> str:
    """Return commands that delete our tables, whatever is in them, and add `ruleset`.

    While such a transaction is in work a packet may meet a chain whose rules are out of force already, or not yet in
    force: only its policy, which drops.
    """
    tables = "".join(f"add table {family} {name}\ndelete table {family} {name}\n" for family, name in TABLES)
    return tables + skeleton() + render(ruleset.whole())


def render_instead(ruleset: Ruleset, standing: Mapping[str, str]) -> str:
    """Return commands that put `ruleset` in the place of our tables as they stand, without any packet lost.

    The chains that hooks call stay; their rules, and all else, are replaced. `standing` has what nft lists of each
    family's table; nft refuses the commands if a chain of that name has another hook than ours.
    """
    lines = []
    for family, table in TABLES:
        text = standing[family]
        kept = {name for family_, name in _hooked(skeleton()) if family_ == family}
        lines.append(f"flush table {family} {table}")
        # Maps may have elements that go to chains.
        lines += [f"delete {kind} {family} {table} {name}" for kind, name in _BLOCK.findall(text) if kind != "chain"]
        chains = [name for kind, name in _BLOCK.findall(text) if kind == "chain" and name not in kept]
        lines += [f"delete chain {family} {table} {name}" for name in chains]
    return "\n".join(lines) + "\n" + skeleton() + render(ruleset.whole())


_BLOCK = re.compile(r"^\t(chain|set|map|ct helper) (\S+) \{", re.MULTILINE)


def _hooked(text: str) -> Iterator[tuple[str, str]]:
    """Yield family and name of each chain of an nft text that a hook calls."""
    family = chain = ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            family = words[1]
        elif words[:1] == ["chain"]:
            chain = words[1]
        elif words[:1] == ["type"] and "hook" in words:
            yield family, chain


def skeleton() -> str:
    """Return the fixed part: tables, sets, maps and base chains."""
    return Path(__file__).with_name("skeleton.nft").read_text()


def _member_sets(name: str) -> Iterator[str]:
    """Yield the sets for the members of a group, whose id comes with its table."""
    table, group_id = _split(name)
    for family in ("4", "6"):
        yield f"{table}{rules.member_set(group_id, family)}"
        yield f"{table}{rules.member_net_set(group_id, family)}"


def _helpers(chains: Iterable[str]) -> Iterator[str]:
    """Yield the objects that chains name: they come and go together."""
    prefix = f"{parts.INET}{related.chain('')}"
    return (name.removeprefix(prefix) for name in chains if name.startswith(prefix))


def _set_text(name: str) -> str:
    bare = _split(name)[1]
    kind = "ipv4_addr" if bare[1] == "4" else "ipv6_addr"
    flags = "flags interval;" if bare[0] == "n" else ""
    return f"add set {_address(name)} {{ type mark . {kind}; {flags} }}"


def _element_text(verb: str, elements: Mapping[Element, str]) -> list[str]:
    """Return one command for each set or map."""
    by_container: dict[str, list[str]] = {}
    for element, value in sorted(elements.items(), key=lambda pair: (pair[0].container, pair[0].key)):
        by_container.setdefault(element.container, []).append(f"{element.key} : {value}" if value else element.key)
    return [f"{verb} element {_address(name)} {{ {', '.join(items)} }}" for name, items in by_container.items()]


def _hook(name: str) -> str:
    """Return what follows the name of a chain that a hook calls."""
    return f" {{ {parts.HOOKS[name]} }}" if name in parts.HOOKS else ""


def _address(name: str) -> str:
    """Return how nft commands name a chain, set or map: with its table."""
    table, bare = _split(name)
    return f"{'inet' if table else 'bridge'} portico {bare}"


def _split(name: str) -> tuple[str, str]:
    bare = name.removeprefix(parts.INET)
    return name[: len(name) - len(bare)], bare
