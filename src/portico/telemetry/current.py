# SPDX-License-Identifier: Apache-2.0
"""The request in hand, for what is written about it far from HTTP: the log and the audit log."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import msgspec

from portico.identity.who import Who

# Where a request's scope holds who asks. A request that has none there is nobody's, and gets no context.
WHO = "portico.who"
# As oslo.middleware's RequestId demands it of a caller's header; what is not of this form is passed over.
_GLOBAL_ID = re.compile(rb"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_HEADER = b"x-openstack-request-id"
_TRUSTED = {"admin", "service"}


class Asking(msgspec.Struct, frozen=True):
    """One request. `scope` is its ASGI scope, which fills as the request goes on."""

    request_id: str
    scope: Mapping[str, Any]
    started: float = msgspec.field(default_factory=time.perf_counter)

    @property
    def who(self) -> Who | None:
        """Who asks; None while, or because, nobody knows."""
        return self.scope.get(WHO)

    @property
    def method(self) -> str:
        """The verb."""
        return str(self.scope["method"])

    @property
    def route(self) -> str:
        """The template of the path, such as /v2.0/ports/{id}: few, whatever clients ask for."""
        return getattr(self.scope.get("route"), "path", "none")

    @property
    def path(self) -> str:
        """The path as it was sent, still quoted: no line break gets from it into a log."""
        return bytes(self.scope.get("raw_path") or b"")[:512].decode("latin-1")

    @property
    def global_request_id(self) -> str:
        """The id that a service or an administrator, whom one may believe, gave the whole of its work."""
        who = self.who
        if who is None or not (who.is_admin or who.service_roles or _TRUSTED & set(who.roles)):
            return ""
        for name, value in self.scope["headers"]:
            if name == _HEADER and _GLOBAL_ID.fullmatch(value):
                return bytes(value).decode()
        return ""

    def described(self) -> dict[str, Any]:
        """Return who asks for what, as fields for a log. Secrets are in none of them."""
        fields: dict[str, Any] = {"request_id": self.request_id, "method": self.method, "route": self.route}
        who = self.who
        if who is not None:
            fields |= {"user": who.user_id, "project": who.project_id, "roles": who.roles}
        if global_id := self.global_request_id:
            fields["global_request_id"] = global_id
        return fields


CURRENT: ContextVar[Asking | None] = ContextVar("portico_request", default=None)
