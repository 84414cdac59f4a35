# SPDX-License-Identifier: Apache-2.0
"""What became of each test, and the table of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from conformance.selection import Expected

_CLASS = re.compile(r"(?:setUpClass|tearDownClass) \((?P<name>[\w.]+)\)")
_RAISED = re.compile(r"[\w.]+(?:Error|Exception|Mismatch\w*|exceptions\.\w+)\b")
STATUSES = {"success": "passed", "skip": "skipped"}
MAX_GIST = 600
NOT_RUN = "no result: the run ended before it"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: `passed`, `failed` or `skipped`, how long it took, and why it failed or was skipped."""

    test: str
    status: str
    seconds: float = 0.0
    why: str = ""
    text: str = ""

    @property
    def module(self) -> str:
        """The module it is from."""
        return module_of(self.test)


def module_of(test: str) -> str:
    """Return the module of a test's id, whose classes begin with a capital."""
    return re.split(r"\.(?=[A-Z])", test, maxsplit=1)[0]


def outcomes(
    listed: Collection[str], lines: Iterable[Mapping[str, Any]], withheld: Mapping[str, str] = MappingProxyType({})
) -> list[Outcome]:
    """Return what became of each listed test; those of `withheld` were skipped for the reason it gives.

    A class that is skipped or fails in its set-up has one entry in the stream, which stands for all its tests here.
    """
    found = {test: Outcome(test, "skipped", 0.0, reason) for test, reason in withheld.items()}
    classes: dict[str, Outcome] = {}
    for line in lines:
        outcome = _outcome(line)
        if named := _CLASS.match(outcome.test):
            classes[named["name"]] = outcome
        else:
            found[outcome.test] = outcome
    for test in listed:
        of_class = classes.get(re.sub(r"\[.*$", "", test).rpartition(".")[0])
        if of_class and (test not in found or of_class.status == "failed"):
            found[test] = Outcome(test, of_class.status, 0.0, of_class.why, of_class.text)
        elif test not in found:
            found[test] = Outcome(test, "failed", 0.0, NOT_RUN)
    return [found[test] for test in sorted(found)]


def _outcome(line: Mapping[str, Any]) -> Outcome:
    status = STATUSES.get(line["status"], "failed")
    details = line["details"]
    text = details.get("reason" if status == "skipped" else "traceback", "").strip()
    return Outcome(line["id"], status, line["seconds"], _gist(text) if status != "passed" else "", text)


def _gist(text: str) -> str:
    """Return the last thing that a traceback or a reason says, with its second line where it has one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if _RAISED.match(line)]
    gist = " ".join(lines[starts[-1] :] if starts else lines[-1:])
    return gist if len(gist) < MAX_GIST else f"{gist[: MAX_GIST // 2]} ... {gist[-MAX_GIST // 2 :]}"


def table(found: Iterable[Outcome]) -> str:
    """Return passed, failed, skipped and seconds of each module, and of all."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    seconds: dict[str, float] = defaultdict(float)
    for outcome in found:
        for row in (outcome.module, "all"):
            counts[row][outcome.status] += 1
            seconds[row] += outcome.seconds
    width = max(map(len, counts), default=0)
    lines = [f"{'module':{width}} passed failed skipped seconds"]
    for row in sorted(counts, key=lambda name: (name == "all", name)):
        c = counts[row]
        lines.append(f"{row:{width}} {c['passed']:6} {c['failed']:6} {c['skipped']:7} {seconds[row]:7.1f}")
    return "\n".join(lines)


def reasons(found: Iterable[Outcome], expected: Expected) -> str:
    """Return why tests were skipped, how many for each reason, and what explains it."""
    counts: Counter[tuple[str, str]] = Counter()
    for outcome in found:
        if outcome.status == "skipped":
            counts[outcome.why, expected.explanation(outcome.test, outcome.why) or "NOT EXPECTED"] += 1
    lines = [f"{count:6} {why}\n       {explanation}" for (why, explanation), count in counts.most_common()]
    return "\n".join(["skipped, and why:", *lines]) if lines else "skipped: none"


def failures(found: Iterable[Outcome]) -> str:
    """Return the failed tests of each module, with the last thing that each said."""
    lines: list[str] = []
    module = ""
    for outcome in found:
        if outcome.status == "failed":
            if outcome.module != module:
                module = outcome.module
                lines.append(f"\n{module}")
            lines += [f"  {outcome.test.removeprefix(module + '.')}", f"      {outcome.why}"]
    return "\n".join(["failed:", *lines]) if lines else "failed: none"


def unexplained(found: Iterable[Outcome], expected: Expected) -> list[Outcome]:
    """Return what failed, and what was skipped for a reason that nobody expects."""
    return [
        outcome
        for outcome in found
        if outcome.status == "failed"
        or (outcome.status == "skipped" and not expected.explanation(outcome.test, outcome.why))
    ]
