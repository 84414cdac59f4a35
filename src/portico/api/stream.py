# SPDX-License-Identifier: Apache-2.0
"""Portico's own endpoints that wait: the journal's watch, each host's wanted state, a port's status."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from portico.api.collection import Service
from portico.api.work import Workers
from portico.broker.hosts import HostStates
from portico.broker.status import reason, write_report
from portico.errors import BadRequest, RevisionGone, Unavailable
from portico.hoststate import Report, Update
from portico.model import check
from portico.model.snapshot import INTERFACES
from portico.rules import agent, lookup, metering
from portico.rules.availability_zone import DEFAULT_ZONE
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store import journal
from portico.store.store import Store
from portico.store.transaction import Transaction

# A sign of life on idle streams, so that a dead peer is noticed on both sides.
IDLE_S = 5.0
# An agent that reads this much slower than the state changes starts again from a complete one.
MAX_QUEUE = 1000

# Bytes of a report that are, as a rule, about what has just changed.
MAX_NEWS = 4096

# As long as the column that an agent's zone is kept in.
MAX_ZONE = 255


class Commits:
    """Wakes coroutines after each commit of this process."""

    def __init__(self, store: Store) -> None:
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        store.on_commit(self._committed)

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop in which the waiters live."""
        self._loop = loop

    def _committed(self, _revision: int) -> None:
        if self._loop is not None and self._waiting:
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    def subscribe(self) -> tuple[asyncio.Event, Callable[[], None]]:
        """Return an event that every commit sets, and what ends it."""
        event = asyncio.Event()
        self._waiting.add(event)
        return event, lambda: self._waiting.discard(event)


class Ending:
    """Wakes what waits when the server is about to end, so that it need not be broken off. For one event loop."""

    def __init__(self) -> None:
        self.begun = False
        # Whether it is known that it will begin: who asks about health is told so first.
        self.announced = False
        self._wakers: set[Callable[[], None]] = set()

    def begin(self) -> None:
        """Wake everything; what begins to wait from now on finds `begun`."""
        self.begun = True
        for wake in self._wakers:
            wake()

    @contextmanager
    def wakes(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have `wake` called when the end begins."""
        self._wakers.add(wake)
        try:
            yield
        finally:
            self._wakers.discard(wake)


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return False
    event.clear()
    return True


def check_since(service: Service, since: int) -> None:
    """Refuse to watch from a revision that the journal does not reach from or to.

    Raises:
        RevisionGone: it is older than what is kept, or newer than everything (the database is an older copy).
    """
    with service.store.read() as tx:
        journal.since(tx, since, 1)
        newest = journal.newest(tx)
    if since > newest:
        raise RevisionGone(f"Journal: revision {since} is still to come; the newest is {newest}.")


async def watch(
    service: Service, workers: Workers, commits: Commits, ending: Ending, since: int
) -> AsyncIterator[bytes]:
    """Yield journal entries after revision `since` as lines of JSON until the end; blank lines are signs of life.

    While the database does not answer nothing is new.
    """

    def read() -> list[journal.Entry]:
        with contextlib.suppress(Unavailable), service.store.read() as tx:
            return journal.since(tx, since)
        return []

    event, end = commits.subscribe()
    try:
        while not ending.begun:
            entries = await workers.read_one(read)
            if entries:
                since = entries[-1].revision
                yield b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
            else:
                with ending.wakes(event.set):
                    is_idle = not await _wait(event, IDLE_S)
                if is_idle:
                    yield b"\n"
    finally:
        end()


async def wanted(hosts: HostStates, ending: Ending, host: str) -> AsyncIterator[bytes]:
    """Yield a host's wanted state as lines of JSON: complete first, then each change, until the end."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Update | None] = asyncio.Queue()

    def follow(update: Update) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, update)

    end = hosts.follow(host, follow)
    try:
        while not ending.begun and queue.qsize() < MAX_QUEUE:
            try:
                with ending.wakes(lambda: queue.put_nowait(None)):
                    update = await asyncio.wait_for(queue.get(), IDLE_S)
            except TimeoutError:
                yield b"\n"
                continue
            if update is None:
                return
            yield msgspec.json.encode(update) + b"\n"
    finally:
        end()


def report(service: Service, host: str, raw: bytes) -> Report:
    """Take in what an agent says, and return it.

    Raises:
        BadRequest: it is no Report, or holds what cannot be kept.
    """
    try:
        found = msgspec.json.decode(raw, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"report of host {host}: {error}", type="HTTPBadRequest") from error
    if rb"\u0000" in raw:
        check.refuse_unstorable(f"report of host {host}", msgspec.json.decode(raw))
    if len(found.facts.get("availability_zone", "")) > MAX_ZONE:
        raise BadRequest(
            f"report of host {host}: availability_zone has more than {MAX_ZONE} characters", type="HTTPBadRequest"
        )

    def write(tx: Transaction) -> None:
        write_report(tx, host, found)
        metering.take(tx, host, found.counts)
        if found.facts:
            configurations: dict[str, Any] = dict(found.facts)
            zone = configurations.pop("availability_zone", DEFAULT_ZONE)
            if (told := configurations.pop("physical_networks", None)) is not None:
                configurations[INTERFACES] = agent.interfaces(told)
            facts = {"configurations": configurations, "availability_zone": zone}
            agent.heartbeat(tx, host, "Portico agent", "portico-agent", facts, time.time(), started=found.started)

    # Not so what an agent says again, all at once, of what has not changed.
    is_news = len(raw) <= MAX_NEWS and (found.facts or any(status.state != "gone" for status in found.statuses))
    service.store.write_news(write, likely=bool(is_news))
    return found


async def port_status(
    service: Service,
    workers: Workers,
    commits: Commits,
    ending: Ending,
    context: Context,
    port_id: str,
    wait: str,
    timeout_s: float,
) -> Row:
    """Return a port's status and reason; with `wait`, as soon as it is so, `timeout_s` is over or the end begins."""

    def read() -> Row:
        with service.store.read() as tx:
            row = lookup.visible(tx, context, "port", port_id)
            (why,) = discreet(tx, context, [reason(tx, "port", port_id)], row["binding:host_id"])
            return {
                "status": row["status"],
                "reason": why,
                "revision": row["revision_number"],
            }

    event, end = commits.subscribe()
    deadline = time.monotonic() + timeout_s
    try:
        while True:
            found = await workers.read_one(read)
            left = deadline - time.monotonic()
            if not wait or found["status"] == wait or left <= 0 or ending.begun:
                return found
            with ending.wakes(event.set):
                await _wait(event, left)
    finally:
        end()
