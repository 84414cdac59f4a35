# SPDX-License-Identifier: Apache-2.0
"""The conformance suite of services that other packages bring: model, backend and driver, on a real kernel. Needs root.

class TestMine(ServiceSuite):
    resource = "mine"

    def rows(self, ports: Sequence[str]) -> list[dict[str, Any]]:
        return [{"port_id": ports[0]}, {"port_id": ports[1]}]

    def peek(self) -> object:
        return self.run("...")

Backend and driver are those that the package's entry points name. Docs: docs/write-a-backend.md.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import entry_points
from random import Random
from typing import Any

import pytest

from portico.agent import netlink, owner
from portico.agent.delta import Delta, Driver, Trouble, Wanted
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.link import BridgeDriver, LinkTable, PairDriver
from portico.agent.links import Links
from portico.agent.loop import Loop
from portico.agent.packages import Missing, PackageDriver
from portico.backends.bridge import BridgeBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend, Change, Dirty, ObjectStatus
from portico.errors import Unsupported
from portico.hoststate import Status, Update
from portico.model.load import load
from portico.model.snapshot import Snapshot
from portico.testing.faults import Crash, Faults, Outcome
from portico.testing.lab import Lab, LabHost
from portico.testing.world import HOSTS, PutNetwork, PutPort, World, object_id

ALL = Dirty(everything=True)
PATIENCE_S = 20.0
PORTS = 4

_STATES = {"active": "ACTIVE", "waiting": "DOWN", "error": "ERROR"}


@cache
def _installed(group: str, name: str) -> Any:
    [found] = entry_points(group=group, name=name)
    return found.load()


@cache
def _defaults(resource: str) -> dict[str, Any]:
    return {one.name: one.default for one in load().resources[resource].attributes.values() if one.column}


class Faulty:
    """A driver whose writes, one for each key, may fail."""

    def __init__(self, driver: Driver, faults: Faults) -> None:
        self._driver = driver
        self._faults = faults

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See `Driver`."""
        return self._driver.plan(wanted, keys)

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See `Driver`."""
        return self._driver.read(keys)

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See `Driver`."""
        troubles: dict[str, Trouble] = {}
        for key in [*delta.gone, *delta.put]:
            outcome = self._faults.write(key)
            if outcome is Outcome.REFUSED:
                troubles[key] = Trouble("refused by the test")
            elif outcome is Outcome.DONE:
                put = {key: delta.put[key]} if key in delta.put else {}
                before = {key: delta.before[key]} if key in delta.before else {}
                troubles |= self._driver.apply(Delta(put, [key] if key in delta.gone else [], before))
        return troubles


class Site:
    """One host of a lab with ports on it, and on top a backend and an agent that may be killed."""

    def __init__(self, ours: LabHost, host: LabHost, resource: str) -> None:
        self.faults = Faults()
        self._ours, self._host, self._resource = ours, host, resource
        self._netns = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
        places = ((ours, netlink.ROUTE), (host, netlink.ROUTE), (ours, netlink.NETFILTER))
        self._sockets = [place.call(partial(netlink.Socket, protocol)) for place, protocol in places]
        self._now_s = 0.0
        self.start()

    def close(self) -> None:
        """Leave nothing on the host."""
        self.start()
        self.sync(Snapshot())
        os.close(self._netns)
        for socket in self._sockets:
            socket.close()

    def start(self) -> None:
        """Start backend and agent without memory; those before are as good as killed."""
        make, driver = (_installed(group, self._resource) for group in ("portico.backends", "portico.drivers"))
        self._states = HostStates()
        self.backend: Backend = make(self._states, "")
        self._bridges = BridgeBackend(self._states)
        self._statuses: dict[str, ObjectStatus] = {}
        self._updates: list[Update] = []
        self._states.follow(HOSTS[0], self._updates.append)
        ours, theirs, netfilter = self._sockets
        table, conntrack = LinkTable(Links(ours)), Conntrack(netfilter)
        package = PackageDriver(self._resource, lambda: lambda: Faulty(driver(), self.faults))
        pairs = PairDriver(table, Links(theirs), self._netns, "portico")
        drivers: list[Driver] = [BridgeDriver(table, conntrack), pairs, package, Missing({self._resource})]
        self._loop = Loop(drivers, clock=lambda: self._now_s, report=self._take_report)

    def sync(self, want: Snapshot, dirty: Dirty = ALL) -> Mapping[str, ObjectStatus]:
        """Have backend and agent do what is wanted, and return the newest statuses of the service's objects by id."""
        for _ in self._bridges.sync(want, dirty):
            pass
        self._statuses |= {item.id: item for item in self.backend.sync(want, dirty)}
        self._states.publish(1)
        self._ours.call(self._settle)
        return dict(self._statuses)

    def look_again(self) -> None:
        """Have the agent compare everything with the kernel, as it does from time to time."""
        self._loop.suspect()
        self._ours.call(self._settle)

    def _settle(self) -> None:
        for update in self._updates:
            self._loop.accept(update)
        self._updates.clear()
        until_s = self._now_s + PATIENCE_S
        self._loop.step()
        while (wait_s := self._loop.next_s()) is not None and self._now_s + wait_s < until_s:
            self._now_s += wait_s
            self._loop.step()

    def _take_report(self, _revision: int, statuses: Collection[Status]) -> None:
        for item in statuses:
            kind, _, its_id = item.key.partition("/")
            if kind == self._resource and item.state in _STATES:
                status = ObjectStatus(kind, its_id, _STATES[item.state], item.reason)
                self._statuses[its_id] = status


class ServiceSuite:
    """What every service must keep. `makes_promises`: see `BackendSuite`."""

    makes_promises = True
    resource: str

    def rows(self, ports: Sequence[str]) -> list[dict[str, Any]]:
        """Return the attributes of two objects or more that can be there together, on ports of one host."""
        raise NotImplementedError

    def refused(self, _ports: Sequence[str]) -> list[dict[str, Any]]:
        """Return attributes that admission must refuse when the first of `rows` has them instead of its own."""
        return []

    def peek(self) -> object:
        """Return what is really there, comparable, with what is foreign; seen in the agent's namespace."""
        raise NotImplementedError

    def plant(self) -> None:
        """Put something foreign beside what is ours, of the same kind; by default nothing."""

    def spoil(self) -> None:
        """Remove or change something of ours behind the driver's back."""
        raise NotImplementedError

    def run(self, *argv: str) -> str:
        """Run a command in the agent's namespace and return what it writes."""
        return self._ours.run(argv).out

    def links(self) -> list[str]:
        """Return the agent's ends of the ports' links."""
        return [owner.port_link(port) for port in self._ports]

    @pytest.fixture(scope="class")
    @classmethod
    def hosts(cls) -> Iterator[tuple[LabHost, LabHost]]:
        with Lab() as lab:
            yield lab.host("ours"), lab.host("host")

    @pytest.fixture(autouse=True)
    def place(self, hosts: tuple[LabHost, LabHost]) -> Iterator[None]:
        self._ours = hosts[0]
        self._ports = [object_id("port", number) for number in range(PORTS)]
        self._site = Site(*hosts, self.resource)
        yield
        self._site.close()

    def world(self, *numbers: int, ports: Sequence[int] = range(PORTS), seed: int = 0) -> Snapshot:
        """Return what is wanted: ports on one host, and the objects with these numbers."""
        world = World()
        world.apply(PutNetwork(0), *(PutPort(number, 0) for number in ports))
        placed = [(name, row) for name, rows in world.rows.items() for row in rows.values()]
        placed += [(self.resource, self.row(number)) for number in numbers]
        Random(seed).shuffle(placed)
        want = Snapshot()
        for name, row in placed:
            want.put(name, row)
        return want

    def row(self, number: int) -> dict[str, Any]:
        """Return an object as the store has it."""
        given = self.rows(self._ports)[number]
        return {
            **_defaults(self.resource),
            "project_id": "red",
            **given,
            "id": f"{number + 0xA0:08x}-0000-4000-8000-000000000000",
        }

    def fresh(self, want: Snapshot) -> object:
        """Return what a world comes to where there was nothing."""
        self._site.start()
        self._site.sync(Snapshot())
        self._site.sync(want)
        return self.peek()

    def test_objects_come_become_active_and_go(self) -> None:
        nothing = self.fresh(self.world())
        statuses = self._site.sync(self.world(0, 1))
        assert {status.state for status in statuses.values()} == {"ACTIVE"} and len(statuses) == 2
        there = self.peek()
        assert there != nothing
        self._site.sync(self.world(1))
        assert self.peek() not in (there, nothing)
        for _ in range(2):
            self._site.sync(self.world())
            assert self.peek() == nothing

    def test_a_second_sync_changes_nothing_and_the_order_of_objects_is_irrelevant(self) -> None:
        there = self.fresh(self.world(0, 1))
        writes = self._site.faults.writes
        self._site.sync(self.world(0, 1, seed=1))
        self._site.look_again()
        assert (self.peek(), self._site.faults.writes) == (there, writes)

    def test_a_hint_leads_where_everything_does(self) -> None:
        expected = self.fresh(self.world(1))
        self.fresh(self.world(0))
        ids = {self.resource: frozenset(self.row(number)["id"] for number in (0, 1))}
        self._site.sync(self.world(1), Dirty(ids=ids))
        assert self.peek() == expected

    def test_a_new_instance_converges_and_sweeps(self) -> None:
        expected = self.fresh(self.world(1))
        self.fresh(self.world(0))
        self._site.start()
        self._site.sync(self.world(1))
        assert self.peek() == expected

    def test_what_is_foreign_survives(self) -> None:
        self.fresh(self.world())
        self.plant()
        before = self.peek()
        self._site.sync(self.world(0))
        self._site.sync(self.world())
        assert self.peek() == before

    def test_what_a_stranger_spoils_is_mended(self) -> None:
        before = self.fresh(self.world(0, 1))
        self.spoil()
        assert self.peek() != before
        self._site.look_again()
        assert self.peek() == before

    @pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
    def test_it_converges_after_a_fault_at_each_step(self, *, deadly: bool) -> None:
        expected = self.fresh(self.world(1))
        number, struck = 0, True
        while struck:
            number += 1
            self.fresh(self.world(0))
            self._site.faults.arm(number, deadly=deadly)
            try:
                self._site.sync(self.world(1))
            except Crash:
                self._site.start()
            struck = self._site.faults.disarm()
            self._site.sync(self.world(1))
            assert self.peek() == expected, f"fault at write {number}"
        assert number > 1

    def test_one_bad_object_stops_no_other_and_active_is_what_was_read_back(self) -> None:
        for kind in (self._site.faults.refused, self._site.faults.lost):
            self.fresh(self.world())
            kind.add(self.row(0)["id"])
            statuses = self._site.sync(self.world(0, 1))
            bad, good = (statuses[self.row(number)["id"]] for number in (0, 1))
            assert good.state == "ACTIVE"
            assert bad.state != "ACTIVE" and bad.reason
            kind.clear()
            self._site.look_again()
            assert self._site.sync(self.world(0, 1))[bad.id].state == "ACTIVE"

    def test_without_its_ports_it_is_not_active_and_says_why(self) -> None:
        self.fresh(self.world())
        status = self._site.sync(self.world(0, ports=()))[self.row(0)["id"]]
        assert status.state != "ACTIVE" and status.reason

    def test_it_comes_back_with_its_ports(self) -> None:
        before = self.fresh(self.world(0))
        self._site.sync(self.world(0, ports=()))
        self._site.sync(self.world(0))
        assert self.peek() == before

    def test_admission_takes_the_rows_and_refuses_the_refused(self) -> None:
        want = self.world()
        admit = partial(self._site.backend.admit, want)
        for number in range(len(self.rows(self._ports))):
            admit(Change(self.resource, None, self.row(number)))
        for more in self.refused(self._ports):
            with pytest.raises(Unsupported):
                admit(Change(self.resource, None, {**self.row(0), **more}))

    def test_the_backend_declares_its_service(self) -> None:
        able = self._site.backend.describe()
        assert self.resource in able.services and not able.network_types
