# SPDX-License-Identifier: Apache-2.0
"""Which ports' packets are to be written down for which logs, in what hosts are to have."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.backends.test_bridge_plan import follow

from portico.backends.bridge import BridgeBackend
from portico.backends.bridge import plan as bridge_plan
from portico.backends.routed import RoutedBackend
from portico.backends.routed import plan as routed_plan
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import Log, Vif, key_of
from portico.model.snapshot import Snapshot
from portico.testing.backend_suite import change
from portico.testing.world import HOSTS, PutGroup, PutNetwork, PutPort, PutSubnet, World, object_id

PORTS = tuple(object_id("port", number) for number in range(3))
GROUPS = tuple(object_id("security_group", number) for number in range(2))
ONE, BOTH, NONE = PutPort(0, 0, groups=(0,)), PutPort(1, 0, groups=(0, 1)), PutPort(2, 0, groups=(1,), host=HOSTS[1])


def small(*, routed: bool = False) -> World:
    made = World(routed=routed)
    made.apply(PutNetwork(0), PutSubnet(0, 4), PutGroup(0), PutGroup(1), ONE, BOTH, NONE)
    return made


def put(want: Snapshot, log_id: str, port: str | None = None, group: str | None = None, **more: Any) -> None:
    project_id = want.ports[PORTS[0]].project_id
    row = {"id": log_id, "project_id": project_id, "event": "ALL", "enabled": True, **more}
    want.put("log", {**row, "resource_id": group, "target_id": port})


def logged(want: Snapshot) -> dict[int, list[str]]:
    """Return the logs of each port, by number."""
    vifs = (item for host in HOSTS for item in bridge_plan.host_objects(want, host) if isinstance(item, Vif))
    found = {vif.port_id: [log.log_id for log in vif.guard.logs] for vif in vifs if vif.guard}
    return {number: found[port_id] for number, port_id in enumerate(PORTS) if port_id in found}


def test_a_log_is_of_a_port_of_a_group_s_ports_or_of_its_project_s() -> None:
    want = small().snapshot()
    put(want, "a", port=PORTS[0])
    put(want, "b", group=GROUPS[1])
    put(want, "c", port=PORTS[1], group=GROUPS[0])
    put(want, "d")
    put(want, "e", project_id="another")
    put(want, "f", group=GROUPS[0], project_id="another")
    put(want, "g", enabled=False)
    put(want, "h", port=PORTS[2], group=GROUPS[0])
    assert logged(want) == {0: ["a", "d", "f"], 1: ["b", "c", "d", "f"], 2: ["b", "d"]}
    (vif,) = (item for item in bridge_plan.host_objects(want, HOSTS[1]) if isinstance(item, Vif))
    assert vif.guard and vif.guard.logs[0] == Log("b", want.ports[PORTS[0]].project_id, "ALL", GROUPS[1])


def test_a_port_without_port_security_has_nothing_to_log() -> None:
    made = small()
    made.apply(PutPort(0, 0, port_security=False))
    want = made.snapshot()
    put(want, "a", port=PORTS[0])
    assert 0 not in logged(want)


subjects = st.sampled_from([{}, *({"port": one} for one in PORTS), *({"group": one} for one in GROUPS)])
edits = st.one_of(
    st.tuples(st.sampled_from("ab"), subjects, st.booleans()),
    st.sampled_from("ab"),
    st.sampled_from([PutPort(0, 0, groups=(1,)), PutPort(1, 0, groups=()), PutPort(2, 0, groups=(0,)), ONE, BOTH]),
)


@pytest.mark.parametrize("is_routed", [False, True])
@settings(max_examples=25, deadline=None)
@given(steps=st.lists(edits, max_size=6))
def test_changed_logs_and_ports_lead_to_what_a_plan_from_nothing_gives(is_routed: bool, steps: list[Any]) -> None:
    made, hosts = small(routed=is_routed), HostStates()
    want, state = made.snapshot(), follow(hosts)
    backend = RoutedBackend(hosts) if is_routed else BridgeBackend(hosts)
    list(backend.sync(want, Dirty(everything=True)))
    for revision, step in enumerate(steps, 1):
        if isinstance(step, PutPort):
            dirty = change(made, want, [step])
        else:
            log_id = step if isinstance(step, str) else step[0]
            dirty = Dirty(ids={"log": frozenset({log_id})})
            if isinstance(step, str):
                want.remove("log", log_id)
            else:
                put(want, log_id, **step[1], enabled=step[2])
        list(backend.sync(want, dirty))
        hosts.publish(revision)
    hosts.publish(len(steps) + 1)
    objects = routed_plan.host_objects if is_routed else bridge_plan.host_objects
    assert state == {host: {key_of(item): item for item in objects(want, host)} for host in HOSTS}
