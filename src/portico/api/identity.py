# SPDX-License-Identifier: Apache-2.0
"""Who asks."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from portico.api import fault
from portico.broker.broker import Broker
from portico.errors import BadRequest, PorticoError, Unauthorized
from portico.identity.who import ADMIN_ROLES, Authenticator, Credentials, Who
from portico.rules.context import Context, Limits
from portico.settings_check import is_loopback_name
from portico.telemetry.current import WHO

MAX_PROJECT_ID = 255
# What anybody may read: where the API is, whether it is well, and the page's files, which hold no data.
OPEN = ("/", "/healthz", "/readyz", "/ui")
OPEN_BELOW = "/ui/"


def is_local(scope: Scope) -> bool:
    """Tell whether a request came over a unix socket, which only an administrator of this host can open."""
    # ASGI: "server" is (host, port) of TCP, or (path, None) of a unix socket; who does not know says nothing.
    server = scope.get("server")
    return server is not None and server[1] is None


class Authenticate:
    """Finds out who asks over TCP, and refuses who does not say.

    Without an authenticator, and over unix sockets, whoever can connect is an administrator.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator | None, default_project: str) -> None:
        self.app = app
        self._authenticator = authenticator
        self._default_project = default_project

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refusal := await self._enter(scope)):
            await refusal(scope, receive, send)
            return
        await self.app(scope, receive, send)

    async def _enter(self, scope: Scope) -> Response | None:
        """Note who asks, or return the answer for whom nobody knows."""
        try:
            if self._authenticator is None or is_local(scope):
                project = project_of(Headers(scope=scope)) or self._default_project
                scope[WHO] = Who(project, roles=ADMIN_ROLES, is_admin=True)
            elif scope["path"] not in OPEN and not scope["path"].startswith(OPEN_BELOW):
                given = _credentials(scope)
                who = self._authenticator.known(given) or await self._authenticator.find(given)
                scope[WHO] = who
        except PorticoError as error:
            refusal = fault.answer(error.status, error.type, error.message)
            if isinstance(error, Unauthorized) and self._authenticator:
                refusal.headers["WWW-Authenticate"] = self._authenticator.challenge
            return refusal
        return None


def _credentials(scope: Scope) -> Credentials:
    headers = Headers(scope=scope)
    return Credentials(
        scope["method"],
        scope["path"],
        headers.get("authorization", ""),
        headers.get("x-auth-token", ""),
        headers.get("x-service-token", ""),
        project_of(headers),
    )


def project_of(headers: Headers) -> str:
    """Return the project that a request names; empty if none.

    Raises:
        BadRequest: the header's value cannot be a project's id.
    """
    project = headers.get("x-project-id", "")
    if len(project) > MAX_PROJECT_ID or not project.isprintable():
        raise BadRequest(
            f"Invalid input for X-Project-Id. Reason: '{project[:40]!a}' is no printable text of at most "
            f"{MAX_PROJECT_ID} characters.",
            type="HTTPBadRequest",
        )
    return project


class SameOrigin:
    """Keeps web pages away from where a browser need not say who its user is.

    A browser on this machine reaches loopback as well as its user does. A page of another origin is known by its Origin
    header (Fetch standard, section 3.2), one that had its own name resolve to loopback by the Host header. With an
    authenticator the second cannot happen over TCP, because what a browser knows it sends to the right name alone.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator | None = None) -> None:
        self.app = app
        self._checks_host = authenticator is None
        self._checks_origin = authenticator is None or authenticator.is_ambient

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (refused := self._refusal(scope)):
            await fault.answer(403, "Forbidden", refused)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin", "")
        local = is_local(scope)
        if (local or self._checks_origin) and origin and not (host and _split(origin).netloc == host):
            return f"Origin {origin[:80]!a}: pages of other origins may not use the API."
        if self._checks_host and not local and host and not is_loopback_name(_split(f"//{host}").hostname or ""):
            return f"Host {host[:80]!a}: without authentication, the API answers only to loopback names."
        return ""


def _split(url: str) -> SplitResult:
    """Return the parts of what a header holds; what is no URL is of nowhere."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def context_of(request: Request, limits: Limits, broker: Broker) -> Context:
    """Return the context of a request that `Authenticate` let in."""
    who: Who = request.scope[WHO]
    return Context(
        project_id=who.project_id,
        is_admin=who.is_admin,
        limits=limits,
        broker=broker,
        roles=who.roles,
        user_id=who.user_id,
        service_roles=who.service_roles,
        system_scope=who.system_scope,
        domain_id=who.domain_id,
    )
