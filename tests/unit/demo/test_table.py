# SPDX-License-Identifier: Apache-2.0
"""The demo's table: what it expects, and that it cannot call a wrong result right."""

from __future__ import annotations

import io

from demo import table
from demo.cast import ANN, ANN_ROUTED, BOB, PEER, REX, SHOP, VM, VM_ROUTED, Trial, trials
from demo.screen import Screen
from demo.ways import TRACED, WAYS, Told


def test_the_default_group_reaches_each_other_on_one_network_only() -> None:
    assert Trial(ANN, BOB, "ping").expected
    assert Trial(VM, ANN, "tcp 8080").expected
    assert not Trial(ANN, REX, "ping").expected
    assert not Trial(REX, VM, "tcp 80").expected


def test_the_web_group_opens_one_port_and_sends_to_nobody() -> None:
    assert [Trial(ANN, SHOP, probe).expected for probe in ("ping", "tcp 80", "tcp 8080")] == [False, True, False]
    assert not Trial(REX, SHOP, "tcp 80").expected
    assert not Trial(SHOP, ANN, "tcp 80").expected


def test_the_host_beyond_is_reached_and_reaches_what_the_web_group_opens() -> None:
    assert [Trial(PEER, VM_ROUTED, probe).expected for probe in ("ping", "tcp 80", "tcp 8080")] == [False, True, False]
    assert all(Trial(ANN_ROUTED, PEER, probe).expected for probe in ("ping", "tcp 80", "tcp 8080"))


def test_there_are_more_things_that_must_not_be_reached_than_nothing() -> None:
    assert len(trials()) == 108
    assert 0 < sum(trial.expected for trial in trials()) < 108


def test_what_is_as_expected_is_shown_without_a_complaint() -> None:
    seen = {trial: trial.expected for trial in trials()}
    out = io.StringIO()
    table.show(Screen(out), seen)
    body = out.getvalue().removesuffix(f"\n  {table.LEGEND}\n")
    ways = {way: way.expected for way in WAYS}
    told = [Told(way, way.expected, "no rule") for way in TRACED]
    table.show_ways(Screen(out), ways, told)
    body += out.getvalue().rpartition(table.LEGEND)[2]
    assert table.wrong(seen, ways, told) == []
    assert table.summary(seen, ways, told).startswith("123 of 123 as expected")
    assert "LOST" not in body
    assert "LEAK" not in body
    assert "\x1b" not in body


def test_a_leak_and_a_loss_are_shown_and_told() -> None:
    seen = {trial: trial.expected for trial in trials()}
    seen[Trial(ANN, REX, "ping")] = True
    seen[Trial(ANN, BOB, "tcp 80")] = False
    out = io.StringIO()
    table.show(Screen(out), seen)
    assert out.getvalue().count("LEAK") == out.getvalue().count("LOST") == 2  # one in a cell, one in the legend
    first, *others = WAYS
    ways = {first: False, **{way: way.expected for way in others}}
    told = [Told(first, False, "no rule")]
    table.show_ways(Screen(out), ways, told)
    assert out.getvalue().count("LOST") == 3
    assert table.wrong(seen, ways, told) == [
        "ann -> bob by tcp 80: expected reached, saw kept apart",
        "ann -> rex by ping: expected kept apart, saw reached",
        "vm -> gus by tcp 80 across the router: expected reached, saw kept apart",
        "portico trace: vm -> gus by tcp 80 across the router: expected reached, saw kept apart",
    ]
    assert table.summary(seen, ways, told).startswith("116 of 120 as expected")
