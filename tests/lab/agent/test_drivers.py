# SPDX-License-Identifier: Apache-2.0
"""The agent's drivers keep their contract on the real kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from portico.agent import netlink
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.drivers.libnftables import Nft
from portico.agent.learnt import LearntRoutes
from portico.agent.links import Links
from portico.agent.redirect import Redirects
from portico.agent.servers import Servers
from portico.agent.shaper import Shapers
from portico.agent.speaker import Bird, folder
from portico.agent.tagging import Tags
from portico.testing.driver_suite import DriverSuite, Site, tap_names
from portico.testing.faults import Faults
from portico.testing.lab import Lab
from portico.testing.lab import namespaces as ns

pytestmark = pytest.mark.lab


RUN_DIR, STATE_DIR = Path("/run/portico"), Path("/var/lib/portico")
KEEPER = f"""
import sys
from pathlib import Path
from portico.agent.daemon import Daemon
from portico.agent.servers import Servers
servers = Servers("portico", run_dir=Path("{RUN_DIR}"), state_dir=Path("{STATE_DIR}"))
sys.stdin.read()
for short in servers.known():
    servers.end(short)
for daemon in Daemon.all(lambda daemon: "{RUN_DIR}/bgp/portico/bird.conf" in daemon.arguments()):
    if daemon.sees(Path("{RUN_DIR}")):
        daemon.end()
"""


class Keeper:
    """Ends servers with this process, however it ends: the lab's end does not reach what is started from here."""

    def __init__(self) -> None:
        self._keeper: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        if self._keeper is None:
            self._keeper = subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE)

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.communicate()


class KeptServers(Servers):
    def __init__(self, keeper: Keeper) -> None:
        super().__init__("portico", run_dir=RUN_DIR, state_dir=STATE_DIR)
        self._keeper = keeper

    def start(self, short: str, config: str) -> None:
        self._keeper.begin()
        super().start(short, config)


class KeptBird(Bird):
    def __init__(self, keeper: Keeper, netns: int, learnt: LearntRoutes) -> None:
        host = Path(f"/proc/self/fd/{netns}")
        super().__init__(folder(RUN_DIR, "portico"), host, run_dir=RUN_DIR, learnt=learnt)
        self._keeper = keeper

    def start(self) -> None:
        self._keeper.begin()
        super().start()


class TestDriversOnTheKernel(DriverSuite):
    """One lab host stands for our namespace, another for the host's.

    DHCP servers are started by this process, not by one of the lab, and go by its process ids: hence its own /proc.
    """

    @pytest.fixture(autouse=True)
    def lab(self) -> Iterator[None]:
        with Lab() as lab:
            ours, host = lab.host("ours"), lab.host("host")
            for name in tap_names():
                host.run(["ip", "tuntap", "add", name, "mode", "tap"])
            ours.call(lambda: ns.mount("proc", "/proc", "proc"))
            keeper = Keeper()
            servers = ours.call(lambda: KeptServers(keeper))
            netns = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
            learnt = host.call(lambda: LearntRoutes(netlink.Socket(netlink.ROUTE)))
            bird = ours.call(lambda: KeptBird(keeper, netns, learnt))
            netfilter = ours.call(lambda: netlink.Socket(netlink.NETFILTER))
            self._site = Site(
                ours=ours.call(lambda: Links(netlink.Socket(netlink.ROUTE))),
                host=host.call(lambda: Links(netlink.Socket(netlink.ROUTE))),
                host_netns=netns,
                redirects=host.call(lambda: Redirects(netlink.Socket(netlink.ROUTE))),
                own_redirects=ours.call(lambda: Redirects(netlink.Socket(netlink.ROUTE))),
                tags=host.call(lambda: Tags(netlink.Socket(netlink.ROUTE))),
                shapers=ours.call(lambda: Shapers(netlink.Socket(netlink.ROUTE))),
                nft=ours.call(Nft),
                netfilter=netfilter,
                conntrack=Conntrack(netfilter),
                servers=servers,
                bird=bird,
                faults=Faults(),
                call=ours.call,
            )
            try:
                yield
            finally:
                keeper.close()
                os.close(netns)

    def site(self) -> Site:
        return self._site
