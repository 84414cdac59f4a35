# SPDX-License-Identifier: Apache-2.0
"""Which tests are run, and which may be skipped until when: the data of selection.yaml."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import msgspec

FILE = Path(__file__).with_name("selection.yaml")


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tests, by a pattern of their ids, that may be skipped with a reason that matches `reason`, and why."""

    test: str
    reason: str
    why: str


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The modules, the tests of the fast subset by their classes, and what may be skipped.

    `later` are extensions, each with what will bring it; `unasked` are tests, by patterns of their ids, that need an
    extension without asking whether there is one: they are not run before there is.
    """

    modules: tuple[str, ...]
    fast: dict[str, tuple[str, ...]]
    later: dict[str, str]
    unasked: dict[str, tuple[str, ...]]
    skips: tuple[Skip, ...]

    def fast_tests(self) -> list[str]:
        """Return the ids of the fast subset, without what stands in brackets behind them."""
        return [f"{name}.{test}" for name, tests in self.fast.items() for test in tests]

    def patterns(self, *, fast: bool) -> list[str]:
        """Return regular expressions for ids of tests."""
        if fast:
            return [rf"^{re.escape(test)}(\[|$)" for test in self.fast_tests()]
        return [rf"^{re.escape(module)}\." for module in self.modules]


class Expected:
    """What may be skipped, given what the server under test advertises."""

    def __init__(self, selection: Selection, advertised: Collection[str]) -> None:
        self._selection = selection
        self._advertised = advertised

    def withheld(self, test: str) -> str:
        """Return why `test` cannot be run yet, in the words of the suites, or ""."""
        for extension, patterns in self._selection.unasked.items():
            if extension not in self._advertised and any(re.search(pattern, test) for pattern in patterns):
                return f"{extension} extension not enabled, and the test does not ask."
        return ""

    def explanation(self, test: str, reason: str) -> str:
        """Return why it is right that `test` was skipped with `reason`, or ""."""
        for extension, why in self._selection.later.items():
            if extension not in self._advertised and _says_missing(reason, extension):
                return f"{extension}: {why}"
        for skip in self._selection.skips:
            if re.search(skip.test, test) and re.search(skip.reason, reason):
                return skip.why
        return ""


def _says_missing(reason: str, extension: str) -> bool:
    """Whether it is one of the sentences by which the two suites say that an extension is not enabled."""
    name = re.escape(extension)
    return (
        re.search(rf"^{name} extension not enabled|extension: {name} is not enabled", reason, re.IGNORECASE) is not None
    )


def load() -> Selection:
    """Return the selection, checked."""
    from yaml import safe_load

    return msgspec.convert(safe_load(FILE.read_text()), Selection)
