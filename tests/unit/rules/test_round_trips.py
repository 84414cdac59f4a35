# SPDX-License-Identifier: Apache-2.0
"""How often a create goes to PostgreSQL and back, as libpq's own trace of the protocol has it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from portico.model.resource import Registry
from portico.rules import mac
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
        with store.connections.transaction(reads=True) as lent:  # the one that the next one gets, too
            connection: Any = lent.connection.driver_connection
        connection.pgconn.trace(trace.fileno())
        with store.write() as tx:
            create(tx, context, "port", **body)
        connection.pgconn.untrace()
        trace.seek(0)
        return sum(READY in line for line in trace)


def test_a_port_with_addresses_of_both_kinds_is_made_in_two_round_trips(
    shared: Store, context: Context, create: Create
) -> None:
    with shared.write() as tx:
        network = create(tx, context, "network", name="blue")
        create(tx, context, "subnet", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
        create(tx, context, "subnet", network_id=network["id"], ip_version=6, cidr="2001:db8::/64")
        create(tx, context, "port", network_id=network["id"])  # with the project's default group
    # The turn with all that is asked; what is written, with the commit.
    assert trips(shared, context, create, network_id=network["id"]) == 2


def test_a_mac_address_is_found_without_a_look_at_other_ports_before_there_are_statistics(
    shared: Store, context: Context, create: Create
) -> None:
    with shared.write() as tx:
        network = create(tx, context, "network", name="green")
        for _ in range(20):
            create(tx, context, "port", network_id=network["id"])
    with shared.read() as tx:
        statement, values = mac.first_from(tx, network["id"], "fa:16:3e:00:00:00")
        words = statement.params(values).compile(shared.engine, compile_kwargs={"literal_binds": True})
        plan = [line for (line,) in tx.connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {words}")]
    assert plan[1].strip() == "->  Index Only Scan using uq_port_network_id_mac_address on port"
