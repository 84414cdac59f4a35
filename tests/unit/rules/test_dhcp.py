# SPDX-License-Identifier: Apache-2.0
"""The DHCP server's port: there while a tap needs it, found at the same cost however many ports there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portico.rules import TABLE, lookup
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

from .conftest import Create

MANY = 20_000
HOST = {"binding:host_id": "h1"}


@pytest.fixture
def network(store: Store, context: Context, create: Create) -> Row:
    with store.write() as tx:
        return make_network(tx, context, create)


def make_network(tx: Transaction, context: Context, create: Create) -> Row:
    made = create(tx, context, "network")
    create(tx, context, "subnet", network_id=made["id"], ip_version=4, cidr="10.0.0.0/16")
    return made


def remove(tx: Transaction, context: Context, port: Row) -> None:
    rule = TABLE["port"].delete
    assert rule is not None
    rule(tx, context, lookup.get(tx, "port", port["id"]))


def servers(tx: Transaction, network: Row) -> list[Row]:
    return tx.find("port", network_id=network["id"], device_owner="network:dhcp")


def addresses(tx: Transaction) -> set[str]:
    return {row.ip for row in tx.connection.execute(tx.tables.address.select())}


def test_the_server_comes_with_the_first_tap_and_goes_with_the_last(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        one = create(tx, context, "port", network_id=network["id"], **HOST)
        (server,) = servers(tx, network)
        two = create(tx, context, "port", network_id=network["id"], **HOST)
        remove(tx, context, one)
        assert servers(tx, network) == [server]
        update(tx, context, "port", two, **{"binding:host_id": ""})
        assert servers(tx, network) == []
        assert addresses(tx) == {two["fixed_ips"][0]["ip_address"]}
        update(tx, context, "port", lookup.get(tx, "port", two["id"]), **HOST)
        assert [item["fixed_ips"] for item in servers(tx, network)] == [server["fixed_ips"]]
        remove(tx, context, two)
        assert (servers(tx, network), addresses(tx)) == ([], set())


def test_a_server_that_is_deleted_while_it_is_needed_is_made_again_at_once(
    store: Store, context: Context, create: Create, network: Row
) -> None:
    with store.write() as tx:
        create(tx, context, "port", network_id=network["id"], **HOST)
        (before,) = servers(tx, network)
    with store.write() as tx:
        remove(tx, context, before)
        (after,) = servers(tx, network)
    assert after["id"] != before["id"]
    assert after["fixed_ips"] == before["fixed_ips"]


def test_a_server_without_a_subnet_to_serve_goes(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        create(tx, context, "port", network_id=network["id"], **HOST)
        (subnet,) = tx.find("subnet", network_id=network["id"])
        update(tx, context, "subnet", subnet, enable_dhcp=False)
        assert servers(tx, network) == []


def test_a_server_that_somebody_else_made_is_left_alone(
    store: Store, context: Context, create: Create, network: Row
) -> None:
    with store.write() as tx:
        theirs = create(tx, context, "port", network_id=network["id"], device_owner="network:dhcp", device_id="theirs")
        port = create(tx, context, "port", network_id=network["id"], **HOST)
        remove(tx, context, port)
        assert [item["id"] for item in servers(tx, network)] == [theirs["id"]]


def fill(tx: Transaction, network: Row, plug: str) -> None:
    """Add so many bound ports that looking at each would show."""
    template = tx.find("port", network_id=network["id"])[0]
    table = tx.tables.of["port"]
    rows = [
        {**template, "id": f"{plug}-{n}", "mac_address": f"02:{plug}:{n:x}", "binding:vif_type": plug,
         "device_owner": "compute:x", "fixed_ips": [], "security_groups": []}
        for n in range(MANY)
    ]  # fmt: skip
    tx.connection.execute(table.insert(), rows)


@contextmanager
def counted_work(tx: Transaction) -> Iterator[list[int]]:
    """Count what the database does in hundreds of its virtual machine's steps, and the statements."""
    work = [0, 0]

    def step() -> int:
        work[0] += 1
        return 0

    def statement(_text: str) -> None:
        work[1] += 1

    driver = tx.connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    driver.set_progress_handler(step, 100)
    driver.set_trace_callback(statement)
    yield work
    driver.set_progress_handler(None, 0)
    driver.set_trace_callback(None)


@pytest.mark.parametrize("plug", ["tap", "veth"])
def test_plugging_and_unplugging_costs_the_same_however_many_ports_are_bound(
    embedded_store: Store, context: Context, create: Create, plug: str
) -> None:
    def once(tx: Transaction, network: Row) -> list[int]:
        body: dict[str, Any] = {"network_id": network["id"], "security_groups": [], **HOST}
        with counted_work(tx) as work:
            remove(tx, context, create(tx, context, "port", **body))
        return work

    with embedded_store.write() as tx:
        network = make_network(tx, context, create)
        # With "veth", each port that is plugged is the first tap and the last one.
        create(tx, context, "port", network_id=network["id"], security_groups=[], **(HOST if plug == "tap" else {}))
        once(tx, network)  # the free addresses fall into pieces
        few = once(tx, network)
        fill(tx, network, plug)
        many = once(tx, network)
    assert few[1] == many[1] > 0
    # A tree of 20,000 is a few levels deeper; a look at each port would be at least a step for each.
    assert many[0] - few[0] < MANY / 100 / 10
