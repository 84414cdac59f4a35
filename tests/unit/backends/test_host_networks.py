# SPDX-License-Identifier: Apache-2.0
"""External networks of type `host`: what is planned of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.backends.test_bridge_plan import follow_changes

from portico.backends.bridge import BridgeBackend, plan, uplink
from portico.broker.hosts import HostStates
from portico.contract import Change
from portico.errors import Unsupported
from portico.hoststate import Publish, Router, Target, Uplink
from portico.hoststate.l3 import Floating, Forward
from portico.model.snapshot import Snapshot
from portico.testing import strategies
from portico.testing.router_world import OUTSIDE, HostWorld, PutRouter, l3_id
from portico.testing.world import HOSTS, Drop, Edit, PutNetwork, PutPort, PutSubnet, object_id

WEB = PutPort(0, 0, groups=())
PUBLISHING = PutRouter(0, (0,), outside=True, published=(0,))


def world(*edits: Edit | PutRouter) -> HostWorld:
    made = HostWorld()
    for number in (0, 2, OUTSIDE):
        made.apply(PutNetwork(number), PutSubnet(number, 4))
    made.apply(WEB, *edits)
    return made


def of(made: HostWorld, kind: type, host: str = HOSTS[0]) -> list[Any]:
    return [item for item in plan.host_objects(made.snapshot(), host) if isinstance(item, kind)]


def routers() -> st.SearchStrategy[PutRouter]:
    return st.builds(
        PutRouter,
        st.integers(0, 1),
        st.none() | st.sampled_from([(0,), (2,), (0, 2)]),
        outside=st.booleans(),
        published=st.sampled_from([(), (0,), (0, 1)]),
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(strategies.edits() | routers(), max_size=2), max_size=4))
@example([[replace(PUBLISHING, published=())], [PUBLISHING], [replace(WEB, host=HOSTS[1])], [Drop("port", 0)]])
@example([[PutPort(2, 0, host=HOSTS[1])], [replace(WEB, host=HOSTS[1])], [PutRouter(0, None)]])
def test_changes_of_published_ports_equal_the_whole_plan(batches: list[list[Edit | PutRouter]]) -> None:
    follow_changes(world(PUBLISHING, PutPort(1, 2, host=HOSTS[1])), batches)


def test_a_host_has_the_uplink_of_its_routers_and_publishes_its_own_ports() -> None:
    made = world(PutRouter(0, (0, 2), outside=True, published=(0, 1)), PutPort(1, 2, host=HOSTS[1]))
    subnet = next(row for row in made.rows["subnet"].values() if row["network_id"] == object_id("network", OUTSIDE))
    for number, host in enumerate(HOSTS):
        [found] = of(made, Uplink, host)
        assert found.addresses == (f"{subnet['gateway_ip']}/{subnet['cidr'].partition('/')[2]}",)
        assert found.masquerade == (subnet["cidr"],)
        [port] = of(made, Publish, host)
        floating = made.rows["floatingip"][l3_id("floatingip", number)]["floating_ip_address"]
        assert (port.addresses, port.ports) == (("0.0.0.0",), (8000, 8000))
        assert port.targets == (Target(floating, (8000, 8000)),)
    made.apply(PutRouter(0, (0, 2), published=(0,)))
    assert of(made, Uplink) == of(made, Publish) == []


def snapshot(*rows: tuple[str, dict[str, Any]]) -> Snapshot:
    want = Snapshot()
    for resource, row in rows:
        want.put(resource, row)
    return want


def test_ipv6_leaves_with_the_gateways_address_and_is_published_by_the_floating_ips() -> None:
    made = world(PutSubnet(0, 6), replace(WEB, versions=(4, 6)), PutSubnet(OUTSIDE, 6), PUBLISHING)
    [port] = of(made, Publish)
    assert [target.address for target in port.targets] == ["198.18.2.200", "2001:db8:1:2::c8"]
    [router] = of(made, Router)
    [leg] = [leg for leg in router.legs if leg.outside]
    assert (leg.snat, leg.snat6) == ("198.18.2.100", "2001:db8:1:2::64")
    assert {Floating("198.18.2.200", leg.port_id), Floating("2001:db8:1:2::c8", leg.port_id)} == {*router.floating}
    own = made.rows["port"][object_id("port", 0)]["fixed_ips"][1]["ip_address"]
    assert router.forwards[1] == Forward("2001:db8:1:2::c8", "tcp", (8000, 8000), own, (80, 80))
    assert of(made, Uplink)[0].masquerade == ("198.18.2.0/24", "2001:db8:1:2::/64")


@pytest.mark.parametrize(
    "edits",
    [
        (PutRouter(0, (0,), outside=True, published=(0,), snat=False), PutSubnet(OUTSIDE, 6)),
        (PUBLISHING,),
        (PUBLISHING, PutSubnet(OUTSIDE, 6), replace(WEB, versions=(4,))),
    ],
    ids=["without SNAT", "without IPv6 outside", "without IPv6 inside"],
)
def test_where_there_is_no_way_for_ipv6_none_is_made(edits: tuple[Edit | PutRouter, ...]) -> None:
    made = world(PutSubnet(0, 6), replace(WEB, versions=(4, 6)), *edits)
    [leg] = [leg for router in of(made, Router) for leg in router.legs if leg.outside]
    has_snat = PutSubnet(OUTSIDE, 6) in edits and PUBLISHING in edits
    assert bool(leg.snat6) is has_snat
    assert len(of(made, Publish)[0].targets) == (2 if PutSubnet(OUTSIDE, 6) in edits and not has_snat else 1)


@pytest.mark.parametrize(
    ("resource", "changes", "reason"),
    [
        ("network", {"router:external": False}, "is for networks with router:external true"),
        ("subnet", {"gateway_ip": None}, "gateway_ip is null"),
        ("subnet", {"cidr": "169.254.0.0/24", "gateway_ip": "169.254.0.1"}, "overlaps 169.254.0.0/16"),
        ("subnet", {"cidr": "192.0.2.128/25", "id": "other"}, "overlaps subnet"),
    ],
)
def test_what_a_host_cannot_have_is_refused(resource: str, changes: dict[str, Any], reason: str) -> None:
    made = world()
    network = object_id("network", OUTSIDE)
    row = next(row for row in made.rows[resource].values() if network in (row["id"], row.get("network_id")))
    row = {"binding:vnic_type": "normal", **row, "cidr": row.get("cidr", ""), **changes}
    if changes.get("id"):
        row["cidr"] = next(item["cidr"] for item in made.rows["subnet"].values() if item["network_id"] == network)
    with pytest.raises(Unsupported, match=reason):
        BridgeBackend(HostStates()).admit(made.snapshot(), Change(resource, None, row))


def test_there_are_few_of_them() -> None:
    made = world()
    first = made.rows["network"][object_id("network", OUTSIDE)]
    want = snapshot(*(("network", {**first, "id": f"host-{number}"}) for number in range(uplink.MOST)))
    backend = BridgeBackend(HostStates())
    backend.admit(want, Change("network", first, {**first, "id": "host-0"}))
    with pytest.raises(Unsupported, match="there may be 8"):
        backend.admit(want, Change("network", None, {**first, "id": "one-more"}))
