# SPDX-License-Identifier: Apache-2.0
"""The bridge backend's plan: what changes incrementally is what a plan from nothing gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portico.backends.bridge import BridgeBackend, plan
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import Bridge, Dhcp, HostObject, Router, Update, key_of
from portico.testing import strategies
from portico.testing.router_world import OUTSIDE, PutRouter, RouterWorld, l3_id
from portico.testing.world import (
    HOSTS,
    Drop,
    Edit,
    MoveServer,
    PutAddressGroup,
    PutGroup,
    PutNetwork,
    PutPort,
    PutRule,
    PutSubnet,
    World,
    object_id,
)

State = dict[str, dict[str, HostObject]]


def whole(world: World) -> State:
    want = world.snapshot()
    return {host: {key_of(item): item for item in plan.host_objects(want, host)} for host in HOSTS}


def follow(hosts: HostStates) -> State:
    """Return the states that agents of both hosts come to hold, from the feed alone."""
    state: State = {host: {} for host in HOSTS}

    for host in HOSTS:

        def take(update: Update, host: str = host) -> None:
            if update.complete:
                state[host].clear()
            state[host].update({key_of(item): item for item in update.objects})
            for key in update.gone:
                del state[host][key]

        hosts.follow(host, take)
    return state


def prepared(*edits: Edit) -> World:
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 4), PutSubnet(0, 6), PutNetwork(1), PutSubnet(1, 4))
    world.apply(*(PutGroup(number) for number in range(3)), PutRule(0, 0, remote_group=1))
    world.apply(*edits)
    return world


A, B = PutPort(0, 0, groups=(0,)), PutPort(1, 0, groups=(1,), pairs=(0,))
TAP = PutPort(2, 0, plug="tap")


@settings(deadline=None)
@given(strategies.worlds(), strategies.batches())
@example(prepared(A, B, PutPort(3, 0, groups=(1,), pairs=(0,))), [[Drop("port", 1)]])
@example(prepared(TAP), [[Drop("subnet", 4)]])
@example(prepared(TAP), [[MoveServer(0)]])
@example(prepared(A, B), [[Drop("security_group", 1)]])
@example(prepared(A, B), [[PutPort(0, 0, groups=(2,))], [PutPort(0, 0, groups=(0,))]])
@example(prepared(A, B), [[PutPort(0, 1, groups=(0,))]])
@example(prepared(A, B), [[Drop("network", 0)]])
@example(prepared(A), [[PutPort(1, 0, standby=HOSTS[1])], [PutPort(1, 0, host=HOSTS[1])], [Drop("port", 1)]])
@example(prepared(PutAddressGroup(0, ("192.0.2.0/24",)), PutRule(1, 0, remote_addresses=0), A),
         [[PutAddressGroup(0, ("::1/128",))], [PutPort(4, 1)], [Drop("security_group_rule", 1)]])  # fmt: skip
@example(prepared(Drop("subnet", 4), Drop("subnet", 6), TAP), [[PutPort(3, 0)]])
@example(prepared(PutSubnet(0, 4, enable_dhcp=False), PutPort(3, 0, versions=())), [[Drop("subnet", 4)]])
def test_changes_equals_whole_plan(world: World, batches: list[list[Edit]]) -> None:
    follow_changes(world, batches)


JOIN = PutRouter(0, (0, 2), outside=True, floating=(0,))


def joined(*edits: Edit | PutRouter) -> RouterWorld:
    world = RouterWorld()
    for number in range(5):
        world.apply(PutNetwork(number), PutSubnet(number, 4))
    world.apply(*(PutGroup(number) for number in range(3)), PutRule(0, 0, remote_group=1))
    world.apply(A, *edits)
    return world


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    strategies.router_worlds(), st.lists(st.lists(strategies.edits() | strategies.routers(), max_size=2), max_size=4)
)
@example(joined(), [[JOIN], [replace(JOIN, admin_up=False)], [JOIN], [PutRouter(0, None)]])
@example(joined(JOIN), [[PutPort(1, 2, groups=(1,), host=HOSTS[1])], [Drop("port", 0)], [Drop("port", 1)]])
@example(joined(JOIN, PutPort(1, 2, host=HOSTS[1]), PutPort(3, 0)), [[replace(A, host=HOSTS[1])]])
@example(joined(JOIN, PutPort(1, 2, groups=(1,))), [[PutRouter(0, (0,))], [PutRouter(0, (0, 2))], [Drop("port", 1)]])
@example(joined(JOIN), [[replace(JOIN, floating=())], [PutPort(2, 0, plug="tap")], [PutRouter(0, (2,))]])
@example(joined(JOIN), [[Drop("subnet", 16 * 4 + 4)], [PutNetwork(2, mtu=1400)]])
def test_changes_of_routers_equal_the_whole_plan(world: RouterWorld, batches: list[list[Edit | PutRouter]]) -> None:
    follow_changes(world, batches)


class TaggedWorld(RouterWorld):
    """One with a network that is one on all hosts."""

    tagged = (2,)


def tagged(*edits: Edit | PutRouter) -> TaggedWorld:
    world = TaggedWorld()
    for number in (0, 2, 4):
        world.apply(PutNetwork(number), PutSubnet(number, 4))
    world.apply(A, *edits)
    return world


FAR = PutPort(1, 2, host=HOSTS[1])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(strategies.edits() | strategies.routers(), max_size=2), max_size=4))
@example([[JOIN], [PutPort(2, 2)], [Drop("port", 0)], [Drop("port", 2)]])
@example([[PutRouter(0, (2,), outside=True, floating=(1,))], [PutPort(2, 2)], [Drop("port", 2)]])
def test_changes_of_routers_on_physical_networks_equal_the_whole_plan(batches: list[list[Edit | PutRouter]]) -> None:
    follow_changes(tagged(FAR), batches)


def legs(world: RouterWorld) -> dict[str, set[int]]:
    """Return the networks that router 0 is on, by host."""
    found = {host: state.get(f"router/{l3_id('router', 0)}") for host, state in whole(world).items()}
    return {
        host: {int(leg.network_id[-12:]) for leg in item.legs}
        for host, item in found.items()
        if isinstance(item, Router)
    }


def test_one_host_has_a_routers_part_in_physical_networks() -> None:
    world = tagged(FAR, replace(JOIN, floating=(1,)))
    assert legs(world) == {HOSTS[0]: {0, 2, OUTSIDE}}
    state = whole(world)
    assert state[HOSTS[0]][f"bridge/{object_id('network', 2)}"] == Bridge(object_id("network", 2), 1500, "lab", 2)
    router = state[HOSTS[0]][f"router/{l3_id('router', 0)}"]
    assert isinstance(router, Router) and [item.fixed for item in router.floating] == ["198.18.1.13"]
    # Where a host has ports on a network of its own, the router is there as well, but not on the others' segment.
    world.apply(PutPort(3, 0, host=HOSTS[1]))
    assert legs(world) == {HOSTS[0]: {0, 2, OUTSIDE}, HOSTS[1]: {0, OUTSIDE}}


def test_other_hosts_lead_the_floating_ips_of_their_ports_and_nothing_else() -> None:
    world = tagged(PutSubnet(OUTSIDE, 6), PutPort(3, 0, host=HOSTS[1]), replace(JOIN, floating=(0, 3)))
    key = f"router/{l3_id('router', 0)}"
    here, there = (whole(world)[host][key] for host in HOSTS)
    assert isinstance(here, Router) and isinstance(there, Router)
    [gateway, part] = [next(leg for leg in item.legs if leg.outside) for item in (here, there)]
    assert gateway.addresses and gateway.snat and not part.addresses and not part.snat
    assert part.mac not in {leg.mac for leg in here.legs} and part.mac != gateway.mac
    assert part.apart == ("192.0.2.0/24", "198.18.1.0/24") and part.port_id == gateway.port_id
    fixed = ["192.0.2.10", "192.0.2.13"]
    assert [[item.fixed for item in router.floating] for router in (here, there)] == [fixed[:1], fixed[1:]]
    ways = [(way.destination, way.nexthop) for way in there.ways]
    assert ways == [("198.18.2.0/24", ""), ("0.0.0.0/0", "198.18.2.1")]
    world.put_host(HOSTS[1], "attic")
    world.rows["network"][object_id("network", OUTSIDE)]["provider:physical_network"] = "lab"
    assert legs(world) == {HOSTS[0]: {0, 2, OUTSIDE}, HOSTS[1]: {0}}


def several(*, spread: bool, watch: bool = False, routes: list[dict[str, str]] | None = None) -> Router:
    """Return a router with a second gateway, on a network of its own, and a third beside the first."""
    world = joined(JOIN)
    gateway = world.rows["port"][l3_id("gateway", 0)]
    network, subnet = (world.rows[kind][gateway["fixed_ips"][0][f"{kind}_id"] if kind == "subnet" else gateway[
        "network_id"]] for kind in ("network", "subnet"))  # fmt: skip
    world.rows["network"]["other"] = {**network, "id": "other"}
    world.rows["subnet"]["far"] = {**subnet, "id": "far", "network_id": "other", "cidr": "203.0.113.0/24"}
    world.rows["subnet"]["far"]["gateway_ip"] = "203.0.113.254"
    ports = [gateway]
    for name, network_id, address in (("g1", "other", "203.0.113.5"), ("g2", network["id"], "198.18.2.200")):
        fixed = [{"subnet_id": "far" if network_id == "other" else subnet["id"], "ip_address": address}]
        ports.append({**gateway, "id": name, "network_id": network_id, "fixed_ips": fixed})
    world.rows["port"] |= {row["id"]: row for row in ports}
    told = [{"port_id": row["id"], "network_id": row["network_id"], "enable_snat": True} for row in ports]
    world.rows["router"][l3_id("router", 0)] |= {
        "external_gateways": told,
        "enable_default_route_ecmp": spread,
        "enable_default_route_bfd": watch,
        "routes": routes or [],
    }
    found = whole(world)[HOSTS[0]][f"router/{l3_id('router', 0)}"]
    assert isinstance(found, Router)
    return found


def test_what_no_route_says_more_of_goes_by_the_first_gateway_or_is_spread_over_all() -> None:
    first = l3_id("gateway", 0)
    hops = {first: "198.18.2.1", "g1": "203.0.113.254", "g2": "198.18.2.1"}
    for spread, ports in ((False, {first}), (True, {first, "g1", "g2"})):
        found = several(spread=spread)
        ways = {(way.port_id, way.nexthop) for way in found.ways if way.destination == "0.0.0.0/0"}
        assert ways == {(port_id, hops[port_id]) for port_id in ports}
        assert {leg.port_id: leg.beyond for leg in found.legs if leg.outside} == hops
    alone = whole(joined(JOIN))[HOSTS[0]][f"router/{l3_id('router', 0)}"]
    assert isinstance(alone, Router) and {leg.beyond for leg in alone.legs} == {""}


def test_next_hops_of_all_gateways_are_watched_in_order_unless_a_route_says_more() -> None:
    assert several(spread=True).watched == ()
    order = [(l3_id("gateway", 0), "198.18.2.1"), ("g1", "203.0.113.254"), ("g2", "198.18.2.1")]
    for spread in (False, True):
        found = several(spread=spread, watch=True)
        watched = [(way.port_id, way.nexthop) for way in found.watched]
        # the first and the third are on one network, and come in the order of their ports
        assert sorted(watched) == sorted(order) and watched[-1] == order[1] and watched[0] != order[1]
        assert found.spreads is spread
    route = {"destination": "0.0.0.0/0", "nexthop": "203.0.113.7"}
    assert several(spread=True, watch=True, routes=[route]).watched == ()


def test_only_who_has_an_address_in_the_next_hops_subnet_watches() -> None:
    world = tagged(PutSubnet(OUTSIDE, 4), PutPort(3, 0, host=HOSTS[1]), replace(JOIN, floating=(0, 3)))
    world.rows["router"][l3_id("router", 0)]["enable_default_route_bfd"] = True

    def watched() -> list[list[str]]:
        routers = (whole(world)[host][f"router/{l3_id('router', 0)}"] for host in HOSTS)
        return [[way.nexthop for way in item.watched] for item in routers if isinstance(item, Router)]

    assert watched() == [["198.18.2.1"], []]
    gateway = world.rows["port"][l3_id("gateway", 0)]
    world.rows["subnet"][gateway["fixed_ips"][0]["subnet_id"]]["gateway_ip"] = "192.0.2.1"
    assert watched() == [[], []]


def test_a_host_without_a_routers_physical_networks_is_not_the_one() -> None:
    world = tagged(PutPort(2, 2), FAR, PutRouter(0, (2,), outside=True))
    hosts = HostStates()
    backend, want, state = BridgeBackend(hosts), world.snapshot(), follow(hosts)
    backend.sync(want, Dirty(everything=True))
    seen = []
    for number, told in enumerate(((), ("lab",), ("attic",)), 2):
        changed = world.put_host(HOSTS[0], *told)
        world.update(want, changed)
        backend.sync(want, Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()}))
        hosts.publish(number)
        assert state == whole(world)
        seen.append([*legs(world)])
    assert seen == [[HOSTS[1]], [HOSTS[0]], [HOSTS[1]]]


def test_a_router_that_is_meant_for_a_zone_has_its_part_in_physical_networks_there() -> None:
    world = tagged(PutPort(2, 2), FAR, PutRouter(0, (2,), outside=True))
    world.rows["router"][l3_id("router", 0)]["availability_zone_hints"] = ["west", "north"]
    hosts = HostStates()
    backend, want, state = BridgeBackend(hosts), world.snapshot(), follow(hosts)
    backend.sync(want, Dirty(everything=True))
    seen = []
    zones = ((HOSTS[1], "west"), (HOSTS[0], "east"), (HOSTS[0], "north"), (HOSTS[1], "east"), (HOSTS[0], "east"))
    for number, (host, zone) in enumerate(zones, 2):
        changed = world.put_host(host, "lab", zone=zone)
        world.update(want, changed)
        backend.sync(want, Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()}))
        hosts.publish(number)
        assert state == whole(world)
        seen.append([*legs(world)])
    assert seen == [[HOSTS[0]], [HOSTS[1]], [HOSTS[0]], [HOSTS[0]], []], "a host that tells of no zone may be in any"


def follow_changes(world: Any, batches: Sequence[Sequence[Edit | PutRouter]]) -> None:
    hosts = HostStates()
    backend = BridgeBackend(hosts)
    want = world.snapshot()
    state = follow(hosts)
    backend.sync(want, Dirty(everything=True))
    hosts.publish(1)
    assert state == whole(world)
    for number, batch in enumerate(batches, 2):
        changed = world.apply(*batch)
        world.update(want, changed)
        backend.sync(want, Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()}))
        hosts.publish(number)
        assert state == whole(world)


def test_a_gateway_is_told_where_a_router_is_at_it() -> None:
    """Network 2 has a gateway's address, and router 0 the first address of each subnet."""

    def told(*edits: Edit | PutRouter) -> str | None:
        found = whole(joined(PutPort(1, 2, plug="tap"), *edits))[HOSTS[0]]
        (server,) = (item for item in found.values() if isinstance(item, Dhcp))
        return server.subnets[0].gateway

    assert told() is None
    assert told(JOIN) == "198.18.1.1"
    assert told(replace(JOIN, admin_up=False)) is None
    assert told(PutRouter(1, (2,))) is None  # it is at another address
