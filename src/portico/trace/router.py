# SPDX-License-Identifier: Apache-2.0
"""What routers do with a packet, given what is wanted. Pure.

Written from Neutron's semantics alone: a router forwards between its subnets; its floating IPs stand for fixed
addresses both ways; what it sends out by a gateway has the gateway's address for its source, if enable_snat is set, and
so has what comes from inside to a floating IP whose port is inside too. IPv6 is never translated. Addresses of one
address scope mean the same everywhere and are not translated; nothing goes from one to another but what is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from portico.model.converters import PROTOCOLS
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER, FloatingIp, PortForwarding, Router
from portico.model.snapshot import IpAddress, Port, Snapshot


@dataclass(frozen=True, slots=True)
class Crossing:
    """A packet as a router sends it on, from one of its ports out by another."""

    source: IpAddress
    destination: IpAddress
    router_id: str
    entered: str
    left: str
    words: str
    why: str


def joined(want: Snapshot, network_id: str) -> set[str]:
    """Return the networks that have an interface of a router in common with a network, and itself."""
    found = {network_id}
    for router in want.routers.values():
        networks = {port.network_id for port in _ports(want, router, INTERFACE_OWNER)}
        if router.admin_state_up and network_id in networks:
            found |= networks
    return found


def crossings(
    want: Snapshot,
    sender: Port,
    receiver: Port,
    source: IpAddress,
    destination: IpAddress,
    *,
    only: str = "",
    forwarded: IpAddress | None = None,
) -> Iterator[Crossing]:
    """Yield what becomes of a packet that one of the routers on the sender's network leads to the receiver.

    Args:
        only: the id of the one router that is asked.
        forwarded: the address that a port forwarding gives the packet.
    """
    if source.is_link_local or destination.is_link_local or sender.host != receiver.host:
        return
    for router in want.routers.values():
        if router.admin_state_up and only in ("", router.id):
            found = _cross(want, router, sender, receiver, source, destination, forwarded)
            if found is not None:
                yield found


def _cross(
    want: Snapshot,
    router: Router,
    sender: Port,
    receiver: Port,
    source: IpAddress,
    destination: IpAddress,
    forwarded: IpAddress | None,
) -> Crossing | None:
    ports = list(_on(want, router, sender.host))
    entered = [port for port in ports if port.network_id == sender.network_id]
    if not entered:
        return None
    floating = list(_floating(want, router, ports, sender.host))
    fixed = next((item.fixed_address for item in floating if item.address == destination), None)
    final = forwarded or fixed or destination
    left = next((port for port in ports if _is_near(want, port, final)), None)
    if left is None or left.network_id != receiver.network_id:
        return None
    if final not in {item.address for item in receiver.fixed_ips}:
        return None
    if final == destination and _are_apart(want, router, (entered, left), floating, (source, final)):
        return None
    return _crossing(want, router, ports, floating, (entered, left), (source, destination), final)


def exit_of(want: Snapshot, router: Router, sender: Port, source: IpAddress, destination: IpAddress) -> Crossing | None:
    """Return what becomes of a packet for none of the router's networks: by an extra route, or out by a gateway."""
    ports = list(_on(want, router, sender.host))
    entered = [port for port in ports if port.network_id == sender.network_id]
    hop = next_hop(router, destination)
    if hop is None:
        left = next((port for port in ports if port.device_owner == GATEWAY_OWNER), None)
    else:
        left = next((port for port in ports if _is_near(want, port, hop)), None)
    floating = list(_floating(want, router, ports, sender.host))
    if not entered or left is None or _are_apart(want, router, (entered, left), floating, (source, destination)):
        return None
    found = _crossing(want, router, ports, floating, (entered, left), (source, destination), destination)
    why = f"extra route by {hop}" if hop else f"its gateway is on {_name(want, left.network_id)}"
    return replace(found, why=why)


def next_hop(router: Router, destination: IpAddress) -> IpAddress | None:
    """Return where the extra route with the longest prefix leads."""
    fitting = [(net.prefixlen, str(hop), hop) for net, hop in router.routes if destination in net]
    return max(fitting)[2] if fitting else None


def forwarding_for(want: Snapshot, destination: IpAddress, protocol: int, port: int) -> PortForwarding | None:
    """Return the port forwarding that a packet meets at a floating IP."""
    addresses = {item.id for item in want.floating_ips.values() if item.address == destination}
    for item in want.forwardings.values():
        first, last = item.external_ports
        if item.floatingip_id in addresses and PROTOCOLS.get(item.protocol) == protocol and first <= port <= last:
            return item
    return None


def forwarded_port(item: PortForwarding, port: int) -> int:
    """Return the internal port: ranges of one length lead port by port, else all lead to the first."""
    (first, last), (start, end) = item.external_ports, item.internal_ports
    return start + (port - first if last - first == end - start else 0)


def _crossing(
    want: Snapshot,
    router: Router,
    ports: list[Port],
    floating: list[FloatingIp],
    passage: tuple[list[Port], Port],
    addresses: tuple[IpAddress, IpAddress],
    final: IpAddress,
) -> Crossing:
    (entered, left), (source, destination) = passage, addresses
    from_inside = any(port.device_owner == INTERFACE_OWNER for port in entered)
    is_outward = left.device_owner == GATEWAY_OWNER
    seen, why = source, f"{final} is on {_name(want, left.network_id)}"
    if isinstance(source, IPv4Address) and (is_outward or (final != destination and from_inside)):
        known = is_outward and _scope(want, entered, source) == _scope(want, [left], source) != ""
        seen = _source(
            router, left if is_outward else None, ports, floating, source, translated=from_inside and not known
        )
    words = f"routes it from {_name(want, entered[0].network_id)} to {_name(want, left.network_id)}"
    if final != destination:
        words += f", destination {destination} becomes {final}"
    if seen != source:
        words += f", source {source} becomes {seen}"
    return Crossing(seen, final, router.id, entered[0].id, left.id, words, why)


def _name(want: Snapshot, network_id: str) -> str:
    network = want.networks.get(network_id)
    return f"network {(network.name if network else '') or network_id}"


def _source(
    router: Router,
    gateway: Port | None,
    ports: list[Port],
    floating: list[FloatingIp],
    source: IpAddress,
    *,
    translated: bool,
) -> IpAddress:
    """Return what a source is outside, by way of `gateway`; None: back inside, for who asked for a floating IP."""
    for item in floating:
        if item.fixed_address == source:
            return item.address
    if gateway is None:
        return next(ip.address for port in ports if port.device_owner == GATEWAY_OWNER for ip in port.fixed_ips)
    return gateway.fixed_ips[0].address if translated and _translates(router, gateway) else source


def _translates(router: Router, gateway: Port) -> bool:
    return any(item.enable_snat for item in router.gateways if item.network_id == gateway.network_id)


def _are_apart(
    want: Snapshot,
    router: Router,
    passage: tuple[list[Port], Port],
    floating: list[FloatingIp],
    addresses: tuple[IpAddress, IpAddress],
) -> bool:
    """Tell whether a packet would go from one address scope to another as it is."""
    (entered, left), (source, destination) = passage, addresses
    gateway = next((port for port in (*entered, left) if port.device_owner == GATEWAY_OWNER), None)
    if gateway is not None and source.version == 4:
        has_own = left is gateway and any(item.fixed_address == source for item in floating)
        if has_own or _translates(router, gateway):
            return False
    scopes = _scope(want, entered, source), _scope(want, [left], destination)
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


def _on(want: Snapshot, router: Router, host: str) -> Iterator[Port]:
    """Yield a router's ports on a host: a network that is one on all hosts has its gateway on the first of them."""
    inside = list(_ports(want, router, INTERFACE_OWNER))
    networks = {port.network_id for port in inside}
    hosts = {host for host, there in want.networks_of_host.items() if not networks.isdisjoint(there)}
    if host not in hosts:
        return
    yield from inside
    for port in _ports(want, router, GATEWAY_OWNER):
        if want.networks[port.network_id].network_type == "local" or host == min(hosts):
            yield port


def _ports(want: Snapshot, router: Router, owner: str) -> Iterator[Port]:
    for port in want.ports.values():
        if port.device_owner == owner and port.device_id == router.id:
            yield port


def _floating(want: Snapshot, router: Router, ports: list[Port], host: str) -> Iterator[FloatingIp]:
    """Yield the floating IPs of a router that are at work on a host: those whose port is there."""
    outside = {port.network_id for port in ports if port.device_owner == GATEWAY_OWNER}
    for item in want.floating_ips.values():
        port = want.ports.get(item.port_id)
        if item.router_id == router.id and item.network_id in outside and port is not None and port.host == host:
            yield item


def _is_near(want: Snapshot, port: Port, address: IpAddress) -> bool:
    return any(address in want.subnets[item.subnet_id].cidr for item in port.fixed_ips)
