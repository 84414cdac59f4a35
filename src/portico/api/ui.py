# SPDX-License-Identifier: Apache-2.0
"""The page at `/ui/`: its files, and the topology that it draws."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import distribution
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from portico.api import query, topology
from portico.api.message import as_json, integer_of, origin_of
from portico.api.route import route

if TYPE_CHECKING:
    from portico.api.app import Api

PREFIX = "/ui/"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Where D3 is in the package that brings it, and in the page.
D3_PACKAGE, D3_FILE, D3_NAME = "xstatic-d3", "xstatic/pkg/d3/data/d3.js", "d3.js"
# Nothing but what this server serves, no script or style within the page, no frame around it, and no text that becomes
# markup (Content Security Policy Level 3; Trusted Types).
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class File(msgspec.Struct, frozen=True):
    """A file as it is served."""

    content: bytes
    media_type: str
    tag: str


def routes(api: Api) -> list[Route]:
    """Return the paths."""

    async def redirect(_request: Request) -> Response:
        return RedirectResponse(PREFIX, headers=HEADERS)

    async def topology_now(request: Request) -> Response:
        context = api.context(request)
        since = integer_of(request, "since", 0)
        follows = context.policy.allows(context, "portico:watch")
        page = topology.Page(
            query.limit_of(request.query_params.get("limit", ""), api.service.page_max) or api.service.page_max,
            request.query_params.get("marker", ""),
            integer_of(request, "revision", 0),
            f"{origin_of(request)}{request.url.path}",
        )
        return as_json(await api.workers.read(topology.read, api.service, context, since, page, follows=follows))

    return [
        route("/ui", {"GET": redirect}),
        route(f"{PREFIX}{{name:path}}", {"GET": show}),
        route("/portico/v1/topology", {"GET": topology_now}),
    ]


async def show(request: Request) -> Response:
    """Answer with a file; 304 to who has it (RFC 9110 section 13.1.2).

    Raises:
        HTTPException: there is none of this name.
    """
    found = pages().get(request.path_params["name"] or "index.html")
    if found is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": found.tag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if found.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def pages() -> Mapping[str, File]:
    """Return every file by its name below `/ui/`: read once, and so what is served is of one version."""
    ours = _below(files("portico") / "ui", "")
    d3 = Path(str(distribution(D3_PACKAGE).locate_file(D3_FILE)))
    return {name: _file(name, found) for name, found in (*ours, (D3_NAME, d3))}


def _below(folder: Traversable, prefix: str) -> Iterator[tuple[str, Traversable]]:
    for found in folder.iterdir():
        name = f"{prefix}{found.name}"
        if found.is_dir():
            yield from _below(found, f"{name}/")
        elif Path(name).suffix in TYPES:
            yield name, found


def _file(name: str, found: Traversable) -> File:
    content = found.read_bytes()
    return File(content, TYPES[Path(name).suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
