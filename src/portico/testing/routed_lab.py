# SPDX-License-Identifier: Apache-2.0
"""The routed backend on a lab host: the real agent, the real kernel, real packets. Needs root."""

from __future__ import annotations

from collections.abc import Iterable

from portico.agent import owner
from portico.agent.drivers.link import NEXT_HOP_MAC
from portico.backends.routed import RoutedBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend
from portico.model.snapshot import Snapshot
from portico.testing.bridge_lab import LabSite, try_all
from portico.trace.packet import Packet


class RoutedSite(LabSite):
    """One host, the broker's states for it, and its agent."""

    def backend(self, states: HostStates) -> Backend:
        """Return a new backend that puts what it wants into `states`."""
        return RoutedBackend(states)

    def delivered(self, want: Snapshot, packets: Iterable[Packet]) -> dict[Packet, bool]:
        """Send packets to the next hop, and return which came out of their receivers' links.

        Nobody behind those links answers who has an address, so it is told beforehand; not where a link has no IPv6,
        for there ip(8) ends a batch whatever it is told.
        """
        macs = dict.fromkeys(packets, (NEXT_HOP_MAC,))
        with_ipv6 = {
            line.split()[1] for line in self.host.run(["ip", "-n", "portico", "-6", "-o", "addr"]).out.splitlines()
        }
        known = {(packet.destination, owner.port_link(packet.receiver), packet.receiver) for packet in macs}
        lines = [
            f"neigh replace {address} lladdr {want.ports[port_id].mac} dev {link} nud permanent\n"
            for address, link, port_id in sorted(known, key=str)
            if address.version == 4 or link in with_ipv6
        ]
        self.host.run(["ip", "-n", "portico", "-force", "-batch", "-"], stdin="".join(lines), check=False)
        return {packet: bool(came) for packet, came in self.host.call(lambda: try_all(want, macs)).items()}
