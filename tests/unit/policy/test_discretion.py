# SPDX-License-Identifier: Apache-2.0
"""Where ports are is the operator's to know: no reason, no way of a packet and no refusal tells others."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import pytest

from portico.api import collection, stream, topology, trace
from portico.api.work import Workers
from portico.broker.status import write_statuses
from portico.contract import ObjectStatus
from portico.model.snapshot import INTERFACES
from portico.rules import agent

from .asker import Asker, Row, refusal

TEXT = "h-1 and h-2.example, both without physical network 'phys_a', but: office; are in the way of h-3."
TOLD = "*** and ***, both without physical network '***', but: ***; are in the way of h-3."


def has_agent(asker: Asker, host: str, **facts: object) -> None:
    with asker.service.store.write() as tx:
        agent.heartbeat(tx, host, "Portico agent", "portico-agent", {"configurations": facts}, time.time())


@pytest.fixture
def port(red: Asker, root: Asker) -> Row:
    """A port of red's on a host, and why it is not as wanted."""
    network = red.create("network")["id"]
    red.create("subnet", network_id=network, cidr="192.0.2.0/24", ip_version=4)
    found = red.create("port", network_id=network)
    root.update("port", found["id"], **{"binding:host_id": "h-1"})
    outside = {"router:external": True, "provider:network_type": "flat", "provider:physical_network": "phys_a"}
    has_agent(red, "h-2.example", **{INTERFACES: agent.interfaces("phys_a:eth1 office:eth2")})
    root.create("network", name="outside", **outside)
    write_statuses(red.service.store, [ObjectStatus("port", found["id"], "ERROR", TEXT, host="h-1")])
    return found


async def reason(asker: Asker, port_id: str) -> str:
    store = asker.service.store
    commits, ending = stream.Commits(store), stream.Ending()
    about = asker.service, Workers(store), commits, ending, asker.context, port_id
    return str((await stream.port_status(*about, "", 0))["reason"])


def test_who_sees_no_binding_reads_no_names_of_hosts_and_physical_networks(red: Asker, root: Asker, port: Row) -> None:
    for asker, text in ((red, TOLD), (root, TEXT)):
        assert asyncio.run(reason(asker, port["id"])) == text
        found = topology.read(asker.service, asker.context, 0, topology.Page(100), follows=False)
        assert found["reasons"] == {f"port/{port['id']}": text}
        way = trace.read(asker.service, asker.context, {"source": port["id"], "destination": "192.0.2.9"})
        assert way["reason"] == way["hops"][-1]["why"] == text


def test_a_network_that_no_host_can_have_is_refused_without_their_names(red: Asker, root: Asker) -> None:
    has_agent(red, "h-1", able="", lacks_bridge="no data plane")
    for asker, name in ((red, "***"), (root, "h-1")):
        status, kind, text = refusal(partial(asker.create, "network"))
        assert (status, kind) == (409, "BackendNotAvailable")
        assert text.endswith(f"host {name}: no data plane.")


def test_of_ports_that_have_a_hosts_bandwidth_only_the_own_ones_are_named(red: Asker, blue: Asker, root: Asker) -> None:
    has_agent(red, "h-1", bandwidth_kbps="1000")
    policy = root.create("policy", name="q", shared=True)["id"]
    kind = root.resources["minimum_bandwidth_rule"]
    collection.create(root.service, kind, root.context, {kind.name: {"min_kbps": 400}}, policy)
    ports = {}
    for asker in (red, blue):
        ports[asker.context.project_id] = [
            asker.create("port", network_id=asker.create("network")["id"])["id"] for _ in range(2)
        ]
    for port_id in (ports["red"][0], ports["blue"][0], ports["blue"][1]):
        root.update("port", port_id, **{"binding:host_id": "h-1"})
    red.update("port", ports["red"][0], qos_policy_id=policy)
    blue.update("port", ports["blue"][0], qos_policy_id=policy)
    told = {
        asker: refusal(partial(asker.update, "port", ports["blue"][1], qos_policy_id=policy))[2]
        for asker in (blue, root)
    }
    assert f"already port {ports['blue'][0]} 400, ports of other projects 400; it carries 1000" in told[blue]
    assert "provider ***," in told[blue] and ports["red"][0] not in told[blue]
    assert "provider h-1," in told[root] and f"port {ports['red'][0]} 400" in told[root]
