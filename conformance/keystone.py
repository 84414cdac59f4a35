# SPDX-License-Identifier: Apache-2.0
"""A real Keystone of one's own: SQLite in a temporary folder, a free port of 127.0.0.1, gone with whoever started it.

`running()` is all that a test needs:

    with keystone.running() as identity:
        identity.publish("http://127.0.0.1:9696")
        token = identity.token(keystone.RED_MEMBER)

Settings are those of Keystone's configuration reference; the accounts are made through its API.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from conformance import BIN, process
from portico.testing.folder import temporary
from portico.testing.lab.process import Process

START_TIMEOUT_S = 120
MANAGE_TIMEOUT_S = 300
PASSWORD = "only-on-loopback"
REGION = "RegionOne"


@dataclass(frozen=True, slots=True)
class Account:
    """A user, and the project on which it has roles. Everything is in the domain `Default` (its id is `default`)."""

    user: str
    project: str
    roles: tuple[str, ...]
    password: str = PASSWORD


ADMIN = Account("admin", "admin", ("admin",))
"""Made by `keystone-manage bootstrap`, with the role admin and those it implies: manager, member, reader."""
SERVICE = Account("portico", "service", ("service",))
"""For Portico itself: the role `service` may validate anybody's token."""
RED_MEMBER = Account("red-member", "red", ("member",))
RED_READER = Account("red-reader", "red", ("reader",))
BLUE_MEMBER = Account("blue-member", "blue", ("member",))
BLUE_READER = Account("blue-reader", "blue", ("reader",))
ACCOUNTS = (SERVICE, RED_MEMBER, RED_READER, BLUE_MEMBER, BLUE_READER)


class Keystone:
    """A Keystone server. `url` is what clients call the auth URL, with `/v3`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = process.free_port()
        self.url = f"http://127.0.0.1:{self._port}/v3"
        self._environment = {"OS_KEYSTONE_CONFIG_DIR": str(folder), "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        self._process: Process | None = None
        self._ids: dict[tuple[str, str], str] = {}
        self.admin = httpx.Client(base_url=self.url, timeout=60)
        """Requests to Keystone's API as its administrator; paths begin behind `/v3`."""

    def make(self) -> None:
        """Make the database, start the server, and make the accounts above."""
        self._configure()
        self.start()
        self.admin.headers["X-Auth-Token"] = self.token(ADMIN)
        for account in ACCOUNTS:
            self.add(account)

    def _configure(self) -> None:
        for name in ("fernet", "credential"):
            (self.folder / name).mkdir(mode=0o700)
        (self.folder / "keystone.conf").write_text(CONFIGURATION.format(folder=self.folder))
        (self.folder / "gunicorn.conf.py").write_text(SERVER.format(folder=self.folder, port=self._port))
        self._manage("db_sync")
        # Readers do not wait for the writer then; without, requests at once meet "database is locked".
        with contextlib.closing(sqlite3.connect(self.folder / "keystone.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")
        user = pwd.getpwuid(os.geteuid())
        owner = ["--keystone-user", user.pw_name, "--keystone-group", grp.getgrgid(user.pw_gid).gr_name]
        self._manage("fernet_setup", *owner)
        self._manage("credential_setup", *owner)
        urls = [word for kind in ("admin", "internal", "public") for word in (f"--bootstrap-{kind}-url", self.url)]
        self._manage("bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION, *urls)

    def _manage(self, *words: str) -> None:
        argv = [str(BIN / "keystone-manage"), "--config-dir", str(self.folder), *words]
        process.run(argv, {}, folder=self.folder, timeout_s=MANAGE_TIMEOUT_S)

    def start(self) -> None:
        """Start the server, again if it was stopped.

        Raises:
            NotReady: it does not answer; the message holds the end of its log.
        """
        # Keystone reads the words of the command line it runs under: gunicorn's are in a file of its folder instead.
        self._process = process.start(
            [str(BIN / "gunicorn")], self.folder / "log", self._environment, folder=self.folder
        )
        process.await_answer(self._process, self._answers, START_TIMEOUT_S)

    def stop(self) -> None:
        """End the server: clients then find nobody at its address."""
        if self._process is not None:
            self._process.stop(process.STOP_TIMEOUT_S)
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(self.url, timeout=START_TIMEOUT_S).status_code == httpx.codes.OK
        return False

    def token(self, account: Account) -> str:
        """Return a new token of an account, scoped to its project."""
        domain = {"id": "default"}
        user = {"name": account.user, "domain": domain, "password": account.password}
        scope = {"project": {"name": account.project, "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": scope}}
        answer = httpx.post(f"{self.url}/auth/tokens", json=body, timeout=60).raise_for_status()
        token: str = answer.headers["X-Subject-Token"]
        return token

    def add(self, account: Account) -> None:
        """Make an account, with its project and roles where they do not exist."""
        project = self.id_of("project", account.project)
        user = self.id_of("user", account.user, password=account.password)
        for role in account.roles:
            self.admin.put(f"/projects/{project}/users/{user}/roles/{self.id_of('role', role)}").raise_for_status()

    def publish(self, network_url: str) -> None:
        """Make the catalog name this endpoint, without `/v2.0`, as its network service, and no other."""
        service = self.id_of("service", "portico", type="network")
        listed = self.admin.get("/endpoints", params={"service_id": service}).raise_for_status()
        for endpoint in listed.json()["endpoints"]:
            self.admin.delete(f"/endpoints/{endpoint['id']}").raise_for_status()
        for interface in ("public", "internal", "admin"):
            body = {"service_id": service, "interface": interface, "url": network_url, "region_id": REGION}
            self.admin.post("/endpoints", json={"endpoint": body}).raise_for_status()

    def id_of(self, kind: str, name: str, **attributes: str) -> str:
        """Return the id of the project, user, role or service of this name, which is made if there is none."""
        if (kind, name) not in self._ids:
            found = self.admin.get(f"/{kind}s", params={"name": name}).raise_for_status().json()[f"{kind}s"]
            self._ids[kind, name] = found[0]["id"] if found else self._make(kind, {"name": name, **attributes})
        return self._ids[kind, name]

    def _make(self, kind: str, body: Mapping[str, Any]) -> str:
        answer = self.admin.post(f"/{kind}s", json={kind: body}).raise_for_status()
        made: str = answer.json()[kind]["id"]
        return made


CONFIGURATION = """\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.db?timeout=60
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = true
backend = oslo_cache.dict
[oslo_messaging_notifications]
driver = noop
[identity]
password_hash_rounds = 4
"""

# One worker: the cache is in its memory, and SQLite has one writer.
SERVER = """\
wsgi_app = "keystone.wsgi.api:application"
bind = "127.0.0.1:{port}"
workers = 1
timeout = 120
worker_tmp_dir = "{folder}"
control_socket_disable = True
"""


@contextlib.contextmanager
def running() -> Iterator[Keystone]:
    """Yield a Keystone with the accounts above; nothing is left of it afterwards."""
    with temporary("keystone") as folder:
        server = Keystone(folder)
        try:
            server.make()
            yield server
        finally:
            server.admin.close()
            server.stop()
