# SPDX-License-Identifier: Apache-2.0
"""One line of the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, its bound, and what it was measured beside.

    `value` is in `unit`; `at_most`/`at_least` is the bound (None: none). `beside` says what the value is compared with.
    """

    what: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    beside: str = ""

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
    """Return figures as a Markdown table."""
    lines = ["| what | measured | bound | met | beside |", "|---|---:|---:|---|---|"]
    for item in figures:
        met = "yes" if item.is_met else "**no**"
        lines.append(f"| {item.what} | {item.value:.3g} {item.unit} | {item.bound} | {met} | {item.beside} |")
    return "\n".join(lines)
