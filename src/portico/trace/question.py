# SPDX-License-Identifier: Apache-2.0
"""Does a packet from a port reach another one, or an address? Pure.

Besides the way that `way` judges it follows what senders do: they know their subnets, their host routes, and a gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from portico.model.l3 import FLOATING_OWNER, INTERFACE_OWNER, ROUTER_OWNERS
from portico.model.snapshot import DHCP_OWNER, IpAddress, Port, Router, Snapshot
from portico.trace import forwarding, place, router, security, space, way
from portico.trace.packet import ICMP, ICMPV6, Hop, Packet, Verdict

ECHO = {4: (ICMP, 8), 6: (ICMPV6, 128)}
_HIGH = 40000
_NOWHERE = "none of its networks has it, no extra route leads there, and it has no gateway here"
# Ports that stand for addresses which routers answer for.
_ROUTERS = ROUTER_OWNERS | {FLOATING_OWNER}


@dataclass(frozen=True, slots=True)
class Question:
    """A packet in the words of who asks: from a port to a port (by id) or an address.

    `protocol` is an IP protocol number or None for an echo request; `port` the destination port, or 0.
    """

    sender: str
    destination: str | IpAddress
    protocol: int | None = None
    port: int = 0


def answer(want: Snapshot, question: Question, unrealised: Callable[[str], str] = lambda _: "") -> Verdict:
    """Return the way of the packet: the first that arrives of those between addresses of sender and destination.

    Args:
        unrealised: tells why an object ("port/ID", "router/ID") is not what it is to be, as far as hosts have told;
            "" if it is.
    """
    sender = want.ports[question.sender]
    ways = [way.follow(_realised(_hops(want, packet), unrealised)) for packet in _packets(want, sender, question)]
    if not ways:
        why = "it has no address of an IP version that the other end has"
        return way.follow([Hop(f"port/{sender.id}", "sends", "missing", why)])
    return next((found for found in ways if found), ways[0])


def _packets(want: Snapshot, sender: Port, question: Question) -> Iterator[Packet]:
    if isinstance(question.destination, str):
        destinations = [item.address for item in want.ports[question.destination].fixed_ips]
    else:
        destinations = [question.destination]
    for source in (item.address for item in sender.fixed_ips):
        for destination in destinations:
            if source.version != destination.version:
                continue
            receiver = question.destination if isinstance(question.destination, str) else ""
            packet = Packet(sender.id, receiver, sender.mac, source, destination, question.protocol or 0)
            if question.protocol is None:
                protocol, kind = ECHO[source.version]
                yield replace(packet, protocol=protocol, low=kind)
            else:
                yield replace(packet, low=_HIGH if question.port else 0, high=question.port)


def _realised(hops: Iterable[Hop], unrealised: Callable[[str], str]) -> Iterator[Hop]:
    """Yield `hops`, and before the first of an object that its host has not as wanted, why."""
    told = set()
    for hop in hops:
        if hop.object not in told and (why := unrealised(hop.object)):
            yield Hop(hop.object, "is realised", "missing", why)
        told.add(hop.object)
        yield hop


def _hops(want: Snapshot, packet: Packet) -> Iterator[Hop]:
    sender = want.ports[packet.sender]
    if sender.device_owner in _ROUTERS:
        yield Hop(
            f"port/{sender.id}", "sends", "missing", "it is a router's: what routers send themselves is not judged"
        )
        return
    if any(item.address == packet.destination for item in sender.fixed_ips):
        why = "it is the sender's own address: the packet stays within the workload"
        is_meant = packet.receiver in ("", sender.id)
        yield Hop(f"port/{sender.id}", f"sends to {packet.destination}", "pass" if is_meant else "missing", why)
        return
    packet, found = space.led(want, sender, packet)
    yield from way.departs(want, sender, packet)
    yield from found
    receiver = want.ports[packet.receiver] if packet.receiver else _near(want, sender, packet.destination)
    asked = None if security.are_routed(want, sender) else _asked(want, sender.network_id, packet.destination)
    if asked is not None:
        yield Hop(
            f"network/{sender.network_id}", f"carries it to {packet.destination}", "pass", "a router answers for it"
        )
        yield from _asked_for(want, asked, sender, packet)
    elif receiver is not None and receiver.device_owner == DHCP_OWNER and receiver.network_id == sender.network_id:
        why = "the network's own server has it, on every host that has ports of the network"
        yield Hop(f"port/{receiver.id}", f"takes it at {packet.destination}", "pass", why)
    elif receiver is not None and _is_direct(want, sender, receiver):
        yield way.carried(want, sender, receiver, packet, translated=bool(found))
        yield from way.arrives(want, receiver, packet)
    elif security.are_routed(want, sender):
        yield space.leaves(want, sender, packet)
    else:
        yield from _by_router(want, sender, packet)


def _asked(want: Snapshot, network_id: str, address: IpAddress) -> Router | None:
    """Return the router that answers for an address on a network."""
    return next((it for it in want.routers.values() if router.answers(want, it, network_id, address)), None)


def _asked_for(want: Snapshot, asked: Router, sender: Port, packet: Packet) -> Iterator[Hop]:
    """Yield what becomes of a packet that has come to a router."""
    if asked.admin_state_up:
        yield from _routed(want, asked, sender, packet)
    else:
        yield Hop(f"router/{asked.id}", f"leads {packet.destination} on", "drop", "admin_state_up is false")


def _is_direct(want: Snapshot, sender: Port, receiver: Port) -> bool:
    return receiver.network_id == sender.network_id or security.are_routed(want, sender, receiver)


def _near(want: Snapshot, sender: Port, address: IpAddress) -> Port | None:
    """Return the port that an address is sent to without a router."""
    if security.are_routed(want, sender):
        found = way.holder(want, sender.host, address)
        return want.ports[found] if found else None
    return _holder(want, sender.network_id, address)


def _holder(want: Snapshot, network_id: str, address: IpAddress) -> Port | None:
    ports = (want.ports[item] for item in sorted(want.ports_of_network.get(network_id, ())))
    return next((port for port in ports if any(item.address == address for item in port.fixed_ips)), None)


def _by_router(want: Snapshot, sender: Port, packet: Packet) -> Iterator[Hop]:
    network = f"network/{sender.network_id}"
    hop, why = _first_hop(want, sender, packet)
    holder = _holder(want, sender.network_id, hop) if hop else None
    what = f"leads {packet.destination} on"
    if hop is None or holder is None:
        yield Hop(network, what, "missing", f"{why}, which no port has" if hop else why)
        return
    yield Hop(network, what, "pass", why)
    asked = want.routers.get(holder.device_id) if holder.device_owner in ROUTER_OWNERS else None
    if asked is None:
        yield from way.arrives(want, holder, packet)
        yield Hop(f"port/{holder.id}", what, "pass", "its workload forwards it, or does not")
    else:
        yield from _asked_for(want, asked, sender, packet)


def _first_hop(want: Snapshot, sender: Port, packet: Packet) -> tuple[IpAddress | None, str]:
    """Return where the sender sends what is for others, and why; None where it knows no way."""
    subnet_id = next((item.subnet_id for item in sender.fixed_ips if item.address == packet.source), "")
    subnet = want.subnets.get(subnet_id)
    if subnet is None:
        return None, f"{packet.source} is in no subnet"
    if packet.destination in subnet.cidr:
        return None, f"no port there has {packet.destination}, or none that is yours to see"
    routes = [(net.prefixlen, str(hop), hop) for net, hop in subnet.routes if packet.destination in net]
    if routes:
        return max(routes)[2], f"host route of subnet {subnet.id} by {max(routes)[1]}"
    if subnet.gateway is None:
        return None, f"subnet {subnet.id} has no gateway_ip"
    return subnet.gateway, f"gateway_ip {subnet.gateway} of subnet {subnet.id}"


def _routed(want: Snapshot, asked: Router, sender: Port, packet: Packet) -> Iterator[Hop]:
    name = f"router/{asked.id}"
    if fault := router.kept_out(want, asked, sender.network_id, packet):
        yield Hop(name, f"leads {packet.destination} on", "drop", fault)
        return
    item = forwarding.met(want, packet)
    receiver = _receiver(want, packet, item.port_id if item else "")
    if receiver is not None:
        hops = list(
            way.across(want, sender, receiver, packet, only=asked.id, at=_led_at(want, sender, receiver, packet))
        )
        lost = "" if receiver.host else f"port {receiver.id} is bound to no host"
        why = (lost or router.kept_in(want, asked, sender)) if hops[0].verdict == "missing" else ""
        yield from [replace(hops[0], why=why)] if why else hops
        return
    asked_for = (it for it in want.floating_ips.values() if packet.destination in (it.address, want.beside(it.id)))
    idle = (it for it in asked_for if not it.port_id)
    if (floating := next(idle, None)) is not None and item is None:
        why = f"floating IP {floating.id} has no port, and no port forwarding for this packet"
        yield Hop(name, f"leads {packet.destination} on", "missing", why)
        return
    if router.has(want, asked, sender, packet.destination):
        yield Hop(name, f"has {packet.destination}", "pass", "it answers by itself")
        return
    found = router.exit_of(want, asked, sender, packet)
    if found is None:
        why = router.kept_in(want, asked, sender) or _NOWHERE
        yield Hop(name, f"leads {packet.destination} on", "missing", why)
        return
    yield way.routed(found)
    yield from _beyond(want, found)


def _led_at(want: Snapshot, sender: Port, receiver: Port, packet: Packet) -> str:
    """Return the host that leads a floating IP on a network that is one on all hosts; "" elsewhere."""
    is_own = any(item.address == packet.destination for item in receiver.fixed_ips)
    is_outside = place.is_shared(want, sender.network_id) and not place.is_shared(want, receiver.network_id)
    return receiver.host if is_outside and not is_own else ""


def _receiver(want: Snapshot, packet: Packet, forwarded: str) -> Port | None:
    """Return whose port a router leads a packet to: the one asked for, a floating IP's, or whoever has the address."""
    floating = (item.port_id for item in want.floating_ips.values() if item.address == packet.destination)
    named = want.ports.get(packet.receiver)
    if named is not None and named.device_owner not in _ROUTERS:
        return named
    if port_id := forwarded or next(floating, ""):
        return want.ports.get(port_id)
    networks = router.joined(want, want.ports[packet.sender].network_id)
    found = (_holder(want, network_id, packet.destination) for network_id in sorted(networks))
    return next((port for port in found if port is not None and port.device_owner not in ROUTER_OWNERS), None)


def _beyond(want: Snapshot, found: router.Crossing) -> Iterator[Hop]:
    """Yield what is known of a packet that a router has sent on, by extra route or gateway, or to where nobody is."""
    destination, left = found.packet.destination, want.ports[found.left]
    network, what = f"network/{left.network_id}", f"takes it towards {destination}"
    holder = _holder(want, left.network_id, found.hop)
    if holder is not None and holder.device_owner not in _ROUTERS:
        yield from way.arrives(want, holder, found.packet)
        if found.hop == destination:
            return
    if holder is None and found.hop == destination and left.device_owner == INTERFACE_OWNER:
        yield Hop(network, what, "missing", f"no port there has {destination}, or none that is yours to see")
        return
    yield Hop(network, what, "pass", "what becomes of it beyond is not Portico's to know")
