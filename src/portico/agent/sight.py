# SPDX-License-Identifier: Apache-2.0
"""Answers what is asked of this host's kernel, beside the loop that makes it as wanted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from http import HTTPStatus
from urllib.parse import quote

import msgspec

from portico.agent.feed import ANSWER_MAX_S, Api
from portico.errors import PorticoError
from portico.hoststate.look import Aspect, Look, Sight

log = logging.getLogger(__name__)


class Sights:
    """Looks for who asks and tells the API, one question after the other.

    Args:
        see: returns the aspects of a port; called in a thread of the namespace that `take` is called in.
    """

    def __init__(self, api: Api, host: str, see: Callable[[str], Collection[Aspect]]) -> None:
        self._api = api
        self._path = f"/portico/v1/hosts/{quote(host, safe='')}/looks/"
        self._see = see
        self._one = threading.Lock()

    def take(self, looks: Collection[Look]) -> None:
        """Take in questions; they are answered in a thread of their own."""
        if looks:
            threading.Thread(target=self._answer, args=(looks,), name="sight", daemon=True).start()

    def _answer(self, looks: Collection[Look]) -> None:
        with self._one:
            for look in looks:
                try:
                    sight = Sight(tuple(self._see(look.port_id)))
                except (OSError, PorticoError) as error:
                    sight = Sight(trouble=str(error) or type(error).__name__)
                try:
                    self._put(look.id, msgspec.json.encode(sight))
                except OSError as error:
                    log.info("sight of port %s: %s", look.port_id, error)

    def _put(self, look_id: str, body: bytes) -> None:
        path = self._path + quote(look_id, safe="")
        connection = self._api.connect(ANSWER_MAX_S)
        try:
            headers = {"Content-Type": "application/json", **self._api.headers}
            answer = connection.request("PUT", path, body, headers)
            words = answer.read()
        finally:
            connection.close()
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise OSError(f"PUT {path}: {answer.status} {words[:200].decode(errors='replace')}")
