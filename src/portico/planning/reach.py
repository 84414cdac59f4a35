# SPDX-License-Identifier: Apache-2.0
"""Which hosts do not reach a router's gateways whole, and what is told of it. Pure.

On networks that are one on all hosts a gateway is whole on one host. Ports on networks that each host has for itself
reach it there alone; elsewhere only floating IPs and NDP proxies are led (see `planning.gateways`). May import what
`contract` may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from portico import planning
from portico.contract import Dirty, ObjectStatus
from portico.model.l3 import INTERFACE_OWNER, FloatingIp
from portico.model.snapshot import Port, Snapshot
from portico.planning.ports import Memory

MOST_NAMED = 5
"""How many hosts a reason names."""


def changed(
    want: Snapshot, dirty: Dirty, memory: Memory, told: dict[str, frozenset[ObjectStatus]]
) -> list[ObjectStatus]:
    """Return what is new about how hosts reach gateways; `told` has what was said before, by router, and keeps it."""
    ended: set[tuple[str, str]] = set()
    found: list[ObjectStatus] = []
    for router_id in sorted(_concerned(want, dirty, memory, told)):
        before = told.pop(router_id, frozenset())
        now = frozenset(_statuses(want, router_id)) if router_id in want.routers else frozenset()
        if now:
            told[router_id] = now
        ended |= {(item.resource, item.id) for item in before}
        found += now - before
    still = {(item.resource, item.id) for items in told.values() for item in items} if ended else set()
    gone = [ObjectStatus(resource, object_id, "ACTIVE") for resource, object_id in sorted(ended - still)]
    return [*gone, *sorted(found, key=lambda item: (item.resource, item.id))]


def _concerned(want: Snapshot, dirty: Dirty, memory: Memory, told: Collection[str]) -> set[str]:
    """Return the routers of which something may be new."""
    ids = dirty.ids
    if dirty.everything or "agent" in ids:
        return {*want.routers, *told}
    ports = [known.get(item) for item in ids.get("port", ()) for known in (memory.ports, want.ports)]
    networks = {port.network_id for port in ports if port is not None} | {*ids.get("network", ())}
    routers = {item for network_id in networks for item in want.routers_of_network.get(network_id, ())}
    routers |= {port.device_id for port in ports if port is not None and port.device_id in told}
    floating = {*ids.get("floatingip", ())}
    floating |= {
        known[item].floatingip_id
        for item in ids.get("port_forwarding", ())
        for known in (memory.forwardings, want.forwardings)
        if item in known
    }
    known_ones = (
        known[item] for item in floating for known in (memory.floating_ips, want.floating_ips) if item in known
    )
    return {*routers, *ids.get("router", ()), *(item.router_id for item in known_ones)} - {""}


def _statuses(want: Snapshot, router_id: str) -> Iterator[ObjectStatus]:
    """Yield what is to be told of a router and its floating IPs: of those without trouble, that they have none."""
    if not any(_is_physical(want, port) for port in _ends(want, router_id)):
        return
    trouble = lack(want, router_id)
    yield ObjectStatus("router", router_id, "ERROR" if trouble else "ACTIVE", trouble)
    for floating_id in sorted(want.floating_ips_of_router.get(router_id, ())):
        trouble = unled(want, want.floating_ips[floating_id])
        yield ObjectStatus("floatingip", floating_id, "ERROR" if trouble else "ACTIVE", trouble)


def lack(want: Snapshot, router_id: str) -> str:
    """Return which hosts do not reach a router's gateways, and why; "" if all of its hosts do."""
    found = [port for port in planning.routers.gateways(want, router_id) if _is_physical(want, port)]
    hosts = {
        host
        for port in planning.routers.interfaces(want, router_id)
        for host in want.hosts_of_network.get(port.network_id, ())
    }
    if not found or not hosts or not want.routers[router_id].admin_state_up:
        return ""
    first = planning.routers.first_host(want, router_id)
    if not first:
        return f"no host has {_on(want, found[0])} and all else that it is on: not {_named(hosts)}, where its ports are"
    apart = planning.routers.hosts_of_router(want, router_id) - {first}
    if not apart:
        return ""
    without = {host for host in apart if not planning.gateways.can_have(want, host, found[0])}
    words = (
        [f"ports on {_named(apart - without)} reach it by floating IPs and NDP proxies alone"]
        if apart - without
        else []
    )
    words += [f"ports on {_named(without)} do not reach it"] if without else []
    return f"host {first} alone has {_on(want, found[0])}: {', '.join(words)}"


def unled(want: Snapshot, floating: FloatingIp) -> str:
    """Return why a floating IP does not lead to its port, or one that its port forwardings lead to; "" if it does."""
    forwardings = sorted(want.forwardings_of_floating_ip.get(floating.id, ()))
    ports = [floating.port_id, *(want.forwardings[item].port_id for item in forwardings)]
    ends = (port for port in _ends(want, floating.router_id) if port.network_id == floating.network_id)
    gateway = next(ends, None)
    if gateway is None or not _is_physical(want, gateway):
        return ""
    first = planning.routers.first_host(want, floating.router_id)
    for port in (want.ports[port_id] for port_id in ports if port_id in want.ports):
        if not port.host or port.network_id not in want.networks or port.host == first:
            continue
        if _is_physical(want, port):
            if not first:
                return f"no host has {_on(want, gateway)} and all else that its router is on"
        elif gateway.device_owner == INTERFACE_OWNER or not planning.gateways.can_have(want, port.host, gateway):
            return f"host {port.host} of port {port.id} has not {_on(want, gateway)}"
    return ""


def _ends(want: Snapshot, router_id: str) -> list[Port]:
    """Return the ports by which a router answers for floating IPs."""
    inside = planning.routers.interfaces(want, router_id)
    return [*planning.routers.gateways(want, router_id), *(it for it in inside if planning.gateways.floats(want, it))]


def _on(want: Snapshot, gateway: Port) -> str:
    """Return the place of a gateway, or an interface, in words."""
    network = want.networks[gateway.network_id]
    zones = want.routers[gateway.device_id].zones
    where = f" in {' or '.join(zones)}" if zones else ""
    kind = "interface" if gateway.device_owner == INTERFACE_OWNER else "gateway"
    return f"the {kind} on network {network.id} (physical network {network.physical_network}){where}"


def _named(hosts: Collection[str]) -> str:
    more = len(hosts) - MOST_NAMED
    return ", ".join(sorted(hosts)[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _is_physical(want: Snapshot, port: Port) -> bool:
    return port.network_id in want.networks and want.networks[port.network_id].network_type in planning.routers.PHYSICAL
