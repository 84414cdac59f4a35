# SPDX-License-Identifier: Apache-2.0
"""The oracle: may a packet be delivered, given what is wanted? Pure; written from Neutron's semantics alone.

It judges the first packet of a connection; answers follow from statefulness. It does not judge what hosts need to find
each other (ARP, neighbour discovery, DHCP, router advertisements, multicast listener reports): `Packet` is ordinary
traffic. Sources: Neutron's API reference (security groups, port security, allowed address pairs), RFC 4291 appendix A.

Decided by Portico where Neutron's drivers differ: a remote group's addresses count on the packet's own network and on
those that a router joins to it, for addresses of different networks may overlap; a guarded port without addresses is
held to its MAC address only if its network has no subnets, else it sends from none but its link-local address. All
routed networks are one space: there is no L2 in it, a packet goes where its destination is led, and remote groups count
everywhere in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address, ip_network

from portico.model.snapshot import DHCP_OWNER, IpAddress, IpNetwork, Port, SecurityGroupRule, Snapshot
from portico.testing import router_oracle

TCP, UDP, SCTP, DCCP, UDP_LITE = 6, 17, 132, 33, 136
PORTED = frozenset({TCP, UDP, SCTP, DCCP, UDP_LITE})
ICMP, ICMPV6, VRRP = 1, 58, 112
ROUTED = "routed"
"""The type of networks without L2."""


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection between two ports, addressed to the receiver's MAC address, or a router's.

    `low` and `high` are source and destination port, or ICMP type and code, or 0.
    """

    sender: str
    receiver: str
    mac: str
    source: IpAddress
    destination: IpAddress
    protocol: int
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a packet is delivered; `reason` says what forbids it."""

    delivered: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.delivered


def verdict(want: Snapshot, packet: Packet) -> Verdict:
    """Judge `packet`. The order of questions is the packet's way: link, sender's side, receiver's side."""
    sender, receiver = want.ports.get(packet.sender), want.ports.get(packet.receiver)
    if sender is None or receiver is None or sender is receiver:
        return Verdict(delivered=False, reason="it takes two ports")
    if sender.network_id != receiver.network_id and not _are_routed(want, sender, receiver):
        return _across(want, sender, receiver, packet)
    for question in (_link, _way, _source, _egress, _ingress):
        reason = question(want, sender, receiver, packet)
        if reason:
            return Verdict(delivered=False, reason=reason)
    return Verdict(delivered=True)


def _across(want: Snapshot, sender: Port, receiver: Port, packet: Packet) -> Verdict:
    """Judge a packet between two networks, which is addressed to a router."""
    for question in (_link, _source, _egress):
        reason = question(want, sender, receiver, packet)
        if reason:
            return Verdict(delivered=False, reason=reason)
    reason = "not on the same network, nor joined by a router"
    for found in router_oracle.crossings(want, sender, receiver, packet.source, packet.destination):
        arrived = replace(packet, source=found.source, destination=found.destination)
        reason = _ingress(want, sender, receiver, arrived)
        if not reason:
            return Verdict(delivered=True)
    return Verdict(delivered=False, reason=reason)


def _link(want: Snapshot, sender: Port, receiver: Port, _packet: Packet) -> str:
    network = want.networks.get(sender.network_id)
    if network is None:
        return "not on the same network"
    if not sender.host or not receiver.host:
        return "a port is bound to no host"
    if network.network_type in ("local", ROUTED) and sender.host != receiver.host:
        return f"a {network.network_type} network does not reach from host to host by itself"
    if not (_is_up(want, sender) and _is_up(want, receiver)):
        return "admin_state_up is false"
    return ""


def _is_up(want: Snapshot, port: Port) -> bool:
    network = want.networks.get(port.network_id)
    return network is not None and network.admin_state_up and port.admin_state_up


def _are_routed(want: Snapshot, *ports: Port) -> bool:
    networks = (want.networks.get(port.network_id) for port in ports)
    return all(network is not None and network.network_type == ROUTED for network in networks)


def _way(want: Snapshot, sender: Port, receiver: Port, packet: Packet) -> str:
    """Question where a routed packet is led."""
    if not _are_routed(want, sender, receiver):
        return ""
    if packet.source.is_link_local or packet.destination.is_link_local:
        return "a link-local address is not routed"
    if _holder(want, receiver.host, packet.destination) != receiver.id:
        return "the destination is not led to the receiver"
    return ""


def _holder(want: Snapshot, host: str, address: IpAddress) -> str | None:
    """Return the port on a host that an address is led to: whose own it is, else whose pair within its subnets."""
    ports = [want.ports[item] for item in want.ports_of_host.get(host, ())]
    ports = [port for port in ports if port.host == host and _is_up(want, port) and _are_routed(want, port)]
    ports = [port for port in ports if port.device_owner != DHCP_OWNER]
    claims: list[tuple[int, int, str]]
    claims = [(-address.max_prefixlen, 0, port.id) for port in ports for ip in port.fixed_ips if ip.address == address]
    for port in ports:
        nets = [want.subnets[item].cidr for item in want.subnets_of_network.get(port.network_id, ())]
        pairs = [pair.cidr for pair in port.pairs if address in pair.cidr]
        inside = [cidr for cidr in pairs if any(cidr[0] in net and cidr[-1] in net for net in nets)]
        claims += [(-cidr.prefixlen, 1, port.id) for cidr in inside]
    return min(claims)[2] if claims else None


def _source(want: Snapshot, sender: Port, _receiver: Port, packet: Packet) -> str:
    """Question the sender's addresses: its own, its pairs', and the link-local address of each MAC address."""
    if not sender.port_security:
        return ""
    allowed = [(pair.mac.lower(), pair.cidr) for pair in sender.pairs]
    macs = {sender.mac.lower(), *(mac for mac, _ in allowed)}
    mac = packet.mac.lower()
    if mac in macs and packet.source == link_local(mac):
        return ""
    own = [item.address for item in sender.fixed_ips]
    is_numbered = own or want.subnets_of_network.get(sender.network_id) or _are_routed(want, sender)
    if mac == sender.mac.lower() and (packet.source in own or not is_numbered):
        return ""
    if any(mac == paired and packet.source in cidr for paired, cidr in allowed):
        return ""
    return f"port security: {packet.mac} {packet.source} is not the sender's"


def _egress(want: Snapshot, sender: Port, _receiver: Port, packet: Packet) -> str:
    if not sender.port_security or _is_admitted(want, sender, "egress", packet, packet.destination):
        return ""
    return "no egress rule of the sender"


def _ingress(want: Snapshot, _sender: Port, receiver: Port, packet: Packet) -> str:
    if not receiver.port_security or _is_admitted(want, receiver, "ingress", packet, packet.source):
        return ""
    return "no ingress rule of the receiver"


def _is_admitted(want: Snapshot, port: Port, direction: str, packet: Packet, remote: IpAddress) -> bool:
    rules = (want.rules[item] for group in port.group_ids for item in want.rules_of_group.get(group, ()))
    return any(
        rule.direction == direction
        and rule.ethertype == f"IPv{remote.version}"
        and _fits_protocol(rule, packet)
        and _fits_remote(want, rule, port.network_id, remote)
        for rule in rules
    )


def _fits_protocol(rule: SecurityGroupRule, packet: Packet) -> bool:
    if rule.protocol is None:
        return True
    if rule.protocol != packet.protocol:
        return False
    if packet.protocol in PORTED:
        low = 0 if rule.port_min is None else rule.port_min
        high = 65535 if rule.port_max is None else rule.port_max
        return low <= packet.high <= high
    if packet.protocol in (ICMP, ICMPV6):
        return rule.port_min in (None, packet.low) and rule.port_max in (None, packet.high)
    return True


def _fits_remote(want: Snapshot, rule: SecurityGroupRule, network_id: str, remote: IpAddress) -> bool:
    if rule.remote_address_group_id is not None:
        group = want.address_groups.get(rule.remote_address_group_id)
        return group is not None and any(remote in ip_network(cidr) for cidr in group.cidrs)
    if rule.remote_group_id is not None:
        return any(remote in cidr for cidr in members(want, rule.remote_group_id, network_id))
    return rule.remote_cidr is None or remote in rule.remote_cidr


def members(want: Snapshot, group_id: str, network_id: str) -> Iterator[IpNetwork | frozenset[IpAddress]]:
    """Yield what belongs to a group on a network: addresses and address pairs of its ports there, bound or not.

    Those on networks that a router joins to it are there, too.
    """
    network = want.networks.get(network_id)
    is_routed = network is not None and network.network_type == ROUTED
    near = router_oracle.joined(want, network_id)
    for port in want.ports.values():
        is_near = port.network_id in near or (is_routed and _are_routed(want, port))
        if is_near and group_id in port.group_ids:
            yield frozenset(item.address for item in port.fixed_ips)
            yield from (pair.cidr for pair in port.pairs)


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address made from a MAC address (modified EUI-64)."""
    raw = bytearray.fromhex(mac.replace(":", ""))
    raw[0] ^= 2
    return IPv6Address(b"\xfe\x80" + bytes(6) + bytes(raw[:3]) + b"\xff\xfe" + bytes(raw[3:]))


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
            floating = [item.address for item in want.floating_ips.values() if item.port_id == receiver.id]
            for destination in (*(item.address for item in receiver.fixed_ips), *floating):
                for source in (
                    item.address for item in sender.fixed_ips if item.address.version == destination.version
                ):
                    icmp = ICMP if source.version == 4 else ICMPV6
                    for what in ((TCP, 40000, 80), (UDP, 40000, 8000), (icmp, 8 if icmp == ICMP else 128, 0)):
                        yield Packet(sender.id, receiver.id, sender.mac, source, destination, *what)


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
