# SPDX-License-Identifier: Apache-2.0
"""The agent's link to the API: follows the host's wanted state and reports what became of it.

While the API is away the data plane stays as it is: the follower connects again with growing pauses, and the
reporter keeps the newest status of each key until it can deliver it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from portico.client.connection import NOBODY, Access, new_connection
from portico.client.http1 import Broken, Connection
from portico.hoststate import Count, Report, Status, Update

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
"""So long at most new ports wait after the API is back."""
SILENCE_MAX_S = 60.0
"""How long the feed may be silent; the API gives a sign of life several times in that."""
ANSWER_MAX_S = 10.0
HEARTBEAT_S = 10.0
PACE_S = 0.01
"""So long at least there is between Reports."""
GONE_MAX_S = 1.0
"""So long at most waits that something is gone which was well: nobody but the log learns from it."""
KEEP_S = 2.0
"""How long the reporter's connection is kept without being used; the API counts those of all hosts."""


class Api:
    """Where the API is, and how the agent shows who it is.

    Raises:
        SettingsError: `url` is none, or a file of `access` cannot be used.
    """

    def __init__(self, url: str, access: Access = NOBODY) -> None:
        self._url = url
        self._access = access
        self.headers = access.headers
        self.connect(ANSWER_MAX_S)

    def connect(self, timeout_s: float) -> Connection:
        """Return a new connection, not opened yet."""
        return new_connection(self._url, timeout_s, self._access)


class Follower:
    """Follows `GET /portico/v1/hosts/{host}/wanted` in a thread of its own, for ever.

    Args:
        offer: called with each Update.
        connected: called before the first Update of each connection.
    """

    def __init__(self, api: Api, host: str, *, offer: Callable[[Update], None], connected: Callable[[], None]) -> None:
        self._api = api
        self._path = f"/portico/v1/hosts/{quote(host, safe='')}/wanted"
        self._offer = offer
        self._connected = connected
        self._decoder = msgspec.json.Decoder(Update)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Start following."""
        self._thread.start()

    def stop(self) -> None:
        """Make no more connections; the thread ends with the process."""
        self._stop.set()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = min(max(2 * wait_s, BACKOFF_FIRST_S), BACKOFF_MAX_S)
            try:
                for update in self._updates():
                    self._offer(update)
                    wait_s = BACKOFF_FIRST_S
            except (OSError, msgspec.MsgspecError) as error:
                log.info("feed: %s; next try in %.1f s", error or type(error).__name__, wait_s)

    def _updates(self) -> Iterator[Update]:
        connection = self._api.connect(SILENCE_MAX_S)
        try:
            answer = connection.request("GET", self._path, None, self._api.headers)
            if answer.status != HTTPStatus.OK:
                raise Broken(f"GET {self._path}: {answer.status}")
            self._connected()
            for line in answer.lines():
                if line.strip():
                    yield self._decoder.decode(line)
        finally:
            connection.close()


class Reporter:
    """Sends Reports from a thread of its own: at once when statuses change, and as a heartbeat.

    Statuses that come soon after a Report wait a little, so that there are not more Reports than anybody could read.

    Args:
        facts: called for the first Report and every heartbeat; what is worth knowing about this host.
        measures: called then, too; numbers about the agent's own work.
        counts: called then, too; what routers have counted. It is told until it is delivered.
    """

    def __init__(
        self,
        api: Api,
        host: str,
        facts: Callable[[], dict[str, str]],
        measures: Callable[[], dict[str, float]] = dict,
        counts: Callable[[], tuple[Count, ...]] = tuple,
    ) -> None:
        self._headers = {"Content-Type": "application/json", **api.headers}
        self._connection = api.connect(ANSWER_MAX_S)
        self._path = f"/portico/v1/hosts/{quote(host, safe='')}/status"
        self._facts = facts
        self._measures = measures
        self._counts = counts
        self._owed: dict[tuple[str, str, str], Count] = {}
        self._changed = threading.Condition()
        self._pending: dict[str, Status] = {}
        # What was told to be well, of which it is no urgent news that it is gone.
        self._well: set[str] = set()
        # When statuses are to be sent, when a heartbeat is, and before when nothing is.
        self._due_at = math.inf
        self._beat_at = 0.0  # The first Report goes out at once: that there is an agent is news, too.
        self._free_at = 0.0
        self._revision = 0
        self._started = True
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Start reporting."""
        self._thread.start()

    def report(self, revision: int, statuses: Collection[Status]) -> None:
        """Note statuses, to be sent as soon as possible; a newer status of a key replaces an older one."""
        gone = {status.key for status in statuses if status.state == "gone"}
        with self._changed:
            is_urgent = len(gone) < len(statuses) or not gone <= self._well
            self._well -= {status.key for status in statuses}
            self._well |= {status.key for status in statuses if status.state == "active"}
            self._revision = revision
            self._pending.update({status.key: status for status in statuses})
            due_at = time.monotonic() + (0.0 if is_urgent else GONE_MAX_S)
            if due_at < self._due_at:
                self._due_at = due_at
                self._changed.notify()

    def _run(self) -> None:
        wait_s = 0.0
        while True:
            revision, statuses = self._take()
            is_beat = time.monotonic() >= self._beat_at
            # Facts change with every port, and the API writes what has changed: not with every status.
            facts, measures = (self._facts(), self._measures()) if is_beat else ({}, {})
            counts = self._count() if is_beat else ()
            report = Report(revision, tuple(statuses.values()), facts, self._started, measures, counts)
            try:
                self._put(msgspec.json.encode(report))
            except OSError as error:
                with self._changed:
                    self._pending = statuses | self._pending
                    self._due_at = 0.0
                wait_s = min(max(2 * wait_s, BACKOFF_FIRST_S), BACKOFF_MAX_S)
                log.info("report: %s; next try in %.1f s", error or type(error).__name__, wait_s)
                self._free_at = time.monotonic() + wait_s
            else:
                wait_s = 0.0
                self._started = False
                self._free_at = time.monotonic() + PACE_S
                if is_beat:
                    self._owed.clear()
                    self._beat_at = time.monotonic() + HEARTBEAT_S

    def _count(self) -> tuple[Count, ...]:
        """Return what routers have counted, also such as were asked before and have gone."""
        self._owed.update({(item.router_id, item.label_id, item.counter): item for item in self._counts()})
        return tuple(self._owed.values())

    def _take(self) -> tuple[int, dict[str, Status]]:
        """Wait until a Report is due, and return the revision and the statuses that are for it."""
        with self._changed:
            while (left_s := max(min(self._due_at, self._beat_at), self._free_at) - time.monotonic()) > 0:
                is_long = left_s > KEEP_S and self._connection.sock is not None
                if not self._changed.wait(KEEP_S if is_long else left_s) and is_long:
                    self._connection.close()
            self._due_at = math.inf
            taken, self._pending = self._pending, {}
            return self._revision, taken

    def _put(self, body: bytes) -> None:
        """Send one Report; once more over a new connection if the API has closed the kept one just now."""
        is_kept = self._connection.sock is not None
        try:
            self._exchange(body)
        except ConnectionError:
            if not is_kept:
                raise
            self._exchange(body)

    def _exchange(self, body: bytes) -> None:
        try:
            answer = self._connection.request("PUT", self._path, body, self._headers)
            words = answer.read()
        except OSError:
            self._connection.close()
            raise
        if answer.will_close:
            self._connection.close()
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise OSError(f"PUT {self._path}: {answer.status} {words[:200].decode(errors='replace')}")
