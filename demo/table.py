# SPDX-License-Identifier: Apache-2.0
"""The table of who reaches whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from demo.cast import CAST, PROBES, ROUTED_CAST, Probe, Trial, Workload
from demo.screen import Colour, Screen

_WIDTH = 7

# What a cell says, by what was expected and what was seen.
_CELLS: dict[tuple[bool, bool], tuple[str, Colour]] = {
    (True, True): ("yes", "green"),
    (False, False): ("-", "dim"),
    (True, False): ("LOST", "red"),
    (False, True): ("LEAK", "red"),
}
LEGEND = "yes: reached, as expected   -: kept apart, as expected   LOST: should reach   LEAK: should not"


def show(screen: Screen, seen: Mapping[Trial, bool]) -> None:
    """Write a table for each probe, of either cast: rows are senders, columns receivers."""
    for cast in (CAST, ROUTED_CAST):
        for probe in PROBES:
            screen.print()
            screen.print(f"  {screen.paint(f'{probe:<9}', 'bold')}{''.join(_column(each) for each in cast)}")
            for source in cast:
                cells = "".join(_cells(screen, source, cast, probe, seen))
                screen.print(f"  {source.name:<9}{cells}  {_about(source)}")
    screen.print(f"\n  {screen.paint(LEGEND, 'dim')}")


def wrong(seen: Mapping[Trial, bool]) -> Sequence[str]:
    """Return a sentence for each trial that did not turn out as expected."""
    return [_sentence(trial, found) for trial, found in seen.items() if found != trial.expected]


def summary(seen: Mapping[Trial, bool]) -> str:
    """Return how many trials there were and how they turned out."""
    right = len(seen) - len(wrong(seen))
    apart = sum(not trial.expected for trial in seen)
    return f"{right} of {len(seen)} as expected ({len(seen) - apart} must be reached, {apart} must not)"


def _sentence(trial: Trial, found: bool) -> str:
    pair = f"{trial.source.name} -> {trial.target.name}"
    return f"{pair} by {trial.probe}: expected {_word(trial.expected)}, saw {_word(found)}"


def _column(workload: Workload) -> str:
    return f"{workload.name:>{_WIDTH}}"


def _about(workload: Workload) -> str:
    if workload.kind == "host":
        return "another host, FRR"
    return f"{workload.kind} on {workload.network}, group {workload.group}"


def _cells(
    screen: Screen, source: Workload, cast: Sequence[Workload], probe: Probe, seen: Mapping[Trial, bool]
) -> Iterator[str]:
    for target in cast:
        if target == source:
            yield " " * _WIDTH
            continue
        trial = Trial(source, target, probe)
        text, colour = _CELLS[trial.expected, seen[trial]]
        yield screen.paint(f"{text:>{_WIDTH}}", colour)


def _word(reached: bool) -> str:
    return "reached" if reached else "kept apart"
