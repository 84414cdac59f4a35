# SPDX-License-Identifier: Apache-2.0
"""Packets that tell worlds apart: what backends are asked, to hold them against `portico.trace`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from portico.model.snapshot import DHCP_OWNER, IpAddress, Port, Snapshot
from portico.trace.packet import ICMP, ICMPV6, TCP, UDP, VRRP, Packet, link_local


def probes(want: Snapshot) -> Iterator[Packet]:
    """Yield packets that tell worlds apart: for each two ports honest and false senders, and some of each protocol.

    Destination ports are at the edges of the rules that `strategies` draws.
    """
    ports = [port for port in want.ports.values() if port.device_owner != DHCP_OWNER]
    for sender in ports:
        for receiver in ports:
            if sender is not receiver:
                for mac, source in dict.fromkeys(_sources(sender, receiver)):
                    yield from _packets(sender, receiver, mac, source)


def router_probes(want: Snapshot) -> Iterator[Packet]:
    """Yield packets that tell worlds with routers apart: to addresses of other networks, and to floating ones."""
    ports = [port for port in want.ports.values() if port.host and port.device_owner != DHCP_OWNER]
    for sender in ports:
        for receiver in (port for port in ports if port.network_id != sender.network_id):
            for source in (item.address for item in sender.fixed_ips):
                for destination, what in _targets(want, receiver):
                    if source.version == destination.version:
                        yield Packet(sender.id, receiver.id, sender.mac, source, destination, *what)


def _targets(want: Snapshot, receiver: Port) -> Iterator[tuple[IpAddress, tuple[int, int, int]]]:
    """Yield where packets for a port can be sent from other networks, with protocol, source and destination port."""
    floating = [item.address for item in want.floating_ips.values() if item.port_id == receiver.id]
    for address in (*(item.address for item in receiver.fixed_ips), *floating):
        echo = (ICMP, 8, 0) if address.version == 4 else (ICMPV6, 128, 0)
        yield from ((address, what) for what in ((TCP, 40000, 80), (UDP, 40000, 8000), echo))
    shared = [want.forwardings[item].floatingip_id for item in want.forwardings_of_port.get(receiver.id, ())]
    for address in sorted(
        {it for item in shared for it in (want.floating_ips[item].address, want.beside(item)) if it}, key=str
    ):
        forwarded = ((TCP, 8000), (TCP, 8101), (TCP, 80), (UDP, 8001), (UDP, 8002))
        yield from ((address, (protocol, 40000, port)) for protocol, port in forwarded)


def _sources(sender: Port, receiver: Port) -> Iterator[tuple[str, IpAddress]]:
    yield from ((sender.mac, item.address) for item in sender.fixed_ips)
    yield from ((pair.mac, pair.cidr[-1]) for pair in sender.pairs)
    yield sender.mac, link_local(sender.mac)
    if not sender.fixed_ips:
        yield from ((sender.mac, ip_address(source)) for source in ("203.0.113.1", "2001:db8:f::1"))
        yield sender.mac, link_local(receiver.mac)
    yield from ((sender.mac, item.address) for item in receiver.fixed_ips)
    yield from ((receiver.mac, item.address) for item in sender.fixed_ips[:1])


def _packets(sender: Port, receiver: Port, mac: str, source: IpAddress) -> Iterator[Packet]:
    addresses = [item.address for item in receiver.fixed_ips] or [pair.cidr[0] for pair in receiver.pairs]
    destination = next((item for item in addresses if item.version == source.version), None)
    if destination is None:
        destination = link_local(receiver.mac) if source.version == 6 else type(source)("192.0.2.250")
    icmp, types = (ICMP, (8, 13)) if source.version == 4 else (ICMPV6, (128, 139))
    ported = [(protocol, 40000, high) for protocol in (TCP, UDP) for high in (80, 8000, 8101)]
    for what in (*ported, *((icmp, kind, code) for kind in types for code in (0, 1)), (VRRP, 0, 0)):
        yield Packet(sender.id, receiver.id, mac, source, destination, *what)
