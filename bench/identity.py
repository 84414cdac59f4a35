# SPDX-License-Identifier: Apache-2.0
"""An API that asks a real Keystone who has a token, with the policy in force, asked by a member of a project."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from bench.running import Target
from conformance import keystone
from conformance import portico as api
from portico.testing.folder import temporary


@contextlib.contextmanager
def member() -> Iterator[Target]:
    """Yield an API on SQLite and TCP, asked with a token that it knows after the first request.

    It asks Keystone again once a minute, as everywhere.
    """
    with (
        keystone.running() as identity,
        temporary("bench") as folder,
        api.running(api.identity_settings(identity, folder)) as server,
    ):
        place = urlsplit(server.url)

        def connect() -> socket.socket:
            connection = socket.create_connection((place.hostname, place.port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

        yield Target(connect, identity.token(keystone.RED_MEMBER))
