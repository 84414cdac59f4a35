# SPDX-License-Identifier: Apache-2.0
"""The agent's drivers keep their contract on a kernel that fails when told to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from portico.agent import owner
from portico.agent.delta import Delta, difference
from portico.agent.drivers.link import LinkTable, PairDriver, PairItem
from portico.agent.drivers.outlet import OutletDriver, OutletItem
from portico.agent.open_vswitch import OpenVswitch
from portico.testing.driver_suite import DriverFaultSuite, Site
from portico.testing.fakebird import BirdMachine, FakeBird
from portico.testing.fakejoins import FakeRedirects, FakeTags
from portico.testing.fakekernel import (
    DESCRIPTOR,
    HOST,
    OURS,
    FakeConntrack,
    FakeKernel,
    FakeLinks,
    FakeNetfilter,
    FakeNft,
    FakeShapers,
)
from portico.testing.fakeservers import FakeServers
from portico.testing.faults import Crash, Faults


class TestDriversOnAFakeKernel(DriverFaultSuite):
    def site(self) -> Site:
        faults = Faults()
        kernel = FakeKernel(faults)
        return Site(
            ours=FakeLinks(kernel, OURS),
            host=FakeLinks(kernel, HOST),
            host_netns=DESCRIPTOR,
            redirects=FakeRedirects(kernel),
            own_redirects=FakeRedirects(kernel),
            shapers=FakeShapers(kernel),
            tags=FakeTags(kernel),
            nft=FakeNft(kernel),
            netfilter=FakeNetfilter(kernel),
            conntrack=FakeConntrack(),
            servers=FakeServers(kernel),
            bird=FakeBird(BirdMachine(faults)),
            faults=faults,
            call=lambda action: action(),
        )


ALIASES = {owner.host_alias("portico", "f1"), owner.alias("f1", owner.MADE, "portico", "pvf1", "02:00:00:00:00:01")}


class TakenAtOnce(FakeLinks):
    """The host's links, of which somebody takes a port's end into a namespace of theirs when it is just looked for."""

    def change(self, name: str, **changes: Any) -> None:
        if name == "pvf1":
            self._kernel.namespaces[HOST].pop(name, None)
        super().change(name, **changes)


def test_a_link_that_is_taken_as_soon_as_it_is_there_stays() -> None:
    """Docker waits for it, too; one made anew in its place would be nobody's."""
    kernel = FakeKernel(Faults())
    ours = FakeLinks(kernel, OURS)
    driver = PairDriver(LinkTable(ours), TakenAtOnce(kernel, HOST), DESCRIPTOR, "portico")
    item = PairItem("pbf1", "f1", "pvf1", "02:00:00:00:00:01", "", 1500, "02:00:00:00:00:02")
    assert driver.apply(Delta(put={"vif/f1": item})) == {}
    found = ours.find("pbf1")
    assert found is not None and found.alias == owner.alias("f1", "pvf1", "02:00:00:00:00:01")


@pytest.mark.parametrize("number", [1, 2])
def test_an_agent_that_dies_while_it_changes_an_mtu_leaves_no_end_with_the_old_one(number: int) -> None:
    faults = Faults()
    kernel = FakeKernel(faults)
    ours, host = FakeLinks(kernel, OURS), FakeLinks(kernel, HOST)
    item = PairItem("pbf1", "f1", "pvf1", "02:00:00:00:00:01", "", 1500, "02:00:00:00:00:02")
    wanted = {"vif/f1": replace(item, mtu=1400)}

    def work(wanted: dict[str, Any]) -> None:
        table = LinkTable(ours)
        table.refresh()
        driver = PairDriver(table, host, DESCRIPTOR, "portico")
        assert driver.apply(difference(wanted, driver.read(None), wanted)) == {}

    work({"vif/f1": item})
    faults.arm(number, deadly=True)
    with pytest.raises(Crash):
        work(wanted)
    faults.disarm()
    work(wanted)
    ends = ours.find("pbf1"), host.find("pvf1")
    assert [end and end.mtu for end in ends] == [1400, 1400]


@pytest.mark.parametrize("deadly", [False, True], ids=["refused", "killed"])
def test_an_outlet_is_whole_after_a_fault_at_any_write(*, deadly: bool) -> None:
    item = OutletItem("dfar", made=True, bridge="brqfar", far="pvf1", mac="02:00:00:00:00:01", mtu=1500)
    steps = [{"outlet/f1": item}, {"outlet/f1": replace(item, bridge="brother", mtu=1400)}, {}]
    number, struck = 0, True
    while struck:
        number += 1
        faults = Faults()
        host = FakeLinks(FakeKernel(faults), HOST)
        for name in ("brqfar", "brother"):
            host.add_bridge(name, "02:00:00:00:00:03", 1500)
        faults.arm(number, deadly=deadly)
        for wanted in steps:
            for _ in range(2):
                driver = OutletDriver(host, DESCRIPTOR, "portico", OpenVswitch("p", program=("/nowhere/ovs-vsctl",)))
                with suppress(Crash):
                    actual = driver.read(None)
                    driver.apply(difference(wanted, actual, {*wanted, *actual}))
            assert driver.read(None) == wanted
            assert {link.alias for link in host.all() if link.kind == "veth"} == (ALIASES if wanted else set())
        struck = faults.disarm()
    assert number > 10


def test_an_outlet_whose_far_end_is_taken_as_soon_as_it_is_there_is_put_into_its_bridge() -> None:
    kernel = FakeKernel(Faults())
    host = TakenAtOnce(kernel, HOST)
    host.add_bridge("brqfar", "02:00:00:00:00:03", 1500)
    driver = OutletDriver(host, DESCRIPTOR, "portico", OpenVswitch("portico", program=("/nowhere/ovs-vsctl",)))
    item = OutletItem("dfar", made=True, bridge="brqfar", far="pvf1", mac="02:00:00:00:00:01", mtu=1500)
    assert driver.apply(Delta(put={"outlet/f1": item})) == {}
    assert driver.read(None) == {"outlet/f1": item} and host.find("pvf1") is None
