# SPDX-License-Identifier: Apache-2.0
"""Connections to the API over TCP or a unix socket, kept open between requests."""

from __future__ import annotations

import base64
import select
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from portico.client.http1 import Connection
from portico.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    import ssl

WAYS = ("unix", "http", "https")


@dataclass(frozen=True)
class Access:
    """How a client shows who it is, and knows the server. A unix socket needs none of it.

    Args:
        user: of HTTP basic (RFC 7617); empty for none.
        password: the user's.
        ca: file with the certificates that the server's may be signed by; empty for the system's.
        certificate: file with a certificate of the client's own and its key; empty for none.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""
    certificate: str = ""

    @classmethod
    def read(cls, user: str, password_file: str, ca: str, certificate: str) -> Access:
        """Return it with the password that a file holds.

        Raises:
            SettingsError: the file cannot be read.
        """
        try:
            password = Path(password_file).read_text().strip("\n") if password_file else ""
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"api_password_file = '{password_file}': {error}") from error
        return cls(user, password, ca, certificate)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """What every request says."""
        if not self.user:
            return {}
        return {"Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()}


NOBODY = Access()


def new_connection(url: str, timeout_s: float, access: Access) -> Connection:
    """Return a connection that is not open yet; `url` is `unix:/PATH`, `http://HOST:PORT` or `https://HOST:PORT`.

    Raises:
        SettingsError: `url` is none of these, or a file of `access` cannot be used.
    """
    parts = urlsplit(url)
    if parts.scheme not in WAYS:
        raise SettingsError(f"api_url {url}: must begin with unix:, http: or https:")
    if parts.scheme == "unix":
        return unix_connection(url.removeprefix("unix:").removeprefix("//"), timeout_s)
    host = parts.hostname or "localhost"
    if parts.scheme == "https":
        context = _context(access.ca, access.certificate)
        return Connection(host, parts.port or 443, timeout_s=timeout_s, context=context)
    return Connection(host, parts.port or 80, timeout_s=timeout_s)


def unix_connection(path: str, timeout_s: float) -> Connection:
    """Return a connection to a unix socket that is not open yet."""
    return Connection("localhost", None, path=path, timeout_s=timeout_s)


@lru_cache
def _context(ca: str, certificate: str) -> ssl.SSLContext:
    """Return a context for these files; reading the system's certificates takes longer than a request."""
    # Most speak over a unix socket, and are smaller without it.
    import ssl

    name = f"api_ca = '{ca}'"
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if certificate:
            name = f"api_certificate = '{certificate}'"
            context.load_cert_chain(certificate)
    except OSError as error:
        raise SettingsError(f"{name}: {error.strerror or error}") from error
    return context


class Connections:
    """The connections to one URL.

    Threads may share it. A connection is used by one request at a time and comes back when its answer was read.
    """

    def __init__(self, url: str, connect_timeout_s: float, access: Access = NOBODY) -> None:
        self.url = url
        self._access = access
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []

    def take(self, timeout_s: float | None) -> Connection:
        """Return an open connection, whose reads and writes may take `timeout_s` each, and connecting no longer.

        Raises:
            Unavailable: nothing listens there.
        """
        while (idle := self._pop_idle()) is not None:
            if _is_open(idle):
                idle.limit(timeout_s)
                return idle
            idle.close()
        connect_timeout_s = self._connect_timeout_s if timeout_s is None else min(self._connect_timeout_s, timeout_s)
        connection = new_connection(self.url, connect_timeout_s, self._access)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise Unavailable(f"the API at {self.url} does not answer: {error.strerror or error}") from error
        connection.limit(timeout_s)
        return connection

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to its end."""
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle."""
        while (idle := self._pop_idle()) is not None:
            idle.close()

    def _pop_idle(self) -> Connection | None:
        # Looking first whether there is one would leave a moment for another thread to take it.
        try:
            return self._idle.pop()
        except IndexError:
            return None


def _is_open(connection: Connection) -> bool:
    """Tell whether an idle connection can be used: one that has something to read was closed by the server."""
    if connection.sock is None:
        return False
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return not poll.poll(0)
