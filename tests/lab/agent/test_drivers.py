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
from portico.agent.links import Links
from portico.agent.redirect import Redirects
from portico.agent.servers import Servers
from portico.testing.driver_suite import DriverSuite, Site, tap_names
from portico.testing.faults import Faults
from portico.testing.lab import Lab
from portico.testing.lab import namespaces as ns

pytestmark = pytest.mark.lab


RUN_DIR, STATE_DIR = Path("/run/portico"), Path("/var/lib/portico")
KEEPER = f"""
import sys
from pathlib import Path
from portico.agent.servers import Servers
servers = Servers("portico", run_dir=Path("{RUN_DIR}"), state_dir=Path("{STATE_DIR}"))
sys.stdin.read()
for short in servers.known():
    servers.end(short)
"""


class KeptServers(Servers):
    """Servers that end with this process, however it ends: the lab's end does not reach what is started from here."""

    _keeper: subprocess.Popen[bytes] | None = None

    def start(self, short: str, config: str) -> None:
        if self._keeper is None:
            self._keeper = subprocess.Popen([sys.executable, "-c", KEEPER], stdin=subprocess.PIPE)
        super().start(short, config)

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.communicate()


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
            servers = ours.call(lambda: KeptServers("portico", run_dir=RUN_DIR, state_dir=STATE_DIR))
            netns = os.open(f"/proc/{host.pid}/ns/net", os.O_RDONLY)
            netfilter = ours.call(lambda: netlink.Socket(netlink.NETFILTER))
            self._site = Site(
                ours=ours.call(lambda: Links(netlink.Socket(netlink.ROUTE))),
                host=host.call(lambda: Links(netlink.Socket(netlink.ROUTE))),
                host_netns=netns,
                redirects=host.call(lambda: Redirects(netlink.Socket(netlink.ROUTE))),
                nft=ours.call(Nft),
                netfilter=netfilter,
                conntrack=Conntrack(netfilter),
                servers=servers,
                faults=Faults(),
                call=ours.call,
            )
            try:
                yield
            finally:
                servers.close()
                os.close(netns)

    def site(self) -> Site:
        return self._site
