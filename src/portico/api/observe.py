# SPDX-License-Identifier: Apache-2.0
"""Every request seen from outside: its id, its line in the log, its share in the metrics."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portico.api import fault
from portico.telemetry.current import CURRENT, Asking
from portico.telemetry.metrics import Metrics

LOG = logging.getLogger("portico.request")
# Asked every few seconds by machines.
_QUIET = ("/healthz", "/readyz", "/metrics")


class Observe:
    """Gives each answer the id under which the log knows the request; logs and counts it.

    Args:
        log: whether there is a line in the log for each request; for health and metrics only at "debug".
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, log: bool) -> None:
        self.app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope[fault.REQUEST_ID] = f"req-{uuid.uuid4()}"
        asking = Asking(request_id, scope)
        header = (b"x-openstack-request-id", request_id.encode())
        # An answer that never begins is made outside of this, and says that the server has failed.
        status, began = 500, 0.0

        async def send_with_id(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], time.perf_counter()
                message["headers"] = [*message["headers"], header]
            await send(message)

        token = CURRENT.set(asking)
        self._metrics.in_flight += 1
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            self._metrics.in_flight -= 1
            ended = time.perf_counter()
            self._metrics.answered(asking.route, asking.method, status, (began or ended) - asking.started)
            if self._log:
                _write(asking, status, 1000 * (ended - asking.started))
            CURRENT.reset(token)


def _write(asking: Asking, status: int, took_ms: float) -> None:
    level = logging.DEBUG if asking.route in _QUIET else logging.INFO
    if not LOG.isEnabledFor(level):
        return
    fields = asking.described()
    fields |= {"path": asking.path, "status": status, "ms": round(took_ms, 2)}
    who = f"user={fields.get('user') or '-'} project={fields.get('project') or '-'}"
    words = "%s %s: %d in %.1f ms, %s, %s"
    LOG.log(level, words, asking.method, asking.path, status, took_ms, who, asking.request_id, extra={"fields": fields})
