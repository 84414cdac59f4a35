# SPDX-License-Identifier: Apache-2.0
"""A small synchronous client of the API: CRUD on collections, plain JSON requests, streams of JSON lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, cast
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from portico import errors
from portico.client.connection import NOBODY, Access, Connections
from portico.client.http1 import Answer, Connection

Object = dict[str, Any]

BY_STATUS: Mapping[int, type[errors.PorticoError]] = {
    400: errors.BadRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    410: errors.RevisionGone,
    412: errors.PreconditionFailed,
    503: errors.Unavailable,
}
# Neutron writes a collection's words with dashes in the path, but for these.
UNDERSCORED = {"availability_zones", "ndp_proxies", "network_segment_ranges", "service_profiles"}
BY_TYPE: Mapping[str, type[errors.PorticoError]] = {"OverQuota": errors.OverQuota, "Unsupported": errors.Unsupported}


def singular(plural: str) -> str:
    """Return the name of one of several: `security_groups` are each a `security_group`."""
    if plural.endswith("ies"):
        return plural[:-3] + "y"
    return plural[:-2] if plural.endswith(("sses", "xes")) else plural.removesuffix("s")


class Client:
    """The API at one URL. Threads may share it.

    Args:
        url: `unix:/PATH`, `http://HOST:PORT` or `https://HOST:PORT`.
        timeout_s: how long one read or write may take.
        connect_timeout_s: how long connecting may take.
        access: who asks.

    Every method raises what the server answered, as the error of `portico.errors` with the server's message, and
    `Unavailable`, naming the URL, when the server does not answer.
    """

    def __init__(self, url: str, timeout_s: float = 30, connect_timeout_s: float = 2, access: Access = NOBODY) -> None:
        self.url = url
        self._timeout_s = timeout_s
        self._headers = {"Accept": "application/json", **access.headers}
        self._connections = Connections(url, connect_timeout_s, access)
        self._bound = threading.local()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Give all requests of this thread together no more than `seconds`; inside of another bound, this one holds.

        Raises:
            Unavailable: in the request that would take longer.
        """
        before = getattr(self._bound, "end", None)
        self._bound.end = time.monotonic() + seconds
        try:
            yield
        finally:
            self._bound.end = before

    def list(self, collection: str, **filters: object) -> list[Object]:
        """Return the objects of a collection such as `security_groups`, from all pages.

        One inside of another collection's object is named with its path, `floatingips/ID/port_forwardings`, here and
        in the other methods. A filter that is a list asks for any of its values.
        """
        answer = self.get_json(_path(collection), **filters)
        # The plural is not always the collection's word.
        plural = next(name for name in answer if not name.endswith("_links"))
        found: list[Object] = answer[plural]
        while link := _next_page(answer, plural):
            answer = self.request("GET", link)
            found += answer[plural]
        return found

    def show(self, collection: str, id: str, **query: object) -> Object:  # noqa: A002 (the wire's word)
        """Return one object by its id."""
        return _only(self.get_json(_path(collection, id), **query))

    def create(self, collection: str, body: Mapping[str, object]) -> Object:
        """Create an object and return it as it became."""
        wrapped = {singular(_key(collection)): body}
        return _only(self.request("POST", _path(collection), wrapped))

    def update(
        self,
        collection: str,
        id: str,  # noqa: A002
        body: Mapping[str, object],
        revision: int | None = None,
    ) -> Object:
        """Change the attributes that `body` names and return the object.

        Raises:
            PreconditionFailed: `revision` is given, and the object has another revision_number.
        """
        wrapped = {singular(_key(collection)): body}
        return _only(self.request("PUT", _path(collection, id), wrapped, revision=revision))

    def delete(self, collection: str, id: str, revision: int | None = None) -> None:  # noqa: A002
        """Delete an object by its id.

        Raises:
            PreconditionFailed: `revision` is given, and the object has another revision_number.
        """
        self.request("DELETE", _path(collection, id), revision=revision)

    def get_json(self, path: str, **query: object) -> Any:
        """Return what GET answers at a path such as `/portico/v1/ports/ID/status`."""
        return self.request("GET", path + _query(query))

    def put_json(self, path: str, body: object) -> Any:
        """Return what PUT of `body` answers."""
        return self.request("PUT", path, body)

    def request(
        self,
        method: str,
        target: str,
        body: object = None,
        timeout_s: float | None = None,
        revision: int | None = None,
    ) -> Any:
        """Send one request and return the decoded answer; None when it has no body.

        A request that got no answer is not sent again: the server may have carried it out.

        Args:
            method: of HTTP.
            target: path and query.
            body: is sent as JSON.
            timeout_s: in place of the client's.
            revision: the revision_number that the object must have (If-Match; Networking API v2.0, "Revisions").
        """
        longest_s = timeout_s or self._timeout_s
        connection = self._connections.take(self._left(longest_s, method, target))
        try:
            answer = self._send(connection, method, target, body, revision)
            if not answer.is_here:
                connection.limit(self._left(longest_s, method, target))
            payload = answer.read()
        except OSError as error:
            connection.close()
            raise self._no_answer(method, target, error) from error
        except BaseException:
            connection.close()
            raise
        if answer.will_close:
            connection.close()
        else:
            self._connections.give_back(connection)
        if answer.status >= 400:
            raise _error(answer.status, payload)
        return msgspec.json.decode(payload) if payload else None

    def stream(self, path: str, *, silence_s: float | None = 60, **query: object) -> Iterator[Any]:
        """Yield the objects of an answer of JSON lines until the server ends it.

        Empty lines are signs of life. The connection closes when the iterator is closed.

        Args:
            path: without a query.
            silence_s: how long the server may say nothing; None waits for ever.
            query: parameters.

        Raises:
            Unavailable: the server went silent or away.
        """
        target = path + _query(query)
        connection = self._connections.take(silence_s)
        try:
            answer = self._send(connection, "GET", target, None)
            if answer.status >= 400:
                raise _error(answer.status, answer.read())
            for line in answer.lines():
                if line.strip():
                    yield msgspec.json.decode(line)
        except (OSError, msgspec.DecodeError) as error:
            raise self._no_answer("GET", target, error) from error
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connections that are idle."""
        self._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _left(self, longest_s: float, method: str, target: str) -> float:
        """Return how long the next step of a request may take."""
        end = getattr(self._bound, "end", None)
        if end is None:
            return longest_s
        left: float = end - time.monotonic()
        if left <= 0:
            raise self._no_answer(method, target, TimeoutError("its time is over"))
        return min(longest_s, left)

    def _send(
        self,
        connection: Connection,
        method: str,
        target: str,
        body: object,
        revision: int | None = None,
    ) -> Answer:
        headers = dict(self._headers)
        if revision is not None:
            headers["If-Match"] = f"revision_number={revision}"
        payload = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            payload = msgspec.json.encode(body)
        return connection.request(method, target, payload, headers)

    def _no_answer(self, method: str, target: str, error: Exception) -> errors.Unavailable:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return errors.Unavailable(f"the API at {self.url} gave no answer to {method} {target}: {reason}")


def _only(answer: Mapping[str, Object]) -> Object:
    [value] = answer.values()
    return value


def _key(collection: str) -> str:
    return collection.rpartition("/")[2].replace("-", "_")


def _path(collection: str, *ids: str) -> str:
    # One with a slash is inside of another, whose id it holds: a path as it stands.
    word = collection if collection in UNDERSCORED or "/" in collection else collection.replace("_", "-")
    return "/".join(["/v2.0", word, *(quote(i, safe="") for i in ids)])


def _query(query: Mapping[str, object]) -> str:
    pairs = []
    for name, value in query.items():
        values = value if isinstance(value, list | tuple | set | frozenset) else [value]
        pairs += [(name, _text(v)) for v in values if v is not None]
    return "?" + urlencode(pairs) if pairs else ""


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _next_page(answer: Mapping[str, Any], key: str) -> str:
    """Return path and query of the next page, whatever host the server believes it has; empty after the last."""
    for link in answer.get(f"{key}_links", ()):
        if link.get("rel") == "next":
            parts = urlsplit(cast(str, link["href"]))
            return f"{parts.path}?{parts.query}"
    return ""


def _error(status: int, payload: bytes) -> errors.PorticoError:
    """Return the error of an answer: NeutronError's type, message and detail where it has one."""
    try:
        fault = msgspec.json.decode(payload)["NeutronError"]
        kind, message, detail = str(fault["type"]), str(fault["message"]), str(fault.get("detail", ""))
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        text = payload.decode(errors="replace").strip()
        kind, message, detail = "", text or f"the API answered with status {status}", ""
    error_class = BY_TYPE.get(kind) or BY_STATUS.get(status, errors.PorticoError)
    return error_class(message, type=kind, detail=detail)
