# SPDX-License-Identifier: Apache-2.0
"""What is told of one port, as wanted and as it is: what is the same is never told as different."""

from __future__ import annotations

from dataclasses import dataclass

from portico.agent.explain import compare


@dataclass(frozen=True)
class Item:
    near: frozenset[int]
    up: bool = True


def test_sets_are_told_in_order_for_python_keeps_none() -> None:
    one, other = Item(frozenset([8, 0, 16])), Item(frozenset([16, 0, 8]))
    assert one == other and str(one.near) != str(other.near)
    told = [(row.aspect, row.wanted, row.actual, row.same) for row in compare("space", one, other)]
    assert told == [("space near", "0, 16, 8", "0, 16, 8", True), ("space up", "True", "True", True)]
    (near, _) = compare("space", one, Item(frozenset()))
    assert (near.actual, near.same) == ("nothing", False)


def test_what_is_empty_is_nothing_and_parts_are_told_in_words() -> None:
    @dataclass(frozen=True)
    class Router:
        ways: tuple[tuple[str, str], ...] = ()
        link: str = ""

    (ways, link) = compare(
        "router", Router((("0.0.0.0/0", "203.0.113.1"), ("192.0.2.0/24", "10.1.0.9")), "eth0"), Router()
    )
    assert (ways.wanted, ways.actual) == ("0.0.0.0/0 203.0.113.1; 192.0.2.0/24 10.1.0.9", "nothing")
    assert (link.wanted, link.actual) == ("eth0", "nothing")
