# SPDX-License-Identifier: Apache-2.0
"""The agent's link to the API: follows the host's wanted state and reports what became of it.

While the API is away the data plane stays as it is: the follower connects again with growing pauses, and the
reporter keeps the newest status of each key until it can deliver it. Over a unix socket or TCP with the
standard library's client: the agent makes two requests, and a fuller client costs 6 MB.
"""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from urllib.parse import quote

import msgspec

from portico.client.connection import NOBODY, Access, new_connection
from portico.hoststate import Report, Status, Update

log = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 2.0
"""So long at most new ports wait after the API is back."""
SILENCE_MAX_S = 60.0
"""How long the feed may be silent; the API gives a sign of life several times in that."""
ANSWER_MAX_S = 10.0
HEARTBEAT_S = 10.0


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

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
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
            except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
                log.info("feed: %s; next try in %.1f s", error or type(error).__name__, wait_s)

    def _updates(self) -> Iterator[Update]:
        connection = self._api.connect(SILENCE_MAX_S)
        try:
            connection.request("GET", self._path, headers=self._api.headers)
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"GET {self._path}: {answer.status}")
            self._connected()
            while line := answer.readline():
                if line.strip():
                    yield self._decoder.decode(line)
        finally:
            connection.close()


class Reporter:
    """Sends Reports from a thread of its own: at once when statuses change, and as a heartbeat.

    Args:
        facts: called for the first Report and every heartbeat; what is worth knowing about this host.
        measures: called then, too; numbers about the agent's own work.
    """

    def __init__(
        self,
        api: Api,
        host: str,
        facts: Callable[[], dict[str, str]],
        measures: Callable[[], dict[str, float]] = dict,
    ) -> None:
        self._api = api
        self._path = f"/portico/v1/hosts/{quote(host, safe='')}/status"
        self._facts = facts
        self._measures = measures
        self._changed = threading.Condition()
        self._pending: dict[str, Status] = {}
        self._revision = 0
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)

    def start(self) -> None:
        """Start reporting."""
        self._thread.start()

    def report(self, revision: int, statuses: Collection[Status]) -> None:
        """Note statuses, to be sent as soon as possible; a newer status of a key replaces an older one."""
        with self._changed:
            self._revision = revision
            self._pending.update({status.key: status for status in statuses})
            self._changed.notify()

    def _run(self) -> None:
        wait_s = 0.0
        beat_at = 0.0  # The first Report goes out at once: that there is an agent is news, too.
        started = True
        while True:
            with self._changed:
                if not self._pending:
                    self._changed.wait(max(0.0, beat_at - time.monotonic()))
                is_beat = time.monotonic() >= beat_at
                taken, self._pending = self._pending, {}
                # Facts change with every port, and the API writes what has changed: not with every status.
                facts, measures = (self._facts(), self._measures()) if is_beat else ({}, {})
                report = Report(self._revision, tuple(taken.values()), facts, started, measures)
            try:
                self._put(msgspec.json.encode(report))
                wait_s = 0.0
                started = False
                if is_beat:
                    beat_at = time.monotonic() + HEARTBEAT_S
            except (OSError, http.client.HTTPException) as error:
                with self._changed:
                    self._pending = taken | self._pending
                wait_s = min(max(2 * wait_s, BACKOFF_FIRST_S), BACKOFF_MAX_S)
                log.info("report: %s; next try in %.1f s", error or type(error).__name__, wait_s)
                threading.Event().wait(wait_s)

    def _put(self, body: bytes) -> None:
        """Send one Report, over a new connection: a kept one may have been closed by the API just now."""
        connection = self._api.connect(ANSWER_MAX_S)
        try:
            headers = {"Content-Type": "application/json", **self._api.headers}
            connection.request("PUT", self._path, body, headers)
            answer = connection.getresponse()
            words = answer.read()
        finally:
            connection.close()
        if answer.status >= http.client.MULTIPLE_CHOICES:
            raise http.client.HTTPException(f"PUT {self._path}: {answer.status} {words[:200].decode(errors='replace')}")
