# SPDX-License-Identifier: Apache-2.0
"""The Networking API as the plugin uses it: a seam for tests, and a look whether it answers at all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from portico.errors import Conflict, NotFound, PreconditionFailed, Unavailable

Object = dict[str, Any]
T = TypeVar("T")

# How often a thing may have changed between the look at it and the request that says what was seen.
LOOKS = 5

# The engine waits for a driver without any limit, and people for the engine.
ANSWER_WITHIN_S = 1.8
# Of that, for an API that is just starting.
ALIVE_WITHIN_S = 1.5
# An answer this young is proof enough.
ALIVE_FOR_S = 1.0
RETRY_S = 0.1

_end: ContextVar[float] = ContextVar("when the call that this thread carries out must be answered")


class Api(Protocol):
    """What `portico.client.Client` does."""

    def list(self, collection: str, **filters: object) -> list[Object]:
        """Return the objects of a collection."""

    def create(self, collection: str, body: Mapping[str, object]) -> Object:
        """Create an object and return it."""

    def update(
        self,
        collection: str,
        id: str,  # noqa: A002 (the wire's word)
        body: Mapping[str, object],
        revision: int | None = None,
    ) -> Object:
        """Change an object and return it; with `revision` only one that still has it."""

    def delete(self, collection: str, id: str, revision: int | None = None) -> None:  # noqa: A002
        """Delete an object; with `revision` only one that still has it."""

    def request(self, method: str, target: str, body: object = None, timeout_s: float | None = None) -> Any:
        """Send any other request."""

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Bound all requests of this thread together."""


@contextmanager
def in_time(api: Api) -> Iterator[None]:
    """Bound everything that a call waits for, the API and other calls, by `ANSWER_WITHIN_S` together."""
    token = _end.set(time.monotonic() + ANSWER_WITHIN_S)
    try:
        with api.within(ANSWER_WITHIN_S):
            yield
    finally:
        _end.reset(token)


def seconds_left() -> float:
    """Return how long the call that this thread carries out may still wait."""
    now = time.monotonic()
    return max(0.0, _end.get(now + ANSWER_WITHIN_S) - now)


class Pulse:
    """Finds out that the API does not answer before it is asked for work, and waits for one that is just starting."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._felt = -ALIVE_FOR_S

    def check(self) -> None:
        """Return at once when the API answered a moment ago, else ask it; one that is just starting gets a little time.

        Raises:
            Unavailable: it does not answer.
        """
        started = time.monotonic()
        if started - self._felt < ALIVE_FOR_S:
            return
        while True:
            left = started + ALIVE_WITHIN_S - time.monotonic()
            try:
                self._api.request("GET", "/healthz", timeout_s=max(left, RETRY_S))
            except Unavailable:
                if left <= RETRY_S:
                    raise
                time.sleep(RETRY_S)
            else:
                self._felt = time.monotonic()
                return


def find(api: Api, collection: str, word: str, **filters: object) -> Object:
    """Return the object whose id or name is `word`.

    Raises:
        NotFound: there is none.
        Conflict: several have this name.
    """
    found = api.list(collection, id=word, **filters) or api.list(collection, name=word, **filters)
    kind = collection.replace("_", " ").removesuffix("s")
    if not found:
        raise NotFound(f"There is no {kind} with the id or name '{word}'.")
    if len(found) > 1:
        ids = ", ".join(item["id"] for item in found)
        raise Conflict(f"{len(found)} {kind}s have the name '{word}': give the id of one of them: {ids}.")
    return found[0]


def delete_if_there(api: Api, collection: str, object_id: str, revision: int | None = None) -> None:
    """Delete an object that may be gone already; with `revision` only one that still has it."""
    try:
        api.delete(collection, object_id, revision)
    except NotFound:
        return


def exactly(step: Callable[[], T], what: str) -> T:
    """Carry out a step that looks at a thing and changes it as it saw it; when it changed in between, do all anew.

    Raises:
        Conflict: others change `what` again and again.
    """
    for _ in range(LOOKS):
        with suppress(PreconditionFailed):
            return step()
    raise Conflict(f"{what} is changed by others again and again: try again.")
