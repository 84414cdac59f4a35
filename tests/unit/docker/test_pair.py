# SPDX-License-Identifier: Apache-2.0
"""An IPv6 address goes to the IPv4 address that it is for, or it is said that this cannot be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from portico.docker.pair import Half, Pairs

PORT = {"id": "p"}
LONG_S = 5


def answered(half: Half, address: str) -> Half:
    half.address, half.port = address, PORT
    return half


@pytest.mark.parametrize(
    "go_on",
    [
        lambda pairs, _half: pairs.take("n"),
        lambda pairs, _half: pairs.end("n", ["10.1.0.1"]),
        lambda pairs, half: pairs.give_up("n", half),
        lambda pairs, _half: pairs.clear(),
    ],
    ids=["paired", "released or plugged", "failed", "engine started anew"],
)
def test_the_next_one_waits_until_the_one_before_needs_no_other_address(go_on: Callable[[Pairs, Half], object]) -> None:
    pairs = Pairs(LONG_S)
    first = answered(pairs.begin("n"), "10.1.0.1")
    with ThreadPoolExecutor(1) as pool:
        second: Future[Half] = pool.submit(pairs.begin, "n")
        assert not wait([second], 0.05).done
        go_on(pairs, first)
        assert second.result(LONG_S) is not first
    assert pairs.take("n") is None, "it has no address yet, so no IPv6 address can be for it"
    assert pairs.take("n") is None
    answered(second.result(), "10.1.0.2")
    assert pairs.take("n") is second.result()
    assert pairs.take("n") is None


def test_networks_do_not_wait_for_each_other() -> None:
    pairs = Pairs(LONG_S)
    started = time.monotonic()
    halves = [answered(pairs.begin(name), "10.1.0.1") for name in ("a", "b")]
    assert time.monotonic() - started < LONG_S / 2
    assert [pairs.take(name) for name in ("a", "b")] == halves


def test_a_half_that_was_left_holds_up_nobody_for_long_and_is_never_taken_for_another() -> None:
    pairs = Pairs(0.05)
    left = answered(pairs.begin("n"), "10.1.0.1")
    started = time.monotonic()
    answered(pairs.begin("n"), "10.1.0.2")
    assert 0.02 < time.monotonic() - started < LONG_S
    assert pairs.take("n") is None
    pairs.end("n", [left.address])
    taken = pairs.take("n")
    assert taken is not None and taken.address == "10.1.0.2"


def test_an_address_of_a_port_that_may_be_adopted_takes_no_other_one() -> None:
    pairs = Pairs(LONG_S)
    pairs.begin("n").address = "10.1.0.1"
    assert pairs.take("n") is None
