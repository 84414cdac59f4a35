# SPDX-License-Identifier: Apache-2.0
"""The chains that decide for all ports with the same groups, and write down what they decide where somebody logs. Pure.

A port that nobody logs has the chains that it had without logs anywhere. Ports whose groups and logs are the same share
chains of their own, which hold the groups' rules instead of jumping to them: each rule comes once for each log that
wants to know what it lets in, with a jump to the log's chain, and then as it is. So a packet that is let in by one rule
is written down for that rule, and a connection's later packets pass before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from portico.agent import rules
from portico.hoststate import Log

TRACKED = 0x10000
INVALID = 0x20000
"""Bits of the packet mark, by which rules for bridges learn what connection tracking has found."""

ACCEPTED, REFUSED = "ACCEPT", "DROP"
"""What is written down, in Neutron's words."""
DIRECTIONS = ("ingress", "egress")

NFLOG_GROUP = 9696
"""Where the kernel tells of packets that are written down, among the NFLOG groups of our namespace."""

Rows = Callable[[str], tuple[str, ...]]
"""Gives the rules of a group's chain by its name."""


class Pace(NamedTuple):
    """How many packets a second one log has written down at most, for each direction and verdict, and how many at once.

    Several verdicts have a pace each: who is flooded with what is refused still learns what is let in.
    """

    rate: int = 100
    burst: int = 25


class Policy(NamedTuple):
    """Ports of one table ("" or `fragment.INET`) that are in exactly these groups and have these logs."""

    table: str
    groups: tuple[str, ...]
    logs: tuple[Log, ...] = ()


def policy_chain(direction: str, policy: Policy) -> str:
    """Return the name of the chain for a policy's ports."""
    parts = [*policy.groups, *(f"{log.event} {log.log_id} {log.group_id}" for log in policy.logs)]
    return f"{direction}-{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:16]}"


def group_chain(direction: str, group_id: str) -> str:
    """Return the name of the chain with a group's rules for one direction."""
    return f"{direction}-{group_id}"


def log_chain(verdict: str, direction: str, log_id: str) -> str:
    """Return the name of the chain that has a packet written down for a log."""
    return f"log-{verdict.lower()}-{direction}-{log_id}"


def is_tracked(groups: tuple[str, ...], known: Mapping[str, bool]) -> bool:
    """Tell whether a port with these groups lets packets pass for belonging to a connection.

    `known` maps the groups that are there to whether they are stateful. Only stateless groups: each packet is judged
    by the rules alone. As soon as one group is stateful, connections are tracked for all of them.
    """
    shown = [known[group_id] for group_id in groups if group_id in known]
    return not shown or any(shown)


def policy_lines(direction: str, policy: Policy, known: Mapping[str, bool], rows: Rows) -> tuple[str, ...]:
    """Return the rules of a policy's chain; `known` is as in `is_tracked`."""
    shown = [group_id for group_id in policy.groups if group_id in known]
    refused = _jumps(REFUSED, direction, [log for log in policy.logs if REFUSED in verdicts(log)])
    first: tuple[str, ...] = ()
    verdict = rules.YES[direction]
    if is_tracked(policy.groups, known):
        tracked, invalid = _STATES if policy.table else _MARKS
        first = (f"{tracked} {verdict}", *(f"{invalid} {jump}" for jump in refused), f"{invalid} drop")
    always: tuple[str, ...] = ()
    if not policy.table:  # what hosts need to find each other is not routed
        always = ("jump welcome",) if direction == "ingress" else (f"ether type arp {verdict}",)
    judged = [row for group_id in shown for row in _group_rows(direction, group_id, policy, rows)]
    return (*first, *always, *judged, *refused, "drop")


def _group_rows(direction: str, group_id: str, policy: Policy, rows: Rows) -> Iterator[str]:
    name = group_chain(direction, group_id)
    asking = [log for log in policy.logs if ACCEPTED in verdicts(log) and log.group_id in ("", group_id)]
    if not asking:
        yield f"jump {name}"
        return
    for row in rows(f"{policy.table}{name}"):
        match = row.removesuffix(rules.YES[direction])
        yield from (f"{match}{jump}" for jump in _jumps(ACCEPTED, direction, asking))
        yield row


def _jumps(verdict: str, direction: str, logs: list[Log]) -> tuple[str, ...]:
    return tuple(f"jump {log_chain(verdict, direction, log.log_id)}" for log in logs)


def verdicts(log: Log) -> tuple[str, ...]:
    """Return the verdicts that a log has written down."""
    return (ACCEPTED, REFUSED) if log.event == "ALL" else (log.event,)


def log_chains(policy: Policy, pace: Pace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the chains of a policy's logs, by name, with their rules: what goes beyond the pace is not written down."""
    for log in policy.logs:
        for direction in DIRECTIONS:
            for verdict in verdicts(log):
                prefix = f"{verdict} {direction} {log.log_id}"
                within = f"limit rate {pace.rate}/second burst {pace.burst} packets"
                row = f'{within} log prefix "{prefix}" group {NFLOG_GROUP}'
                yield f"{policy.table}{log_chain(verdict, direction, log.log_id)}", (row,)


_STATES = ("ct state established,related", "ct state invalid")
_MARKS = (f"meta mark & {TRACKED:#x} != 0", f"meta mark & {INVALID:#x} != 0")
"""What tracking has found; rules for bridges learn it by the mark."""
