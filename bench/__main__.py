# SPDX-License-Identifier: Apache-2.0
"""`python -m bench [NAME...]`: measure, print the table, exit 1 if a bound is missed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from bench import broker, containers, databases, kernel, nat, routed, router, ui
from bench.figure import Figure, table

BENCHES: Mapping[str, Callable[[], list[Figure]]] = {
    "api": databases.measure,
    "broker": broker.measure,
    "kernel": kernel.measure,
    "containers": containers.measure,
    "routed": routed.measure,
    "ui": ui.measure,
    "router": router.measure,
    "nat": nat.measure,
}


def main(names: list[str]) -> int:
    """Run the named benches, or all."""
    unknown = set(names) - BENCHES.keys()
    if unknown:
        sys.stderr.write(f"bench: no such bench: {', '.join(sorted(unknown))}; known: {', '.join(BENCHES)}\n")
        return 2
    figures: list[Figure] = []
    for name in names or BENCHES:
        sys.stderr.write(f"bench: {name}\n")
        figures += BENCHES[name]()
    sys.stdout.write(table(figures) + "\n")
    return 0 if all(item.is_met for item in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
