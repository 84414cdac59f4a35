# SPDX-License-Identifier: Apache-2.0
"""The agent's drivers keep their contract on a kernel that fails when told to."""

from __future__ import annotations

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
from portico.testing.faults import Faults


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
