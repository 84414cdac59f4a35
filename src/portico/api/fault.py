# SPDX-License-Identifier: Apache-2.0
"""Errors as HTTP answers: the one place where they are converted.

What converts them is asynchronous although it waits for nothing: anything else gets a thread from Starlette.
"""

from __future__ import annotations

import logging
from typing import cast

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from portico.errors import PorticoError
from portico.telemetry.current import Asking

# Where a request's scope holds its id.
REQUEST_ID = "portico.request_id"
LOG = logging.getLogger(__name__)

_TYPES = {404: "HTTPNotFound", 405: "HTTPMethodNotAllowed", 408: "HTTPRequestTimeout", 413: "HTTPRequestEntityTooLarge"}
_TEXTS = {404: "The resource could not be found.", 405: "The method is not allowed for this resource."}


def answer(status: int, type_name: str, message: str, detail: str = "") -> Response:
    """Return an error in Neutron's shape."""
    body = {"NeutronError": {"type": type_name, "message": message, "detail": detail}}
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json")


async def portico_error(_request: Request, error: Exception) -> Response:
    """Answer an error that was raised on purpose."""
    error = cast(PorticoError, error)
    return answer(error.status, error.type, error.message, error.detail)


async def http_error(_request: Request, error: Exception) -> Response:
    """Answer an error of the routing layer."""
    error = cast(HTTPException, error)
    status = error.status_code
    response = answer(status, _TYPES.get(status, "HTTPBadRequest"), _TEXTS.get(status, error.detail))
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def gone(_request: Request, _error: Exception) -> Response:
    """Answer who hung up in the middle of a request, which nobody reads."""
    return answer(400, "HTTPBadRequest", "The client has gone.")


async def unexpected(request: Request, error: Exception) -> Response:
    """Answer what nobody foresaw, with the request's id by which the log tells more."""
    request_id = request.scope[REQUEST_ID]
    LOG.error("%s: %s %s", request_id, request.method, Asking(request_id, request.scope).path, exc_info=error)
    response = answer(
        500, "HTTPInternalServerError", "Request Failed: internal server error while processing your request."
    )
    # This answer is made outside of the middleware that adds the id to all others.
    response.headers["x-openstack-request-id"] = request_id
    # The server closes the connection after it, and a client that is not told loses its next request.
    response.headers["connection"] = "close"
    return response
