# SPDX-License-Identifier: Apache-2.0
"""What routed ports have at our end, and how often the kernel is asked for it."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import pytest

from portico.agent import links, owner
from portico.agent.drivers.route import NEAR
from portico.broker.hosts import HostStates
from portico.hoststate import ROUTED, Guard, HostObject, Source, Space, Status, Vif, key_of
from portico.testing.bridge_medium import FakeHost
from portico.testing.fakekernel import HOST, OURS
from portico.testing.faults import Faults

GUARD = Guard((Source("02:00:00:00:00:01", "192.0.2.1/32"),), ())
PORT = Vif("f1", ROUTED, "02:00:00:00:00:01", 1500, "pv-f1", guard=GUARD, routes=("192.0.2.1/32",))
SIXTH = msgspec.structs.replace(PORT, routes=("192.0.2.1/32", "2001:db8::1/128"))


class Site:
    """A host with a routed space in a kernel that is none."""

    def __init__(self) -> None:
        self._states = HostStates()
        self.told: list[Status] = []
        self.host = FakeHost(Faults(), lambda _, statuses: self.told.extend(statuses))
        self.host.start(self._states, "h1")
        self._revision = 0
        self.want(Space(1500))

    def want(self, *objects: HostObject, gone: Collection[str] = ()) -> None:
        self._revision += 1
        self._states.put("routed", "h1", objects, gone)
        self._states.publish(self._revision)
        self.host.settle()

    @property
    def hops(self) -> set[str]:
        """The next hops of IPv6 at the end of the port's link."""
        link = self.host.kernel.namespaces[OURS][owner.port_link("f1")]
        return {*self.host.kernel.addresses[link.index]} & {NEAR[1]}


@pytest.mark.parametrize(
    ("vif", "answers"),
    [
        (PORT, False),
        (SIXTH, True),
        (msgspec.structs.replace(PORT, guard=None), True),
        (msgspec.structs.replace(PORT, plug="tap", tap_name="tap-f1"), True),
        (msgspec.structs.replace(PORT, shared_routes=("2001:db8::2/128",)), True),
        (
            msgspec.structs.replace(PORT, guard=Guard((*GUARD.sources, Source(PORT.mac, "2001:db8:2::/64")), ())),
            True,
        ),
    ],
)
def test_the_next_hop_of_ipv6_is_answered_for_where_ipv6_may_come_from(vif: Vif, *, answers: bool) -> None:
    site = Site()
    site.want(vif)
    assert bool(site.hops) is answers
    assert set(site.host.kernel.routes[OURS]) >= set(vif.routes)
    site.host.suspect()
    site.host.settle()
    assert bool(site.hops) is answers, "the same when everything is looked at"


def test_a_port_that_gets_and_loses_ipv6_gets_and_loses_its_next_hop() -> None:
    site = Site()
    for vif, answers in ((PORT, False), (SIXTH, True), (PORT, False), (SIXTH, True)):
        site.want(vif)
        assert bool(site.hops) is answers
    # An agent before this one answered for every port.
    site.want(PORT)
    link = site.host.kernel.namespaces[OURS][owner.port_link("f1")]
    site.host.kernel.addresses[link.index].add(NEAR[1])
    site.host.suspect()
    site.host.settle()
    assert not site.hops


def test_a_port_without_addresses_that_may_send_nothing_has_no_routes_and_no_trouble() -> None:
    site = Site()
    silent = msgspec.structs.replace(PORT, guard=Guard((), ()), routes=())
    site.want(silent)
    assert [(one.key, one.state) for one in site.told[-1:]] == [(key_of(silent), "active")]


def test_the_link_between_the_namespaces_is_asked_for_once_as_long_as_it_is_the_same() -> None:
    site = Site()
    joint = owner.space_link(OURS)
    asked: list[str] = []
    there = site.host.kernel.namespaces[HOST]

    class Watched(dict[str, links.Link]):
        def get(self, name: str, *more: object) -> links.Link | None:  # type: ignore[override]
            asked.append(name)
            return super().get(name, *more)  # type: ignore[arg-type]

    site.host.kernel.namespaces[HOST] = Watched(there)
    ports = [
        msgspec.structs.replace(PORT, port_id=f"f{n}", link_name=f"pv-f{n}", routes=(f"192.0.2.{n}/32",))
        for n in range(2, 9)
    ]
    site.want(*ports)
    site.want(gone=[key_of(port) for port in ports])
    assert asked.count(joint) <= 1
    assert site.host.kernel.routes[HOST] == {}
