# SPDX-License-Identifier: Apache-2.0
"""What becomes of a port that is bound, bound anew and set free."""

from __future__ import annotations

import time
from typing import Literal

import pytest

from portico.broker.status import reason, write_report
from portico.errors import Conflict
from portico.hoststate import Report, Status
from portico.model.snapshot import Snapshot
from portico.rules import TABLE, agent, lookup
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

from .conftest import Create


@pytest.fixture
def network(store: Store, context: Context, create: Create) -> Row:
    with store.write() as tx:
        made = create(tx, context, "network")
        create(tx, context, "subnet", network_id=made["id"], ip_version=4, cidr="10.0.0.0/16")
    return made


def remove(tx: Transaction, context: Context, resource: str, row: Row) -> None:
    rule = TABLE[resource].delete
    assert rule is not None
    rule(tx, context, lookup.get(tx, resource, row["id"]))


def fail(tx: Transaction, port: Row) -> None:
    """Have the agent of h1 say that the port could not be plugged."""
    report = Report(revision=1, statuses=(Status(key=f"vif/{port['id']}", state="error", reason="no such tap"),))
    write_report(tx, "h1", report)
    assert reason(tx, "port", port["id"]) == "no such tap"


def test_what_is_deleted_leaves_no_reason_behind(store: Store, context: Context, create: Create, network: Row) -> None:
    with store.write() as tx:
        port = create(tx, context, "port", network_id=network["id"], **{"binding:host_id": "h1"})
        fail(tx, port)
        remove(tx, context, "port", port)
        assert tx.connection.execute(tx.tables.status.select()).all() == []


@pytest.mark.parametrize("host", ["h2", ""])
def test_a_port_bound_anew_or_set_free_has_no_old_reason(
    store: Store, context: Context, create: Create, update: Create, network: Row, host: str
) -> None:
    with store.write() as tx:
        port = create(tx, context, "port", network_id=network["id"], **{"binding:host_id": "h1"})
        fail(tx, port)
        row = update(tx, context, "port", lookup.get(tx, "port", port["id"]), **{"binding:host_id": host})
        assert (row["status"], reason(tx, "port", port["id"])) == ("DOWN", "")


def test_a_change_that_is_no_binding_keeps_the_reason(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        port = create(tx, context, "port", network_id=network["id"], **{"binding:host_id": "h1"})
        fail(tx, port)
        update(tx, context, "port", lookup.get(tx, "port", port["id"]), name="renamed")
        assert reason(tx, "port", port["id"]) == "no such tap"


def beat(tx: Transaction, host: str, age_s: float = 0) -> Row:
    made = agent.heartbeat(tx, host, "Portico agent", "portico-agent", {}, time.time() - age_s)
    return lookup.get(tx, "agent", made)


def on(host: str) -> dict[str, str]:
    return {"binding:host_id": host}


def wanted_on(row: Row) -> str:
    snapshot = Snapshot()
    snapshot.put("port", row)
    return snapshot.ports[row["id"]].host


def test_a_host_is_not_known_to_be_wrong_before_any_agent_reported(
    store: Store, context: Context, create: Create, network: Row
) -> None:
    with store.write() as tx:
        assert create(tx, context, "port", network_id=network["id"], **on("h1"))["binding:vif_type"] == "tap"
        beat(tx, "renamed", age_s=3600)
        assert create(tx, context, "port", network_id=network["id"], **on("h1"))["binding:vif_type"] == "tap"


def test_a_host_without_agent_fails_where_others_have_one_and_can_be_tried_again(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        beat(tx, "h2")
        port = create(tx, context, "port", network_id=network["id"], **on("h1"))
        assert (port["binding:vif_type"], port["binding:vif_details"], port["status"]) == ("binding_failed", {}, "DOWN")
        assert "no agent ever reported from host h1" in reason(tx, "port", port["id"])
        assert wanted_on(port) == ""
        assert tx.find("port", network_id=network["id"], device_owner="network:dhcp") == []
        beat(tx, "h1")
        port = update(tx, context, "port", lookup.get(tx, "port", port["id"]), name="other")
        assert port["binding:vif_type"] == "binding_failed"
        port = update(tx, context, "port", port, **on("h1"))
        assert (port["binding:vif_type"], reason(tx, "port", port["id"])) == ("tap", "")
        assert wanted_on(port) == "h1"


def test_a_host_whose_agent_is_down_can_still_be_bound_to(
    store: Store, context: Context, create: Create, network: Row
) -> None:
    with store.write() as tx:
        beat(tx, "h1", age_s=3600)
        beat(tx, "h2")
        assert create(tx, context, "port", network_id=network["id"], **on("h1"))["binding:vif_type"] == "tap"


def test_a_host_whose_agent_is_switched_off_keeps_its_ports_and_gets_no_new_ones(
    store: Store, context: Context, admin: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        row = beat(tx, "h1")
        old = create(tx, context, "port", network_id=network["id"], **on("h1"))
        update(tx, admin, "agent", row, admin_state_up=False)
        old = update(tx, context, "port", old, **{"binding:profile": {"tap_name": "other"}})
        assert old["binding:vif_type"] == "tap"
        new = create(tx, context, "port", network_id=network["id"], **on("h1"))
        assert new["binding:vif_type"] == "binding_failed"
        assert row["id"] in reason(tx, "port", new["id"])
        update(tx, admin, "agent", lookup.get(tx, "agent", row["id"]), admin_state_up=True)
        assert update(tx, context, "port", new, **on("h1"))["binding:vif_type"] == "tap"


def plugged(tx: Transaction, port: Row, state: Literal["active", "waiting"] = "active") -> None:
    write_report(tx, "h1", Report(revision=1, statuses=(Status(f"vif/{port['id']}", state, ""),)))


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"binding:profile": {"note": "x"}}, "ACTIVE"),
        ({"binding:profile": {"plug": "tap", "make_tap": False}}, "ACTIVE"),
        ({"binding:profile": {"make_tap": True}}, "DOWN"),
        ({"binding:host_id": "h2"}, "DOWN"),
        ({"binding:host_id": ""}, "DOWN"),
    ],
)
def test_a_port_that_is_bound_as_before_keeps_its_status(
    store: Store, context: Context, create: Create, update: Create, network: Row, changes: Row, status: str
) -> None:
    with store.write() as tx:
        port = create(tx, context, "port", network_id=network["id"], **on("h1"))
        plugged(tx, port)
        assert update(tx, context, "port", lookup.get(tx, "port", port["id"]), **changes)["status"] == status


def test_a_port_that_is_bound_as_before_keeps_its_reason(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        port = create(tx, context, "port", network_id=network["id"], **on("h1"))
        fail(tx, port)
        after = update(tx, context, "port", lookup.get(tx, "port", port["id"]), **{"binding:profile": {"note": "x"}})
        assert (after["status"], reason(tx, "port", port["id"])) == ("ERROR", "no such tap")


def test_a_tap_that_another_port_has_on_the_host_is_refused(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    named = {"binding:profile": {"tap_name": "tap7"}}
    with store.write() as tx:
        first = create(tx, context, "port", network_id=network["id"], **on("h1"), **named)
        elsewhere = create(tx, context, "port", network_id=network["id"], **on("h2"), **named)
        unbound = create(tx, context, "port", network_id=network["id"], **named)
        plain = create(tx, context, "port", network_id=network["id"], **on("h1"))
        for port, changes in ((elsewhere, on("h1")), (unbound, on("h1")), (plain, named)):
            with pytest.raises(Conflict) as caught:
                update(tx, context, "port", lookup.get(tx, "port", port["id"]), **changes)
            assert all(word in str(caught.value) for word in (port["id"], first["id"], "host h1", "tap7"))
            assert caught.value.type == "TapNameInUse"
        update(tx, context, "port", lookup.get(tx, "port", first["id"]), **on(""))
        update(tx, context, "port", lookup.get(tx, "port", plain["id"]), **named)


def test_a_tap_that_is_named_after_another_port_is_refused_though_that_one_is_not_bound(
    store: Store, context: Context, create: Create, update: Create, network: Row
) -> None:
    with store.write() as tx:
        owner = create(tx, context, "port", network_id=network["id"])
        profile = {"binding:profile": {"tap_name": f"tap{owner['id'][:11]}"}}
        with pytest.raises(Conflict, match=owner["id"]):
            create(tx, context, "port", network_id=network["id"], **on("h1"), **profile)
        own = update(tx, context, "port", owner, **on("h1"), **profile)
        assert own["binding:vif_type"] == "tap"
