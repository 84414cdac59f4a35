# SPDX-License-Identifier: Apache-2.0
"""One path with its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

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
