# SPDX-License-Identifier: Apache-2.0
"""Gateways on networks that are one on all hosts, where another host has the whole of them. Pure.

The gateway's addresses and its MAC address must not come from two places of a segment, but each floating IP, and each
address that an NDP proxy is for, may be answered for where its port is, with a MAC address that is the host's alone.
May import what `contract` may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from portico import planning
from portico.hoststate.l3 import Leg, Way
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER, FloatingIp, Router
from portico.model.snapshot import IpNetwork, Port, Snapshot, Subnet

BEHIND_HOST = "host"
"""The type of external networks that are behind the host itself."""
EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def can_have(want: Snapshot, host: str, gateway: Port) -> bool:
    """Tell whether a host has the physical network of a gateway and is in one of its router's zones, if it has any.

    Hosts whose agents are not known have all, and are in all.
    """
    needed = {want.networks[gateway.network_id].physical_network} - {None}
    zones = want.routers[gateway.device_id].zones if gateway.device_id in want.routers else ()
    known = [item for item in want.hosts.values() if item.name == host]
    return all(needed <= item.physical_networks and (not zones or item.zone in zones) for item in known)


def part(want: Snapshot, host: str, gateway: Port, inside: Iterable[IpNetwork], floating: Iterable[FloatingIp]) -> Leg:
    """Return a gateway that another host has whole. From `inside` passes what has a floating IP or a proxy here."""
    digest = hashlib.sha256(f"{gateway.mac.lower()} {host}".encode()).hexdigest()
    return Leg(
        port_id=gateway.id,
        network_id=gateway.network_id,
        mac=":".join(("02", *(digest[at : at + 2] for at in range(0, 10, 2)))),
        mtu=want.networks[gateway.network_id].mtu,
        addresses=(),
        outside=True,
        apart=tuple(sorted({str(net) for net in inside})),
        shares=planning.qos.shares(want, gateway, floating),
    )


def scope(want: Snapshot, subnet: Subnet) -> str:
    """Return the address scope of a subnet by the pool that it is from; "" for none."""
    pool = want.pools.get(subnet.pool_id)
    return pool.scope_id if pool else ""


def sources(want: Snapshot, gateway: Port) -> dict[int, str]:
    """Return the addresses that a gateway gives to what it sends, by IP version: of IPv6 only behind the host."""
    router, network = want.routers[gateway.device_id], want.networks[gateway.network_id]
    known = [item for item in router.gateways if gateway.id == item.port_id] or [
        item for item in router.gateways if item.network_id == gateway.network_id
    ]
    versions = (4, 6) if network.network_type == BEHIND_HOST else (4,)
    found: dict[int, str] = {}
    for item in gateway.fixed_ips if any(item.enable_snat for item in known) else ():
        if item.address.version in versions and item.subnet_id in want.subnets:
            found.setdefault(item.address.version, str(item.address))
    return found


def beyond(want: Snapshot, gateway: Port) -> str:
    """Return where a gateway sends IPv4 that is for nobody on its network; "" if nowhere."""
    subnets = [want.subnets[item.subnet_id] for item in gateway.fixed_ips if item.subnet_id in want.subnets]
    own = {item.address for item in gateway.fixed_ips}
    hops = [subnet.gateway for subnet in subnets if subnet.gateway is not None and subnet.cidr.version == 4]
    return next((str(hop) for hop in hops if hop not in own), "")


def floats(want: Snapshot, port: Port) -> bool:
    """Tell whether a port of a router is an interface where floating IPs are answered, for want of a gateway there."""
    ids = want.floating_ips_of_router.get(port.device_id, ())
    is_used = any(want.floating_ips[item].network_id == port.network_id for item in ids)
    return is_used and port.device_owner == INTERFACE_OWNER and _has_ipv4(port)


def ends(ports: Iterable[Port]) -> dict[str, str]:
    """Return where a router answers for floating IPs: of its ports on each network the first that can, by id."""
    able = [port for port in ports if port.device_owner == GATEWAY_OWNER or _has_ipv4(port)]
    return {port.network_id: port.id for port in reversed(able)}


def _has_ipv4(port: Port) -> bool:
    return any(item.address.version == 4 for item in port.fixed_ips)


def watched(want: Snapshot, router: Router, gateways: Iterable[Port]) -> tuple[Way, ...]:
    """Return the next hops of a router that are watched, the first gateway's first.

    Who is not in the subnet cannot be asked from an address in it. Where an extra route says where everything goes,
    gateways have no part in that.
    """
    found: dict[Way, None] = {}
    told = {net.version for net, _ in router.routes if net.prefixlen == 0}
    for port in gateways if router.watches else ():
        own = {item.address for item in port.fixed_ips}
        for subnet in (want.subnets[item.subnet_id] for item in port.fixed_ips if item.subnet_id in want.subnets):
            hop = subnet.gateway
            if hop is not None and hop in subnet.cidr and hop not in own and hop.version not in told:
                found[Way(EVERYWHERE[hop.version], str(hop), port.id)] = None
    return tuple(found)
