# SPDX-License-Identifier: Apache-2.0
"""Port forwardings: which one a packet meets, and where that leads. Pure."""

from __future__ import annotations

from portico.model.converters import PROTOCOLS
from portico.model.l3 import INTERFACE_OWNER, PortForwarding
from portico.model.snapshot import IpAddress, Snapshot
from portico.trace import place
from portico.trace.packet import Packet


def met(want: Snapshot, packet: Packet, router_id: str = "") -> PortForwarding | None:
    """Return the port forwarding that a packet meets at a floating IP, of the one router that is named if any is."""
    floating = (it for it in want.floating_ips.values() if router_id in ("", it.router_id))
    ids = {it.id for it in floating if packet.destination in (it.address, want.beside(it.id))}
    for item in want.forwardings.values():
        first, last = item.external_ports
        is_meant = item.floatingip_id in ids and PROTOCOLS.get(item.protocol) == packet.protocol
        is_led = packet.destination.version == 4 or own_ipv6(want, item) is not None
        if is_meant and is_led and first <= packet.high <= last:
            return item
    return None


def own_ipv6(want: Snapshot, item: PortForwarding) -> IpAddress | None:
    """Return where a port forwarding leads over IPv6: only what a host publishes on its own addresses does."""
    router, port = want.routers.get(want.floating_ips[item.floatingip_id].router_id), want.ports.get(item.port_id)
    if router is None or port is None or not any(":" in text for text in item.host_addresses):
        return None
    near = {fixed.subnet_id for leg in place.ports_of(want, router, INTERFACE_OWNER) for fixed in leg.fixed_ips}
    own = (fixed.address for fixed in port.fixed_ips if fixed.address.version == 6 and fixed.subnet_id in near)
    return next(own, None)


def internal_port(item: PortForwarding, port: int) -> int:
    """Return the internal port: ranges of one length lead port by port, else all lead to the first."""
    (first, last), (start, end) = item.external_ports, item.internal_ports
    return start + (port - first if last - first == end - start else 0)
