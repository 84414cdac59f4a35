# SPDX-License-Identifier: Apache-2.0
"""What routers do with a packet, given what is wanted. Pure.

Written from Neutron's semantics alone: a router forwards between its subnets; its floating IPs stand for fixed
addresses both ways; what it sends out by a gateway has the gateway's address for its source, if enable_snat is set, and
so has what comes from inside to a floating IP whose port is inside too. IPv6 is never translated, but behind the host
itself, where nobody has a way back: that is as with IPv4, as Docker's own bridges do it. A floating IP is of a network
where the router has a gateway or an interface. Addresses of one
address scope mean the same everywhere and are not translated; nothing goes from one to another but what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER, FloatingIp, PortForwarding, Router
from portico.model.snapshot import IpAddress, Port, Snapshot
from portico.trace import forwarding, place
from portico.trace.packet import Packet

BEHIND_HOST = "host"
"""The type of external networks that are behind the host itself."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A packet as a router sends it on, from one of its ports out by another, to `hop` on that one's network."""

    packet: Packet
    hop: IpAddress
    router_id: str
    entered: str
    left: str
    words: str
    why: str


@dataclass(frozen=True, slots=True)
class _Here:
    """What a router has on a host."""

    host: str
    ports: list[Port]
    floating: list[FloatingIp]

    def entered(self, network_id: str) -> list[Port]:
        """Return the ports by which it gets what is sent to it on a network."""
        return [port for port in self.ports if port.network_id == network_id]


def joined(want: Snapshot, network_id: str) -> set[str]:
    """Return the networks that have an interface of a router in common with a network, and itself."""
    found = {network_id}
    for router in want.routers.values():
        networks = {port.network_id for port in place.ports_of(want, router, INTERFACE_OWNER)}
        if router.admin_state_up and network_id in networks:
            found |= networks
    return found


def crossings(
    want: Snapshot, sender: Port, receiver: Port, packet: Packet, *, only: str = "", at: str = ""
) -> Iterator[tuple[Crossing, ...]]:
    """Yield what becomes of a packet that one of the routers on the sender's network leads to the receiver.

    Or several, one after the other: by extra routes and gateways, and to floating IPs that are another router's.

    Args:
        only: the id of the one router that is asked first.
        at: the host whose router takes it, where that is another than the one that has the router whole.
    """
    if packet.source.is_link_local or packet.destination.is_link_local:
        return
    for router in want.routers.values():
        if at and only == router.id:
            found = _cross(want, router, sender.network_id, sender.host, receiver, packet, at)
            yield from [(found,)] if found is not None else ()
        elif only in ("", router.id):
            yield from _chains(want, router, sender.network_id, sender.host, receiver, packet, frozenset())


def _chains(
    want: Snapshot, router: Router, network_id: str, host: str, receiver: Port, packet: Packet, asked: frozenset[str]
) -> Iterator[tuple[Crossing, ...]]:
    """Yield the ways of a packet that a router gets from a network; those who were `asked` already would go round.

    `host` is where it is sent; a network that is one on all hosts takes it to another.
    """
    if not router.admin_state_up or router.id in asked:
        return
    if (found := _cross(want, router, network_id, host, receiver, packet)) is not None:
        yield (found,)
    elif (first := _exit(want, router, network_id, host, packet)) is not None:
        near = want.ports[first.left].network_id
        for other in want.routers.values():
            if answers(want, other, near, first.hop):
                sent = place.place(want, router, network_id, host)
                rest = _chains(want, other, near, sent, receiver, first.packet, asked | {router.id})
                yield from ((first, *others) for others in rest)


def answers(want: Snapshot, router: Router, network_id: str, address: IpAddress) -> bool:
    """Tell whether an address on a network is one of a router's, or of its floating IPs."""
    ports = [want.ports[port_id] for port_id in want.ports_of_router.get(router.id, ())]
    if any(port.network_id == network_id and item.address == address for port in ports for item in port.fixed_ips):
        return True
    floating = (want.floating_ips[item] for item in want.floating_ips_of_router.get(router.id, ()))
    return any(item.network_id == network_id and address in (item.address, want.beside(item.id)) for item in floating)


def _cross(
    want: Snapshot, router: Router, network_id: str, host: str, receiver: Port, packet: Packet, at: str = ""
) -> Crossing | None:
    """Return what becomes of a packet that a router gets from a network, if it leads it to the receiver."""
    here = _here(want, router, network_id, host, at)
    entered = here.entered(network_id)
    if not entered or (here.host != receiver.host and not place.is_shared(want, receiver.network_id)):
        return None
    item = _forwarding(want, router, here.ports, packet)
    final = _led(want, packet, here.floating, item)
    left = next((port for port in here.ports if _is_near(want, port, final.destination)), None)
    if left is None or left.network_id != receiver.network_id:
        return None
    if final.destination not in {fixed.address for fixed in receiver.fixed_ips}:
        return None
    if final == packet and _are_apart(want, router, (entered, left), here.floating, packet):
        return None
    if _is_kept_in(want, router, here, left, packet):
        return None
    if kept_out(want, router, network_id, packet):
        return None
    found = _crossing(want, router, here, (entered, left), packet, final)
    return replace(found, why=f"port forwarding {item.id}: {found.why}") if item is not None else found


def kept_out(want: Snapshot, router: Router, network_id: str, packet: Packet) -> str:
    """Return why a router does not let in a packet of IPv6 from a network; "" if that is no matter."""
    outside = {port.network_id for port in place.ports_of(want, router, GATEWAY_OWNER)}
    if not router.answers or packet.destination.version == 4 or network_id not in outside:
        return ""
    if not any(_is_near(want, port, packet.destination) for port in place.ports_of(want, router, INTERFACE_OWNER)):
        return ""
    if packet.destination in _proxied(want, router):
        return ""
    return f"enable_ndp_proxy is true, and none of its NDP proxies is for {packet.destination}"


def _proxied(want: Snapshot, router: Router) -> set[IpAddress | None]:
    return {want.proxies[item].address for item in want.proxies_of_router.get(router.id, ())}


def _here(want: Snapshot, router: Router, network_id: str, host: str, at: str = "") -> _Here:
    """Return what a router has where it takes what `host` sends to it on a network."""
    at = at or place.place(want, router, network_id, host)
    ports = list(place.on(want, router, at))
    return _Here(at, ports, list(_floating(want, router, ports, at)))


def _forwarding(want: Snapshot, router: Router, ports: list[Port], packet: Packet) -> PortForwarding | None:
    """Return the port forwarding of a router's floating IPs that a packet meets where the router has `ports`."""
    near = {port.network_id for port in ports}
    item = forwarding.met(want, packet, router.id)
    is_here = item is not None and want.floating_ips[item.floatingip_id].network_id in near
    return item if is_here else None


def _led(want: Snapshot, packet: Packet, floating: list[FloatingIp], item: PortForwarding | None) -> Packet:
    """Return a packet with the destination that it has behind a router."""
    if item is not None:
        inside = item.internal_address if packet.destination.version == 4 else forwarding.own_ipv6(want, item)
        return replace(
            packet, destination=inside or packet.destination, high=forwarding.internal_port(item, packet.high)
        )
    fixed = next((one.fixed_address for one in floating if one.address == packet.destination), None)
    return packet if fixed is None else replace(packet, destination=fixed)


def exit_of(want: Snapshot, router: Router, sender: Port, packet: Packet) -> Crossing | None:
    """Return what becomes of a packet for none of the router's networks: by an extra route, or out by a gateway."""
    return _exit(want, router, sender.network_id, sender.host, packet)


def _exit(want: Snapshot, router: Router, network_id: str, host: str, packet: Packet) -> Crossing | None:
    here = _here(want, router, network_id, host)
    entered = here.entered(network_id)
    final = _led(want, packet, here.floating, _forwarding(want, router, here.ports, packet))
    own = next((item.network_id for item in here.floating if item.fixed_address == packet.source), "")
    left, hop, why = _way_out(want, router, here.ports, final.destination, own)
    if not entered or left is None or hop is None:
        return None
    if _is_kept_in(want, router, here, left, packet):
        return None
    if final == packet and _are_apart(want, router, (entered, left), here.floating, packet):
        return None
    return replace(_crossing(want, router, here, (entered, left), packet, final), hop=hop, why=why)


def _is_kept_in(want: Snapshot, router: Router, here: _Here, left: Port, packet: Packet) -> bool:
    """Tell whether a packet would leave by a gateway that another host has whole, and its sender is not led there."""
    led = {item.fixed_address for item in here.floating} | (_proxied(want, router) if router.answers else set())
    return place.is_part(want, router, here.host, left) and packet.source not in led


def has(want: Snapshot, router: Router, sender: Port, address: IpAddress) -> bool:
    """Tell whether a router has an address for its own where it takes what a port sends."""
    here = _here(want, router, sender.network_id, sender.host)
    own = (port for port in here.ports if not place.is_part(want, router, here.host, port))
    return any(item.address == address for port in own for item in port.fixed_ips)


def kept_in(want: Snapshot, router: Router, sender: Port) -> str:
    """Return why a router sends nothing of a port's out by its gateways on shared networks; "" if that is no matter."""
    at, first = place.place(want, router, sender.network_id, sender.host), place.first_host(want, router)
    far = [port for port in place.ports_of(want, router, GATEWAY_OWNER) if place.is_shared(want, port.network_id)]
    if not far or at == first:
        return ""
    where = f"its gateway on {_name(want, far[0].network_id)} is on {f'host {first} alone' if first else 'no host'}"
    is_led = far[0] in place.on(want, router, at)
    return f"{where}, and on host {at or '?'} " + (
        "only floating IPs and NDP proxies lead there" if is_led else "nothing leads there"
    )


def _way_out(
    want: Snapshot, router: Router, ports: list[Port], destination: IpAddress, own: str
) -> tuple[Port | None, IpAddress | None, str]:
    """Return by which port a router sends a packet on, to whom there, and why; the longest prefix wins.

    `own` is the network that the sender has a floating IP on, "" if none: what no route says more of goes there.
    """
    order = [item.network_id for item in router.gateways]
    outside = [port for port in ports if port.device_owner == GATEWAY_OWNER or port.network_id == own]
    outside.sort(key=lambda port: order.index(port.network_id) if port.network_id in order else len(order))
    outside.sort(key=lambda port: port.network_id != own)
    near = [(want.subnets[item.subnet_id], port) for port in ports for item in port.fixed_ips]
    ways: list[tuple[int, Port, IpAddress, str]] = [
        (subnet.cidr.prefixlen, port, destination, f"{destination} is on {_name(want, port.network_id)}")
        for subnet, port in near
        if destination in subnet.cidr
    ]
    for net, hop in router.routes:
        left = next((port for port in ports if _is_near(want, port, hop)), None)
        if destination in net and left is not None:
            ways.append((net.prefixlen, left, hop, f"extra route by {hop}"))
    for port in outside:
        for subnet in (want.subnets[item.subnet_id] for item in port.fixed_ips):
            is_own = port.device_owner == INTERFACE_OWNER and _is_at(port, subnet.gateway)
            if subnet.cidr.version == destination.version and not is_own:
                is_one = router.spreads and len(outside) > 1 and not own
                words = "one of its gateways for each connection, here that" if is_one else "its gateway is"
                why = f"{words} on {_name(want, port.network_id)}"
                ways.append((-1, port, subnet.gateway or destination, why))
    if not ways:
        return None, None, ""
    _, left, hop, why = max(ways, key=lambda way: way[0])
    return left, hop, why


def next_hop(router: Router, destination: IpAddress) -> IpAddress | None:
    """Return where the extra route with the longest prefix leads."""
    fitting = [(net.prefixlen, str(hop), hop) for net, hop in router.routes if destination in net]
    return max(fitting)[2] if fitting else None


def _crossing(
    want: Snapshot,
    router: Router,
    here: _Here,
    passage: tuple[list[Port], Port],
    packet: Packet,
    final: Packet,
) -> Crossing:
    (entered, left), source = passage, packet.source
    seen = _source(want, router, here, passage, packet, final)
    why = f"{final.destination} is on {_name(want, left.network_id)}"
    words = f"routes it from {_name(want, entered[0].network_id)} to {_name(want, left.network_id)}"
    if final != packet:
        words += f", destination {_end(packet, packet.high != final.high)} becomes "
        words += _end(final, packet.high != final.high)
    if seen != source:
        words += f", source {source} becomes {seen}"
    return Crossing(replace(final, source=seen), final.destination, router.id, entered[0].id, left.id, words, why)


def _source(
    want: Snapshot, router: Router, here: _Here, passage: tuple[list[Port], Port], packet: Packet, final: Packet
) -> IpAddress:
    """Return the source of a packet as it leaves a router."""
    (entered, left), source = passage, packet.source
    gateways = [port for port in here.ports if port.device_owner == GATEWAY_OWNER]
    from_inside = any(port.device_owner == INTERFACE_OWNER for port in entered)
    mine = {item.network_id: item.address for item in here.floating if item.fixed_address == source}
    own = next((mine[port.network_id] for port in gateways if port.network_id in mine), None)
    if left in gateways:
        given = _address(want, left, source)
        known = _scope(want, entered, source) == _scope(want, [left], source) != ""
        return own or (given if given and from_inside and not known and _translates(router, left) else source)
    if left.network_id in mine:
        return mine[left.network_id]
    given = _address(want, gateways[0], source) if gateways else None
    floating = {want.floating_ips[item].network_id for item in want.floating_ips_of_router.get(router.id, ())}
    is_asked = final != packet and from_inside and entered[0].network_id not in floating
    if not is_asked or (given is None and source.version == 6):
        return source
    # Back inside, for who asked for a floating IP.
    is_whole = bool(gateways) and not place.is_part(want, router, here.host, gateways[0])
    return own or (given if given and is_whole else packet.destination)


def _end(packet: Packet, with_port: bool) -> str:
    return f"{packet.destination}:{packet.high}" if with_port else str(packet.destination)


def _name(want: Snapshot, network_id: str) -> str:
    network = want.networks.get(network_id)
    return f"network {(network.name if network else '') or network_id}"


def _translates(router: Router, gateway: Port) -> bool:
    return any(item.enable_snat for item in router.gateways if item.network_id == gateway.network_id)


def _address(want: Snapshot, gateway: Port, source: IpAddress) -> IpAddress | None:
    """Return the address that a gateway may give to what comes from `source`: of IPv6 only behind the host."""
    if source.version == 6 and want.networks[gateway.network_id].network_type != BEHIND_HOST:
        return None
    return next((item.address for item in gateway.fixed_ips if item.address.version == source.version), None)


def _are_apart(
    want: Snapshot,
    router: Router,
    passage: tuple[list[Port], Port],
    floating: list[FloatingIp],
    packet: Packet,
) -> bool:
    """Tell whether a packet would go from one address scope to another as it is."""
    (entered, left), source = passage, packet.source
    if any(item.fixed_address == source and item.network_id == left.network_id for item in floating):
        return False
    gateway = next((port for port in (*entered, left) if port.device_owner == GATEWAY_OWNER), None)
    if gateway is not None and _address(want, gateway, source) is not None:
        has_own = left is gateway and any(item.fixed_address == source for item in floating)
        if has_own or _translates(router, gateway):
            return False
    scopes = _scope(want, entered, source), _scope(want, [left], packet.destination)
    return None not in scopes and scopes[0] != scopes[1]


def _scope(want: Snapshot, ports: list[Port], address: IpAddress) -> str | None:
    """Return the address scope of an address at a router's ports: beyond a gateway all are of the network's own."""
    for port in ports:
        for item in port.fixed_ips:
            subnet = want.subnets[item.subnet_id]
            is_beyond = port.device_owner == GATEWAY_OWNER and subnet.cidr.version == address.version
            if is_beyond or address in subnet.cidr:
                pool = want.pools.get(subnet.pool_id)
                return pool.scope_id if pool else ""
    return None


def _floating(want: Snapshot, router: Router, ports: list[Port], host: str) -> Iterator[FloatingIp]:
    """Yield the floating IPs of a router that are at work on a host: those whose port is there, or on all hosts."""
    near = {port.network_id for port in ports}
    for item in want.floating_ips.values():
        port = want.ports.get(item.port_id)
        if item.router_id != router.id or item.network_id not in near or port is None or not port.host:
            continue
        if host == (place.first_host(want, router) if place.is_shared(want, port.network_id) else port.host):
            yield item


def _is_near(want: Snapshot, port: Port, address: IpAddress) -> bool:
    return any(address in want.subnets[item.subnet_id].cidr for item in port.fixed_ips)


def _is_at(port: Port, address: IpAddress | None) -> bool:
    return address is None or any(item.address == address for item in port.fixed_ips)
