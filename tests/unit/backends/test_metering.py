# SPDX-License-Identifier: Apache-2.0
"""Which routers count for which labels, in what hosts are to have."""

from __future__ import annotations

import itertools

from portico import planning
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import HostObject, Router, Update, key_of
from portico.hoststate.metering import Meter, MeterRule
from portico.model.snapshot import Snapshot
from portico.testing.router_suite import joined_world
from portico.testing.router_world import PutRouter, l3_id

FIRST, SECOND = l3_id("router", 0), l3_id("router", 1)
MEANT = Meter("l", (MeterRule("egress", source="10.0.0.0/24"),))


def put_label(want: Snapshot, *, project_id: str = "", shared: bool = False) -> None:
    want.put("metering_label", {"id": "l", "project_id": project_id, "shared": shared})


def put_rule(want: Snapshot, direction: str = "egress", remote: str | None = "10.0.0.9/24", **more: object) -> None:
    row = {"id": "m", "metering_label_id": "l", "direction": direction, "excluded": False, "remote_ip_prefix": remote}
    want.put("metering_label_rule", {**row, "source_ip_prefix": None, "destination_ip_prefix": None, **more})


def meters(want: Snapshot, router_id: str) -> tuple[Meter, ...]:
    host = min(planning.routers.hosts_of_router(want, router_id))
    return planning.routers.router(want, host, router_id).meters


def test_a_router_with_a_gateway_counts_for_its_project_and_for_all() -> None:
    want = joined_world(PutRouter(0, (0, 2), outside=True), PutRouter(1, (1, 3))).snapshot()
    project_id = want.routers[FIRST].project_id
    put_label(want, project_id=project_id)
    assert meters(want, FIRST) == (), "it has no rules"
    put_rule(want)
    assert meters(want, FIRST) == (MEANT,)
    assert meters(want, SECOND) == (), "it has no gateway"
    put_label(want, project_id="another")
    assert meters(want, FIRST) == ()
    put_label(want, project_id="another", shared=True)
    assert meters(want, FIRST) == (MEANT,)


def test_the_remote_prefix_is_the_side_inside() -> None:
    want = joined_world(PutRouter(0, (0, 2), outside=True)).snapshot()
    put_label(want, shared=True)
    put_rule(want, "ingress")
    assert meters(want, FIRST)[0].rules == (MeterRule("ingress", destination="10.0.0.0/24"),)
    put_rule(want, "ingress", None, source_ip_prefix="192.0.2.0/24", excluded=True)
    assert meters(want, FIRST)[0].rules == (MeterRule("ingress", "192.0.2.0/24", excluded=True),)


def test_changed_labels_and_rules_reach_the_hosts_of_routers() -> None:
    want, hosts, seen = joined_world(PutRouter(0, (0, 2), outside=True)).snapshot(), HostStates(), {}
    backend, revisions = BridgeBackend(hosts), itertools.count(1)

    def follow(update: Update) -> None:
        seen.update({key_of(item): item for item in update.objects})

    hosts.follow(min(planning.routers.hosts_of_router(want, FIRST)), follow)

    def after(**dirty: str) -> tuple[Meter, ...]:
        ids = {resource: frozenset({name}) for resource, name in dirty.items()}
        list(backend.sync(want, Dirty(ids=ids, everything=not ids)))
        hosts.publish(next(revisions))
        router: HostObject = seen[f"router/{FIRST}"]
        assert isinstance(router, Router)
        return router.meters

    project_id = want.routers[FIRST].project_id
    assert after() == ()
    put_label(want, project_id=project_id)
    put_rule(want)
    assert after(metering_label="l", metering_label_rule="m") == (MEANT,)
    want.remove("metering_label_rule", "m")
    assert after(metering_label_rule="m") == ()
    put_rule(want)
    assert after(metering_label_rule="m") == (MEANT,)
    want.remove("metering_label", "l")
    assert after(metering_label="l") == ()
