# SPDX-License-Identifier: Apache-2.0
"""Access rules of application credentials (Identity API v3, "Application Credentials", access rules).

They are applied as keystonemiddleware does, but for patterns that it takes for regular expressions by mistake: here
every character other than the wildcards stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec

SERVICE = "network"
# No path that is served is longer, and what matching costs has a bound.
MAX_PATH = 400
_PARTS = re.compile(r"\*\*|\*|\{[^}]*\}|.", re.DOTALL)
# One character other than a slash, any number of such, any number of any characters.
ONE, SOME, ANY = "one", "some", "any"


class AccessRule(msgspec.Struct, frozen=True):
    """A kind of request that a credential is good for.

    In `path`, `*` and `{name}` stand for one or more characters other than a slash, `**` for any characters.
    """

    service: str
    method: str
    path: str


def admits(rules: Sequence[AccessRule], method: str, path: str) -> bool:
    """Return whether one of the rules is for this request to the Networking API."""
    return len(path) <= MAX_PATH and any(
        rule.service == SERVICE and rule.method == method and _matches(_parts(rule.path), path) for rule in rules
    )


@lru_cache(1024)
def _parts(pattern: str) -> tuple[str, ...]:
    """Return the characters of a pattern, with its wildcards as ONE and SOME, or ANY."""
    parts: list[str] = []
    for part in _PARTS.findall(pattern):
        if part == "**":
            parts.append(ANY)
        elif part == "*" or len(part) > 1:
            parts += (ONE, SOME)
        else:
            parts.append(part)
    return tuple(parts)


def _matches(parts: Sequence[str], path: str) -> bool:
    """Follow all ways through the pattern at once: nobody can write one that is slow, as regular expressions can be."""
    places = _with_next(parts, {0})
    for character in path:
        found = set()
        for place in places:
            part = parts[place] if place < len(parts) else ""
            if part == ANY or (part == SOME and character != "/"):
                found.add(place)
            elif part == character or (part == ONE and character != "/"):
                found.add(place + 1)
        places = _with_next(parts, found)
    return len(parts) in places


def _with_next(parts: Sequence[str], places: set[int]) -> set[int]:
    """Add the places behind what may stand for nothing."""
    for place in tuple(places):
        while place < len(parts) and parts[place] in (ANY, SOME):
            place += 1  # noqa: PLW2901 (the walk begins there)
            places.add(place)
    return places
