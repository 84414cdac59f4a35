# SPDX-License-Identifier: Apache-2.0
"""Links that are removed in the background are out of the way at once, and take no other with them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from portico.agent import netlink
from portico.agent.delta import Delta
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.link import BridgeDriver, BridgeItem, LinkTable, PairDriver, PairItem
from portico.agent.links import Links
from portico.agent.removal import Removal
from portico.testing.lab import Lab, LabHost, wait_until

pytestmark = pytest.mark.lab

NETWORK = "6f0c8d52-1c1b-4a4e-9c0e-0d8c0e6b0f11"
PORT = "9d1b7c6e-5a43-4d6f-8a51-0b9f4f1c2d33"
BRIDGE = BridgeItem("br6f0c8d52-1c", NETWORK, 1, "02:00:00:00:00:01", 1500)
PAIR = PairItem("pb9d1b7c6e-5a", PORT, "pv9d1b7c6e-5a", "00:00:5e:00:53:01", BRIDGE.name, 1500)


class Rig:
    """The drivers of links in a lab host's namespace, which is both the agent's and the host's here."""

    def __init__(self, host: LabHost) -> None:
        kinds = (netlink.ROUTE, netlink.ROUTE, netlink.NETFILTER)
        self.sockets = host.call(lambda: [netlink.Socket(kind) for kind in kinds])
        self.netns = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        mine, its, netfilter = self.sockets
        self.links = Links(mine)
        self.removal = Removal(Links(its))
        self.table = LinkTable(self.links, self.removal)
        self.bridges = BridgeDriver(self.table, Conntrack(netfilter))
        self.pairs = PairDriver(self.table, self.links, self.netns, "portico")

    def close(self) -> None:
        self.removal.finish(5)
        for socket in self.sockets:
            socket.close()
        os.close(self.netns)

    def put(self) -> None:
        assert self.bridges.apply(Delta(put={"b": BRIDGE}, before=self._before("b", self.bridges, BRIDGE))) == {}
        self.table.refresh([BRIDGE.name, PAIR.name])
        assert self.pairs.apply(Delta(put={"p": PAIR}, before=self._before("p", self.pairs, PAIR))) == {}
        self.table.refresh([BRIDGE.name, PAIR.name])

    @staticmethod
    def _before(key: str, driver: BridgeDriver | PairDriver, item: BridgeItem | PairItem) -> dict[str, object]:
        return {key: item} if item in driver.read(None).values() else {}

    def remove(self) -> None:
        assert self.pairs.apply(Delta(gone=["p"], before={"p": PAIR})) == {}
        assert self.bridges.apply(Delta(gone=["b"], before={"b": BRIDGE})) == {}


@pytest.fixture
def host() -> Iterator[LabHost]:
    with Lab() as lab:
        yield lab.host("one")


@pytest.fixture
def rig(host: LabHost) -> Iterator[Rig]:
    found = Rig(host)
    yield found
    found.close()


def test_a_link_on_its_way_out_is_seen_no_more_and_goes(rig: Rig) -> None:
    rig.put()
    rig.remove()
    assert (rig.bridges.read(None), rig.pairs.read(None)) == ({}, {})
    wait_until("both links to go", lambda: not {BRIDGE.name, PAIR.name} & {link.name for link in rig.links.all()}, 20)


def test_what_is_made_anew_while_the_old_goes_is_there_to_stay(rig: Rig) -> None:
    for _ in range(30):
        rig.put()
        rig.remove()
    rig.put()
    rig.removal.finish(5)
    rig.table.refresh()
    assert list(rig.bridges.read(None).values()) == [BRIDGE]
    assert list(rig.pairs.read(None).values()) == [PAIR]
    there = rig.links.find(PAIR.far_name)
    assert there is not None and there.mac == PAIR.far_mac


def test_a_link_that_has_gone_already_is_no_trouble(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.put()
    link = rig.links.find(PAIR.name)
    assert link is not None
    rig.links.remove(PAIR.name)
    rig.removal.add(link.index)
    rig.removal.finish(5)
    assert link.index not in rig.removal
    assert caplog.records == []
