# SPDX-License-Identifier: Apache-2.0
"""The table of who reaches whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from demo.cast import CAST, PROBES, ROUTED_CAST, Probe, Trial, Workload
from demo.screen import Colour, Screen
from demo.ways import Told, Way

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


def show_ways(screen: Screen, seen: Mapping[Way, bool], told: Sequence[Told]) -> None:
    """Write a line for each way, and what `portico trace` says of some."""
    for way, found in seen.items():
        text, colour = _CELLS[way.expected, found]
        ends = f"{way.source.name} -> {way.target.name}"
        screen.print(f"  {screen.paint(f'{text:<5}', colour)}{ends:<17}tcp {way.port:<5} {way.place:<25} {way.why}")
    screen.print()
    for item in told:
        command = f"portico trace {item.way.source.name} {item.way.target.name} tcp/{item.way.port}"
        says = "it passes" if item.passes else f"it does not pass: {item.why.partition(' (')[0]}"
        screen.print(f"  {screen.paint(f'{command:<34}', 'cyan')} {says}")


def wrong(seen: Mapping[Trial, bool], ways: Mapping[Way, bool], told: Sequence[Told]) -> Sequence[str]:
    """Return a sentence for each trial, way and answer that did not turn out as expected."""
    found = [_sentence(trial, reached) for trial, reached in seen.items() if reached != trial.expected]
    found += [_sentence(way, reached) for way, reached in ways.items() if reached != way.expected]
    return [*found, *(f"portico trace: {_sentence(each.way, each.passes)}" for each in told if not _is_right(each))]


def summary(seen: Mapping[Trial, bool], ways: Mapping[Way, bool], told: Sequence[Told]) -> str:
    """Return how many trials there were and how they turned out."""
    every = len(seen) + len(ways) + len(told)
    reached = sum(trial.expected for trial in seen) + sum(way.expected for way in ways)
    apart = len(seen) + len(ways) - reached
    counts = f"{reached} must be reached, {apart} must not, {len(told)} traced"
    return f"{every - len(wrong(seen, ways, told))} of {every} as expected ({counts})"


def _is_right(told: Told) -> bool:
    return told.passes == told.way.expected


def _sentence(trial: Trial | Way, found: bool) -> str:
    pair = f"{trial.source.name} -> {trial.target.name}"
    how = trial.probe if isinstance(trial, Trial) else f"tcp {trial.port} {trial.place}"
    return f"{pair} by {how}: expected {_word(trial.expected)}, saw {_word(found)}"


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
