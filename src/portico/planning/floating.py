# SPDX-License-Identifier: Apache-2.0
"""Addresses outside that routers answer for, and what they lead to: floating IPs and forwarded ports. Pure.

A floating IP is an address of IPv4, as in Neutron. What a host publishes of its own IPv6 addresses comes to a router by
one that the floating IP has beside. May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from portico import planning
from portico.hoststate.l3 import Floating, Forward
from portico.model.snapshot import FloatingIp, IpAddress, PortForwarding, Snapshot


def answered(
    want: Snapshot, host: str, router_id: str, outside: Mapping[str, str]
) -> tuple[list[Floating], list[Forward]]:
    """Return the addresses outside that are answered on a host: those whose ports it has, or reaches for all hosts.

    `outside` are the ports by which that is done, by network: gateways, or interfaces where there is none.
    """
    found, forwards = [], []
    for floating_id in sorted(want.floating_ips_of_router.get(router_id, ())):
        item = want.floating_ips[floating_id]
        if (gateway := outside.get(item.network_id)) is None:
            continue
        mine = list(_forwards(want, host, item))
        forwards += mine
        if item.fixed_address is not None and planning.routers.is_led(want, router_id, item.port_id, host):
            found.append(Floating(str(item.address), gateway, str(item.fixed_address)))
        found += [Floating(address, gateway) for address in sorted({it.address for it in mine})]
    return found, forwards


def _forwards(want: Snapshot, host: str, floating: FloatingIp) -> Iterator[Forward]:
    for forwarding_id in sorted(want.forwardings_of_floating_ip.get(floating.id, ())):
        item = want.forwardings[forwarding_id]
        if planning.routers.is_led(want, floating.router_id, item.port_id, host):
            pairs = [(floating.address, item.internal_address), by_ipv6(want, item)]
            for address, fixed in (pair for pair in pairs if pair is not None):
                yield Forward(str(address), item.protocol, item.external_ports, str(fixed), item.internal_ports)


def by_ipv6(want: Snapshot, item: PortForwarding) -> tuple[IpAddress, IpAddress] | None:
    """Return the address outside and the port's own by which a forwarding leads over IPv6; None if it does not.

    It does if it is for IPv6 addresses of a host, and the port has one that its router reaches.
    """
    floating, port = want.floating_ips.get(item.floatingip_id), want.ports.get(item.port_id)
    beside = want.beside(item.floatingip_id)
    if floating is None or port is None or beside is None or not any(":" in text for text in item.host_addresses):
        return None
    near = {it.subnet_id for leg in planning.routers.interfaces(want, floating.router_id) for it in leg.fixed_ips}
    own = (it.address for it in port.fixed_ips if it.address.version == 6 and it.subnet_id in near)
    return next(((beside, address) for address in own), None)
