# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from portico.errors import NotFound
from portico.rules import TABLE, agent, availability_zone, lookup
from portico.rules.context import Context, Row
from portico.store.query import Query
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]


def beat(tx: Transaction, host: str, moment: float | None = None, **facts: Any) -> Row:
    started = facts.pop("started", False)
    moment = time.time() if moment is None else moment
    found = agent.heartbeat(tx, host, "Portico agent", "portico-agent", facts, moment, started=started)
    return lookup.get(tx, "agent", found)


def test_the_first_heartbeat_makes_the_agent_and_the_others_keep_it(store: Store) -> None:
    with store.write() as tx:
        first = beat(tx, "h1", 1000.0, configurations={"bridges": 3})
        again = beat(tx, "h1", 1030.0, configurations={"bridges": 3})
        other = beat(tx, "h2", 1030.0)
    assert (first["host"], first["binary"], first["admin_state_up"]) == ("h1", "portico-agent", True)
    assert first["configurations"] == again["configurations"] == {"bridges": 3}
    assert first["id"] == again["id"] != other["id"]
    assert (first["heartbeat_timestamp"], again["heartbeat_timestamp"]) == (
        "1970-01-01T00:16:40Z",
        "1970-01-01T00:17:10Z",
    )
    assert first["started_at"] == again["started_at"] == "1970-01-01T00:16:40Z"


def test_a_heartbeat_that_tells_nothing_new_wakes_nobody(store: Store) -> None:
    with store.write() as tx:
        beat(tx, "h1", configurations={"bridges": 3})
    told: list[int] = []
    store.on_commit(told.append)
    with store.write() as tx:
        beat(tx, "h1", configurations={"bridges": 3})
    assert not any(told)
    with store.write() as tx:
        assert beat(tx, "h1", configurations={"bridges": 4})["configurations"] == {"bridges": 4}
    assert 3 in told


def test_a_restart_shows_in_started_at(store: Store) -> None:
    with store.write() as tx:
        beat(tx, "h1", 1000.0, started=True)
        assert beat(tx, "h1", 2000.0, started=True)["started_at"] == "1970-01-01T00:33:20Z"


def test_an_agent_is_alive_for_75_seconds_after_its_heartbeat(store: Store, admin: Context) -> None:
    now = time.time()
    with store.write() as tx:
        rows = [beat(tx, "dead", now - 78), beat(tx, "late", now - 70), beat(tx, "well", now)]
        shown = agent.present(tx, admin, rows)
        found = {row["host"] for row in tx.list("agent", Query((agent.alive_filter(True),)))}
        others = {row["host"] for row in tx.list("agent", Query((agent.alive_filter(False),)))}
    assert [row["alive"] for row in shown] == [False, True, True]
    assert (found, others) == ({"late", "well"}, {"dead"})


def test_what_a_person_sets_survives_heartbeats(store: Store, admin: Context, update: Make) -> None:
    with store.write() as tx:
        row = beat(tx, "h1")
        update(tx, admin, "agent", row, admin_state_up=False, description="being repaired")
        row = beat(tx, "h1")
    assert (row["admin_state_up"], row["description"]) == (False, "being repaired")


def test_a_deleted_agent_comes_back_with_its_next_heartbeat(store: Store, admin: Context) -> None:
    with store.write() as tx:
        row = beat(tx, "h1")
        agent.delete(tx, admin, row)
        assert tx.find("agent") == []
        assert beat(tx, "h1")["id"] != row["id"]


def test_zones_are_where_agents_are_and_the_default_one(store: Store, admin: Context, update: Make) -> None:
    with store.write() as tx:
        assert availability_zone.list_all(tx, admin) == [
            {"name": "default", "resource": "network", "state": "available"}
        ]
        for host, zone in (("h1", "east"), ("h2", "west"), ("h3", "west")):
            beat(tx, host, availability_zone=zone)
        for row in tx.find("agent"):
            if row["host"] != "h3":
                update(tx, admin, "agent", row, admin_state_up=False)
        found = availability_zone.list_all(tx, admin)
    assert {row["name"]: row["state"] for row in found} == {
        "default": "available",
        "east": "unavailable",
        "west": "available",
    }


def test_a_networks_zones_are_those_of_its_hints_with_an_agent_that_lives_and_is_switched_on(
    store: Store, admin: Context, create: Make, update: Make
) -> None:
    def zones(row: Row) -> list[str]:
        present = TABLE["network"].present
        assert present is not None
        found: list[str] = present(tx, admin, [lookup.get(tx, "network", row["id"])])[0]["availability_zones"]
        return found

    with store.write() as tx:
        anywhere = create(tx, admin, "network")
        assert zones(anywhere) == []
        beat(tx, "h1", availability_zone="west")
        beat(tx, "h2", availability_zone="east")
        beat(tx, "h3", time.time() - 3600, availability_zone="north")
        east = create(tx, admin, "network", availability_zone_hints=["east", "north"])
        assert (zones(anywhere), zones(east)) == (["east", "west"], ["east"])
        update(tx, admin, "agent", tx.find("agent", host="h2")[0], admin_state_up=False)
        assert (zones(anywhere), zones(east)) == (["west"], [])


def test_a_hint_must_name_a_zone_that_exists(store: Store, admin: Context, create: Make) -> None:
    with store.write() as tx:
        beat(tx, "h1", availability_zone="east")
        create(tx, admin, "network", availability_zone_hints=["east"])
        with pytest.raises(NotFound, match="north") as caught:
            create(tx, admin, "network", availability_zone_hints=["east", "north"])
    assert caught.value.type == "AvailabilityZoneNotFound"


def test_where_a_host_is_found_is_wanted_state_and_what_else_it_tells_is_not(store: Store) -> None:
    with store.write() as tx:
        beat(tx, "h1", configurations={"address_v4": "198.51.100.1", "bridges": "3"})
    changes = []
    for told in ({"bridges": "4"}, {"bridges": "4", "address_v4": "198.51.100.2"}):
        with store.write() as tx:
            beat(tx, "h1", configurations={"address_v4": "198.51.100.1", **told})
            changes.append([entry["change"] for entry in tx.changes])
    assert changes == [["status"], ["update"]]
