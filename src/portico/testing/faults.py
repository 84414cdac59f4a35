# SPDX-License-Identifier: Apache-2.0
"""Faults for whatever stands in for a kernel or an engine in tests: it asks here before each write."""

from __future__ import annotations

import enum


class Crash(BaseException):
    """The process under test dies here. Not an Exception: nothing but the test may catch it."""


class Outcome(enum.Enum):
    """What becomes of a write: it is done, refused with an error, or acknowledged and lost."""

    DONE = "done"
    REFUSED = "refused"
    LOST = "lost"


class Faults:
    """Counts writes and says what becomes of each.

    `refused` and `lost` hold ids of networks and ports; a write whose subject has one of them, or its first 11
    characters as names of links have them, is refused or lost every time.
    """

    def __init__(self) -> None:
        self.writes = 0
        self.refused: set[str] = set()
        self.lost: set[str] = set()
        self._left: int | None = None
        self._deadly = False

    def arm(self, number: int, *, deadly: bool) -> None:
        """Refuse the `number`th write from now (1: the next), once; `deadly`: raise `Crash` there instead."""
        self._left, self._deadly = number, deadly

    def disarm(self) -> bool:
        """Forget an armed fault; return whether it has struck."""
        struck, self._left = self._left is None, None
        return struck

    def write(self, subject: str) -> Outcome:
        """Count a write to `subject`; return what becomes of it.

        Raises:
            Crash: the process is to die before this write.
        """
        self.writes += 1
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                self._left = None
                if self._deadly:
                    raise Crash(subject)
                return Outcome.REFUSED
        if any(item[:11] in subject for item in self.refused):
            return Outcome.REFUSED
        return Outcome.LOST if any(item[:11] in subject for item in self.lost) else Outcome.DONE
