# SPDX-License-Identifier: Apache-2.0
"""Across a router, out to the world and in from it: what is tried besides the tables of each network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.cast import CLOSED_PORT, GIL, GUS, OPEN_PORT, PEER, REX, VM, Workload
from portico.testing.lab.lab import UNDERLAY_V4

if TYPE_CHECKING:
    from demo.stage import Stage

PUBLISHED = 8088
# The demo host's address on the underlay.
OUTSIDE = str(UNDERLAY_V4[1])
HOST = Workload("demo host", "host", "its own", "none")


@dataclass(frozen=True, slots=True)
class Way:
    """One question: does `source` get the page of `target` by TCP port `port`?

    `place` is where it asks: the target's own address, a floating IP, or what is published on the host.
    """

    source: Workload
    target: Workload
    place: str
    port: int
    expected: bool
    why: str


WAYS = (
    Way(VM, GUS, "across the router", OPEN_PORT, True, "group web opens it"),
    Way(VM, GUS, "across the router", CLOSED_PORT, False, "group web does not open it"),
    Way(GIL, VM, "across the router", CLOSED_PORT, True, "both are in group default"),
    Way(GUS, VM, "across the router", OPEN_PORT, False, "gus is not in group default"),
    Way(REX, GUS, "across the router", OPEN_PORT, False, "red has no router, though its addresses are blue's"),
    Way(GIL, PEER, "out by the gateway", OPEN_PORT, True, "with the host's address"),
    Way(REX, PEER, "out by the gateway", OPEN_PORT, False, "red is internal"),
    Way(HOST, GUS, "by its floating IP", OPEN_PORT, True, "group web opens it"),
    Way(HOST, GUS, "by its floating IP", CLOSED_PORT, False, "group web does not open it"),
    Way(PEER, GIL, f"at the host's port {PUBLISHED}", PUBLISHED, True, f"docker run -p {PUBLISHED}:{OPEN_PORT}"),
    Way(PEER, GIL, "by its own address", OPEN_PORT, False, "nobody outside knows its network"),
)


# Of which `portico trace` says the same.
TRACED = WAYS[:4]


@dataclass(frozen=True, slots=True)
class Told:
    """What `portico trace` says of a way: whether it passes, and why not."""

    way: Way
    passes: bool
    why: str


def address(stage: Stage, way: Way) -> str:
    """Return where `way` asks."""
    if way.place.startswith("by its floating"):
        return stage.floating
    if way.place.startswith("at the host"):
        return OUTSIDE
    return stage.addresses[way.target]


def trace(stage: Stage, way: Way) -> Told:
    """Ask `portico trace` about a way between two ports."""
    found = stage.trace(way.source, way.target, way.port)
    return Told(way, found["passes"], found["reason"])
