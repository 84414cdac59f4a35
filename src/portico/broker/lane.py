# SPDX-License-Identifier: Apache-2.0
"""A backend at work: a thread of its own, with what is wanted of this backend alone.

Nothing that one backend does or fails to do holds up another one: a lane shares with others only values that never
change, the store, and the hosts' states, whose locks nobody keeps while a backend works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

import msgspec

from portico.broker.hosts import HostStates
from portico.broker.parts import Key
from portico.broker.status import write_statuses
from portico.contract import Backend, Dirty
from portico.errors import Unavailable
from portico.model.snapshot import Snapshot, Value
from portico.store.store import Store

LOG = logging.getLogger(__name__)

# A full sync also repairs what a hint missed; followers see nothing of one that finds no difference.
FULL_SYNC_S = 60.0
RETRY_S = (0.1, 0.5, 2.0, 10.0)

Timer = Callable[[str, float, bool], None]


class Health(msgspec.Struct, frozen=True):
    """How a backend fares. `failing` says why it is not in step, empty if it is; times are seconds since the epoch.

    `since` is when that began, `synced_at` when a sync has ended well, None if none has.
    """

    failing: str
    since: float
    synced_at: float | None


class News(msgspec.Struct):
    """What a lane has not taken in yet. `whole` replaces all that it has; in `changes` None stands for what is gone.

    `down` are ports whose row a new binding may have made DOWN: only their host can say more.
    """

    revision: int = 0
    whole: Mapping[Key, Value] | None = None
    changes: dict[Key, Value | None] = {}
    down: set[str] = set()


class Lane:
    """One backend. `offer` may be called from any thread; `want` is written by who calls `step` alone."""

    def __init__(self, store: Store, hosts: HostStates, backend: Backend, *, hang_s: float) -> None:
        self.backend = backend
        self.name = backend.describe().name
        self.want = Snapshot()
        self._store = store
        self._hosts = hosts
        self._hang_s = hang_s
        self._lock = threading.Lock()
        self._news = News()
        # Not before the first whole is offered: to a backend, nothing wanted means that all is to go.
        self._everything = False
        self._known = False
        look_s = backend.describe().look_s
        # The broker has everything looked at now and then.
        self._look_s = look_s if look_s < FULL_SYNC_S else None
        self._look_at: float | None = None
        self._down: set[str] = set()
        self._begun_at: float | None = None
        self._failure = ""
        self._since = time.time()
        self._synced_at: float | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"backend {self.name}", daemon=True)
        self.timers: list[Timer] = []
        self.recovered: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to sync what is offered."""
        self._thread.start()

    def stop(self, within_s: float) -> None:
        """End the thread; one that hangs is left alone."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(within_s)

    def offer(
        self,
        revision: int,
        changes: Mapping[Key, Value | None],
        down: Collection[str] = (),
        whole: Mapping[Key, Value] | None = None,
    ) -> None:
        """Add news; those of an object replace older ones, so that they are never more than there are objects."""
        with self._lock:
            if whole is not None:
                self._news.whole, self._news.changes = whole, {}
            self._news.revision = revision
            self._news.changes.update(changes)
            self._news.down.update(down)
        self._wake.set()

    def ask(self, port_ids: Collection[str]) -> None:
        """Have hosts say again what became of ports."""
        with self._lock:
            self._news.down.update(port_ids)
        self._wake.set()

    def health(self) -> Health:
        """Return how the backend fares now."""
        failing, since, begun_at = self._failure, self._since, self._begun_at
        took_s = time.monotonic() - begun_at if begun_at is not None else 0.0
        if took_s > self._hang_s:
            since = since if failing else time.time() - took_s
            failing = f"a sync has not ended within {self._hang_s:g} s"
        elif self._thread.ident is not None and not self._thread.is_alive() and not self._stopping.is_set():
            failing = "its thread has ended"
        return Health(failing, since, self._synced_at)

    def step(self) -> None:
        """Take in the news and sync; nothing if there are none.

        Raises what the backend raised; then the next sync is one of everything.
        """
        dirty = self._take()
        if not (dirty.everything or dirty.ids or self._down):
            return
        begun, failed = time.perf_counter(), True
        self._begun_at = time.monotonic()
        try:
            statuses = list(self.backend.sync(self.want, dirty)) if dirty.everything or dirty.ids else []
            if statuses:
                write_statuses(self._store, statuses)
            failed = False
        except Exception as error:
            self._everything = True
            self._fail(str(error) or type(error).__name__)
            raise
        finally:
            self._begun_at = None
            for timer in self.timers:
                timer(self.name, time.perf_counter() - begun, failed)
            self._known |= dirty.everything and not failed
            if not failed:
                self._ask_again()
            if self._known:  # what agents are told first has to be whole: they remove all else
                self._hosts.publish(self.want.revision, self.name)
        self._succeed()

    def _take(self) -> Dirty:
        with self._lock:
            news, self._news = self._news, News(revision=self._news.revision)
        if news.whole is not None:
            self.want = _snapshot(news.whole)  # requests look into it meanwhile: it is never half full
            self._everything = True
        ids: defaultdict[str, set[str]] = defaultdict(set)
        for (resource, object_id), value in news.changes.items():
            ids[resource].add(object_id)
            if value is None:
                self.want.remove(resource, object_id)
            else:
                self.want.place(resource, value)
        self.want.revision = news.revision
        self._down |= news.down
        everything, self._everything = self._everything or self._left_s() == 0, False
        if everything:
            self._look_at = time.monotonic() + self._look_s if self._look_s is not None else None
            return Dirty(everything=True)
        return Dirty(ids={resource: frozenset(found) for resource, found in ids.items()})

    def _left_s(self) -> float | None:
        """Return in how many seconds the backend is to look at everything by itself; None: not at all."""
        return None if self._look_at is None else max(0.0, self._look_at - time.monotonic())

    def _ask_again(self) -> None:
        """Have hosts say what became of ports that were bound anew: what they must have may be as it was."""
        for port_id in self._down:
            port = self.want.ports.get(port_id)
            if port is not None and port.host:
                for kind in ("vif", "outlet"):
                    self._hosts.restate(port.host, f"{kind}/{port_id}")
        self._down = set()

    def _fail(self, reason: str) -> None:
        if not self._failure:
            self._since = time.time()
        self._failure = reason

    def _succeed(self) -> None:
        self._synced_at = time.time()
        if self._failure:
            self._failure, self._since = "", self._synced_at
            LOG.info("backend %s: in step again", self.name)
            self.recovered()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                self.step()
                failures = 0
            except Exception as error:
                # A lane outlives any one object or fault: log, wait, and start again from the whole.
                if isinstance(error, Unavailable):
                    LOG.warning("backend %s: revision %d is tried again: %s", self.name, self.want.revision, error)
                else:
                    LOG.exception("backend %s: revision %d is tried again", self.name, self.want.revision)
                # Not to be woken by news: each would be a sync of everything.
                self._stopping.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                continue
            self._wake.wait(self._left_s())


def _snapshot(values: Mapping[Key, Value]) -> Snapshot:
    want = Snapshot()
    for (resource, _), value in values.items():
        want.place(resource, value)
    return want
