# SPDX-License-Identifier: Apache-2.0
"""Paths with their verbs, and how the one of a request is found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from portico.api.identity import MAX_PROJECT_ID
from portico.errors import BadRequest

# What is in a path and may be written: as long as the columns it is kept in.
_LONGEST = {"host": 255, "project_id": MAX_PROJECT_ID}

Endpoint = Callable[[Request], Any]


def route(path: str, verbs: Mapping[str, Endpoint]) -> Route:
    """Return one route for all verbs of a path, so that a wrong one gets 405 and not 404."""

    async def endpoint(request: Request) -> Response:
        for name, value in request.path_params.items():
            _check_path(name, value)
        verb = "GET" if request.method == "HEAD" else request.method
        found: Response = await verbs[verb](request)
        return found

    return Route(path, endpoint, methods=list(verbs))


class Branches(BaseRoute):
    """Finds the route of a request among those whose paths begin as its own does, with one or two parts.

    To try all, as a router does, would make each request dearer with each resource that there is.
    """

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes: defaultdict[tuple[str, ...], list[Route]] = defaultdict(list)
        for one in routes:
            start = _start(one.path)
            self._routes[start[:1] if "{" in start[-1] else start].append(one)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return how a request matches, and its route with what that finds in it."""
        partial: tuple[Match, Scope] = Match.NONE, {}
        start = _start(scope["path"]) if scope["type"] == "http" else ()
        for one in chain(self._routes.get(start, ()), self._routes.get(start[:1], ()) if len(start) > 1 else ()):
            match, found = one.matches(scope)
            if match is Match.FULL:
                return match, {**found, "route": one}
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, {**found, "route": one}
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have the route that was found answer."""
        await scope["route"].handle(scope, receive, send)


def _start(path: str) -> tuple[str, ...]:
    return tuple(path.split("/", 3)[1:3])


def _check_path(name: str, value: str) -> None:
    """Refuse a part of a path that no database can hold or look for; an id that is none is not found anyway.

    Raises:
        BadRequest: names the part and the rule.
    """
    longest = _LONGEST.get(name)
    if longest is None:
        return
    if len(value) > longest:
        rule = f"'{value[:40]!a}...' has more than {longest} characters"
    elif "\0" in value:
        rule = f"'{value[:40]!a}' holds a NUL character"
    else:
        return
    raise BadRequest(f"Invalid input for {name}. Reason: {rule}.", type="HTTPBadRequest")
