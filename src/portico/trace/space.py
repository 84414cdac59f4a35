# SPDX-License-Identifier: Apache-2.0
"""Floating IPs and the way out in the routed space, given what is wanted. Pure.

Routed networks need no router between them, and packets are judged by their own addresses: a floating IP is translated
on the host of the sender, before anything else is asked. Only what leaves the space for what is no routed subnet gets
another source. Of several address scopes one reaches another only by what is translated, told by source and
destination: port security says who may send from an address. Decided by Portico (docs/design/l3.md).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from portico.model.l3 import INTERFACE_OWNER, FloatingIp
from portico.model.snapshot import IpAddress, Port, Router, Snapshot
from portico.trace import forwarding, router, security
from portico.trace.packet import ROUTED, Hop, Packet

_ULA = ip_network("fc00::/7")  # RFC 4193


def led(want: Snapshot, sender: Port, packet: Packet) -> tuple[Packet, tuple[Hop, ...]]:
    """Return a packet as the host of a routed sender leads it on, and what to say of that; others as they are."""
    if not security.are_routed(want, sender) or not isinstance(packet.destination, IPv4Address):
        return packet, ()
    for floating in want.floating_ips.values():
        asked = want.routers.get(floating.router_id)
        if floating.address == packet.destination and asked is not None and asked.admin_state_up:
            found, why = _led(want, floating, packet)
            holder = want.ports.get(_holder(want, floating))
            if found is not None and holder is not None and holder.host == sender.host:
                words = f"{packet.destination} becomes {found.destination}"
                if found.high != packet.high:
                    words = f"port {packet.high} of {packet.destination} becomes {found.destination}:{found.high}"
                return found, (Hop(f"router/{asked.id}", words, "pass", why),)
    return packet, ()


def _led(want: Snapshot, floating: FloatingIp, packet: Packet) -> tuple[Packet | None, str]:
    if floating.fixed_address is not None:
        is_up = _is_up(want, floating.port_id)
        return (replace(packet, destination=floating.fixed_address) if is_up else None), f"floating IP {floating.id}"
    item = forwarding.met(want, packet, floating.router_id)
    if item is None or item.host_addresses or not _is_up(want, item.port_id):
        return None, ""
    holder = want.ports.get(_holder(want, floating))
    if holder is None or holder.host != want.ports[item.port_id].host:
        return None, ""
    high = forwarding.internal_port(item, packet.high)
    return replace(packet, destination=item.internal_address, high=high), f"port forwarding {item.id}"


def _holder(want: Snapshot, floating: FloatingIp) -> str:
    """Return the port that a floating IP is led to: of those that its port forwardings lead to it is the first."""
    items = [item for item in want.forwardings.values() if item.floatingip_id == floating.id]
    ports = [item.port_id for item in items if not item.host_addresses]
    return min((it for it in [floating.port_id, *ports] if it and _is_up(want, it)), default="")


def _is_up(want: Snapshot, port_id: str) -> bool:
    port = want.ports.get(port_id)
    network = want.networks.get(port.network_id) if port else None
    return bool(port and network and port.host and port.admin_state_up and network.admin_state_up)


def apart(want: Snapshot, packet: Packet) -> str:
    """Return why a packet between routed addresses, which is not translated, does not pass; "" if it does."""
    floating = {item.address for item in want.floating_ips.values() if item.router_id}
    if not floating.isdisjoint((packet.source, packet.destination)):
        return ""
    one, other = (_scope_of(want, address) for address in (packet.source, packet.destination))
    if one is None or other is None or one == other:
        return ""
    ends = f"{packet.source} is of {one or 'none'}, {packet.destination} is of {other or 'none'}"
    return f"address scopes: {ends}; what is not translated stays in its own"


def _scope_of(want: Snapshot, address: IpAddress) -> str | None:
    """Return the address scope of an address; None if it is in no routed subnet."""
    subnets = (item for item in want.subnets.values() if address in item.cidr and _is_routed(want, item.network_id))
    return next((_scope(want, item.id) for item in subnets), None)


def leaves(want: Snapshot, sender: Port, packet: Packet) -> Hop:
    """Return what becomes of a packet of a routed port that is for nobody else's on its host."""
    what, why = f"leads {packet.destination} on", "no port of the routed space has it: the host's own routes decide"
    found = Hop(f"network/{sender.network_id}", what, "pass", why)
    if fault := apart(want, packet):
        return replace(found, verdict="drop", why=fault)
    nets = (item.cidr for item in want.subnets.values() if _is_routed(want, item.network_id))
    if any(packet.destination in net for net in nets):
        return found
    for item in want.floating_ips.values():
        asked = want.routers.get(item.router_id)
        is_own = item.port_id == sender.id and item.fixed_address == packet.source
        if is_own and asked is not None and asked.admin_state_up and _is_routed(want, item.network_id):
            return replace(found, what=f"{what}, source {packet.source} becomes {item.address}")
    if any(_translates(want, it, packet) for it in want.routers.values()):
        return replace(found, what=f"{what}, source {packet.source} becomes an address of the host")
    return found


def _is_routed(want: Snapshot, network_id: str) -> bool:
    network = want.networks.get(network_id)
    return network is not None and network.network_type == ROUTED


def _translates(want: Snapshot, asked: Router, packet: Packet) -> bool:
    """Tell whether a router has a gateway with enable_snat, and an interface on the sender's subnet."""
    if not asked.admin_state_up or not any(item.enable_snat for item in asked.gateways):
        return False
    types = {want.networks[item.network_id].network_type for item in asked.gateways if item.network_id in want.networks}
    if packet.source.version == 6 and packet.source not in _ULA and router.BEHIND_HOST not in types:
        return False
    for port in want.ports.values():
        if port.device_owner == INTERFACE_OWNER and port.device_id == asked.id:
            for item in port.fixed_ips:
                if packet.source in want.subnets[item.subnet_id].cidr:
                    return not _is_known(want, asked, item.subnet_id)
    return False


def _is_known(want: Snapshot, asked: Router, subnet_id: str) -> bool:
    """Tell whether a subnet is of the address scope of an external network of the space."""
    outside = {item.network_id for item in asked.gateways if _is_routed(want, item.network_id)}
    scopes = {_scope(want, item.id) for item in want.subnets.values() if item.network_id in outside}
    return _scope(want, subnet_id) in scopes - {""}


def _scope(want: Snapshot, subnet_id: str) -> str:
    pool = want.pools.get(want.subnets[subnet_id].pool_id)
    return pool.scope_id if pool else ""
