# SPDX-License-Identifier: Apache-2.0
"""Routers in the routed space: what is planned of floating IPs, the way out and published ports."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.backends.test_bridge_plan import follow
from tests.unit.backends.test_routed_plan import planned

from portico.backends.routed import RoutedBackend, plan
from portico.broker.hosts import HostStates
from portico.contract import Change, Dirty
from portico.errors import Unsupported
from portico.hoststate import Forward, Limit, Publish, Scope, Share, Space, Standing, Target, Vif
from portico.testing import strategies
from portico.testing.backend_suite import policy_row
from portico.testing.router_suite import change
from portico.testing.router_world import OUTSIDE, PutRouter, RouterWorld, put_in_scopes
from portico.testing.world import HOSTS, Drop, Edit, PutNetwork, PutPort, PutSubnet, object_id

WEB, DATA = PutPort(0, 0, groups=()), PutPort(1, 1, groups=())
WITH_FLOATING = PutRouter(0, (0, 1), outside=True, floating=(0,))
FLOATING, FIXED = "192.0.6.200", "192.0.2.10"


def world(*edits: Edit | PutRouter) -> RouterWorld:
    made = RouterWorld()
    for number in (0, 1, OUTSIDE):
        made.apply(PutNetwork(number), PutSubnet(number, 4))
    made.apply(WEB, DATA, *edits)
    return made.routed()


def of(made: RouterWorld, kind: type, host: str = HOSTS[0]) -> list[Any]:
    return [item for item in plan.host_objects(made.snapshot(), host) if isinstance(item, kind)]


def vif(made: RouterWorld, number: int, host: str = HOSTS[0]) -> Vif:
    (found,) = (item for item in of(made, Vif, host) if item.port_id == object_id("port", number))
    assert isinstance(found, Vif)
    return found


def test_a_floating_ip_is_a_route_to_its_port_and_goes_where_that_goes() -> None:
    found = vif(world(WITH_FLOATING), 0)
    assert found.floating == (Standing(FLOATING, FIXED),)
    assert found.routes == (f"{FIXED}/32", f"{FLOATING}/32")
    assert vif(world(WITH_FLOATING), 1).floating == ()
    assert vif(world(WITH_FLOATING, replace(WEB, host=HOSTS[1])), 0, HOSTS[1]).routes == found.routes
    for edit in (replace(WITH_FLOATING, admin_up=False), replace(WEB, admin_up=False), replace(WEB, host="")):
        made = world(WITH_FLOATING, edit)
        assert not any(item.floating or len(item.routes) > 1 for item in of(made, Vif))
    behind = world(WITH_FLOATING)
    for row in behind.rows["floatingip"].values():
        row["floating_network_id"] = "of another backend"
    assert vif(behind, 0).floating == (Standing(FLOATING, FIXED, known=False),), "outside nobody knows it"


def test_a_floating_ip_of_forwarded_ports_is_led_to_the_first_of_their_ports_that_is_there() -> None:
    made = world(replace(WITH_FLOATING, floating=(), forwarded=(0,)))
    (floating,) = made.rows["floatingip"].values()
    (item,) = (item for item in made.rows["port_forwarding"].values() if item["external_port_range"] == "8000:8000")
    second = {"id": "zz", "internal_port_id": object_id("port", 1), "internal_ip_address": "192.0.3.12"}
    made.rows["port_forwarding"]["zz"] = item | second | {"external_port_range": "9000:9001"}
    first, other = vif(made, 0), vif(made, 1)
    assert f"{FLOATING}/32" in first.routes and f"{FLOATING}/32" not in other.routes
    assert Forward(FLOATING, "tcp", (8000, 8000), FIXED, (80, 80)) in first.forwards
    assert other.forwards == (Forward(FLOATING, "tcp", (9000, 9001), "192.0.3.12", (80, 80)),)
    made.apply(replace(DATA, host=HOSTS[1]))
    made.rows["port_forwarding"]["zz"] = item | second
    made.rows["floatingip"][floating["id"]] = floating
    assert vif(made, 1, HOSTS[1]).forwards == (), "it is on one host"
    made.apply(replace(WEB, admin_up=False))
    made.rows["port_forwarding"] = {"zz": item | second}
    made.rows["floatingip"][floating["id"]] = floating
    assert f"{FLOATING}/32" in vif(made, 1, HOSTS[1]).routes


def test_what_leaves_for_no_routed_subnet_has_the_address_of_its_host() -> None:
    (space,) = of(world(), Space)
    assert (space.way_out, space.masquerade, space.known) == (False, (), ())
    (space,) = of(world(WITH_FLOATING), Space)
    assert space.way_out and space.masquerade == ("192.0.2.0/24", "192.0.3.0/24")
    assert space.known == ("192.0.2.0/24", "192.0.3.0/24", "192.0.6.0/24")
    (space,) = of(world(replace(WITH_FLOATING, snat=False)), Space)
    assert space.way_out and space.masquerade == ()
    scoped = world(WITH_FLOATING)
    put_in_scopes(scoped, {0: "a", 1: "b", OUTSIDE: "a"})
    (space,) = of(scoped, Space)
    assert space.masquerade == ("192.0.3.0/24",), "addresses of network 0 mean the same outside"
    made = world(PutSubnet(0, 6), replace(WITH_FLOATING, networks=(0,)))
    assert of(made, Space)[0].masquerade == ("192.0.2.0/24",), "IPv6 that is known everywhere"
    outside = made.rows["network"].pop(object_id("network", OUTSIDE))
    assert of(made, Space)[0].masquerade == ("192.0.2.0/24", "2001:db8:0:1::/64"), "it is behind the host"
    made.rows["network"][outside["id"]] = outside
    for row in made.rows["subnet"].values():
        row["cidr"] = row["cidr"].replace("2001:db8:", "fd00:")
    assert of(made, Space)[0].masquerade == ("192.0.2.0/24", "fd00:0:1::/64")


def test_a_host_publishes_ports_of_its_own_ports_at_their_own_addresses() -> None:
    made = world(PutSubnet(0, 6), WEB, replace(WITH_FLOATING, floating=(), published=(0,)))
    (found,) = of(made, Publish)
    address6 = made.rows["port"][object_id("port", 0)]["fixed_ips"][1]["ip_address"]
    assert found.targets == (Target(FIXED, (80, 80)), Target(address6, (80, 80)))
    assert (found.network_id, found.ports, found.addresses) == ("routed", (8000, 8000), ("0.0.0.0",))
    assert not vif(made, 0).forwards and f"{FLOATING}/32" not in vif(made, 0).routes, "nobody else is told of it"
    made.apply(replace(WEB, host=HOSTS[1]))
    assert (of(made, Publish), len(of(made, Publish, HOSTS[1]))) == ([], 1)


def test_every_host_knows_the_scopes_and_what_is_translated_between_them() -> None:
    made, hosts = world(WITH_FLOATING, replace(DATA, host=HOSTS[1])), HostStates()
    put_in_scopes(made, {0: "a", 1: "a", OUTSIDE: "a"})
    (space,) = of(made, Space)
    assert (space.scopes, space.floating) == ((), ()), "one is none"
    backend, want, state = RoutedBackend(hosts), made.snapshot(), follow(hosts)
    backend.sync(want, Dirty(everything=True))
    hosts.publish(1)
    (pool,) = {item.pool_id for item in want.subnets.values() if item.network_id == object_id("network", 0)}
    want.put("subnetpool", {"id": pool, "address_scope_id": None})
    backend.sync(want, Dirty(ids={"subnetpool": frozenset({pool})}))
    hosts.publish(2)
    scopes = (Scope("", ("192.0.2.0/24",)), Scope("a", ("192.0.3.0/24", "192.0.6.0/24")))
    for host in HOSTS:
        found = state[host]["space/routed"]
        assert isinstance(found, Space) and (found.scopes, found.floating) == (scopes, (FLOATING,))
    (floating,) = want.floating_ips
    want.remove("floatingip", floating)
    backend.sync(want, Dirty(ids={"floatingip": frozenset({floating})}))
    hosts.publish(3)
    assert [getattr(state[host]["space/routed"], "floating", None) for host in HOSTS] == [(), ()]


def limit(made: RouterWorld, resource: str, policy_id: str, rate: int) -> Dirty:
    """Have the one floating IP or the external network name a policy; return the hint of it."""
    row = made.rows[resource][object_id("network", OUTSIDE)] if resource == "network" else floating_row(made)
    row["qos_policy_id"] = policy_id
    made.rows["policy"][policy_id] = policy_row(policy_id, rate)
    return Dirty(ids={resource: frozenset({row["id"]}), "policy": frozenset({policy_id})})


def floating_row(made: RouterWorld) -> dict[str, Any]:
    (found,) = made.rows["floatingip"].values()
    return found


def test_a_host_has_the_shares_of_the_floating_ips_that_are_led_to_it_and_of_no_others() -> None:
    made, hosts = world(WITH_FLOATING), HostStates()
    backend, state, revision = RoutedBackend(hosts), follow(hosts), itertools.count(1)
    want = made.snapshot()

    def told(dirty: Dirty) -> tuple[tuple[Share, ...], ...]:
        for resource, ids in dirty.ids.items():
            made.update(want, {resource: set(ids)})
        backend.sync(want, dirty)
        hosts.publish(next(revision))
        assert state == {host: planned(made, host) for host in HOSTS}
        return tuple(item.shares for host in HOSTS if isinstance(item := state[host].get("space/routed"), Space))

    def after(*edits: Edit | PutRouter) -> tuple[tuple[Share, ...], ...]:
        return told(Dirty(ids={resource: frozenset(ids) for resource, ids in made.apply(*edits).items()}))

    assert told(Dirty(everything=True)) == ((),)
    assert told(limit(made, "network", "whole", 5)) == ((Share(FLOATING, Limit(5)),),)
    made.rows["policy"]["whole"] = policy_row("whole", 6)
    assert told(Dirty(ids={"policy": frozenset({"whole"})})) == ((Share(FLOATING, Limit(6)),),)
    moved = replace(WEB, host=HOSTS[1])
    assert after(moved) == ((), (Share(FLOATING, Limit(6)),)), "where its port is"
    assert after(replace(moved, admin_up=False)) == ((), ())
    assert after(moved, replace(WITH_FLOATING, admin_up=False)) == ((), ())
    assert after(WITH_FLOATING) == ((), (Share(FLOATING, Limit(6)),))
    assert told(limit(made, "floatingip", "own", 7)) == ((), (Share(FLOATING, Limit(7)),)), "its own goes first"
    made.rows["policy"]["own"] = policy_row("own", 8)
    assert told(Dirty(ids={"policy": frozenset({"own"})})) == ((), (Share(FLOATING, Limit(8)),))
    assert after(replace(WITH_FLOATING, floating=())) == ((), ())


def test_scopes_of_the_two_ip_versions_are_not_apart_from_each_other() -> None:
    made = world(PutSubnet(0, 6))
    put_in_scopes(made, {0: "a", 1: "a", OUTSIDE: "a"})
    (six,) = (row for row in made.rows["subnet"].values() if ":" in row["cidr"])
    six["subnetpool_id"] = None
    assert of(made, Space)[0].scopes == ()
    put_in_scopes(made, {1: "b"})
    assert [scope.scope_id for scope in of(made, Space)[0].scopes] == ["", "a", "b"]


def routers() -> st.SearchStrategy[PutRouter]:
    return st.builds(
        PutRouter,
        st.integers(0, 1),
        st.none() | st.sampled_from([(0,), (1,), (0, 1)]),
        outside=st.booleans(),
        published=st.sampled_from([(), (0,), (0, 1)]),
        forwarded=st.sampled_from([(), (2,)]),
    )


PUBLISHING = PutRouter(0, (0,), outside=True, published=(0,))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(strategies.edits() | routers(), max_size=2), max_size=4))
@example([[replace(PUBLISHING, published=())], [PUBLISHING], [replace(WEB, host=HOSTS[1])], [Drop("port", 0)]])
@example([[PUBLISHING], [replace(PUBLISHING, published=())], [replace(PUBLISHING, floating=(0,), published=())]])
@example([[WITH_FLOATING], [PutNetwork(3), PutSubnet(3, 4)], [replace(WITH_FLOATING, floating=())]])
def test_changes_equal_the_whole_plan(batches: list[list[Edit | PutRouter]]) -> None:
    made, hosts = world(), HostStates()
    backend, want, state = RoutedBackend(hosts), made.snapshot(), follow(hosts)
    backend.sync(want, Dirty(everything=True))
    hosts.publish(1)
    for revision, batch in enumerate(batches, 2):
        backend.sync(want, change(made, want, batch))
        hosts.publish(revision)
    assert state == {host: planned(made, host) for host in HOSTS}


def test_extra_routes_are_refused_for_they_would_be_everybody_s() -> None:
    backend = RoutedBackend(HostStates())
    row = {"id": "r", "routes": [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}]}
    with pytest.raises(Unsupported, match=r"router r: routes .*10\.9\.0\.0/16.* an allowed address pair"):
        backend.admit(world().snapshot(), Change("router", row, row))
    backend.admit(world().snapshot(), Change("router", None, {"id": "r", "routes": []}))
