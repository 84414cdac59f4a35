# SPDX-License-Identifier: Apache-2.0
"""What follows the journal and tells each backend's lane what it is concerned with; and what rules ask backends."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from portico.broker import admit
from portico.broker.choice import Choice, services_of
from portico.broker.commits import Commits
from portico.broker.degrade import Marks
from portico.broker.hosts import HostStates
from portico.broker.lane import FULL_SYNC_S, RETRY_S, Lane, Timer
from portico.broker.parts import Key, Parts
from portico.contract import Backend, Binding, Capabilities, Change
from portico.errors import Unavailable, Unsupported
from portico.model.snapshot import RESOURCES, Port, Snapshot, Value
from portico.settings_broker import BrokerSettings
from portico.store import journal
from portico.store.journal import Entry
from portico.store.query import Query
from portico.store.store import Store

LOG = logging.getLogger(__name__)

# Under load, commits are taken in together: a step for each would cost as much as the requests themselves.
PACE_S = 0.004
# So long at most waits what nobody waits for, that ports are gone or are called otherwise: to be taken in with others.
GATHER_S = 0.1
PRUNE_S = 60.0
# How often backends are looked at that may fail.
LOOK_S = 1.0
# A sync that takes longer hangs: what it is to realise is told so.
HANG_S = 10.0
# So long agents wait for backends that have not synced yet before they begin with what the others want.
PATIENCE_S = 2.0


class Broker:
    """Follows the store from a thread of its own; each backend works in another one."""

    def __init__(
        self,
        store: Store,
        hosts: HostStates,
        backends: Sequence[Backend],
        settings: BrokerSettings | None = None,
        *,
        hang_s: float = HANG_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        able = [item.describe() for item in backends]
        self.choice = Choice([item for item in able if item.network_types], settings)
        self._services = services_of(able, store.registry)
        self._resources = (*RESOURCES, *self._services)
        self.lanes = {item.describe().name: Lane(store, hosts, item, hang_s=hang_s) for item in backends}
        self._parts = Parts(self.lanes, self._services)
        self._revision = 0
        self._store = store
        self._hosts = hosts
        self._patience_s = patience_s
        self._wake = threading.Event()
        self._trouble = "the first whole state is still to be loaded"
        self._stopping = threading.Event()
        self._pruned_at = -PRUNE_S
        self._marks = Marks(store)
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        hosts.expect(self.lanes)
        for lane in self.lanes.values():
            lane.recovered = self._wake.set
        self._commits = Commits(store, self._wake.set)

    def start(self) -> None:
        """Begin to follow the store."""
        for lane in self.lanes.values():
            lane.start()
        self._thread.start()

    def stop(self) -> None:
        """End the loops; what is realised stays as it is."""
        self._stopping.set()
        self._wake.set()
        self._commits.hurry.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=10)
        for lane in self.lanes.values():
            lane.stop(0.1 if lane.health().failing else 5.0)

    @property
    def revision(self) -> int:
        """The newest revision of the journal that was taken in."""
        return self._revision

    @property
    def trouble(self) -> str:
        """Why the store is not followed just now; empty if it is."""
        if self._thread.ident is None or not self._thread.is_alive():
            return "it does not run"
        return self._trouble

    def on_sync(self, timer: Timer) -> None:
        """Call `timer(backend, took_s, failed)` after each sync of a backend, in the backend's thread."""
        for lane in self.lanes.values():
            lane.timers.append(timer)

    def choose(
        self, project_id: str, backend: str | None, network_type: str | None, before: str = ""
    ) -> tuple[str, str]:
        """See `rules.context.Broker`."""
        return self.choice.choose(project_id, backend, network_type, before)

    def capabilities(self, backend: str) -> Capabilities:
        """See `rules.context.Broker`."""
        lane = self.lanes.get(backend)
        return lane.backend.describe() if lane else Capabilities(backend, (), frozenset())

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
        """See `rules.context.Broker`."""
        change = Change(resource=resource, before=before, after=after)
        on = after if resource == "network" else network
        if on is None:
            admit.on_none(self._without_network(resource), change)
        else:
            admit.on_network(self._of(on), change)

    def _without_network(self, resource: str) -> Collection[Lane]:
        """Return the lanes that an object on no network concerns."""
        if resource in self._services:
            return (self.lanes[self._services[resource]],)
        if self._store.registry.resources[resource].package:
            raise Unsupported(
                f"Invalid input for operation: {resource} is realised by no backend here; there are: "
                f"{', '.join(self.lanes)}.",
                type="InvalidInput",
            )
        return [lane for lane in self.lanes.values() if lane.backend.describe().network_types]

    def bind(self, port: Mapping[str, Any], network: Mapping[str, Any]) -> Binding:
        """See `rules.context.Broker`."""
        snapshot = Snapshot()
        snapshot.put("port", port)
        return self._of(network).backend.bind(snapshot.ports[port["id"]], port["binding:host_id"])

    def _of(self, network: Mapping[str, Any]) -> Lane:
        """Return the lane of a network."""
        name = network["portico:backend"] or ""
        if name not in self.lanes:
            raise Unsupported(
                f"Invalid input for operation: network {network['id']}: portico:backend '{name}' is no backend here; "
                f"known are: {', '.join(self.lanes)}.",
                type="InvalidInput",
            )
        return self.lanes[name]

    def _run(self) -> None:
        failures, woken = 0, True
        began_at = full_at = time.monotonic()
        while not self._stopping.is_set():
            try:
                everything, known = time.monotonic() >= full_at, self._revision
                more = (woken or everything or len(self._commits) > 0) and self.follow(everything=everything)
                if everything or self._revision != known:
                    full_at = time.monotonic() + FULL_SYNC_S
                self._prune()
                self._marks.look(self.lanes.values(), self._parts.elsewhere())
                failures = 0
            except Exception as error:
                # The loop outlives any fault of the database: log, wait, and start again from the whole.
                if isinstance(error, Unavailable):
                    LOG.warning("broker: what follows revision %d is read again: %s", self.revision, error)
                else:
                    LOG.exception("broker: what follows revision %d is read again", self.revision)
                full_at = 0.0
                # Not to be woken by commits: each would load everything again.
                self._stopping.wait(RETRY_S[min(failures, len(RETRY_S) - 1)])
                failures += 1
                continue
            if time.monotonic() - began_at > self._patience_s:
                self._hosts.begin()
            if self._revision != known:
                time.sleep(PACE_S)
            woken = more or self._wake.wait(min(LOOK_S, self._patience_s))
            if woken and not more:
                self._commits.hurry.wait(GATHER_S)

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
        """Follow, and have every backend sync in this thread; return whether more is waiting.

        Raises what a backend raised, after all have been synced; then its next sync is one of everything.
        """
        more = self.follow(everything=everything)
        errors: list[Exception] = []
        for lane in self.lanes.values():
            try:
                lane.step()
            except Exception as error:  # noqa: BLE001 (the first is raised when all have had their turn)
                errors.append(error)
        if errors:
            raise errors[0]
        return more

    def follow(self, *, everything: bool) -> bool:
        """Take in what was committed and offer it to the lanes; return whether it was too much for once."""
        self._wake.clear()
        self._commits.hurry.clear()
        try:
            more = self._load() if everything else self._follow()
        except Exception as error:
            self._trouble = str(error) or type(error).__name__
            raise
        self._trouble = ""
        return more

    def _load(self) -> bool:
        # What was taken of the commits until now is part of what is read now.
        self._commits.is_behind = False
        with self._store.read() as tx:
            revision = journal.newest(tx)
            rows = {(name, row["id"]): row for name in self._resources for row in tx.list(name, Query())}
        down = {key for key, row in rows.items() if _is_down(key[0], row)} if revision != self._revision else set()
        self._revision = revision
        for name, part in self._parts.load(rows).items():
            self._offer(name, revision, {}, [key[1] for key in down if key in part], whole=part)
        return False

    def _follow(self) -> bool:
        ours = self._commits.after(self._revision)
        if ours is None:
            return self._read_journal()
        if ours:
            times = Counter(key for written in ours for key in written.objects)
            rows = {key: row for written in ours for key, row in written.objects.items() if key[0] in self._resources}
            self._take_in(ours[-1].revision, rows, times)
        return False

    def _read_journal(self) -> bool:
        with self._store.read() as tx:
            entries, more = journal.part(tx, self.revision)
            changed = self._changed_ids(entries)
            rows: dict[Key, Mapping[str, Any] | None] = {}
            for resource, ids in changed.items():
                found = {row["id"]: row for row in tx.get_many(resource, sorted(ids))}
                rows |= {(resource, object_id): found.get(object_id) for object_id in ids}
        self._commits.is_behind = more
        if entries:
            times = Counter((entry.resource, entry.id) for entry in entries if entry.change != "status")
            self._take_in(entries[-1].revision, rows, times)
        return more

    def _take_in(self, revision: int, rows: Mapping[Key, Mapping[str, Any] | None], times: Mapping[Key, int]) -> None:
        """Offer the lanes what has become of objects; `times` says how often each has changed, but for its status."""
        before = {key: self._parts.value(key) for key, row in rows.items() if _is_down(key[0], row)}
        parts = self._parts.change(rows)
        # What changed once, and not its binding, was DOWN before: its host has been asked, and what it says is to come.
        anew = {key for key, was in before.items() if times[key] > 1 or not _same_binding(was, self._parts.value(key))}
        self._revision = revision
        for name, part in parts.items():
            self._offer(name, revision, part, [key[1] for key in part if key in anew])

    def _offer(
        self,
        name: str,
        revision: int,
        changes: Mapping[Key, Value | None],
        down: Collection[str],
        whole: Mapping[Key, Value] | None = None,
    ) -> None:
        """Offer a lane its news; what became of ports is asked by the lane alone that realises them."""
        self.lanes[name].offer(revision, changes, () if name in self._services.values() else down, whole)

    def _changed_ids(self, entries: Sequence[Entry]) -> dict[str, set[str]]:
        """Return what planners must look at again; a status is not wanted state."""
        changed: defaultdict[str, set[str]] = defaultdict(set)
        for entry in entries:
            if entry.resource in self._resources and entry.change != "status":
                changed[entry.resource].add(entry.id)
        return dict(changed)


def _same_binding(before: Value | None, after: Value | None) -> bool:
    """Tell whether a port is bound as it was."""
    if not (isinstance(before, Port) and isinstance(after, Port)):
        return False
    return (before.host, before.profile, before.vnic_type) == (after.host, after.profile, after.vnic_type)


def _is_down(resource: str, row: Mapping[str, Any] | None) -> bool:
    return resource == "port" and row is not None and row["status"] == "DOWN"
