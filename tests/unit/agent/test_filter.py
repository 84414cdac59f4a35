# SPDX-License-Identifier: Apache-2.0
"""The packet filter's driver: what it does when connections cannot be cut."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from portico.agent.delta import Delta, Forgotten, Wanted
from portico.agent.drivers.nft import FilterDriver
from portico.agent.verdict import Connection, Judge
from portico.hoststate import Bridge, Group, Guard, Source, Vif
from portico.testing.fakekernel import FakeConntrack, FakeKernel, FakeNetfilter, FakeNft
from portico.testing.faults import Faults

LEFT = Connection(1, bytes([10, 0, 0, 9]), bytes([10, 0, 0, 1]), 17, 1, 2)


class Stubborn(FakeConntrack):
    """Fails as often as told; notes what it was asked for, and whether `LEFT` would have been cut."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.asked: list[tuple[Collection[int] | None, bool]] = []

    def remove(self, judge: Judge) -> int:
        self.asked.append((judge.zones, judge.is_unwanted(LEFT)))
        if self.failures:
            self.failures -= 1
            raise OSError(105, "No buffer space available")
        return 0


def test_connections_that_could_not_be_cut_are_cut_in_the_next_pass() -> None:
    kernel, conntrack, wanted = FakeKernel(Faults()), Stubborn(), Wanted()
    driver = FilterDriver(FakeNft(kernel), FakeNetfilter(kernel), conntrack)
    mac = "00:00:5e:00:53:01"
    vif = Vif("p1", "n1", mac, 1500, "pv", guard=Guard((Source(mac, "10.0.0.1/32"),), ("g",)))
    wanted.change([Bridge("n1", 1500), vif, Group("g", ())], ())
    driver.read(None)
    driver.apply(Delta(put=driver.plan(wanted, wanted.objects)[0]))
    before = driver.read(["vif/p1"])
    wanted.change([], ["vif/p1"])
    driver.plan(wanted, ["vif/p1"])
    conntrack.failures = 1
    assert driver.apply(Delta(gone=["vif/p1"], before=before)).keys() == {"vif/p1"}
    with pytest.raises(Forgotten):
        driver.read(["vif/p1"])
    assert driver.read(None) == {}
    conntrack.asked.clear()
    assert driver.apply(Delta(put=driver.plan(wanted, wanted.objects)[0])) == {}
    assert conntrack.asked == [(None, True)]


def test_a_change_that_can_cut_nothing_does_not_look_at_connections() -> None:
    kernel, conntrack, wanted = FakeKernel(Faults()), Stubborn(), Wanted()
    driver = FilterDriver(FakeNft(kernel), FakeNetfilter(kernel), conntrack)
    wanted.change([Bridge("n1", 1500)], ())
    driver.read(None)
    driver.apply(Delta(put=driver.plan(wanted, wanted.objects)[0]))
    conntrack.asked.clear()
    wanted.change([Group("g", ())], ())
    assert driver.apply(Delta(put=driver.plan(wanted, ["group/g"])[0])) == {}
    assert conntrack.asked == []
