# SPDX-License-Identifier: Apache-2.0
"""Logging of every Portico process: to standard error, as text or as one JSON object a line."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from portico.settings_observe import LogSettings
from portico.telemetry.current import CURRENT


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (asking := CURRENT.get()) is not None:
            line["request_id"] = asking.request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


def configure(settings: LogSettings, process: str) -> None:
    """Log to standard error from now on.

    Args:
        settings: level and format.
        process: which of Portico's processes this is: `api`, `agent`, `docker` or `up`.
    """
    handler = logging.StreamHandler(sys.stderr)
    if settings.format == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {process}: %(levelname)s %(name)s: %(message)s"))
    # Lines do not tell who wrote them, so nobody has to look (Logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001 (as it is said there)
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    # What uvicorn says at "info" is how it starts and ends; the API's own line says where it listens.
    logging.getLogger("uvicorn.error").setLevel("DEBUG" if settings.level == "debug" else "WARNING")
