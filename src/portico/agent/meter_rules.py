# SPDX-License-Identifier: Apache-2.0
"""The nftables rules of a router's namespace that count for metering labels. Pure.

They are in a table of their own, so that whatever else a router does can change without them, and they change around
their counters: none is set back as long as its label is on the router. A counter and a chain have the same name, the
label's id with a mark behind it, which tells a counter from one that the label had here before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from portico.agent import addresses
from portico.hoststate import Router
from portico.hoststate.metering import Count, MeterRule

TABLE = "inet portico_meters"
_BASE = "passed"
_COUNTER = re.compile(r"counter (m\.[0-9A-Za-z-]+\.[0-9a-z]+) \{\s*packets (\d+) bytes (\d+)")


@dataclass(frozen=True, slots=True)
class Metering:
    """What a router counts: the links of its gateways, and labels with what stands for their rules in nftables."""

    outside: tuple[str, ...] = ()
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()


def metering(router: Router, names: Mapping[str, str]) -> Metering:
    """Return what a router counts; `names` are its links by the ids of their ports.

    Raises:
        ValueError: a range is none.
    """
    outside = tuple(sorted(names[leg.port_id] for leg in router.legs if leg.outside))
    if not outside or not router.meters:
        return Metering()
    labels = ((meter.label_id, tuple(_rules(meter.rules, outside))) for meter in router.meters)
    return Metering(outside, tuple(sorted(labels)))


def _rules(rules: Collection[MeterRule], outside: Collection[str]) -> Iterator[str]:
    """Yield what each rule matches, with what becomes of it; the excluded ones first."""
    links = ", ".join(f'"{name}"' for name in outside)
    for rule in sorted(rules, key=lambda rule: (not rule.excluded, rule.direction, rule.source, rule.destination)):
        by = "iifname" if rule.direction == "ingress" else "oifname"
        words = [f"{by} {{ {links} }}", *_range(rule.source, "saddr"), *_range(rule.destination, "daddr")]
        yield " ".join((*words, "return" if rule.excluded else "counter name @ return"))


def _range(text: str, side: str) -> Iterator[str]:
    if not text:
        return
    net = addresses.network(text, "metering rule")
    if net.prefixlen:
        yield f"{'ip' if net.version == 4 else 'ip6'} {side} {net}"
    else:
        yield f"meta nfproto ipv{net.version}"


def text(wanted: Metering, there: Collection[str], mark: str) -> str:
    """Return the commands that have what is wanted counted, at once; `there` are the counters that there are.

    Args:
        mark: what is behind the names of new counters.
    """
    if not wanted.labels:
        return f"add table {TABLE}\ndelete table {TABLE}\n"
    kept = {_label(name): name for name in there}
    names = {label_id: kept.get(label_id, f"m.{label_id}.{mark}") for label_id, _ in wanted.labels}
    lines = [
        f"add table {TABLE}",
        f"add chain {TABLE} {_BASE} {{ type filter hook forward priority 10; policy accept; }}",
        f"flush chain {TABLE} {_BASE}",
    ]
    for name in sorted({*there, *names.values()}):
        lines += [f"add counter {TABLE} {name}", f"add chain {TABLE} {name}", f"flush chain {TABLE} {name}"]
    for name in sorted({*there} - {*names.values()}):
        lines += [f"delete chain {TABLE} {name}", f"delete counter {TABLE} {name}"]
    for label_id, rules in wanted.labels:
        name = names[label_id]
        lines += [f"add rule {TABLE} {name} {rule.replace('@', name)}" for rule in rules]
        lines.append(f"add rule {TABLE} {_BASE} jump {name}")
    return "\n".join(lines) + "\n"


def counters(listed: str) -> dict[str, tuple[int, int]]:
    """Return packets and bytes of each counter that nft lists."""
    return {name: (int(packets), int(octets)) for name, packets, octets in _COUNTER.findall(listed)}


def counts(router_id: str, found: Mapping[str, tuple[int, int]]) -> list[Count]:
    """Return what the counters of a router say."""
    return [
        Count(router_id, _label(name), name.rpartition(".")[2], packets, octets)
        for name, (packets, octets) in sorted(found.items())
    ]


def _label(name: str) -> str:
    return name.split(".")[1]
