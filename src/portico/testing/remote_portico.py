# SPDX-License-Identifier: Apache-2.0
"""A second Portico in this process, as the remote of the neutron backend: real API, store, broker and agents' code.

openstacksdk speaks to it as to any endpoint, but without a socket: its session's adapter calls the application.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
import weakref
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import requests
from requests.adapters import BaseAdapter

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.backends.neutron.remote import Remote, Row
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.broker.status import write_report
from portico.hoststate import Report, Status
from portico.identity.who import Authenticator
from portico.model.load import load
from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.rules.context import Limits
from portico.settings_neutron import NeutronSettings
from portico.store import schema
from portico.store.query import Query
from portico.store.store import Store
from portico.testing.bridge_medium import FakeHost
from portico.testing.faults import Faults
from portico.testing.folder import Folder
from portico.testing.world import HOSTS

URL = "http://127.0.0.1:9696"
"""Nobody listens there for it: the API answers only to loopback names."""
KINDS = ("security_group", "security_group_rule", "network", "subnet", "port")


@cache
def _registry() -> Registry:
    return load()


@cache
def _folder() -> Path:
    """Return the folder in which all databases of this process are."""
    folder = Folder("remote")
    atexit.register(folder.remove)
    return folder.path


@cache
def _template() -> Path:
    """Return a database with all tables and nothing in them; making that takes longer than most tests."""
    path = _folder() / "empty.db"
    store = Store(f"sqlite:///{path}", _registry())
    schema.ensure(store)
    store.close()
    return path


@cache
def _runner() -> asyncio.Runner:
    """Return what runs the applications, which do nothing between requests."""
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


class RemotePortico:
    """An API whose networks are realised by the bridge backend, on two hosts with kernels in memory.

    Args:
        quotas: of the project, where they are to be bounded.
        authenticator: who tells who asks; None lets everybody do everything.
    """

    def __init__(self, quotas: Mapping[str, int] | None = None, authenticator: Authenticator | None = None) -> None:
        folder = tempfile.mkdtemp(dir=_folder())
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        path = shutil.copy(_template(), Path(folder) / "portico.db")
        self.store = Store(f"sqlite:///{path}", _registry())
        self._states = HostStates()
        self._broker = Broker(self.store, self._states, [BridgeBackend(self._states)])
        limits = Limits(
            quotas={**dict.fromkeys(KINDS, -1), **(quotas or {})}, mtu=1500, mac_base="fa:16:3e",
            dns_domain="remote.test", default_project="tenant",
        )  # fmt: skip
        service = Service(store=self.store, page_max=1000)
        policy = Policy(self.store.registry) if authenticator else None
        self._app = make_app(Api(service, self._broker, self._states, limits, policy), authenticator)
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self._app, raise_app_exceptions=False), base_url=URL
        )
        self.hosts = {name: FakeHost(Faults(), self._reporter(name)) for name in HOSTS}
        for name, host in self.hosts.items():
            host.start(self._states, name)
        self._everything = True

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request as somebody else's client; return the answer's content."""
        answer = _runner().run(self._http.request(method, path, json=body))
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def settle(self) -> None:
        """Let broker and agents come to rest; statuses go into the store."""
        while self._broker.step(everything=self._everything) or self._everything:
            self._everything = False
        for host in self.hosts.values():
            host.settle()

    def rows(self, resource: str) -> list[Row]:
        """Return what the store has."""
        with self.store.read() as tx:
            return tx.list(resource, Query())

    def answer(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Answer a request as it comes off a wire."""
        return _runner().run(self._http.request(method, url, content=content, headers=dict(headers)))

    def _reporter(self, name: str) -> Any:
        def report(_revision: int, statuses: Collection[Status]) -> None:
            with self.store.write() as tx:
                write_report(tx, name, Report(0, tuple(statuses)))

        return report


class _Adapter(BaseAdapter):
    """Has a `RemotePortico` answer what `requests` would send."""

    def __init__(self, remote: RemotePortico) -> None:
        super().__init__()
        self._remote = remote

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_options: Any) -> requests.Response:
        """See BaseAdapter."""
        content = request.body.encode() if isinstance(request.body, str) else request.body or b""
        assert isinstance(content, bytes)
        headers = {name: str(value) for name, value in request.headers.items()}
        found = self._remote.answer(request.method or "", request.url or "", content, headers)
        response = requests.Response()
        response.status_code, response.url, response.request = found.status_code, str(found.url), request
        response.headers.update(found.headers)
        response._content = found.content  # noqa: SLF001  (requests has no other way to give one)
        return response

    def close(self) -> None:
        """See BaseAdapter; there is nothing to close."""


class InProcessRemote(Remote):
    """The remote as the neutron backend asks it, without a socket."""

    def __init__(self, portico: RemotePortico, settings: NeutronSettings) -> None:
        super().__init__(settings)
        self._portico = portico

    def _connect(self) -> Any:
        connection = super()._connect()
        connection.session.session.mount("http://", _Adapter(self._portico))
        return connection
