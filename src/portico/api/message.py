# SPDX-License-Identifier: Apache-2.0
"""Requests taken apart and answers made: what endpoints share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from portico.errors import BadRequest

# Neutron's own bound is 114,688 bytes; bulk requests of a thousand ports need more.
MAX_BODY = 4 * 1024 * 1024
# Values in a body, counted by what stands between them. Decoding is done in one go, and nobody else is answered
# meanwhile: a million empty lists would take 0.6 s. A bulk request of a thousand large ports has half as many.
MAX_VALUES = 100_000
# In which all of it must come.
BODY_S = 60.0


def as_json(body: object, status: int = 200) -> Response:
    """Return an answer with a JSON body."""
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


def as_lines(request: Request, lines: AsyncIterator[bytes]) -> Response:
    """Return a stream of lines; HEAD gets its headers, and need not wait for an end that never comes."""
    return StreamingResponse(iter(()) if request.method == "HEAD" else lines, media_type="application/x-ndjson")


def origin_of(request: Request) -> str:
    """Return what the URLs of this server begin with, as the client knows it."""
    return f"{request.url.scheme}://{request.headers.get('host') or 'localhost'}"


async def body_of(request: Request) -> bytes:
    """Return the body.

    Raises:
        HTTPException: it is larger than MAX_BODY (413), or takes longer than BODY_S (408).
        BadRequest: it has more than MAX_VALUES commas and brackets.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told[:18]) > MAX_BODY:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY:
                    raise _too_large()
                parts.append(part)
    except TimeoutError as error:
        raise HTTPException(408, f"The request's body did not come within {BODY_S:g} s.") from error
    raw = b"".join(parts)
    if len(raw) > MAX_VALUES and sum(map(raw.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise BadRequest(
            f"The request's body has more than {MAX_VALUES} commas and opening brackets.", type="HTTPBadRequest"
        )
    return raw


def _too_large() -> HTTPException:
    return HTTPException(413, f"The request's body is larger than {MAX_BODY} bytes.")


def integer_of(request: Request, name: str, default: int) -> int:
    """Return a whole number from the query string, or `default`.

    Raises:
        BadRequest: names the parameter and the rule.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or len(text) > 18:
        raise BadRequest(
            f"Invalid input for {name}. Reason: '{text[:40]}' is not an integer of at least 0.", type="HTTPBadRequest"
        )
    return int(text)
