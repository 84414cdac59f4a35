# SPDX-License-Identifier: Apache-2.0
"""A client of an API in this process: real store, real broker, real HTTP messages, no socket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
from starlette.applications import Starlette

Row = dict[str, Any]


class Answer(NamedTuple):
    """What the API said."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def error(self) -> tuple[int, str]:
        """Status and error type, after checking that the error has Neutron's shape."""
        assert self.status >= 400, self
        assert set(self.body) == {"NeutronError"}
        assert set(self.body["NeutronError"]) == {"type", "message", "detail"}
        return self.status, self.body["NeutronError"]["type"]

    @property
    def message(self) -> str:
        text: str = self.body["NeutronError"]["message"]
        return text


class Asker:
    """Asks for what tests need. All but `ask` and `try_...` insist on success.

    A `url` without a port stands for a unix socket.
    The application runs while a request is under way, and only then; the broker's thread runs all the time.
    """

    def __init__(self, app: Starlette, url: str = "http://portico.test") -> None:
        self._runner = asyncio.Runner()
        self._lifespan = app.router.lifespan_context(app)
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url=url)

    def __enter__(self) -> Self:
        self._runner.run(self._enter())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._leave())
        self._runner.close()

    async def _enter(self) -> None:
        await self._lifespan.__aenter__()

    async def _leave(self) -> None:
        await self._http.aclose()
        await self._lifespan.__aexit__(None, None, None)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; `path` without a leading slash is one under /v2.0/."""
        target = path if path.startswith("/") else f"/v2.0/{path}"
        content = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        found = self._runner.run(self._http.request(method, target, content=content, headers=named))
        text = found.content
        return Answer(found.status_code, json.loads(text) if text else None, dict(found.headers))

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def list(self, collection: str, query: str = "") -> list[Row]:
        body = self.get(f"{collection}?{query}" if query else collection)
        rows: list[Row] = body[collection.replace("-", "_")]
        return rows

    def show(self, collection: str, object_id: str) -> Row:
        (row,) = self.get(f"{collection}/{object_id}").values()
        assert isinstance(row, dict)
        return row

    def try_create(self, collection: str, **values: Any) -> Answer:
        return self.ask("POST", collection, {singular(collection): values})

    def create(self, collection: str, **values: Any) -> Row:
        answer = self.try_create(collection, **values)
        assert answer.status == 201, answer
        row: Row = answer.body[singular(collection)]
        return row

    def try_update(self, collection: str, row: Row | str, **changes: Any) -> Answer:
        object_id = row if isinstance(row, str) else row["id"]
        return self.ask("PUT", f"{collection}/{object_id}", {singular(collection): changes})

    def update(self, collection: str, row: Row | str, **changes: Any) -> Row:
        answer = self.try_update(collection, row, **changes)
        assert answer.status == 200, answer
        found: Row = answer.body[singular(collection)]
        return found

    def try_delete(self, collection: str, row: Row | str) -> Answer:
        return self.ask("DELETE", f"{collection}/{row if isinstance(row, str) else row['id']}")

    def delete(self, collection: str, row: Row | str) -> None:
        answer = self.try_delete(collection, row)
        assert answer.status == 204 and answer.body is None, answer

    def network(self, *cidrs: str, **values: Any) -> Row:
        """Create a network with a subnet for each CIDR and return it as it is then."""
        made = self.create("networks", **values)
        for cidr in cidrs:
            self.subnet(made, cidr)
        return self.show("networks", made["id"]) if cidrs else made

    def subnet(self, network: Row, cidr: str, **values: Any) -> Row:
        version = 6 if ":" in cidr else 4
        return self.create("subnets", network_id=network["id"], ip_version=version, cidr=cidr, **values)

    def port(self, network: Row, **values: Any) -> Row:
        return self.create("ports", network_id=network["id"], **values)


def wait_until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until something is so that another thread brings about."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def singular(collection: str) -> str:
    """Return the key of one object of a collection in a body."""
    return collection.removesuffix("s").replace("-", "_")


def addresses(port: Row) -> list[str]:
    """Return the addresses of a port."""
    return [item["ip_address"] for item in port["fixed_ips"]]
