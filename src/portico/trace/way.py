# SPDX-License-Identifier: Apache-2.0
"""The way of a packet from port to port, as backends must realise it. Pure; written from Neutron's semantics alone.

It judges the first packet of a connection; answers follow from statefulness. It does not judge what hosts need to find
each other (ARP, neighbour discovery, DHCP, router advertisements, multicast listener reports): `Packet` is ordinary
traffic. All routed networks are one space: there is no L2 in it, a packet goes where its destination is led.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from portico.model.snapshot import DHCP_OWNER, IpAddress, Port, Snapshot
from portico.trace import router, security, space
from portico.trace.packet import ROUTED, Hop, Packet, Verdict


def verdict(want: Snapshot, packet: Packet) -> Verdict:
    """Judge `packet`. The order of questions is its way: sender, network, router, receiver."""
    sender, receiver = want.ports.get(packet.sender), want.ports.get(packet.receiver)
    if sender is None or receiver is None or sender is receiver:
        return Verdict(delivered=False, reason="it takes two ports")
    return follow(_hops(want, sender, receiver, packet))


def follow(hops: Iterable[Hop]) -> Verdict:
    """Return what becomes of a packet that goes over `hops` until one of them stops it."""
    passed = []
    for hop in hops:
        passed.append(hop)
        if hop.verdict != "pass":
            return Verdict(delivered=False, reason=hop.why, hops=tuple(passed))
    return Verdict(delivered=True, hops=tuple(passed))


def _hops(want: Snapshot, sender: Port, receiver: Port, packet: Packet) -> Iterator[Hop]:
    packet, found = space.led(want, sender, packet)
    yield from departs(want, sender, packet)
    yield from found
    if sender.network_id != receiver.network_id and not security.are_routed(want, sender, receiver):
        yield from across(want, sender, receiver, packet)
        return
    yield carried(want, sender, receiver, packet, translated=bool(found))
    yield from arrives(want, receiver, packet)


def departs(want: Snapshot, sender: Port, packet: Packet) -> Iterator[Hop]:
    """Yield what is asked before a packet has left its port."""
    yield from _ready(want, sender)
    yield security.sends(want, sender, packet)
    yield security.leaves(want, sender, packet)


def arrives(want: Snapshot, receiver: Port, packet: Packet) -> Iterator[Hop]:
    """Yield what is asked before a packet is the receiver's."""
    yield from _ready(want, receiver)
    yield security.enters(want, receiver, packet)


def across(
    want: Snapshot, sender: Port, receiver: Port, packet: Packet, *, only: str = "", at: str = ""
) -> Iterator[Hop]:
    """Yield the way between two networks of a packet that is addressed to a router: the first one that leads there.

    Args:
        only: the id of the one router that is asked.
        at: the host whose router that is, if it must be told.
    """
    ways = [
        [*(routed(each) for each in found), *arrives(want, receiver, found[-1].packet)]
        for found in router.crossings(want, sender, receiver, packet, only=only, at=at)
    ]
    if not ways:
        what = f"leads {packet.destination} on"
        where = f"router/{only}" if only else f"network/{sender.network_id}"
        why = "it is not on the receiver's network" if only else "not on the same network, nor joined by a router"
        yield Hop(where, what, "missing", why)
        return
    yield from next((way for way in ways if follow(way)), ways[0])


def routed(found: router.Crossing) -> Hop:
    """Return the hop that a router is."""
    return Hop(f"router/{found.router_id}", found.words, "pass", found.why)


def _ready(want: Snapshot, port: Port) -> Iterator[Hop]:
    """Yield why nothing passes a port's link, if so."""
    name, network = f"port/{port.id}", want.networks.get(port.network_id)
    if network is None:
        yield Hop(f"network/{port.network_id}", "is there", "missing", "not on the same network")
    elif not port.host:
        yield Hop(name, "is on a host", "missing", "a port is bound to no host")
    elif not is_up(want, port):
        which = name if network.admin_state_up else f"network/{network.id}"
        yield Hop(which, "is switched on", "drop", "admin_state_up is false")


def is_up(want: Snapshot, port: Port) -> bool:
    """Tell whether a port and its network are switched on."""
    network = want.networks.get(port.network_id)
    return network is not None and network.admin_state_up and port.admin_state_up


def carried(want: Snapshot, sender: Port, receiver: Port, packet: Packet, *, translated: bool) -> Hop:
    """Question the network between two ports that need no router."""
    network = want.networks[sender.network_id]
    name, what = f"network/{network.id}", f"carries it to {packet.destination}"
    if network.network_type in ("local", ROUTED) and receiver.host and sender.host != receiver.host:
        why = f"a {network.network_type} network does not reach from host to host by itself"
        return Hop(name, what, "missing", why)
    if security.are_routed(want, sender, receiver) and receiver.host:
        if packet.source.is_link_local or packet.destination.is_link_local:
            return Hop(name, what, "drop", "a link-local address is not routed")
        if holder(want, receiver.host, packet.destination) != receiver.id:
            return Hop(name, what, "missing", "the destination is not led to the receiver")
        if not translated and (fault := space.apart(want, packet)):
            return Hop(name, what, "drop", fault)
        return Hop(name, what, "pass", "the routed space leads it to the port")
    return Hop(name, what, "pass", "both are on this network")


def holder(want: Snapshot, host: str, address: IpAddress) -> str | None:
    """Return the routed port on a host that an address is led to: whose own it is, else whose pair in its subnets."""
    ports = [want.ports[item] for item in want.ports_of_host.get(host, ())]
    ports = [port for port in ports if port.host == host and is_up(want, port) and security.are_routed(want, port)]
    ports = [port for port in ports if port.device_owner != DHCP_OWNER]
    claims: list[tuple[int, int, str]]
    claims = [(-address.max_prefixlen, 0, port.id) for port in ports for ip in port.fixed_ips if ip.address == address]
    for port in ports:
        nets = [want.subnets[item].cidr for item in want.subnets_of_network.get(port.network_id, ())]
        pairs = [pair.cidr for pair in port.pairs if address in pair.cidr]
        inside = [cidr for cidr in pairs if any(cidr[0] in net and cidr[-1] in net for net in nets)]
        claims += [(-cidr.prefixlen, 1, port.id) for cidr in inside]
    return min(claims)[2] if claims else None
