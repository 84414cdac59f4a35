# SPDX-License-Identifier: Apache-2.0
"""How often drivers ask the kernel in a pass over some keys: each time it holds them until engines are done with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from portico.agent import netlink, owner
from portico.agent.delta import Driver, Wanted
from portico.agent.drivers.advertise import AdvertDriver
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.limit import LimitDriver
from portico.agent.drivers.link import BridgeDriver, CarrierDriver, LinkTable, PairDriver
from portico.agent.drivers.outlet import OutletDriver
from portico.agent.drivers.route import Side
from portico.agent.drivers.subport import SubportDriver
from portico.agent.drivers.tap import TapDriver
from portico.agent.drivers.uplink import UplinkDriver
from portico.agent.drivers.watch import WatchDriver
from portico.agent.links import Link, Links
from portico.agent.open_vswitch import OpenVswitch
from portico.agent.redirect import Redirects
from portico.agent.routes import Routes
from portico.agent.servers import RouterServers
from portico.agent.shaper import Shapers
from portico.agent.switches import Switches
from portico.agent.tagging import Tags
from portico.agent.watchers import Watchers
from portico.hoststate import Bridge, Vif

PORT, NETWORK = "f0000000-0000-4000-8000-000000000001", "f0000000-0000-4000-8000-000000000002"
VIF = Vif(PORT, NETWORK, "02:00:00:00:00:01", 1500, "pv-reads")
TAP = Vif(PORT, NETWORK, "02:00:00:00:00:01", 1500, "pv-reads", plug="tap", tap_name="tap-reads")
KEYS = {f"vif/{PORT}", f"member/{NETWORK}/{PORT}", f"group/{NETWORK}"}


class Counted(netlink.Socket):
    """A socket to the real kernel that knows how often it was asked."""

    asked = 0

    def ask(self, kind: int, body: bytes, flags: int = 0) -> list[bytes]:
        self.asked += 1
        return super().ask(kind, body, flags)

    def get(self, kind: int, body: bytes) -> bytes:
        self.asked += 1
        return super().get(kind, body)


@pytest.fixture
def kernel() -> Iterator[Counted]:
    socket = Counted(netlink.ROUTE)
    yield socket
    socket.close()


def drivers(kernel: Counted, table: LinkTable) -> dict[str, Driver]:
    host = Links(kernel)
    side = Side(host, Routes(kernel), Switches())
    return {
        "bridge": BridgeDriver(table, Conntrack(kernel)),
        "pair": PairDriver(table, host, 0, "t"),
        "limit": LimitDriver(table, Shapers(kernel), Redirects(kernel)),
        "carrier": CarrierDriver(table),
        "uplink": UplinkDriver(table, side, 0, "t"),
        "tap": TapDriver(table, host, Redirects(kernel), 0, "t"),
        "subport": SubportDriver(table, host, Tags(kernel), "t"),
        "outlet": OutletDriver(host, 0, "t", OpenVswitch("t", program=("/nowhere/ovs-vsctl",))),
    }


def asked(driver: Driver, kernel: Counted, keys: set[str]) -> int:
    before = kernel.asked
    assert driver.read(keys) == {}
    return kernel.asked - before


def test_a_port_of_a_container_is_asked_for_by_its_own_links_names_alone(kernel: Counted) -> None:
    found = {name: asked(one, kernel, KEYS) for name, one in drivers(kernel, LinkTable(Links(kernel))).items()}
    assert found == dict.fromkeys(found, 0) | {"pair": 1}


def test_a_bridge_is_asked_for_when_it_is_concerned(kernel: Counted) -> None:
    every = drivers(kernel, LinkTable(Links(kernel)))
    assert asked(every["bridge"], kernel, {f"bridge/{NETWORK}", f"vif/{PORT}"}) == 1
    assert asked(every["uplink"], kernel, {f"uplink/{NETWORK}", f"vif/{PORT}"}) == 1


@pytest.mark.parametrize("name", ["tap", "subport"])
def test_a_ports_other_end_is_looked_at_only_if_a_tap_is_or_was_wanted(kernel: Counted, name: str) -> None:
    table = LinkTable(Links(kernel))
    link = owner.port_link(PORT)
    alias = owner.alias(PORT, VIF.link_name, VIF.mac)
    table.by_name[link] = Link(1, link, "veth", alias, VIF.mac, 1500, 0, up=True)
    driver, wanted, key = drivers(kernel, table)[name], Wanted(), f"vif/{PORT}"

    def plan(vif: Vif) -> None:
        wanted.change([Bridge(NETWORK, 1500), vif], ())
        driver.plan(wanted, {key})

    plan(VIF)
    assert asked(driver, kernel, {key}) == 0
    plan(TAP if name == "tap" else msgspec.structs.replace(TAP, vlan=5))
    assert asked(driver, kernel, {key}) == 1
    # Nothing was found, and nothing is wanted any more.
    plan(VIF)
    assert asked(driver, kernel, {key}) == 0


class CountedServers(RouterServers):
    """Servers of routers that know how often all of them were looked for."""

    looks = 0

    def known(self) -> set[str]:
        self.looks += 1
        return super().known()


class CountedWatchers(Watchers):
    """As CountedServers."""

    looks = 0

    def known(self) -> set[str]:
        self.looks += 1
        return super().known()


def test_what_runs_for_routers_is_looked_for_where_a_router_is_asked_for(tmp_path: Path) -> None:
    servers, watchers = CountedServers("t", run_dir=tmp_path), CountedWatchers("t", run_dir=tmp_path)
    drivers: list[Driver] = [AdvertDriver(servers), WatchDriver(watchers)]
    for driver in drivers:
        assert driver.read(KEYS) == {}
    assert servers.looks == watchers.looks == 0
    for driver in drivers:
        assert driver.read({f"router/{PORT}", *KEYS}) == driver.read(None) == {}
    assert servers.looks == watchers.looks == 2
