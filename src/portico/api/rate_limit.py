# SPDX-License-Identifier: Apache-2.0
"""How often one identity may ask."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from portico.api import fault
from portico.api.identity import is_local
from portico.identity.who import Who
from portico.settings_observe import RateLimitSettings
from portico.telemetry.current import WHO

# About 250 bytes each. Whoever was forgotten begins with a full bucket.
MAX_BUCKETS = 10_000

Identity = tuple[str, str]


class Buckets:
    """A token bucket for each identity: full at first, one token for a request, `per_s` more each second."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        # The one that was used last is last.
        self._levels: OrderedDict[Identity, tuple[float, float]] = OrderedDict()

    def take(self, identity: Identity) -> float:
        """Take a token and return 0, or return in how many seconds there will be one."""
        now = self._clock()
        level, at = self._levels.pop(identity, (float(self._burst), now))
        level = min(float(self._burst), level + (now - at) * self._per_s)
        wait_s = 0.0 if level >= 1 else (1 - level) / self._per_s
        self._levels[identity] = (level - 1 if wait_s == 0 else level), now
        if len(self._levels) > MAX_BUCKETS:
            self._levels.popitem(last=False)
        return wait_s

    def __len__(self) -> int:
        return len(self._levels)


class RateLimit:
    """Refuses who asks too often over TCP; unix sockets are for this host's own processes, which must not wait."""

    def __init__(self, app: ASGIApp, settings: RateLimitSettings) -> None:
        self.app = app
        self._per_s = settings.requests_per_s
        self._buckets = Buckets(settings.requests_per_s, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        who: Who | None = scope.get(WHO)
        if who is not None and not is_local(scope):
            wait_s = self._buckets.take((who.project_id, who.user_id))
            if wait_s > 0:
                words = (
                    f"User '{who.user_id}' of project {who.project_id}: more than {self._per_s:g} requests a second."
                )
                refusal = fault.answer(429, "HTTPTooManyRequests", words)
                # RFC 9110 section 10.2.3: whole seconds.
                refusal.headers["Retry-After"] = str(math.ceil(wait_s))
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
