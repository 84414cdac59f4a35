# SPDX-License-Identifier: Apache-2.0
"""What Keystone said of tokens, for as long as it may be believed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from portico.identity.token import Token

REMEMBERED = 10_000
# Wrong tokens cost whoever sends them nothing, so less of them is kept.
WRONG_REMEMBERED = 1_000
WRONG_S = 10.0


class Asked(NamedTuple):
    """An answer of Keystone and when it was asked, by the monotonic clock."""

    token: Token
    at_s: float


class TokenCache:
    """Answers by a hash of the token.

    Args:
        cache_s: how long an answer is believed.
        outage_s: how long it is believed while Keystone does not answer.
        now: the monotonic clock.
    """

    def __init__(self, cache_s: float, outage_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._cache_s = cache_s
        self._outage_s = outage_s
        self._wrong_s = min(WRONG_S, cache_s)
        self._now = now
        self._good: dict[bytes, Asked] = {}
        self._wrong: dict[bytes, float] = {}

    def fresh(self, key: bytes) -> Token | None:
        """Return what is known and need not be asked anew."""
        found = self._good.get(key)
        return found.token if found is not None and self._now() < found.at_s + self._cache_s else None

    def is_wrong(self, key: bytes) -> bool:
        """Return whether it is known that this is no token."""
        at_s = self._wrong.get(key)
        return at_s is not None and self._now() < at_s + self._wrong_s

    def before_outage(self, key: bytes) -> Token | None:
        """Return what may be believed while Keystone does not answer."""
        found = self._good.get(key)
        return found.token if found is not None and self._now() < found.at_s + self._outage_s else None

    def note(self, key: bytes, token: Token | None, at_s: float) -> None:
        """Remember what Keystone said when it was asked `at_s`; None: there is no such token."""
        self._good.pop(key, None)
        self._wrong.pop(key, None)
        if token is not None:
            self._good[key] = Asked(token, at_s)
        else:
            self._wrong[key] = at_s
        # Dicts keep the order of insertion: the first is what was asked longest ago.
        if len(self._good) > REMEMBERED:
            del self._good[next(iter(self._good))]
        if len(self._wrong) > WRONG_REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
