# SPDX-License-Identifier: Apache-2.0
"""The promises of backends that declare "routers"; beside `BackendSuite`:

class TestMine(RouterSuite, BackendSuite):
    ...
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from portico.contract import Backend, Dirty
from portico.model.snapshot import Snapshot
from portico.testing import strategies
from portico.testing.backend_suite import ALL, BackendSuite, differences, policy_row, sync
from portico.testing.faults import Crash
from portico.testing.medium import Medium
from portico.testing.probes import router_probes
from portico.testing.router_world import OUTSIDE, HostWorld, PutRouter, RouterWorld, put_in_scopes
from portico.testing.world import Drop, Edit, PutGroup, PutNetwork, PutPort, PutRule, PutSubnet, object_id
from portico.trace.packet import Packet
from portico.trace.way import verdict

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
MOST = 150
"""How many packets are tried at most, of those that are delivered and of those that are not."""

Edits = Sequence[Edit | PutRouter]


def joined_world(*more: Edit | PutRouter, kind: type[RouterWorld] = RouterWorld) -> RouterWorld:
    """Return a world with two tenants whose networks have equal addresses, a router each, and somebody outside."""
    world = kind()
    for number in range(5):
        world.apply(PutNetwork(number), PutSubnet(number, 4), *([PutSubnet(number, 6)] if number < 4 else []))
    world.apply(PutGroup(0), PutGroup(1), *(PutRule(v, 0, "egress", ethertype=f"IPv{v}") for v in (4, 6)))
    world.apply(PutRule(0, 0, remote_group=0), PutRule(1, 1, protocol="tcp", port_min=80, port_max=80))
    world.apply(PutPort(0, 0, groups=(0,)), PutPort(1, 2, groups=(0,)), PutPort(2, 1, groups=(0,)))
    world.apply(PutPort(3, 3, groups=(0, 1)), PutPort(4, 4, port_security=False))
    world.apply(PutRouter(0, (0, 2), outside=True, floating=(1,)), PutRouter(1, (1, 3), outside=True, forwarded=(3,)))
    world.apply(*more)
    return world


def behind_world(*more: Edit | PutRouter) -> RouterWorld:
    """Return a world in which somebody behind the host hears of nobody but the first router's gateway."""
    world = joined_world(PutSubnet(OUTSIDE, 6), PutGroup(2), kind=HostWorld)
    for number, remote in enumerate(("198.18.2.100/32", "2001:db8:1:2::64/128"), 20):
        ethertype = "IPv6" if ":" in remote else "IPv4"
        world.apply(PutRule(number, 2, ethertype=ethertype, remote_cidr=remote))
        world.apply(PutRule(number + 10, 2, "egress", ethertype=ethertype))
    world.apply(PutRule(22, 1, ethertype="IPv6", protocol="tcp", port_min=80, port_max=80))
    world.apply(PutPort(4, OUTSIDE, groups=(2,)), PutRouter(1, (1, 3), outside=True, published=(3,)), *more)
    return world


def change(world: RouterWorld, want: Snapshot, edits: Edits) -> Dirty:
    """Make edits in a world, bring `want` up to date, and return the hint that the broker would give."""
    changed = world.apply(*edits)
    world.update(want, changed)
    return Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()})


def disagreements(medium: Medium, want: Snapshot) -> list[str]:
    """Return where medium and oracle differ on packets that routers have to do with."""
    found = []
    told = [(packet, verdict(want, packet)) for packet in router_probes(want)]
    for delivered in (True, False):
        packets = [(packet, said) for packet, said in told if said.delivered == delivered]
        for packet, said in islice(packets, 0, None, len(packets) // MOST + 1):
            if medium.delivers(packet) != delivered:
                found.append(f"{packet}: {said.reason or 'nothing forbids it'}")
    return found


class RouterSuite(BackendSuite):
    """What a backend with routers must keep."""

    def fit_routers(self, world: RouterWorld) -> RouterWorld:
        """Return a world with routers as the API would let it be for this backend."""
        return world

    @FEW
    @given(strategies.router_worlds(), strategies.scopes)
    @example(joined_world(), {})
    @example(joined_world(PutRouter(0, (0, 2), outside=True, snat=False), PutRouter(1, None)), {})
    def test_reachability_across_routers_equals_the_oracle(self, world: RouterWorld, scopes: dict[int, str]) -> None:
        medium, world = self.medium(), self.fit_routers(world)
        put_in_scopes(world, scopes)
        want = world.snapshot()
        sync(medium, medium.make(), want)
        assert disagreements(medium, want) == []

    def test_routers_join_what_they_are_to_and_nothing_else(self) -> None:
        medium, want = self.medium(), self.fit_routers(joined_world()).snapshot()
        told = [verdict(want, packet).delivered for packet in router_probes(want)]
        assert {True, False} == {*told}
        sync(medium, medium.make(), want)
        assert disagreements(medium, want) == []

    def test_address_scopes_are_not_joined_but_by_translation(self) -> None:
        for snat in (True, False):
            edit = PutRouter(0, (0, 2), outside=True, snat=snat, floating=(1,))
            medium, world = self.medium(), self.fit_routers(joined_world(edit))
            free = world.snapshot()
            put_in_scopes(world, {0: "a", 2: "b", OUTSIDE: "a"})
            want = world.snapshot()
            lost = (verdict(free, it).delivered and not verdict(want, it).delivered for it in router_probes(want))
            assert any(lost)
            sync(medium, medium.make(), want)
            assert disagreements(medium, want) == []

    def test_behind_the_host_ipv6_is_translated_as_ipv4_is(self) -> None:
        world = behind_world()
        if self.fit_routers(world) is not world:
            return
        without = behind_world(PutRouter(0, (0, 2), outside=True, snat=False))
        wanted = [each.snapshot() for each in (world, without)]
        assert [bool(_heard(want)) for want in wanted] == [True, False]
        for want in wanted:
            medium = self.medium()
            sync(medium, medium.make(), want)
            packets = [packet for packet in router_probes(want) if packet.source.version == 6]
            assert [it for it in packets if medium.delivers(it) != verdict(want, it).delivered] == []

    @FEW
    @given(
        strategies.router_worlds(),
        st.lists(st.lists(strategies.edits() | strategies.routers(), max_size=2), max_size=3),
    )
    def test_hints_about_routers_equal_everything(self, world: RouterWorld, batches: list[Edits]) -> None:
        medium, world = self.medium(), self.fit_routers(world)
        backend = medium.make()
        want = world.snapshot()
        sync(medium, backend, want)
        for batch in batches:
            sync(medium, backend, want, change(world, want, batch))
        fresh = self.medium()
        sync(fresh, fresh.make(), world.snapshot())
        assert differences(medium.peek(), fresh.peek()) == {}

    def test_routers_are_found_again_and_swept(self) -> None:
        medium, world = self.medium(), self.fit_routers(joined_world())
        sync(medium, medium.make(), world.snapshot())
        before, writes = dict(medium.peek()), medium.faults.writes
        sync(medium, medium.make(), world.snapshot())
        assert dict(medium.peek()) == before
        world.apply(PutRouter(0, None), PutRouter(1, (3,)), Drop("port", 0))
        sync(medium, medium.make(), world.snapshot())
        assert medium.faults.writes > writes
        fresh = self.medium()
        sync(fresh, fresh.make(), world.snapshot())
        assert differences(medium.peek(), fresh.peek()) == {}

    def test_routers_converge_after_a_fault_at_each_step(self) -> None:
        edits = (PutRouter(0, (0,), outside=True, floating=(0,)), PutRouter(1, (1, 3), outside=True, snat=False))
        medium, world = self.medium(), self.fit_routers(joined_world(*edits))
        sync(medium, medium.make(), world.snapshot())
        self.strike(
            lambda: self.fit_routers(joined_world()),
            lambda world, want: change(world, want, edits),
            medium.peek(),
            lambda number: bool(number % 2),
        )

    def test_floating_ips_and_gateways_use_what_their_policies_say(self) -> None:
        medium = self.medium()
        world = self.fit_routers(joined_world(PutRouter(0, (0, 2), outside=True, floating=(0, 1))))
        backend = medium.make()
        if "qos-floating-ips" not in backend.describe().features:
            return
        sync(medium, backend, world.snapshot())
        plain = dict(medium.peek())
        dirty = _limit_outside(world)
        sync(medium, backend, world.snapshot(), dirty)
        limited = dict(medium.peek())
        assert differences(limited, plain) != {}
        fresh = self.medium()
        sync(fresh, fresh.make(), world.snapshot())
        assert differences(limited, fresh.peek()) == {}
        number, struck = 0, True
        while struck:
            number += 1
            medium, backend = fresh, fresh.make()
            self._unlimit(medium, backend, world)
            assert differences(medium.peek(), plain) == {}
            medium.faults.arm(number, deadly=bool(number % 2))
            try:
                sync(medium, backend, world.snapshot(), ALL)
            except Crash:
                backend = medium.make()
            struck = medium.faults.disarm()
            sync(medium, backend, world.snapshot())
            assert differences(medium.peek(), limited) == {}, f"fault at write {number}"
        assert number > 1

    def _unlimit(self, medium: Medium, backend: Backend, world: RouterWorld) -> None:
        """Have nobody limited, while the policies stay."""
        want = world.snapshot()
        for policy_id in ("own", "whole"):
            want.put("policy", {"id": policy_id, "rules": []})
        sync(medium, backend, want)


def _heard(want: Snapshot) -> set[Packet]:
    """Return the packets of IPv6 that somebody outside is to hear of."""
    outward = (it for it in router_probes(want) if it.receiver == object_id("port", 4) and it.source.version == 6)
    return {packet for packet in outward if verdict(want, packet)}


def _limit_outside(world: RouterWorld) -> Dirty:
    """Give a floating IP and the external network policies; return the hint that the broker would give."""
    world.rows["policy"] |= {"own": policy_row("own", 1000), "whole": policy_row("whole", 2000)}
    floating_id, network_id = min(world.rows["floatingip"]), object_id("network", OUTSIDE)
    world.rows["floatingip"][floating_id]["qos_policy_id"] = "own"
    world.rows["network"][network_id]["qos_policy_id"] = "whole"
    changed = {"policy": {"own", "whole"}, "floatingip": {floating_id}, "network": {network_id}}
    return Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()})
