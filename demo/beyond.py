# SPDX-License-Identifier: Apache-2.0
"""A host beyond Portico: it learns by BGP how containers and virtual machines of the routed network are reached."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from demo import cast
from portico.testing.bgp_peers import Frr
from portico.testing.lab import LabHost, Result
from portico.testing.lab.lab import UNDERLAY_V4

PROGRAMS = "/run/programs"
PATH = f"{PROGRAMS}:/usr/sbin:/usr/bin:/sbin:/bin"
SERVE = "mkdir {0} && echo {1} > {0}/index.html && for port in {2}; do httpd -p $port -h {0}; done"

CONFIG = """\
router bgp {peer_as}
 bgp router-id {own}
 no bgp ebgp-requires-policy
 neighbor {neighbor} remote-as {local_as}
 neighbor {neighbor} timers connect 1
"""


class Beyond:
    """The second host of the underlay, with the same programs as containers have."""

    def __init__(self, host: LabHost) -> None:
        self._host = host
        self.address = str(UNDERLAY_V4[2])
        host.run(["mkdir", PROGRAMS])
        host.run(["busybox", "--install", "-s", PROGRAMS])

    def run(self, argv: Sequence[str], *, check: bool = True, timeout_s: float = 30) -> Result:
        """Run a command there."""
        return self._host.run(argv, env={"PATH": PATH}, check=check, timeout_s=timeout_s)

    def speak(self, local_as: int, peer_as: int, neighbor: str) -> None:
        """Serve the pages that all workloads serve, and begin to speak with `neighbor`."""
        self.run(["sh", "-c", SERVE.format("/run/www", cast.PEER.name, f"{cast.OPEN_PORT} {cast.CLOSED_PORT}")])
        Frr(self._host, CONFIG.format(peer_as=peer_as, own=self.address, neighbor=neighbor, local_as=local_as))

    def routes(self) -> str:
        """Return where its kernel has routes to from BGP: single addresses, or blocks of which a host has all."""
        lines = self._host.run(["ip", "route", "show", "proto", "bgp"]).out.splitlines()
        return ", ".join(line.split()[0] for line in lines)

    def has_routes(self, addresses: Sequence[str]) -> bool:
        """Tell whether its kernel has a route to each address."""
        nets = [ip_network(text) for text in self.routes().split(", ") if text]
        return all(any(ip_address(address) in net for net in nets) for address in addresses)
