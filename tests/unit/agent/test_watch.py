# SPDX-License-Identifier: Apache-2.0
"""BIRD's configuration for a router's next hops, and what the driver does when it fails."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec import structs
from tests.unit.agent.bird_host import BirdHost

from portico.agent import bird, owner, watch
from portico.agent.delta import Trouble
from portico.agent.drivers.watch import WatchDriver
from portico.agent.speaker import Bird
from portico.agent.watchers import Watchers
from portico.hoststate import Router
from portico.hoststate.l3 import Leg, Way
from portico.testing.fakebird import BirdMachine, FakeBird
from portico.testing.faults import Crash

LEGS = tuple(Leg(name, name, f"02:00:00:00:00:0{name}", 1450, (), outside=True) for name in "12")
HOPS = (("1", "203.0.113.254"), ("2", "198.51.100.254"), ("2", "2001:db8:2::fe"))
WAYS = tuple(Way("::/0" if ":" in hop else "0.0.0.0/0", hop, name) for name, hop in HOPS)
ROUTER = Router("1ccccccc-0000-4000-8000-000000000000", LEGS, watched=WAYS)
NAMES = {"1": "plone", "2": "pl-two"}


def config(router: Router) -> str:
    return watch.config(router, NAMES, "/run/bfd")


def statics(text: str) -> list[str]:
    return re.findall(r"^protocol static { (.*) }$", text, re.MULTILINE)


def test_the_first_next_hop_that_lives_is_taken_or_all() -> None:
    one, two = "via 203.0.113.254%'plone' bfd", "via 198.51.100.254%'pl-two' bfd"
    six = "via 2001:db8:2::fe%'pl-two' bfd"
    last = f"ipv6 {{ preference 200; }}; route ::/1 {six}; route 8000::/1 {six};"
    assert statics(config(ROUTER)) == [
        f"ipv4 {{ preference 200; }}; route 0.0.0.0/1 {one}; route 128.0.0.0/1 {one};",
        f"ipv4 {{ preference 199; }}; route 0.0.0.0/1 {two}; route 128.0.0.0/1 {two};",
        last,
    ]
    both = f"{one} {two}"
    assert statics(config(structs.replace(ROUTER, spreads=True))) == [
        f"ipv4 {{ preference 200; }}; route 0.0.0.0/1 {both}; route 128.0.0.0/1 {both};",
        last,
    ]


def test_a_configuration_tells_whose_it_is_and_differs_from_others() -> None:
    texts = [config(ROUTER), config(structs.replace(ROUTER, spreads=True)), config(structs.replace(ROUTER, watched=()))]
    assert len({bird.digest(text) for text in texts} - {""}) == 3 and statics(texts[2]) == []
    assert [watch.router_of(text) for text in (*texts, "")] == [*[ROUTER.router_id] * 3, ""]


class FakeWatchers(Watchers):
    """The watch of one router, on a machine that may fail."""

    def __init__(self, machine: BirdMachine) -> None:
        self._bird = FakeBird(machine)

    def known(self) -> set[str]:
        """See Watchers."""
        return {owner.short(ROUTER.router_id)} if self._bird.is_known() else set()

    def files(self, short: str) -> Path:
        """See Watchers."""
        return Path("/run/bfd") / short

    def of(self, _short: str) -> Bird:
        """See Watchers."""
        return self._bird

    def remove(self, _short: str) -> None:
        """See Watchers."""
        self._bird.remove()


def host_of_watch() -> BirdHost:
    return BirdHost(lambda machine: WatchDriver(FakeWatchers(machine)))


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
@pytest.mark.parametrize("spreads", [True, None], ids=["changed", "gone"])
def test_whatever_fails_meanwhile_it_ends_as_wanted(*, spreads: bool | None, deadly: bool) -> None:
    wanted = structs.replace(ROUTER, spreads=True) if spreads else structs.replace(ROUTER, watched=())
    number, struck = 0, True
    while struck:
        number += 1
        host = host_of_watch()
        assert host.work(ROUTER) == {}
        host.machine.faults.arm(number, deadly=deadly)
        with suppress(Crash):
            host.work(wanted)
        host.restart()
        struck = host.machine.faults.disarm()
        assert host.work(wanted) == {}
        before = host.machine.process
        assert host.work(wanted) == {} and host.machine.process == before
        assert (before is not None) == bool(spreads) and host.machine.learnt == bool(spreads)
        assert before is None or "preference 199" not in before[1]
    assert number > 2


def test_a_host_without_bird_and_a_next_hop_that_is_none_are_told() -> None:
    host = host_of_watch()
    host.machine.is_there = False
    words = "watch of next hops: BIRD is not installed (package bird2)"
    assert host.work(ROUTER) == {ROUTER.key: Trouble(words)}
    bad = structs.replace(ROUTER, watched=(Way("0.0.0.0/0", "nobody", "1"),))
    words = "watch of next hops: nexthop 'nobody' is not an IPv4 or IPv6 address"
    assert host.work(bad) == {ROUTER.key: Trouble(words)}
