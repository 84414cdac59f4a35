# SPDX-License-Identifier: Apache-2.0
"""What BGP speakers announce of routers: what is behind gateways on their networks, by way of these. Pure.

As neutron-dynamic-routing does: networks whose addresses mean the same outside, and floating IPs. Routers of routed
networks are left out: their hosts announce what they lead, and a gateway's address is nobody's there.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from portico.model.address import IpAddress, IpNetwork
from portico.model.bgp import ROUTED
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.snapshot import Port, Snapshot, Subnet
from portico.model.speaker import BgpSpeaker


def routes_behind(want: Snapshot, speaker: BgpSpeaker) -> dict[IpNetwork, IpAddress]:
    """Return the next hop, a gateway's address, of each range behind routers; of several the lowest address."""
    outside = {one for one in speaker.network_ids if one in want.networks and want.networks[one].backend != ROUTED}
    found: dict[IpNetwork, IpAddress] = {}
    for router_id in sorted({item for one in outside for item in want.routers_of_network.get(one, ())}):
        if not _is_there(want, router_id):
            continue
        for gateway in _ports(want, router_id, GATEWAY_OWNER):
            if gateway.network_id in outside:
                for net, hop in _behind(want, speaker, gateway):
                    found[net] = min(hop, found.get(net, hop), key=int)
    return found


def _is_there(want: Snapshot, router_id: str) -> bool:
    router = want.routers.get(router_id)
    networks = (want.networks.get(port.network_id) for port in _ports(want, router_id, INTERFACE_OWNER))
    is_routed = any(network is None or network.backend == ROUTED for network in networks)
    return router is not None and router.admin_state_up and not is_routed


def _behind(want: Snapshot, speaker: BgpSpeaker, gateway: Port) -> Iterator[tuple[IpNetwork, IpAddress]]:
    """Yield what is behind a gateway, with the address that it has itself."""
    own = [(net, item.address) for item in gateway.fixed_ips if (net := want.subnets.get(item.subnet_id))]
    outside, hop = next(((net, at) for net, at in own if at.version == speaker.ip_version), (None, None))
    if outside is None or hop is None:
        return
    if speaker.announces_tenants and (scope := _scope(want, outside)):
        for subnet in _subnets(want, gateway.device_id):
            if subnet.cidr.version == speaker.ip_version and _scope(want, subnet) == scope:
                yield subnet.cidr, hop
    for floating_id in want.floating_ips_of_router.get(gateway.device_id, ()) if speaker.announces_floating else ():
        floating = want.floating_ips[floating_id]
        if floating.network_id == gateway.network_id and floating.address.version == speaker.ip_version:
            yield ip_network(floating.address), hop


def _subnets(want: Snapshot, router_id: str) -> Iterator[Subnet]:
    for port in _ports(want, router_id, INTERFACE_OWNER):
        yield from (want.subnets[item.subnet_id] for item in port.fixed_ips if item.subnet_id in want.subnets)


def _ports(want: Snapshot, router_id: str, owner: str) -> list[Port]:
    ports = (want.ports[port_id] for port_id in want.ports_of_router.get(router_id, ()))
    return [port for port in ports if port.device_owner == owner]


def _scope(want: Snapshot, subnet: Subnet) -> str:
    pool = want.pools.get(subnet.pool_id)
    return pool.scope_id if pool else ""
