# SPDX-License-Identifier: Apache-2.0
"""Where routers are, given what is wanted. Pure.

A router is where ports of its networks are. Networks that are one on all hosts have it on one of them, with all that it
is there; others that have it for networks of their own lead floating IPs, and what NDP proxies are for. Decided by
Portico (docs/design/l3.md); written apart from what plans it, which it judges.
"""

from __future__ import annotations

from collections.abc import Iterator

from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER, Router
from portico.model.snapshot import Port, Snapshot

_PHYSICAL = ("flat", "vlan")
"""Types of networks that are one on all hosts."""


def ports_of(want: Snapshot, router: Router, owner: str) -> Iterator[Port]:
    """Yield the ports of a router that have an owner's name."""
    for port_id in sorted(want.ports_of_router.get(router.id, ())):
        if want.ports[port_id].device_owner == owner:
            yield want.ports[port_id]


def on(want: Snapshot, router: Router, host: str) -> Iterator[Port]:
    """Yield a router's ports on a host: a network that is one on all hosts has them on the first of them.

    Its gateways there lead floating IPs on others, too, that have the physical network.
    """
    if host not in _hosts(want, router, frozenset()):
        return
    is_first = host == first_host(want, router)
    for port in ports_of(want, router, INTERFACE_OWNER):
        if is_first or not is_shared(want, port.network_id):
            yield port
    for port in ports_of(want, router, GATEWAY_OWNER):
        if is_first or not is_shared(want, port.network_id) or _fits(want, router, host, [port]):
            yield port


def first_host(want: Snapshot, router: Router) -> str:
    """Return the host that has a router whole on networks that are one on all hosts, "" if none can."""
    ports = [*ports_of(want, router, INTERFACE_OWNER), *ports_of(want, router, GATEWAY_OWNER)]
    hosts = _hosts(want, router, frozenset())
    return min((host for host in hosts if _fits(want, router, host, ports)), default="")


def _fits(want: Snapshot, router: Router, host: str, ports: list[Port]) -> bool:
    """Tell whether a host has the physical networks that ports are on, in a zone of the router's; unknown ones have."""
    needed = {want.networks[port.network_id].physical_network for port in ports} - {None}
    known = [item for item in want.hosts.values() if item.name == host]
    return all(needed <= item.physical_networks and item.zone in (router.zones or (item.zone,)) for item in known)


def place(want: Snapshot, router: Router, network_id: str, host: str) -> str:
    """Return the host whose router takes what `host` sends to it on a network."""
    return first_host(want, router) if is_shared(want, network_id) else host


def is_shared(want: Snapshot, network_id: str) -> bool:
    """Tell whether a network is one on all hosts."""
    return want.networks[network_id].network_type in _PHYSICAL


def is_part(want: Snapshot, router: Router, host: str, port: Port) -> bool:
    """Tell whether a router's port on a host is a gateway that another host has whole."""
    return port.device_owner == GATEWAY_OWNER and is_shared(want, port.network_id) and host != first_host(want, router)


def _hosts(want: Snapshot, router: Router, asked: frozenset[str]) -> set[str]:
    """Return where a router is: with ports of its networks, and with other routers that it is a next hop of."""
    networks = {port.network_id for port in ports_of(want, router, INTERFACE_OWNER)}
    hosts = {host for host, there in want.networks_of_host.items() if not networks.isdisjoint(there)}
    for other in want.routers.values():
        if other.admin_state_up and other.id not in asked and other is not router and _sends_to(want, other, router):
            hosts |= _hosts(want, other, asked | {router.id})
    return hosts


def _sends_to(want: Snapshot, one: Router, other: Router) -> bool:
    """Tell whether an extra route of a router, or what leaves by its gateways, leads to another one."""
    outside = {port.network_id for port in ports_of(want, one, GATEWAY_OWNER)}
    networks = outside | {port.network_id for port in ports_of(want, one, INTERFACE_OWNER)}
    hops = {hop for _, hop in one.routes}
    for owner in (INTERFACE_OWNER, GATEWAY_OWNER) if networks else ():
        for port in ports_of(want, other, owner):
            for item in port.fixed_ips if port.network_id in networks else ():
                beyond = want.subnets[item.subnet_id].gateway if port.network_id in outside else None
                if item.address == beyond or item.address in hops:
                    return True
    return False
