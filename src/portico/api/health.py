# SPDX-License-Identifier: Apache-2.0
"""Whether a load balancer may send requests here, and what is read of store and broker when metrics are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import anyio
from anyio import to_thread

from portico.api.stream import Ending
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import PorticoError
from portico.store import journal
from portico.store.store import Store
from portico.telemetry.metrics import Reading

ANSWER_S = 1.0
# So long may the broker stand at one revision while there is a newer one.
STUCK_S = 10.0


class Health:
    """Looks at store and broker. For one event loop, but for `readings`."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        hosts: HostStates,
        ending: Ending,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._broker = broker
        self._hosts = hosts
        self._ending = ending
        self._clock = clock
        # A look that hangs keeps others from hanging as well.
        self._limiter = anyio.CapacityLimiter(1)
        self._stood = (0.0, -1)

    async def trouble(self) -> str:
        """Return why requests had better go elsewhere; empty if they need not."""
        if self._ending.begun or self._ending.announced:
            return "server: it is about to end"
        newest = None
        with anyio.move_on_after(ANSWER_S):
            try:
                newest = await to_thread.run_sync(self._newest, abandon_on_cancel=True, limiter=self._limiter)
            except PorticoError as error:
                return error.message
        if newest is None:
            return f"database: no answer within {ANSWER_S:g} s"
        if trouble := self._broker.trouble:
            return f"broker: {trouble}"
        return self.stuck(newest)

    def _newest(self) -> int:
        with self._store.read() as tx:
            return journal.newest_entry(tx)

    def stuck(self, newest: int) -> str:
        """Return that the broker has not moved for long, if the journal has."""
        now, revision = self._clock(), self._broker.revision
        since, at = self._stood
        if revision >= newest or at != revision:
            self._stood = now, revision
        elif now - since > STUCK_S:
            return f"broker: it stands at revision {revision} of {newest} since {now - since:.0f} s"
        return ""

    def readings(self) -> Iterator[Reading]:
        """Yield what metrics tell of store and broker; from any thread."""
        revision = self._broker.revision
        yield Reading("portico_broker_revision", "Newest revision that the broker took in", revision)
        yield Reading("portico_broker_following", "1 while the broker follows the store", not self._broker.trouble)
        followed = self._hosts.followed()
        yield Reading("portico_hosts_connected", "Hosts whose agent follows its wanted state here", followed)
        try:
            newest = self._newest()
        except PorticoError:
            yield Reading("portico_store_up", "1 if the database answers", 0)
            return
        yield Reading("portico_store_up", "1 if the database answers", 1)
        yield Reading("portico_store_revision", "Newest revision in the journal", newest)
        lag = max(0, newest - revision)
        yield Reading("portico_broker_lag_revisions", "Revisions that the broker has still to take in", lag)
