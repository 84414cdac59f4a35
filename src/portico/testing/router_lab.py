# SPDX-License-Identifier: Apache-2.0
"""Routers of the bridge backend on a lab host: the real agent, the real kernel, real packets. Needs root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portico.agent import owner
from portico.model.l3 import ROUTER_OWNERS
from portico.model.snapshot import Port, Snapshot
from portico.testing.bridge_lab import LabSite, Seen, try_all
from portico.trace.packet import Packet


class RouterSite(LabSite):
    """One host, the broker's states for it, and its agent."""

    def crossed(self, want: Snapshot, packets: Iterable[Packet]) -> dict[Packet, set[Seen]]:
        """Send packets to every router on their senders' networks, and return as what they came to their receivers.

        Nobody behind those links answers who has an address, so routers are told beforehand.
        """
        for router_id, lines in _neighbors(want):
            netns = owner.router_netns("portico", router_id)
            self.host.run(["ip", "-n", netns, "-force", "-batch", "-"], stdin="".join(lines), check=False)
        legs: dict[str, list[str]] = {}
        for port in _router_ports(want):
            legs.setdefault(port.network_id, []).append(port.mac)
        macs = {packet: legs.get(want.ports[packet.sender].network_id, []) for packet in packets}
        return self.host.call(lambda: try_all(want, macs))


def _router_ports(want: Snapshot) -> Iterator[Port]:
    return (port for port in want.ports.values() if port.device_owner in ROUTER_OWNERS)


def _neighbors(want: Snapshot) -> Iterator[tuple[str, list[str]]]:
    """Yield for each leg of a router the commands that tell it who is on its network."""
    for leg in _router_ports(want):
        there = [want.ports[port_id] for port_id in want.ports_of_network.get(leg.network_id, ())]
        yield (
            leg.device_id,
            [
                f"neigh replace {item.address} lladdr {port.mac} dev {owner.leg_link(leg.id)} nud permanent\n"
                for port in there
                for item in port.fixed_ips
                if port.host
            ],
        )
