# SPDX-License-Identifier: Apache-2.0
"""The loop that follows the journal and keeps backends in step; and what rules ask backends inside a request."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from portico.broker.choice import Choice
from portico.broker.hosts import HostStates
from portico.broker.status import write_statuses
from portico.contract import Backend, Binding, Change, Dirty
from portico.errors import Unavailable, Unsupported
from portico.model.snapshot import RESOURCES, Snapshot
from portico.settings_broker import BrokerSettings
from portico.store import journal
from portico.store.journal import Entry
from portico.store.query import Query
from portico.store.store import Store

LOG = logging.getLogger(__name__)

# A full sync also repairs what a hint missed; followers see nothing of one that finds no difference.
FULL_SYNC_S = 60.0
# Under load, commits are taken in together: a step for each would cost as much as the requests themselves.
PACE_S = 0.004
PRUNE_S = 60.0
RETRY_S = (0.1, 0.5, 2.0, 10.0)


class Broker:
    """Follows the store from a thread of its own. `want` is written by that thread alone."""

    def __init__(
        self, store: Store, hosts: HostStates, backends: Sequence[Backend], settings: BrokerSettings | None = None
    ) -> None:
        self.want = Snapshot()
        self._store = store
        self._hosts = hosts
        self._backends = tuple(backends)
        self._by_name = {item.describe().name: item for item in self._backends}
        self.choice = Choice([item.describe() for item in self._backends], settings)
        self._wake = threading.Event()
        self._complete = False
        # Ports whose row came as DOWN, which is what a new binding leaves there: only their host can say more.
        self._down: set[str] = set()
        self._trouble = "the first whole state is still to be loaded"
        self._timers: list[Callable[[str, float, bool], None]] = []
        self._stopping = threading.Event()
        self._pruned_at = -PRUNE_S
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        store.on_commit(lambda _revision: self._wake.set())

    def start(self) -> None:
        """Begin to follow the store."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop; what is realised stays as it is."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    @property
    def revision(self) -> int:
        """The newest revision of the journal that was taken in."""
        return self.want.revision

    @property
    def trouble(self) -> str:
        """Why the store is not followed just now; empty if it is."""
        if self._thread.ident is None or not self._thread.is_alive():
            return "it does not run"
        return self._trouble

    def on_sync(self, timer: Callable[[str, float, bool], None]) -> None:
        """Call `timer(backend, took_s, failed)` after each sync of a backend, in the broker's thread."""
        self._timers.append(timer)

    def choose(self, project_id: str, backend: str | None, network_type: str | None) -> tuple[str, str]:
        """See `rules.context.Broker`."""
        return self.choice.choose(project_id, backend, network_type)

    def fits(self, backend: str, network_type: str) -> bool:
        """See `rules.context.Broker`."""
        return self.choice.fits(backend, network_type)

    def offered(self, project_id: str) -> tuple[str, ...]:
        """See `rules.context.Broker`."""
        return self.choice.offered(project_id)

    def admit(
        self,
        resource: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        network: Mapping[str, Any] | None = None,
    ) -> None:
        """See `rules.context.Broker`. What belongs to no one network (a security group) concerns all backends."""
        change = Change(resource=resource, before=before, after=after)
        on = after if resource == "network" else network
        for backend in self._backends if on is None else (self._of(on),):
            backend.admit(self.want, change)

    def bind(self, port: Mapping[str, Any], network: Mapping[str, Any]) -> Binding:
        """See `rules.context.Broker`."""
        snapshot = Snapshot()
        snapshot.put("port", port)
        return self._of(network).bind(snapshot.ports[port["id"]], port["binding:host_id"])

    def _of(self, network: Mapping[str, Any]) -> Backend:
        """Return the backend of a network."""
        name = network["portico:backend"] or ""
        if name not in self._by_name:
            raise Unsupported(
                f"Invalid input for operation: network {network['id']}: portico:backend '{name}' is no backend here; "
                f"known are: {', '.join(self._by_name)}.",
                type="InvalidInput",
            )
        return self._by_name[name]

    def _run(self) -> None:
        failures = 0
        everything = True
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                more = self.step(everything=everything)
                self._prune()
                failures, everything = 0, False
            except Exception as error:
                # The loop outlives any one object or database fault: log, wait, and start again from the whole.
                if isinstance(error, Unavailable):
                    LOG.warning("broker: sync of revision %d is tried again: %s", self.want.revision, error)
                else:
                    LOG.exception("broker: sync of revision %d is tried again", self.want.revision)
                everything, more = True, False
                # Not to be woken by commits: each would load everything again.
                self._stopping.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                continue
            if more:
                time.sleep(PACE_S)
            elif not self._wake.wait(FULL_SYNC_S):
                everything = True

    def _prune(self) -> None:
        """Keep the journal at its bound, in small transactions between those of requests."""
        if time.monotonic() - self._pruned_at < PRUNE_S:
            return
        self._pruned_at = time.monotonic()
        while not self._stopping.is_set() and self._is_journal_long():
            with self._store.write() as tx:
                journal.prune(tx)

    def _is_journal_long(self) -> bool:
        with self._store.read() as tx:
            return journal.is_long(tx)

    def step(self, *, everything: bool) -> bool:
        """Take in what was committed and sync the backends; return whether more is waiting.

        Raises what a backend raised, after all have been synced; then the next step has to be one of everything.
        """
        try:
            dirty, more = (self._load(), False) if everything else self._follow()
        except Exception as error:
            self._trouble = str(error) or type(error).__name__
            raise
        self._trouble = ""
        errors = self._sync(dirty) if dirty.everything or dirty.ids else []
        if not errors:
            self._ask_again()
        self._complete |= dirty.everything and not errors
        if self._complete:  # what agents are told first has to be whole: they remove all else
            self._hosts.publish(self.want.revision)
        if errors:
            raise errors[0]
        return more

    def _ask_again(self) -> None:
        """Have hosts say what became of ports that were bound anew: what they must have may be as it was."""
        for port_id in self._down:
            port = self.want.ports.get(port_id)
            if port is not None and port.host:
                self._hosts.restate(port.host, f"vif/{port_id}")
        self._down = set()

    def _load(self) -> Dirty:
        want = Snapshot()
        down: set[str] = set()
        with self._store.read() as tx:
            want.revision = journal.newest(tx)
            for resource in RESOURCES:
                for row in tx.list(resource, Query()):
                    want.put(resource, row)
                    if _is_down(resource, row):
                        down.add(row["id"])
        if want.revision != self.want.revision:
            self._down |= down
        self.want = want
        return Dirty(everything=True)

    def _follow(self) -> tuple[Dirty, bool]:
        with self._store.read() as tx:
            entries = journal.since(tx, self.want.revision)
            changed = _changed_ids(entries)
            rows = {
                resource: {row["id"]: row for row in tx.get_many(resource, sorted(ids))}
                for resource, ids in changed.items()
            }
        for resource, ids in changed.items():
            for object_id in ids:
                row = rows[resource].get(object_id)
                if row is None:
                    self.want.remove(resource, object_id)
                else:
                    self.want.put(resource, row)
                    if _is_down(resource, row):
                        self._down.add(object_id)
        if entries:
            self.want.revision = entries[-1].revision
        return Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()}), bool(entries)

    def _sync(self, dirty: Dirty) -> list[Exception]:
        """Sync every backend; one that fails stops no other. Return what went wrong."""
        errors: list[Exception] = []
        for backend in self._backends:
            name, begun, failed = backend.describe().name, time.perf_counter(), False
            try:
                statuses = list(backend.sync(self.want, dirty))
                if statuses:
                    write_statuses(self._store, statuses)
            except Exception as error:
                LOG.exception("broker: backend %s", name)
                errors.append(error)
                failed = True
            for timer in self._timers:
                timer(name, time.perf_counter() - begun, failed)
        return errors


def _is_down(resource: str, row: Mapping[str, Any]) -> bool:
    return resource == "port" and row["status"] == "DOWN"


def _changed_ids(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Return what planners must look at again; a status is not wanted state."""
    changed: defaultdict[str, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.resource in RESOURCES and entry.change != "status":
            changed[entry.resource].add(entry.id)
    return dict(changed)
