# SPDX-License-Identifier: Apache-2.0
"""Port security and security groups: what a port may send from, and which rule lets a packet in or out. Pure.

Sources: Neutron's API reference (security groups, port security, allowed address pairs). Decided by Portico where
Neutron's drivers differ: a remote group's addresses count on the packet's own network and on those that a router joins
to it, for addresses of different networks may overlap; a guarded port without addresses is held to its MAC address only
if its network has no subnets, else it sends from none but its link-local address. All routed networks are one space,
and remote groups count everywhere in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from portico.model.snapshot import IpAddress, IpNetwork, Port, SecurityGroupRule, Snapshot
from portico.trace import router
from portico.trace.packet import ICMP, ICMPV6, PORTED, ROUTED, Hop, Packet, link_local


def are_routed(want: Snapshot, *ports: Port) -> bool:
    """Tell whether all ports are in the routed space."""
    networks = (want.networks.get(port.network_id) for port in ports)
    return all(network is not None and network.network_type == ROUTED for network in networks)


def sends(want: Snapshot, sender: Port, packet: Packet) -> Hop:
    """Question the sender's addresses: its own, its pairs', and the link-local address of each MAC address."""
    fault, why = "", _source(want, sender, packet)
    if not why:
        fault = f"port security: {packet.mac} {packet.source} is not the sender's"
    what = f"sends from {packet.source} ({packet.mac}) to {packet.destination}"
    return Hop(f"port/{sender.id}", what, "drop" if fault else "pass", fault or why)


def _source(want: Snapshot, sender: Port, packet: Packet) -> str:
    """Return why the sender may use its source, or ""."""
    if not sender.port_security:
        return "port security is off"
    allowed = [(pair.mac.lower(), pair.cidr) for pair in sender.pairs]
    macs = {sender.mac.lower(), *(mac for mac, _ in allowed)}
    mac = packet.mac.lower()
    if mac in macs and packet.source == link_local(mac):
        return "the link-local address of its MAC address"
    own = [item.address for item in sender.fixed_ips]
    is_numbered = own or want.subnets_of_network.get(sender.network_id) or are_routed(want, sender)
    if mac == sender.mac.lower() and packet.source in own:
        return "its own address"
    if mac == sender.mac.lower() and not is_numbered:
        return "its own MAC address, on a network without subnets"
    pairs = (cidr for paired, cidr in allowed if mac == paired and packet.source in cidr)
    return next((f"allowed address pair {cidr}" for cidr in pairs), "")


def leaves(want: Snapshot, sender: Port, packet: Packet) -> Hop:
    """Question the sender's egress rules."""
    return _filtered(want, sender, "egress", packet, packet.destination)


def enters(want: Snapshot, receiver: Port, packet: Packet) -> Hop:
    """Question the receiver's ingress rules."""
    return _filtered(want, receiver, "ingress", packet, packet.source)


def _filtered(want: Snapshot, port: Port, direction: str, packet: Packet, remote: IpAddress) -> Hop:
    name, what = f"port/{port.id}", f"{direction} of its security groups"
    if not port.port_security:
        return Hop(name, what, "pass", "port security is off")
    rule = _admitting(want, port, direction, packet, remote)
    if rule is not None:
        return Hop(name, what, "pass", _words(rule))
    whose = "sender" if direction == "egress" else "receiver"
    groups = ", ".join(sorted(port.group_ids)) or "none"
    return Hop(name, what, "drop", f"no {direction} rule of the {whose} lets it through (its groups: {groups})")


def _admitting(
    want: Snapshot, port: Port, direction: str, packet: Packet, remote: IpAddress
) -> SecurityGroupRule | None:
    rules = (want.rules[item] for group in port.group_ids for item in want.rules_of_group.get(group, ()))
    fitting = (
        rule
        for rule in rules
        if rule.direction == direction
        and rule.ethertype == f"IPv{remote.version}"
        and _fits_protocol(rule, packet)
        and _fits_remote(want, rule, port.network_id, remote)
    )
    return next(fitting, None)


def _words(rule: SecurityGroupRule) -> str:
    ports = ""
    if rule.port_min is not None or rule.port_max is not None:
        ports = f" {rule.port_min}-{rule.port_max}" if rule.port_min != rule.port_max else f" {rule.port_min}"
    protocol = "any protocol" if rule.protocol is None else f"protocol {rule.protocol}{ports}"
    remote = rule.remote_cidr or ""
    if rule.remote_group_id or rule.remote_address_group_id:
        remote = f"group {rule.remote_group_id or rule.remote_address_group_id}"
    side = "from" if rule.direction == "ingress" else "to"
    return f"rule {rule.id} of group {rule.group_id}: {protocol}" + (f" {side} {remote}" if remote else "")


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
    near = router.joined(want, network_id)
    for port in want.ports.values():
        is_near = port.network_id in near or (is_routed and are_routed(want, port))
        if is_near and group_id in port.group_ids:
            yield frozenset(item.address for item in port.fixed_ips)
            yield from (pair.cidr for pair in port.pairs)
