# SPDX-License-Identifier: Apache-2.0
"""Who asks."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from portico.api import fault
from portico.broker.broker import Broker
from portico.errors import BadRequest
from portico.rules.context import Context, Limits

MAX_PROJECT_ID = 255


class SameOrigin:
    """Keeps web pages away from an API that asks nobody who he is.

    A browser on this machine reaches loopback as well as its user does. A page of another origin is known by its Origin
    header (Fetch standard, section 3.2), one that had its own name resolve to loopback by the Host header.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := self._refusal(scope)):
            await fault.answer(403, "Forbidden", refused)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        if origin and urlsplit(origin).netloc != host:
            return f"Origin {origin[:80]!a}: without authentication, pages of other origins may not use the API."
        is_tcp = (scope.get("server") or ("", None))[1] is not None
        if is_tcp and host and not _is_loopback(host):
            return f"Host {host[:80]!a}: without authentication, the API answers only to loopback names."
        return ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def context_of(request: Request, limits: Limits, broker: Broker) -> Context:
    """Return the context of a request under auth `none`: an administrator of the project that a header names.

    Raises:
        BadRequest: the header's value cannot be a project's id.
    """
    project = request.headers.get("x-project-id") or limits.default_project
    if len(project) > MAX_PROJECT_ID or not project.isprintable():
        raise BadRequest(
            f"Invalid input for X-Project-Id. Reason: '{project[:40]!a}' is no printable text of at most "
            f"{MAX_PROJECT_ID} characters.",
            type="HTTPBadRequest",
        )
    return Context(project_id=project, is_admin=True, limits=limits, broker=broker, roles=("admin",))
