# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin that ends a run of backend suites with a table: which backend kept which promise.

`-p portico.testing.promises` on the command line, or `pytest_plugins` in a conftest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

PROPERTY = "promise"
KEPT, BROKEN, UNTRIED = "kept", "BROKEN", "-"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note whose promise a test is; the note travels with the report, also from other processes."""
    kind: Any = getattr(item, "cls", None)
    if getattr(kind, "makes_promises", False):
        name = (PROPERTY, [kind.__name__.removeprefix("Test").lower(), _words(item)])
        if name not in item.user_properties:
            item.user_properties.append(name)
    return (yield)


def _words(item: pytest.Item) -> str:
    return str(getattr(item, "originalname", item.name)).removeprefix("test_").replace("_", " ")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Write the table, if there is anything to tell."""
    reports = [
        report
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport)
    ]
    found = outcomes((dict(report.user_properties).get(PROPERTY), report.outcome) for report in reports)
    if found:
        terminalreporter.section("promises of backends")
        for line in table(found):
            terminalreporter.write_line(line)


def outcomes(told: Iterable[tuple[Any, str]]) -> dict[str, dict[str, str]]:
    """Return promise -> backend -> word; a promise of several tests needs them all, with their tidying up."""
    found: dict[str, dict[str, str]] = {}
    for whose, outcome in told:
        if whose is not None:
            backend, promise = whose
            words = found.setdefault(promise, {})
            words[backend] = KEPT if outcome == "passed" and words.get(backend) != BROKEN else BROKEN
    return found


def table(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines of a table, a row for each promise and a column for each backend."""
    backends = sorted({backend for words in found.values() for backend in words})
    rows = [["promise", *backends]]
    rows += [[promise, *(words.get(name, UNTRIED) for name in backends)] for promise, words in sorted(found.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
