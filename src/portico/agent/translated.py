# SPDX-License-Identifier: Apache-2.0
"""Whether a tracked connection of the routed space is translated as the present rules would. Pure.

The kernel goes on translating as it began. While an agent runs it knows which addresses stand for something else by a
change; one that is new does not know what was in force before, and looks at the connections themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from portico.agent.fragment import INET, Fragment

Place = tuple[bytes, int]
"""A packed address with a port, or 0."""


@dataclass(frozen=True, slots=True)
class Ends:
    """One direction of a connection: packed addresses, and the port that is asked, or that answers; 0 without ports."""

    source: bytes
    destination: bytes
    port: int = 0


class Translated:
    """What the elements of `fragments` translate."""

    def __init__(self, fragments: Iterable[Fragment]) -> None:
        found: dict[str, dict[str, str]] = {name: {} for name in ("floating", "fixed", "ports", "ranges", "itself")}
        for piece in fragments:
            for element, value in piece.elements.items() if piece.translates else ():
                name = element.container.removeprefix(INET)
                if name in found:
                    found[name][element.key] = value
        self._whole = _packed(found["floating"])
        self._sources = _packed(found["fixed"])
        self._own = {_pack(key.partition(" . ")[0]): _pack(value) for key, value in found["itself"].items()}
        self._ports: dict[tuple[bytes, int, int], Place] = {}
        for key, value in found["ports"].items():
            address, number, port = key.split(" . ")
            fixed, _, to = value.partition(" . ")
            self._ports[_pack(address), int(number), int(port)] = (_pack(fixed), int(to))
        for key, value in found["ranges"].items():
            address, number, ports = key.split(" . ")
            first, _, last = ports.partition("-")
            for each in range(int(first), int(last) + 1):
                self._ports.setdefault((_pack(address), int(number), each), (_pack(value), each))

    def is_right(self, protocol: int, asked: Ends, answers: Ends) -> bool:
        """Tell whether a connection, by what it asks and what answers, would be translated so if it began now.

        One that is not translated is right: when something is only added, what goes on is left alone.
        """
        if answers.source != asked.destination:
            place = self._ports.get((asked.destination, protocol, asked.port))
            if place is None and asked.destination in self._whole:
                place = (self._whole[asked.destination], asked.port)
            if place != (answers.source, answers.port):
                return False
        if answers.destination == asked.source:
            return True
        own = self._own.get(asked.source) if answers.source == asked.source else self._sources.get(asked.source)
        return own == answers.destination


def _packed(pairs: Mapping[str, str]) -> dict[bytes, bytes]:
    return {_pack(key): _pack(value) for key, value in pairs.items()}


def _pack(text: str) -> bytes:
    return ip_address(text).packed
