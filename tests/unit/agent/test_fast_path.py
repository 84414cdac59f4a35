# SPDX-License-Identifier: Apache-2.0
"""Which links the fast path joins and when it is armed, without a kernel."""

from __future__ import annotations

import errno
from collections.abc import Collection
from typing import Any

from msgspec import structs

from portico.agent import owner
from portico.agent.delta import Wanted, difference
from portico.agent.drivers.fast_path import FastPath, FastPathDriver, ports, ways
from portico.agent.drivers.link import LinkTable
from portico.agent.fast_path import hooks
from portico.agent.fast_path.hooks import Hooks
from portico.agent.fast_path.programs import Programs
from portico.agent.links import Link
from portico.agent.netlink import NetlinkError
from portico.agent.redirect import CLSACT_HANDLE, INGRESS, TCMSG
from portico.hoststate import Bridge, HostObject, Qos, Router, Space, Uplink, key_of
from portico.hoststate.l3 import Leg
from portico.hoststate.limit import Limit, Share
from portico.hoststate.metering import Meter
from portico.testing.fakekernel import OURS, FakeKernel, FakeLinks
from portico.testing.faults import Faults
from portico.testing.rig import NET_A, NET_B, port


class KnownHooks(Hooks):
    """Which links have the programs, without a kernel; those in `foreign` have other filters too."""

    def __init__(self) -> None:
        self.at: set[int] = set()
        self.foreign: set[int] = set()
        self.refuses = 0

    def put(self, index: int, *programs: int) -> None:
        assert len(programs) == 2
        if self.refuses:
            raise NetlinkError(self.refuses, "refused")
        self.at.add(index)

    def remove(self, indexes: Collection[int]) -> None:
        self.at -= set(indexes)

    def are_alone(self, index: int) -> bool:
        return index not in self.foreign


class KnownPrograms(Programs):
    """What the programs are told, without a kernel."""

    from_link, to_link = 3, 4

    def __init__(self) -> None:
        self.admitted: dict[int, int] = {}
        self.generations: list[int] = []
        self._links, self._numbers, self._generation, self.armed = 1, 2, 0, False

    def dismiss(self, index: int) -> None:
        self.admitted.pop(index, None)

    def _update(self, at: int, key: int, value: int) -> None:
        if at == self._links:
            self.admitted[key] = value
        else:
            self.generations.append(value)


class World:
    """The table of links, the fast path over it, and its two drivers, as the loop calls them."""

    def __init__(self, *names: str) -> None:
        self.table = LinkTable(FakeLinks(FakeKernel(Faults()), OURS))
        self.hooks, self.programs = KnownHooks(), KnownPrograms()
        self.fast_path = FastPath(self.table, self.hooks, self.programs)
        self.drivers = FastPathDriver(self.fast_path, ports), FastPathDriver(self.fast_path, ways)
        for name in names:
            self.add(name)

    def is_armed(self) -> bool:
        return self.programs.armed

    def add(self, name: str) -> int:
        """Have a link made, in the place of one of that name; return its index."""
        index = 1 + max((link.index for link in self.table.by_name.values()), default=0)
        self.table.by_name[name] = Link(index, name, "veth", "", "", 1500, 0, up=False)
        return index

    def want(self, *items: HostObject) -> dict[str, Any]:
        """Make one pass over all; return what the drivers then have under the keys of `items`."""
        wanted = Wanted()
        wanted.change(items, (), whole=True)
        found: dict[str, Any] = {}
        for driver in self.drivers:
            before = driver.read(None)
            planned, troubles = driver.plan(wanted, [key_of(item) for item in items])
            assert troubles == {}
            delta = difference(planned, before, {*planned, *before})
            assert driver.apply(delta) == {}
            found |= driver.read(planned.keys())
            assert all(found[key] == item for key, item in planned.items())
        self.fast_path.begin()
        return found


A, B = port(1), port(2)
LINK_A, LINK_B = (owner.port_link(vif.port_id) for vif in (A, B))


def test_every_link_that_leads_out_has_the_programs_also_what_nothing_is_known_of() -> None:
    world = World(LINK_A, LINK_B)
    assert world.fast_path.state() == "not armed yet"
    world.want(A)
    assert world.hooks.at == {1, 2} and world.programs.admitted == {1: A.mtu}
    assert world.is_armed() and world.fast_path.state() == "armed"
    world.want(A, B)
    assert world.programs.admitted == {1: A.mtu, 2: B.mtu}
    index = world.add(LINK_B)  # made anew by somebody: the old one's programs went with it
    world.want(A, B)
    assert world.hooks.at == {1, 2, index} and world.programs.admitted == {1: A.mtu, index: B.mtu}


def test_what_counts_packets_takes_no_part_but_has_the_programs() -> None:
    """Or what comes back by it would have the number of another one's note."""
    limited = structs.replace(B, qos=Qos(dscp=10))
    uplink, segment = Uplink(NET_A, 1400, (), ()), Bridge(NET_B, 1500, "physnet", 7)
    legs = [Leg(f"{number}leg0000-00", NET_A, "02:00:00:00:00:01", 1500, ()) for number in (1, 2)]
    shared = structs.replace(legs[0], shares=(Share("203.0.113.1", Limit(1000)),))
    router = Router("f0000000-0000-4000-8000-000000000001", (shared, legs[1]), ())
    leg_names = [owner.leg_link(leg.port_id) for leg in legs]
    names = [LINK_A, LINK_B, owner.uplink_link(NET_A), owner.segment_link(NET_B), owner.SPACE_LINK, *leg_names]
    world = World(*names)
    world.want(A, limited, uplink, segment, router, Space(1300))
    assert world.hooks.at == {1, 2, 3, 4, 5, 6} and world.programs.admitted == {1: A.mtu, 3: 1400, 5: 1300}
    world.want(A, limited, uplink, segment, router, Space(1300, shares=shared.shares))
    assert world.programs.admitted == {1: A.mtu, 3: 1400}
    outside = structs.replace(legs[1], outside=True)
    world.want(A, structs.replace(router, legs=(legs[0], outside), meters=(Meter("label", ()),)))
    assert world.hooks.at >= {7} and 7 not in world.programs.admitted
    assert world.is_armed()


def test_where_others_have_filters_all_take_the_long_way_until_that_is_known() -> None:
    world = World(LINK_A, LINK_B)
    world.want(A, B)
    world.hooks.foreign.add(2)
    world.fast_path.suspect({2})
    assert not world.is_armed() and world.programs.generations[-1] == 0
    world.want(A, B)
    assert world.is_armed() and world.programs.admitted == {1: A.mtu}
    world.fast_path.suspect()  # news were lost
    assert world.programs.admitted == {} and not world.is_armed()
    world.fast_path.begin()  # it may take a while until all is compared again
    assert world.programs.admitted == {} and world.is_armed()
    world.hooks.foreign.clear()
    world.want(A, B)
    assert world.programs.admitted == {1: A.mtu, 2: B.mtu}
    used = [number for number in world.programs.generations if number]
    assert len(used) == len(set(used)), "a flow of an old generation would be good again"


def test_what_an_agent_before_let_stand_is_looked_at_by_the_next_one() -> None:
    world = World(LINK_A)
    world.hooks.foreign.add(1)
    world.want(A)
    assert world.programs.admitted == {}
    world.table.by_name[LINK_B] = Link(2, LINK_B, "veth", "", "", 1500, 0, up=False)
    world.hooks.foreign.add(2)  # nobody asks of a link that this agent has seen come
    world.want(A, B)
    assert world.programs.admitted == {2: B.mtu}


def test_a_kernel_that_refuses_costs_speed_and_no_port_its_status() -> None:
    world = World(LINK_A)
    world.want(A)
    world.add(LINK_B)
    world.hooks.refuses = errno.EOPNOTSUPP
    world.want(A, B)
    assert not world.is_armed() and world.fast_path.state() == f"link {LINK_B}: refused"
    world.hooks.refuses = 0
    world.want(A, B)
    assert not world.is_armed()
    none = FastPath(world.table, world.hooks, None, "off")
    assert none.state() == "off"
    assert FastPathDriver(none, ports).plan(Wanted(), ["vif/x"]) == ({}, {})
    none.clear()
    assert world.hooks.at == set()


def test_its_own_news_are_known() -> None:
    hook = TCMSG.pack(0, 7, CLSACT_HANDLE, 0xFFFFFFF1, 0)
    own = TCMSG.pack(0, 7, 0x706F, INGRESS, hooks.FIRST << 16)
    other = TCMSG.pack(0, 7, 0x706F, INGRESS, 2 << 16)
    new_qdisc, new_filter, gone_filter = 36, 44, 45
    assert hooks.is_own(new_qdisc, hook) and hooks.is_own(new_filter, own)
    assert not hooks.is_own(new_filter, other) and not hooks.is_own(gone_filter, own)
