# SPDX-License-Identifier: Apache-2.0
"""The configuration of a BIRD that watches a router's next hops, as text. Pure.

Each half of all addresses has a route by the next hops that live, which comes before the default route of the agent
itself. That one is what is left while none lives, BIRD has just begun, or there is no BIRD.

Sources: BIRD 2.0.12 User's Guide (static, bfd, kernel); RFC 5880 (BFD), 5881 (over one hop), 5882 (static routes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from portico.agent import addresses, bird, owner
from portico.hoststate import Router
from portico.hoststate.l3 import Way

INTERVAL_MS, MULTIPLIER = 200, 3
_HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1"), 6: ("::/1", "8000::/1")}
_FIRST_PREFERENCE = 200
_ROUTER = re.compile(r"^# Watches for router (\S+)$", re.MULTILINE)


def config(router: Router, names: Mapping[str, str], folder: str) -> str:
    """Return the configuration file; `names` are the router's links by the ids of their ports.

    Raises:
        ValueError: a next hop is no address.
    """
    every = f"{INTERVAL_MS} ms"
    timers = f"min rx interval {every}; min tx interval {every}; multiplier {MULTIPLIER};"
    lines = [
        f"# Watches for router {router.router_id}",
        bird.log_line(folder),
        # Nobody is told of it; but BIRD wants one, and there may be no address of IPv4 to take it from.
        "router id 0.0.0.1;",
        "protocol device { scan time 1; }",
        f'protocol bfd {{ interface "*" {{ {timers} }}; }}',
        *_kernel(),
        *_routes(router, names),
    ]
    return bird.marked("\n".join(lines) + "\n")


def router_of(text: str) -> str:
    """Return the id of the router that a configuration is for; empty if it does not tell."""
    found = _ROUTER.search(text)
    return found[1] if found else ""


def _kernel() -> Iterator[str]:
    for version in (4, 6):
        yield (
            f"protocol kernel {{ scan time {bird.SCAN_S}; metric {owner.BGP_METRIC}; "
            f"ipv{version} {{ import none; export all; }}; }}"
        )


def _routes(router: Router, names: Mapping[str, str]) -> Iterator[str]:
    """Yield a protocol for all next hops of an IP version, or one for each in their order, as far as one may be."""
    for version, halves in _HALVES.items():
        hops = [_via(way, names) for way in router.watched if _hop(way).version == version]
        groups = [hops] if router.spreads else [[hop] for hop in hops]
        for number, group in enumerate(groups if hops else ()):
            routes = " ".join(f"route {half} {' '.join(group)};" for half in halves)
            yield f"protocol static {{ ipv{version} {{ preference {_FIRST_PREFERENCE - number}; }}; {routes} }}"


def _via(way: Way, names: Mapping[str, str]) -> str:
    return f"via {_hop(way)}%'{names[way.port_id]}' bfd"


def _hop(way: Way) -> addresses.Address:
    return addresses.address(way.nexthop, "nexthop")
