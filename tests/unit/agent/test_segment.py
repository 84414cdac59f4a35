# SPDX-License-Identifier: Apache-2.0
"""Networks on a physical one, on a kernel that fails when told to, under the agent's own loop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from portico.agent import owner
from portico.agent.drivers.link import BridgeDriver, LinkTable
from portico.agent.drivers.segment import SegmentDriver
from portico.agent.links import Link
from portico.agent.loop import Loop
from portico.hoststate import Bridge, Status, Update
from portico.testing.fakejoins import FakeTags
from portico.testing.fakekernel import DESCRIPTOR, HOST, OURS, FakeConntrack, FakeKernel, FakeLinks
from portico.testing.fakeroutes import side
from portico.testing.faults import Crash, Faults

FLAT = Bridge("aaaaaaaa-0000-4000-8000-000000000001", 1450, "lab")
TAGGED = Bridge("bbbbbbbb-0000-4000-8000-000000000002", 1450, "lab", 7)
INTERFACES = {"lab": "eth1"}


class Site:
    """A host in memory with an interface that is down, and the agent's loop on it."""

    def __init__(self, interfaces: dict[str, str] = INTERFACES) -> None:
        self.kernel = FakeKernel(Faults())
        self.host = self.kernel.namespaces[HOST]
        self.host["eth1"] = Link(next(self.kernel.indexes), "eth1", "", "", "", 1500, 0, up=False)
        self.now_s = 0.0
        self.statuses: dict[str, Status] = {}
        self.start(interfaces)

    def start(self, interfaces: dict[str, str] = INTERFACES) -> None:
        """Start an agent without memory."""
        table = LinkTable(FakeLinks(self.kernel, OURS))
        tags = FakeTags(self.kernel)
        segments = SegmentDriver(table, side(self.kernel, HOST), tags, DESCRIPTOR, OURS, interfaces)
        self.loop = Loop(
            [BridgeDriver(table, FakeConntrack()), segments], clock=lambda: self.now_s, report=self._report
        )

    def _report(self, _revision: int, statuses: object) -> None:
        self.statuses |= {status.key: status for status in statuses}  # type: ignore[attr-defined]

    def want(self, *items: Bridge) -> None:
        """Want exactly these, and let the agent work until nothing is left to be tried again soon."""
        self.loop.accept(Update(1, items, complete=True))
        until_s = self.now_s + 5.0
        self.loop.step()
        while (wait_s := self.loop.next_s()) is not None and self.now_s + wait_s < until_s:
            self.now_s += wait_s
            self.loop.step()

    def state(self) -> object:
        """Return all that a person could see, without indexes."""
        names = {link.index: link.name for links in self.kernel.namespaces.values() for link in links.values()}
        return (
            sorted(
                (str(replace(link, index=0, master=0)), str(names.get(link.master)), link.index in self.kernel.isolated)
                for links in self.kernel.namespaces.values()
                for link in links.values()
            ),
            {(names.get(tap), vlan): names.get(target) for (tap, vlan), target in self.kernel.untagged.items()},
            {names.get(index): (vlan, names.get(target)) for index, (vlan, target) in self.kernel.tagged.items()},
        )


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
def test_a_fault_at_any_write_is_mended_and_the_interface_given_back(*, deadly: bool) -> None:
    whole = Site()
    before = whole.host["eth1"]
    whole.want(FLAT, TAGGED)
    assert {status.state for status in whole.statuses.values()} == {"active"} and len(whole.statuses) == 2
    assert whole.host["eth1"] == replace(before, up=True, promiscuous=True)
    number, struck = 0, True
    while struck:
        number += 1
        site = Site()
        site.kernel.faults.arm(number, deadly=deadly)
        for wanted in ((FLAT, TAGGED), (TAGGED,), ()):
            try:
                site.want(*wanted)
            except Crash:
                site.start()
                site.want(*wanted)
            if len(wanted) == 2:
                assert site.state() == whole.state(), number
        struck = site.kernel.faults.disarm()
        assert (site.host, site.kernel.untagged) == ({"eth1": before}, {}), number
    assert number > 20


def test_a_second_pass_and_a_new_agent_change_nothing() -> None:
    site = Site()
    site.want(FLAT, TAGGED)
    writes = site.kernel.faults.writes
    site.loop.suspect()
    site.want(FLAT, TAGGED)
    site.start()
    site.want(FLAT, TAGGED)
    assert site.kernel.faults.writes == writes


def test_what_an_interface_was_before_stays_and_what_is_anothers_is_refused() -> None:
    site = Site()
    site.host["eth1"] = shown = replace(site.host["eth1"], up=True, promiscuous=True, mtu=1400)
    site.want(TAGGED)
    assert site.statuses[f"bridge/{TAGGED.network_id}"].reason == (
        "interface eth1 has mtu 1400, and the network's is 1450"
    )
    site.want(replace_mtu(TAGGED), replace_mtu(FLAT))
    assert {status.state for status in site.statuses.values()} == {"active"}
    twin = Bridge("cccccccc-0000-4000-8000-000000000003", 1400, "lab", 7)
    site.want(replace_mtu(TAGGED), twin)
    taken = owner.segment_host_link(TAGGED.network_id)
    assert site.statuses[f"bridge/{twin.network_id}"].reason == f"interface eth1: VLAN 7 is led to {taken} already"
    site.want()
    assert site.host == {"eth1": shown}
    for change, rule in (
        ({"master": 9}, "is part of another link, which a flat network would take all frames without a tag from"),
        ({"alias": owner.alias("x", OURS)}, "is no link to a physical network"),
    ):
        site.host["eth1"] = replace(shown, **change)
        site.want(replace_mtu(FLAT))
        assert site.statuses[f"bridge/{FLAT.network_id}"].reason == f"interface eth1 {rule}"


def replace_mtu(item: Bridge) -> Bridge:
    return Bridge(item.network_id, 1400, item.physical_network, item.vlan)


def test_a_setting_that_is_gone_gives_the_interface_back_and_says_so() -> None:
    site = Site()
    before = site.host["eth1"]
    site.want(TAGGED)
    site.start({"attic": "eth2"})
    site.want(TAGGED)
    assert site.statuses[f"bridge/{TAGGED.network_id}"].reason == (
        "no physical network 'lab': agent.physical_networks has attic"
    )
    assert site.host["eth1"] == before and not site.kernel.untagged
