# SPDX-License-Identifier: Apache-2.0
"""The least that such an API can cost: a Starlette application that writes one row durably for each request.

Run as `python -m bench.floor SOCKET DATABASE`.
"""

from __future__ import annotations

import socket
import sqlite3
import sys
import uuid

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def serve(path: str, database: str) -> None:
    """Serve `POST /row` on the unix socket `path`."""
    connection = sqlite3.connect(database, check_same_thread=False, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE row (id TEXT PRIMARY KEY, body TEXT)")

    async def add(request: Request) -> Response:
        raw = await request.body()
        msgspec.json.decode(raw)
        await run_in_threadpool(connection.execute, "INSERT INTO row VALUES (?, ?)", (str(uuid.uuid4()), raw.decode()))
        return Response(raw, status_code=201, media_type="application/json")

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    application = Starlette(routes=[Route("/row", add, methods=["POST"])])
    config = uvicorn.Config(application, http="httptools", log_level="error", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
