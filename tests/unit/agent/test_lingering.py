# SPDX-License-Identifier: Apache-2.0
"""What stays after a host's last port, and never in the way."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from msgspec.structs import replace

from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.loop import Loop
from portico.hoststate import ROUTED, Bridge, HostObject, Router, Space, Status, Update, Uplink, Vif, key_of
from portico.hoststate.l3 import Floating, Leg
from portico.testing.fakedrivers import FakeDrivers

NET = Bridge("n1", 1500)
OUTSIDE, UPLINK = Bridge("out", 1500), Uplink("out", 1500, ("100.64.0.1/16",))
ROUTER = Router(
    "r1",
    (
        Leg("l1", "n1", "00:00:5e:00:53:11", 1500, ("192.0.2.1/24",)),
        Leg("l2", "out", "00:00:5e:00:53:12", 1500, ("100.64.0.2/16",), outside=True),
    ),
    floating=(Floating("100.64.0.9", "l2", "192.0.2.5"),),
)
OTHER = Router(
    "r2",
    (Leg("l3", "out", "00:00:5e:00:53:13", 1500, ("100.64.0.3/16",), outside=True),),
    floating=(Floating("100.64.0.9", "l3", "198.51.100.5"),),
)
SPACE = Space(1500, way_out=True, masquerade=("198.51.100.0/24",))
SPACE_KEY = key_of(SPACE)
WAY_OUT = (NET, OUTSIDE, UPLINK, ROUTER)
WAY_OUT_KEYS = {"bridge/n1", "bridge/out", "uplink/out", "router/r1"}


class Agent:
    """A loop with a clock that is set by hand, and a driver that makes nothing and knows what it was to look at."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looked: set[str] = set()
        self.reports: list[tuple[int, dict[str, str]]] = []
        drivers = [*FakeDrivers().drivers(), self]
        self.loop = Loop(drivers, clock=lambda: self.now, report=self._report, linger_s=10)

    def _report(self, revision: int, statuses: Collection[Status]) -> None:
        self.reports.append((revision, {status.key: status.state for status in statuses}))

    def plan(self, _wanted: Wanted, _keys: Collection[str]) -> tuple[dict[str, object], dict[str, Trouble]]:
        return {}, {}

    def read(self, keys: Collection[str] | None) -> dict[str, object]:
        self.looked.update(keys or ())
        return {}

    def apply(self, _delta: Delta) -> dict[str, Trouble]:
        return {}

    def give(self, *objects: HostObject, gone: tuple[str, ...] = (), complete: bool = False, revision: int = 1) -> None:
        self.loop.accept(Update(revision, objects, gone, complete))
        self.loop.step()

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.loop.step()


def vif(number: int) -> Vif:
    return Vif(f"p{number}", "n1", "00:00:5e:00:53:01", 1500, f"pv{number}")


def test_a_router_on_a_physical_network_goes_at_once_for_another_host_may_have_it() -> None:
    agent = Agent()
    agent.give(NET, Bridge("out", 1500, "lab", 7), ROUTER, vif(1), complete=True)
    agent.give(gone=("vif/p1", "router/r1", "bridge/n1", "bridge/out"))
    assert agent.loop.wanted.objects.keys() == {"bridge/n1", "bridge/out"}


def test_the_way_out_stays_for_the_next_port_which_finds_it_as_it_was() -> None:
    agent = Agent()
    agent.give(*WAY_OUT, vif(1), complete=True)
    agent.give(gone=("vif/p1", *WAY_OUT_KEYS))
    agent.reports.clear()
    agent.looked.clear()
    agent.give(*WAY_OUT, vif(2), revision=7)
    assert agent.looked == {"vif/p2"}
    assert agent.reports == [(7, dict.fromkeys({"vif/p2", *WAY_OUT_KEYS}, "active"))]
    agent.give(gone=("vif/p2", *WAY_OUT_KEYS))
    agent.reports.clear()
    agent.give(*WAY_OUT)
    assert agent.reports == [(1, dict.fromkeys(WAY_OUT_KEYS, "active"))]
    agent.later(29)
    assert agent.loop.wanted.objects.keys() == WAY_OUT_KEYS


@pytest.mark.parametrize(
    ("gone", "coming", "left"),
    [
        (("router/r1",), (), {"bridge/n1", "bridge/out", "uplink/out", "vif/p1"}),
        (("uplink/out",), (), {"bridge/n1", "bridge/out", "router/r1", "vif/p1"}),
        (("vif/p1", *WAY_OUT_KEYS), (), WAY_OUT_KEYS),
        (("vif/p1", *WAY_OUT_KEYS), (NET, vif(2)), {"bridge/n1", "bridge/out", "uplink/out", "vif/p2"}),
        (("vif/p1", *WAY_OUT_KEYS), (replace(ROUTER, router_id="r2"),), WAY_OUT_KEYS - {"router/r1"} | {"router/r2"}),
        (("vif/p1", *WAY_OUT_KEYS), (OTHER,), WAY_OUT_KEYS - {"router/r1"} | {"router/r2"}),
        (("vif/p1", *WAY_OUT_KEYS), (replace(OTHER, floating=()),), WAY_OUT_KEYS | {"router/r2"}),
        (("vif/p1", *WAY_OUT_KEYS), (replace(UPLINK, network_id="b"),), WAY_OUT_KEYS - {"uplink/out"} | {"uplink/b"}),
        (("vif/p1", *WAY_OUT_KEYS), (Bridge("n2", 1500),), WAY_OUT_KEYS | {"bridge/n2"}),
    ],
)
def test_what_lingers_is_never_in_the_way(
    gone: tuple[str, ...], coming: tuple[HostObject, ...], left: set[str]
) -> None:
    agent = Agent()
    agent.give(*WAY_OUT, vif(1), complete=True)
    agent.give(gone=gone)
    agent.give(*coming)
    assert agent.loop.wanted.objects.keys() == left
    agent.later(11)
    assert agent.loop.wanted.objects.keys() == {
        key_of(item) for item in (*WAY_OUT, vif(1)) if key_of(item) not in gone
    } | {key_of(item) for item in coming}


@pytest.mark.parametrize(
    ("gone", "coming", "left"),
    [
        (("vif/p1", SPACE_KEY), (), {SPACE_KEY}),
        ((SPACE_KEY,), (), {"vif/p1"}),
        (("vif/p1", SPACE_KEY), (NET, vif(2)), {SPACE_KEY, "bridge/n1", "vif/p2"}),
        (("vif/p1", SPACE_KEY), (OUTSIDE, UPLINK), {"bridge/out", "uplink/out"}),
    ],
)
def test_the_routed_space_stays_after_its_last_port_until_something_leads_out_by_the_host(
    gone: tuple[str, ...], coming: tuple[HostObject, ...], left: set[str]
) -> None:
    agent = Agent()
    agent.give(SPACE, replace(vif(1), network_id=ROUTED), complete=True)
    agent.give(gone=gone)
    agent.give(*coming)
    assert agent.loop.wanted.objects.keys() == left
    agent.later(11)
    assert SPACE_KEY not in agent.loop.wanted.objects
