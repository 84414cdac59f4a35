# SPDX-License-Identifier: Apache-2.0
"""One line of the table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, its bound, and what it was measured beside.

    `value` is in `unit`; `at_most`/`at_least` is the bound (None: none). `beside` says what the value is compared with,
    `database` on which database it was measured, where there are several.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    beside: str = ""
    database: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the value keeps its bound."""
        return (self.at_most is None or self.value <= self.at_most) and (
            self.at_least is None or self.value >= self.at_least
        )

    @property
    def bound(self) -> str:
        """The bound as text."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return f">= {self.at_least:g}" if self.at_least is not None else ""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def table(figures: Sequence[Figure]) -> str:
    """Return figures as Markdown tables: those of several databases with a column for each, then the others."""
    tables = (_by_database([item for item in figures if item.database]), _plain([i for i in figures if not i.database]))
    return "\n\n".join("\n".join(lines) for lines in tables if lines)


def _plain(figures: Sequence[Figure]) -> list[str]:
    if not figures:
        return []
    return [
        "| what | measured | bound | met | beside |",
        "|---|---:|---:|---|---|",
        *(f"| {i.what} | {i.value:.3g} {i.unit} | {i.bound} | {_met([i])} | {i.beside} |" for i in figures),
    ]


def _by_database(figures: Sequence[Figure]) -> list[str]:
    if not figures:
        return []
    names = list(dict.fromkeys(item.database for item in figures))
    lines = [f"| what | {' | '.join(names)} | bound | met | beside |", f"|---|{'---:|' * len(names)}---:|---|---|"]
    for what in dict.fromkeys(item.what for item in figures):
        row = {item.database: item for item in figures if item.what == what}
        values = [f"{row[name].value:.3g} {row[name].unit}" if name in row else "" for name in names]
        bounds = ", ".join(_bounds(row))
        beside = next((item.beside for item in row.values()), "")
        lines.append(f"| {what} | {' | '.join(values)} | {bounds} | {_met(list(row.values()))} | {beside} |")
    return lines


def _bounds(row: Mapping[str, Figure]) -> Iterator[str]:
    """Yield the bounds in a row, each with what it is not for unless it is for all."""
    for bound in dict.fromkeys(item.bound for item in row.values() if item.bound):
        others = [name for name, item in row.items() if item.bound != bound]
        yield f"{bound} (not {', '.join(others)})" if others else bound


def _met(figures: Sequence[Figure]) -> str:
    return "yes" if all(item.is_met for item in figures) else "**no**"
