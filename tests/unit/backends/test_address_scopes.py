# SPDX-License-Identifier: Apache-2.0
"""What routers make of address scopes: no translation within one, no way from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_interface

from portico import planning
from portico.backends.bridge import BridgeBackend
from portico.backends.memory.fabric import Frame, route
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import HostObject, key_of
from portico.hoststate.l3 import Leg, Router
from portico.model.snapshot import Snapshot
from portico.testing.router_suite import joined_world
from portico.testing.router_world import OUTSIDE, PutRouter, RouterWorld, l3_id, put_in_scopes

ROUTER = l3_id("router", 0)
# The world's subnets: of the networks 0 and 2 inside, and 4 outside.
FIRST, SECOND = ("192.0.2.0/24", "2001:db8:0:1::/64"), ("198.18.1.0/24", "2001:db8:1:1::/64")


def scoped(world: RouterWorld, scopes: Mapping[int, str]) -> Snapshot:
    """Return what is wanted when the subnets of networks are from pools of these address scopes."""
    put_in_scopes(world, scopes)
    return world.snapshot()


def router(want: Snapshot) -> Router:
    (host,) = planning.routers.hosts_of_router(want, ROUTER)
    return planning.routers.router(want, host, ROUTER)


def legs(want: Snapshot) -> dict[int, list[Leg]]:
    """Return the router's legs by the numbers of their networks."""
    found: dict[int, list[Leg]] = {}
    for leg in router(want).legs:
        found.setdefault(int(leg.network_id[-12:]), []).append(leg)
    return found


def told(want: Snapshot, network: int) -> tuple[set[str], set[str]]:
    """Return what the legs on a network know, and what they have nothing to do with."""
    mine = legs(want)[network]
    return {cidr for leg in mine for cidr in leg.known}, {cidr for leg in mine for cidr in leg.apart}


def test_without_scopes_everything_is_joined_and_translated() -> None:
    for scopes in ({}, {0: "", 2: "", 4: ""}):
        want = scoped(joined_world(), scopes)
        assert [told(want, number) for number in (0, 2, OUTSIDE)] == [(set(), set())] * 3


def test_what_is_of_the_scope_outside_keeps_its_address_and_other_scopes_are_apart() -> None:
    want = scoped(joined_world(), {0: "a", 2: "b", 4: "a"})
    assert told(want, 0) == (set(), {*SECOND})
    assert told(want, 2) == (set(), {*FIRST})
    assert told(want, OUTSIDE) == ({FIRST[0]}, set()), "IPv4 of another scope is translated"
    plain = scoped(joined_world(PutRouter(0, (0, 2), outside=True, snat=False)), {0: "a", 2: "b", 4: "a"})
    assert told(plain, OUTSIDE) == (set(), {SECOND[0]}), "what is not translated stays inside"
    unscoped = scoped(joined_world(), {0: "a"})
    assert told(unscoped, 0) == (set(), {*SECOND}), "no scope is one, too"
    assert told(unscoped, OUTSIDE) == (set(), set())


def crossing(want: Snapshot, entered: int, source: str, destination: str) -> str:
    """Return the source of a packet that the router sends on; "" if it does not."""
    mine = legs(want)[entered]
    leg = next(leg for leg in mine if any(ip_address(source) in ip_interface(it).network for it in leg.addresses))
    frame = Frame("02:00:00:00:00:01", ip_address(source), ip_address(destination), 6, 1024, 80)
    found = route(router(want), leg, frame)
    return str(found[1].source) if found else ""


def test_packets_cross_within_a_scope_as_they_are_and_not_from_one_to_another() -> None:
    inside, beyond, outside = "192.0.2.77", "198.18.1.77", "198.18.2.77"
    together = scoped(joined_world(), {0: "a", 2: "a", 4: "a"})
    assert crossing(together, 0, inside, beyond) == inside
    assert crossing(together, 0, inside, outside) == inside
    split = scoped(joined_world(), {0: "a", 2: "b", 4: "b"})
    assert crossing(split, 0, inside, beyond) == ""
    assert crossing(split, 2, beyond, inside) == ""
    assert crossing(split, 0, inside, outside) not in ("", inside)
    assert crossing(split, 2, beyond, outside) == beyond


def test_a_pool_that_changes_its_scope_is_planned_anew() -> None:
    seen: dict[str, HostObject] = {}
    hosts, want = HostStates(), scoped(joined_world(), {0: "a", 2: "b"})
    backend, (host,) = BridgeBackend(hosts), planning.routers.hosts_of_router(want, ROUTER)
    hosts.follow(host, lambda update: seen.update({key_of(item): item for item in update.objects}))
    list(backend.sync(want, Dirty(everything=True)))
    hosts.publish(1)
    before = seen[f"router/{ROUTER}"]
    assert before == router(want)
    pool = next(item.pool_id for item in want.subnets.values() if str(item.cidr) in SECOND)
    want.put("subnetpool", {"id": pool, "address_scope_id": "a"})
    list(backend.sync(want, Dirty(ids={"subnetpool": frozenset({pool})})))
    hosts.publish(2)
    assert seen[f"router/{ROUTER}"] == router(want) != before
