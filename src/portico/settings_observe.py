# SPDX-License-Identifier: Apache-2.0
"""Settings that say what can be seen of the API server, and how much it takes. docs/observe.md explains them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged, to standard error and to the audit log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least grave message that is logged")
    ] = "info"
    format: Annotated[Literal["text", "json"], Meta(description="text for people, json for collectors")] = "text"
    requests: Annotated[bool, Meta(description="whether the API logs a line for each request")] = True
    audit_file: Annotated[
        str, Meta(description="file that gets a line of JSON for each object that a write changes; empty: none")
    ] = ""


class MetricsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics for Prometheus, besides GET /metrics of the API."""

    listen: Annotated[
        str, Meta(description="loopback ADDRESS:PORT that shows them to everybody on this machine; empty: none")
    ] = ""


class RateLimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often one user of one project may ask over TCP."""

    requests_per_s: Annotated[float, Meta(ge=0, description="requests in a second, in the long run; 0: any number")] = 0
    burst: Annotated[int, Meta(ge=1, description="requests at once after a while without any")] = 100
