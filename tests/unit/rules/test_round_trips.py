# SPDX-License-Identifier: Apache-2.0
"""How often a create goes to PostgreSQL and back, as libpq's own trace of the protocol has it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from portico.model.resource import Registry
from portico.rules.context import Context
from portico.store import schema
from portico.store.store import Store
from portico.testing.postgresql import PostgresqlServer

from .conftest import Create

# The server's last word on whatever it was sent up to a Sync (PostgreSQL 15, 55.2.3).
READY = "ReadyForQuery"


@pytest.fixture(scope="module")
def shared(registry: Registry) -> Iterator[Store]:
    """A store on a PostgreSQL server."""
    with PostgresqlServer() as server:
        store = Store(server.url(), registry)
        schema.ensure(store)
        yield store
        store.close()


def trips(store: Store, context: Context, create: Create, **body: Any) -> int:
    """Make a port in a transaction of its own, and return how often its connection waited for the server."""
    with tempfile.TemporaryFile("w+") as trace:
        pooled = store.engine.raw_connection()
        connection: Any = pooled.driver_connection
        connection.pgconn.trace(trace.fileno())
        pooled.close()
        with store.write() as tx:
            create(tx, context, "port", **body)
        connection.pgconn.untrace()
        trace.seek(0)
        return sum(READY in line for line in trace)


def test_a_port_is_made_in_three_round_trips(shared: Store, context: Context, create: Create) -> None:
    with shared.write() as tx:
        network = create(tx, context, "network", name="blue")
        create(tx, context, "subnet", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    for _ in range(6):  # the project's default group, and statements that the driver prepares after a while
        made = trips(shared, context, create, network_id=network["id"])
    # The turn with the network; what the network tells to ask; what is written, with the commit.
    assert made == 3
