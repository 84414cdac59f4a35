# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of backends. Subclass it and say what the backend works on:

class TestMine(BackendSuite):
    def medium(self) -> Medium:
        return MyMedium()

Docs: docs/design/backends.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from portico.contract import FEATURES, Backend, Binding, Dirty, ObjectStatus
from portico.errors import Unsupported
from portico.model.snapshot import DHCP_OWNER, RESOURCES, UNBOUND, Snapshot
from portico.testing import asking, strategies
from portico.testing.backend_machine import BackendMachine, disagreements
from portico.testing.faults import Crash
from portico.testing.medium import Medium
from portico.testing.world import (
    HOSTS,
    Drop,
    Edit,
    MoveServer,
    PutGroup,
    PutNetwork,
    PutPort,
    PutRule,
    PutSubnet,
    World,
    object_id,
)

W = TypeVar("W", bound=World)
ALL = Dirty(everything=True)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def example_world(*more: Edit) -> World:
    """Return a world with a bit of everything: two networks with the same subnets, guarded ports and others."""
    world = World()
    for number in (0, 1):
        world.apply(PutNetwork(number), PutSubnet(number, 4), PutSubnet(number, 6, ra_mode="slaac"))
    world.apply(PutGroup(0), PutGroup(1), PutGroup(2, stateful=False))
    world.apply(PutRule(0, 0, "egress"), PutRule(1, 0, "ingress", remote_group=0), PutRule(2, 1, protocol="tcp"))
    world.apply(PutPort(0, 0, groups=(0,)), PutPort(1, 0, groups=(0, 1), pairs=(0, 2)), PutPort(2, 1, groups=(0,)))
    world.apply(PutPort(3, 0, port_security=False), PutPort(4, 0, groups=(2,), plug="tap"), *more)
    return world


def policy_row(policy_id: str, rate: int) -> dict[str, Any]:
    """Return a QoS policy with a limit each way, and a mark."""
    sent = {"type": "bandwidth_limit", "direction": "egress", "max_kbps": rate, "max_burst_kbps": 0}
    received = {"type": "packet_rate_limit", "direction": "ingress", "max_kpps": rate, "max_burst_kpps": 1}
    return {"id": policy_id, "rules": [sent, received, {"type": "dscp_marking", "dscp_mark": 10}]}


def overlapping_world() -> World:
    """Return a world in which a port has the address of another network's port, whose group may come in."""
    world = World()
    for number in (0, 1):
        world.apply(PutNetwork(number), PutSubnet(number, 4), PutGroup(number))
    world.apply(PutGroup(2), PutRule(0, 0, "egress"), PutRule(1, 1, "ingress", remote_group=2))
    world.apply(PutPort(1, 0, groups=(0,)), PutPort(2, 0, groups=(1,)), PutPort(0, 1, groups=(2,)))
    return world


def sync(medium: Medium, backend: Backend, want: Snapshot, dirty: Dirty = ALL) -> Mapping[str, ObjectStatus]:
    """Sync and let things come to rest; return the statuses of ports by id."""
    at_once = {item.id: item for item in backend.sync(want, dirty) if item.resource == "port"}
    return {**at_once, **medium.settle()}


def differences(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return what differs between two looks behind a backend's back."""
    keys = one.keys() | other.keys()
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


class BackendSuite:
    """What every backend must keep. Each test has a medium of its own. `machine_examples` bounds the state machine.

    Where each write costs milliseconds, a fault is tried at every `fault_stride`th only. `ports_need_networks`: nothing
    of a port can be had while nothing of its network can. `makes_promises`: its tests are rows of the table that
    `portico.testing.promises` shows.
    """

    makes_promises = True
    machine_examples = 25
    fault_stride = 1
    ports_need_networks = True

    def medium(self) -> Medium:
        """Return a fresh medium with nothing on it."""
        raise NotImplementedError

    def fit(self, world: World) -> World:
        """Return a world as the backend's admission lets it be."""
        return world

    def prepared(self, *more: Edit) -> World:
        """Return `example_world` as the backend's admission lets it be."""
        return self.fit(example_world(*more))

    def fresh(self, world: World) -> Mapping[str, object]:
        """Return what a world comes to on an empty medium."""
        medium = self.medium()
        sync(medium, medium.make(), world.snapshot())
        return medium.peek()

    @FEW
    @given(strategies.worlds())
    def test_sync_twice_changes_nothing(self, world: World) -> None:
        world = self.fit(world)
        medium = self.medium()
        backend = medium.make()
        sync(medium, backend, world.snapshot())
        before, writes = dict(medium.peek()), medium.faults.writes
        sync(medium, backend, world.snapshot())
        assert dict(medium.peek()) == before
        assert medium.faults.writes == writes

    @FEW
    @given(strategies.worlds(), st.randoms(use_true_random=False))
    def test_the_order_of_objects_is_irrelevant(self, world: World, random: Random) -> None:
        world = self.fit(world)
        shuffled = World()
        for resource in RESOURCES:
            rows = list(world.rows[resource].items())
            random.shuffle(rows)
            shuffled.rows[resource].update(rows)
        assert differences(self.fresh(shuffled), self.fresh(world)) == {}

    @FEW
    @given(strategies.worlds(), strategies.batches(4))
    def test_dirty_equals_everything(self, world: World, batches: list[list[Edit]]) -> None:
        world = self.fit(world)
        medium = self.medium()
        backend = medium.make()
        want = world.snapshot()
        sync(medium, backend, want)
        for batch in batches:
            sync(medium, backend, want, change(world, want, batch))
        assert differences(medium.peek(), self.fresh(world)) == {}

    def test_removing_what_is_absent_is_silent(self) -> None:
        medium = self.medium()
        backend = medium.make()
        world = self.prepared()
        changed = {resource: frozenset(rows) for resource, rows in world.rows.items()}
        sync(medium, backend, Snapshot())
        before = dict(medium.peek())
        for _ in range(2):
            sync(medium, backend, Snapshot(), Dirty(ids=changed))
            sync(medium, backend, Snapshot())
            assert dict(medium.peek()) == before

    @FEW
    @given(strategies.worlds(), strategies.batches(3))
    def test_a_new_instance_converges_and_sweeps(self, world: World, batches: list[list[Edit]]) -> None:
        world = self.fit(world)
        medium = self.medium()
        sync(medium, medium.make(), world.snapshot())
        for batch in batches:
            world.apply(*batch)
        sync(medium, medium.make(), world.snapshot())
        assert differences(medium.peek(), self.fresh(world)) == {}

    def test_a_new_instance_with_nothing_to_do_writes_nothing_into_the_network(self) -> None:
        medium = self.medium()
        sync(medium, medium.make(), self.prepared().snapshot())
        before = dict(medium.peek())
        sync(medium, medium.make(), self.prepared().snapshot())
        assert dict(medium.peek()) == before

    def test_foreign_objects_survive(self) -> None:
        medium = self.medium()
        foreign = medium.plant()
        assert foreign
        before = {key: medium.peek()[key] for key in foreign}
        sync(medium, medium.make(), self.prepared().snapshot())
        sync(medium, medium.make(), Snapshot())
        assert {key: medium.peek().get(key) for key in foreign} == before

    @pytest.mark.parametrize("number", range(12))
    def test_converges_after_corruption(self, number: int) -> None:
        medium = self.medium()
        backend = medium.make()
        world = self.prepared()
        sync(medium, backend, world.snapshot())
        before = dict(medium.peek())
        medium.corrupt(number)
        assert dict(medium.peek()) != before
        sync(medium, backend, world.snapshot())
        assert dict(medium.peek()) == before

    @pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
    def test_converges_after_a_fault_at_each_step(self, *, deadly: bool) -> None:
        edits = (Drop("port", 0), PutPort(1, 1, groups=(1,)), PutPort(5, 0, groups=(0,)), Drop("network", 1),
                 PutRule(3, 1, remote_group=1), PutNetwork(2), PutSubnet(2, 4), PutPort(6, 2))  # fmt: skip
        expected = self.fresh(self.prepared(*edits))
        self.strike(self.prepared, lambda world, want: change(world, want, edits), expected, lambda _: deadly)

    def strike(
        self,
        make: Callable[[], W],
        edit: Callable[[W, Snapshot], Dirty],
        expected: Mapping[str, object],
        deadly: Callable[[int], bool],
    ) -> None:
        """Check that an edit of a world comes to what is expected after a fault at each write, told by its number."""
        number, struck = 0, True
        while struck:
            number += self.fault_stride
            medium = self.medium()
            backend, world = medium.make(), make()
            want = world.snapshot()
            sync(medium, backend, want)
            dirty = edit(world, want)
            medium.faults.arm(number, deadly=deadly(number))
            try:
                sync(medium, backend, want, dirty)
            except Crash:
                backend = medium.make()
            struck = medium.faults.disarm()
            sync(medium, backend, want)
            assert differences(medium.peek(), expected) == {}, f"fault at write {number}"
        assert number > 1

    def test_one_bad_object_stops_no_other(self) -> None:
        world = self.prepared()
        bad = next(iter(world.rows["port"]))
        medium = self.medium()
        medium.faults.refused.add(bad)
        statuses = sync(medium, medium.make(), world.snapshot())
        states = {port_id: status.state for port_id, status in statuses.items()}
        assert states.pop(bad) == "ERROR"
        assert statuses[bad].reason
        assert set(states.values()) == {"ACTIVE"}
        medium.faults.refused.clear()
        statuses = sync(medium, medium.make(), world.snapshot())
        assert statuses[bad].state == "ACTIVE"
        assert differences(medium.peek(), self.fresh(world)) == {}

    def test_active_only_after_read_back(self) -> None:
        world = self.prepared()
        lost = next(iter(world.rows["port"]))
        medium = self.medium()
        medium.faults.lost.add(lost)
        statuses = sync(medium, medium.make(), world.snapshot())
        assert statuses[lost].state != "ACTIVE"
        assert statuses[lost].reason

    def test_every_bound_port_becomes_active_and_no_other(self) -> None:
        world = self.prepared(PutPort(5, 0, host=""))
        medium = self.medium()
        statuses = sync(medium, medium.make(), world.snapshot())
        for port_id, row in world.rows["port"].items():
            if row["device_owner"] != DHCP_OWNER:
                is_active = port_id in statuses and statuses[port_id].state == "ACTIVE"
                assert is_active == bool(row["binding:host_id"])

    def test_a_blocked_port_names_its_network(self) -> None:
        world = self.prepared()
        network_id = world.rows["port"][next(iter(world.rows["port"]))]["network_id"]
        medium = self.medium()
        medium.faults.refused.add(network_id)
        statuses = sync(medium, medium.make(), world.snapshot())
        for port_id, row in world.rows["port"].items():
            if row["network_id"] == network_id and row["device_owner"] != DHCP_OWNER:
                assert (statuses[port_id].state == "ACTIVE") != self.ports_need_networks
                assert not self.ports_need_networks or network_id[:11] in statuses[port_id].reason

    @pytest.mark.parametrize("feature", sorted(FEATURES))
    def test_what_is_not_declared_is_refused(self, feature: str) -> None:
        backend = self.medium().make()
        for request in asking.for_feature(feature):
            if feature in backend.describe().features:
                backend.admit(Snapshot(), request.change)
            else:
                with pytest.raises(Unsupported) as caught:
                    backend.admit(Snapshot(), request.change)
                assert request.attribute in caught.value.message
                assert feature in caught.value.message

    def test_a_changed_policy_reaches_the_ports_that_have_it(self) -> None:
        medium = self.medium()
        backend = medium.make()
        if {f"qos-{kind}" for kind in ("bandwidth-limit", "packet-rate-limit")} - backend.describe().features:
            return
        world = self.prepared()
        ports, networks = world.rows["port"].values(), [*world.rows["network"].values()]
        next(port for port in ports if port["device_owner"] != DHCP_OWNER)["qos_policy_id"] = "own"
        for number, network in enumerate(networks):
            network["qos_policy_id"] = "whole" if number else ""
        world.rows["policy"] |= {"own": policy_row("own", 1000), "whole": policy_row("whole", 2000)}
        sync(medium, backend, world.snapshot())
        before = dict(medium.peek())
        assert differences(before, self.fresh(world)) == {}
        for policy_id in ("own", "whole"):
            world.rows["policy"][policy_id] = policy_row(policy_id, 3000)
            sync(medium, backend, world.snapshot(), Dirty(ids={"policy": frozenset({policy_id})}))
            after = dict(medium.peek())
            assert differences(before, after) != {}
            assert differences(after, self.fresh(world)) == {}
            before = after

    def test_a_changed_trunk_reaches_its_subports(self) -> None:
        medium = self.medium()
        backend = medium.make()
        if "trunks" not in backend.describe().features:
            return
        world = self.prepared(PutPort(6, 1, groups=(0,), plug="tap"))
        trunk, subport = (world.rows["port"][object_id("port", number)] for number in (4, 6))
        trunk["trunk_id"] = subport["trunk_id"] = "t"
        seen: list[dict[str, object]] = []
        for vlan in (7, 8):
            item = {"port_id": subport["id"], "segmentation_type": "vlan", "segmentation_id": vlan}
            world.rows["trunk"]["t"] = {"id": "t", "port_id": trunk["id"], "sub_ports": [item]}
            dirty = Dirty(ids={"trunk": frozenset({"t"})}) if seen else ALL
            told = sync(medium, backend, world.snapshot(), dirty)
            seen.append(dict(medium.peek()))
            assert differences(seen[-1], self.fresh(world)) == {}
        assert differences(*seen) != {}
        assert told[subport["id"]].state == "ACTIVE"

    def test_the_declared_mtu_is_the_limit(self) -> None:
        backend = self.medium().make()
        most = backend.describe().max_mtu
        backend.admit(Snapshot(), asking.for_network(mtu=most))
        with pytest.raises(Unsupported, match=f"mtu {most + 1} "):
            backend.admit(Snapshot(), asking.for_network(mtu=most + 1))

    def test_a_port_is_bound_as_it_asks(self) -> None:
        medium = self.medium()
        backend = medium.make()
        for plug in {"tap", "veth"} & backend.describe().features:
            want = self.prepared(PutPort(7, 0, plug=plug)).snapshot()
            port = next(port for port in want.ports.values() if port.plug == plug)
            binding = backend.bind(port, HOSTS[0])
            assert binding == backend.bind(port, HOSTS[0])
            assert isinstance(binding, Binding) and binding.vif_type in (plug, UNBOUND)
            if binding.vif_type == UNBOUND:  # a status tells what it is, as soon as somebody else has decided
                told = sync(medium, backend, want)[port.id]
                assert told.binding is not None and told.binding.vif_type == plug

    def test_declarations_are_known_words(self) -> None:
        capabilities = self.medium().make().describe()
        assert capabilities.features <= FEATURES
        assert capabilities.network_types

    def test_a_moved_dhcp_server_leaves_ports_active(self) -> None:
        world = self.prepared()
        medium = self.medium()
        backend = medium.make()
        want = world.snapshot()
        before = sync(medium, backend, want)
        sync(medium, backend, want, change(world, want, [MoveServer(0)]))
        after = sync(medium, backend, want)
        assert {key: after[key].state for key in after if key in before} == {k: s.state for k, s in before.items()}
        assert differences(medium.peek(), self.fresh(world)) == {}

    @FEW
    @given(strategies.worlds())
    @example(example_world())
    @example(overlapping_world())
    def test_reachability_equals_the_oracle(self, world: World) -> None:
        world = self.fit(world)
        medium = self.medium()
        sync(medium, medium.make(), world.snapshot())
        assert disagreements(medium, world.snapshot(), most=120) == []

    def test_reachability_equals_the_oracle_whatever_happens(self) -> None:
        """Without shrinking, which takes minutes here: add `Phase.shrink` for the shortest story of a failure."""
        run_state_machine_as_test(
            lambda: BackendMachine(self.medium(), self.fit),  # type: ignore[arg-type]  # any callable will do, says its documentation
            settings=settings(
                FEW, max_examples=self.machine_examples, stateful_step_count=12, phases=(Phase.reuse, Phase.generate)
            ),
        )


def change(world: World, want: Snapshot, edits: list[Edit] | tuple[Edit, ...]) -> Dirty:
    """Make edits in a world, bring `want` up to date, and return the hint that the broker would give."""
    changed = world.apply(*edits)
    world.update(want, changed)
    return Dirty(ids={resource: frozenset(ids) for resource, ids in changed.items()})
