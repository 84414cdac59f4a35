# SPDX-License-Identifier: Apache-2.0
"""What floating IPs and gateways may use, in what hosts are to have."""

from __future__ import annotations

import itertools

import msgspec

from portico import planning
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Dirty
from portico.hoststate import HostObject, Limit, Router, Update, key_of
from portico.hoststate.limit import Share
from portico.model.snapshot import Snapshot
from portico.testing.router_suite import joined_world
from portico.testing.router_world import OUTSIDE, PutRouter, l3_id
from portico.testing.world import object_id

ROUTER = l3_id("router", 0)


def put_policy(want: Snapshot, name: str, kbps: int) -> None:
    rules = [{"type": "bandwidth_limit", "direction": "egress", "max_kbps": kbps, "max_burst_kbps": 0}]
    want.put("policy", {"id": name, "rules": rules})


def give(want: Snapshot, resource: str, object_id: str, policy_id: str) -> None:
    """Have an object that is wanted name a policy."""
    value = want.objects(resource)[object_id]
    assert isinstance(value, msgspec.Struct)
    want.place(resource, msgspec.structs.replace(value, qos_policy_id=policy_id))


def shares(want: Snapshot) -> dict[str, Share]:
    """Return the shares of the first router's gateway by their addresses."""
    host = min(planning.routers.hosts_of_router(want, ROUTER))
    router = planning.routers.router(want, host, ROUTER)
    assert not any(leg.shares for leg in router.legs if not leg.outside)
    return {share.address: share for leg in router.legs for share in leg.shares}


def world() -> Snapshot:
    return joined_world(PutRouter(0, (0, 2), outside=True, floating=(0, 1))).snapshot()


def test_who_has_no_policy_has_that_of_the_external_network() -> None:
    want = world()
    for name, kbps in (("own", 1), ("whole", 2), ("gate", 3)):
        put_policy(want, name, kbps)
    first, second = sorted(want.floating_ips_of_router[ROUTER])[:2]
    addresses = [str(want.floating_ips[item].address) for item in (first, second)]
    (gate,) = (port.id for port in planning.routers.gateways(want, ROUTER))
    assert shares(want) == {}
    give(want, "floatingip", first, "own")
    assert shares(want) == {
        "": Share(""), addresses[0]: Share(addresses[0], Limit(1)), addresses[1]: Share(addresses[1]),
    }  # fmt: skip
    give(want, "network", object_id("network", OUTSIDE), "whole")
    assert [share.egress for share in shares(want).values()] == [Limit(2), Limit(1), Limit(2)]
    give(want, "port", gate, "gate")
    assert [share.egress for share in shares(want).values()] == [Limit(3), Limit(1), Limit(2)]


def test_a_changed_policy_reaches_the_hosts_of_routers_that_have_it() -> None:
    want, hosts, seen = world(), HostStates(), dict[str, HostObject]()
    backend, revisions = BridgeBackend(hosts), itertools.count(1)
    hosts.follow(min(planning.routers.hosts_of_router(want, ROUTER)), lambda update: seen.update(by_key(update)))
    (gate,) = (port.id for port in planning.routers.gateways(want, ROUTER))

    def after(dirty: Dirty) -> set[int]:
        """Return how much is let out where anything is limited, once a change is planned."""
        list(backend.sync(want, dirty))
        hosts.publish(next(revisions))
        router = seen[f"router/{ROUTER}"]
        assert isinstance(router, Router)
        return {share.egress.rate for leg in router.legs for share in leg.shares if share.egress}

    put_policy(want, "p", 1)
    assert after(Dirty(everything=True)) == set()
    steps = (
        ("floatingip", min(want.floating_ips_of_router[ROUTER])),
        ("port", gate),
        ("network", object_id("network", OUTSIDE)),
    )
    for number, (resource, name) in enumerate(steps, 2):
        give(want, resource, name, "p")
        assert after(Dirty(ids={resource: frozenset({name})})) == {number - 1}
        put_policy(want, "p", number)
        assert after(Dirty(ids={"policy": frozenset({"p"})})) == {number}
        give(want, resource, name, "")
        assert after(Dirty(ids={resource: frozenset({name})})) == set()


def by_key(update: Update) -> dict[str, HostObject]:
    return {key_of(item): item for item in update.objects}
