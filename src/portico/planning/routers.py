# SPDX-License-Identifier: Apache-2.0
"""Where routers are, and what a host must have of them. Pure.

A router is on each host that has a bound port on a network of one of its interfaces, or a router that sends to it, the
same everywhere: traffic is routed where it starts. Not so on networks that are one on all hosts: there its MAC
addresses must not come from two places, and one host has its part in them; others lead floating IPs and what NDP
proxies are for, with MAC addresses of their own. A router whose admin_state_up is false is nowhere. May import what
`contract` may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from msgspec import structs

from portico import planning
from portico.hoststate.l3 import Leg, Prefix, Router, Way
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.snapshot import FloatingIp, IpAddress, Port, Snapshot, Subnet

PHYSICAL = ("flat", "vlan")
"""Types of networks that are on a physical network, and so one on all hosts; of others each host has its own."""


def interfaces(want: Snapshot, router_id: str) -> list[Port]:
    """Return the ports by which a router is on its networks, gateways left out."""
    return _ports(want, router_id, INTERFACE_OWNER)


def gateways(want: Snapshot, router_id: str) -> list[Port]:
    """Return the ports by which a router reaches what is outside, the first gateway's first."""
    router = want.routers.get(router_id)
    order = [item.network_id for item in router.gateways] if router else []
    found = _ports(want, router_id, GATEWAY_OWNER)
    return sorted(found, key=lambda port: order.index(port.network_id) if port.network_id in order else len(order))


def _ports(want: Snapshot, router_id: str, owner: str) -> list[Port]:
    ports = [want.ports[port_id] for port_id in sorted(want.ports_of_router.get(router_id, ()))]
    return [port for port in ports if port.device_owner == owner and port.network_id in want.networks]


def hosts_of_router(want: Snapshot, router_id: str) -> set[str]:
    """Return the hosts that have a router: those of its networks' ports, and those of routers that send to it.

    For all hosts with ports on networks that are one on all hosts, it is on the first.
    """
    found: set[str] = set()
    for one in _with_senders(want, router_id, is_here=True):
        ports = interfaces(want, one)
        found |= {host for port in ports if not _is_physical(want, port) for host in _hosts(want, port)}
        if any(_is_physical(want, port) for port in ports):
            found |= {first_host(want, one)} - {""}
    return found


def first_host(want: Snapshot, router_id: str) -> str:
    """Return the host that has a router's part in networks that are one on all hosts; "" if it has none, or none can.

    It is the first by name of those with ports on the router's networks, or a router that sends to it, and with all
    physical networks that the router is on, in one of its availability zones if it names any. Hosts whose agents are
    not known have all, and are in all.
    """
    ports = [want.ports[port_id] for port_id in want.ports_of_router.get(router_id, ())]
    physical = [want.networks[port.network_id] for port in ports if _is_physical(want, port)]
    if not physical:
        return ""
    routers = _with_senders(want, router_id, is_here=False)
    found = {host for one in routers for port in interfaces(want, one) for host in _hosts(want, port)}
    if needed := {network.physical_network for network in physical} - {None}:
        found -= {item.name for item in want.hosts.values() if not needed <= item.physical_networks}
    if zones := want.routers[router_id].zones if router_id in want.routers else ():
        found -= {item.name for item in want.hosts.values() if item.zone not in zones}
    return min(found, default="")


def _with_senders(want: Snapshot, router_id: str, *, is_here: bool) -> set[str]:
    """Return a router and those that send to it, some by way of others, as far as they are up.

    With `is_here` only such as do so on the same host: on networks that are one on all hosts it may be another.
    """
    seen: set[str] = set()
    todo = [router_id]
    while todo:
        one = todo.pop()
        if one not in seen and _is_up(want, one):
            seen.add(one)
            todo += _senders(want, one, is_here=is_here)
    return seen


def _hosts(want: Snapshot, port: Port) -> Iterable[str]:
    return want.hosts_of_network.get(port.network_id, ())


def _is_physical(want: Snapshot, port: Port) -> bool:
    return port.network_id in want.networks and want.networks[port.network_id].network_type in PHYSICAL


def routers_of_host(want: Snapshot, host: str) -> set[str]:
    """Return the routers that a host has: those of its ports' networks, and those that these send to."""
    near = {item for network in want.networks_of_host.get(host, ()) for item in _with_interface(want, network)}
    found, todo = set(), list(near)
    holders: dict[str, dict[IpAddress, str]] = {}
    while todo:
        one = todo.pop()
        if one in found or not _is_up(want, one):
            continue
        found.add(one)
        for network_id, hop in _next_hops(want, one):
            if network_id not in holders:
                holders[network_id] = _holders(want, network_id)
            todo += [holders[network_id][hop]] if hop in holders[network_id] else []
    if any(_is_physical(want, port) for one in found for port in interfaces(want, one)):
        found = {one for one in found if host in hosts_of_router(want, one)}
    return found


def _next_hops(want: Snapshot, router_id: str) -> Iterator[tuple[str, IpAddress]]:
    """Yield where a router sends what is for none of its networks: by which network, and to whom."""
    for port_id in want.ports_of_router.get(router_id, ()):
        port = want.ports[port_id]
        for subnet in _subnets(want, port):
            if subnet.gateway is not None and _is_gateway(port):
                yield port.network_id, subnet.gateway
            yield from ((port.network_id, hop) for _, hop in want.routers[router_id].routes if hop in subnet.cidr)


def _holders(want: Snapshot, network_id: str) -> dict[IpAddress, str]:
    """Return the routers on a network by their addresses there."""
    routers = want.routers_of_network.get(network_id, ())
    ports = [want.ports[port_id] for router_id in routers for port_id in want.ports_of_router[router_id]]
    return {item.address: port.device_id for port in ports if port.network_id == network_id for item in port.fixed_ips}


def _senders(want: Snapshot, router_id: str, *, is_here: bool) -> set[str]:
    """Return the routers of which a router is a next hop: by an extra route, or as the gateway beyond their own."""
    found = set()
    for port_id in want.ports_of_router.get(router_id, ()):
        port = want.ports[port_id]
        if is_here and _is_physical(want, port):
            continue
        own = {item.address for item in port.fixed_ips}
        is_beyond = any(subnet.gateway in own for subnet in _subnets(want, port))
        for other in want.routers_of_network.get(port.network_id, ()):
            known = want.routers.get(other)
            if known is None or other == router_id:
                continue
            has_gateway = is_beyond and any(item.network_id == port.network_id for item in gateways(want, other))
            if has_gateway or any(hop in own for _, hop in known.routes):
                found.add(other)
    return found


def networks_of_host(want: Snapshot, host: str) -> set[str]:
    """Return the networks whose segments a host needs: those of its ports, and all of its routers."""
    found = set(want.networks_of_host.get(host, ()))
    for router_id in routers_of_host(want, host):
        found |= {port.network_id for port in _here(want, router_id, host)}
    return found


def joined(want: Snapshot, network_id: str) -> set[str]:
    """Return the networks whose ports reach those of a network by way of one router, and itself."""
    routers = (item for item in _with_interface(want, network_id) if _is_up(want, item))
    return {network_id, *(port.network_id for item in routers for port in interfaces(want, item))}


def gateway(want: Snapshot, subnet: Subnet) -> IpAddress | None:
    """Return the gateway of a subnet if a router is there: else nobody answers, and no client is to be told of it."""
    if subnet.gateway is None:
        return None
    for router_id in _with_interface(want, subnet.network_id):
        for port in interfaces(want, router_id) if _is_up(want, router_id) else ():
            if any(item.subnet_id == subnet.id and item.address == subnet.gateway for item in port.fixed_ips):
                return subnet.gateway
    return None


def router(want: Snapshot, host: str, router_id: str) -> Router:
    """Return a router as `host`, which is one of its hosts, must have it."""
    ports = _here(want, router_id, host)
    parts = _parts(want, router_id, host, ports)
    nets = [subnet.cidr for port in interfaces(want, router_id) for subnet in _subnets(want, port)]
    legs = [
        planning.gateways.part(want, host, port, nets, _floating_by(want, port))
        if port.id in parts
        else _leg(want, port)
        for port in ports
    ]
    spread = {leg.port_id for leg in legs if leg.floats or (leg.outside and sum(one.outside for one in legs) > 1)}
    beyond = {port.id: planning.gateways.beyond(want, port) for port in ports if port.id in spread}
    legs = [structs.replace(leg, beyond=beyond.get(leg.port_id, "")) for leg in legs]
    legs = planning.ndp.guard(want, router_id, legs, nets, lambda port_id: is_led(want, router_id, port_id, host))
    floating, forwards = planning.floating.answered(want, host, router_id, planning.gateways.ends(ports))
    known = want.routers[router_id]
    whole = [port for port in ports if _is_gateway(port) and port.id not in parts]
    return Router(
        router_id=router_id,
        legs=tuple(sorted(legs, key=lambda leg: leg.port_id)),
        ways=tuple(_ways(want, router_id, ports, parts, {leg.port_id for leg in legs if leg.proxied})),
        floating=tuple(floating),
        forwards=tuple(forwards),
        meters=planning.metering.meters(want, known) if any(leg.outside for leg in legs) else (),
        watched=planning.gateways.watched(want, known, whole),
        spreads=known.watches and known.spreads,
        helpers=planning.related.helpers(want, router_id),
    )


def touched(want: Snapshot, ports: Iterable[Port | None], floating_ids: Iterable[str]) -> set[str]:
    """Return the routers that changed ports and floating IPs have something to do with."""
    found = {port.device_id for port in ports if port and port.device_owner in (INTERFACE_OWNER, GATEWAY_OWNER)}
    ids = {item for port in ports if port for item in want.floating_ips_of_port.get(port.id, ())}
    ids |= {
        want.forwardings[item].floatingip_id
        for port in ports
        if port
        for item in want.forwardings_of_port.get(port.id, ())
    }
    return found | {want.floating_ips[item].router_id for item in {*ids, *floating_ids} if item in want.floating_ips}


def _with_interface(want: Snapshot, network_id: str) -> Iterator[str]:
    """Yield the routers that have an interface on a network; those with a gateway there look on from outside."""
    for router_id in want.routers_of_network.get(network_id, ()):
        if any(port.network_id == network_id for port in interfaces(want, router_id)):
            yield router_id


def _is_up(want: Snapshot, router_id: str) -> bool:
    return router_id in want.routers and want.routers[router_id].admin_state_up


def _here(want: Snapshot, router_id: str, host: str) -> list[Port]:
    """Return the ports of a router that it has on a host.

    On networks that are one on all hosts, one alone has interfaces; gateways are wherever floating IPs can be led.
    """
    ports = [*interfaces(want, router_id), *gateways(want, router_id)]
    first = first_host(want, router_id)
    return [
        port
        for port in ports
        if host == first
        or not _is_physical(want, port)
        or (_is_gateway(port) and planning.gateways.can_have(want, host, port))
    ]


def _parts(want: Snapshot, router_id: str, host: str, ports: Iterable[Port]) -> frozenset[str]:
    """Return the ids of those ports that another host has whole: of gateways, to lead floating IPs and proxies."""
    if host == first_host(want, router_id):
        return frozenset()
    return frozenset(port.id for port in ports if _is_physical(want, port))


def _leg(want: Snapshot, port: Port) -> Leg:
    network = want.networks[port.network_id]
    subnets = [
        (want.subnets[item.subnet_id], item.address) for item in port.fixed_ips if item.subnet_id in want.subnets
    ]
    outside, floats = _is_gateway(port), planning.gateways.floats(want, port)
    sources = planning.gateways.sources(want, port) if outside else {}
    known, apart = _scopes(want, port, [subnet for subnet, _ in subnets], sources)
    return Leg(
        port_id=port.id,
        network_id=port.network_id,
        mac=port.mac.lower(),
        mtu=network.mtu,
        addresses=tuple(f"{address}/{subnet.cidr.prefixlen}" for subnet, address in subnets),
        outside=outside,
        snat=sources.get(4, ""),
        snat6=sources.get(6, ""),
        prefixes=() if outside else tuple(_prefixes(subnet for subnet, _ in subnets)),
        known=tuple(known),
        apart=tuple(apart),
        shares=planning.qos.shares(want, port, _floating_by(want, port)) if outside or floats else (),
        floats=floats,
    )


def _floating_by(want: Snapshot, port: Port) -> list[FloatingIp]:
    """Return the floating IPs that are answered at a gateway."""
    ids = want.floating_ips_of_router.get(port.device_id, ())
    return [item for item_id in ids if (item := want.floating_ips[item_id]).network_id == port.network_id]


def _scopes(want: Snapshot, port: Port, near: list[Subnet], translated: Collection[int]) -> tuple[list[str], list[str]]:
    """Return the subnets inside whose addresses mean the same at a leg, and those that mean something else there.

    Subnets from pools without an address scope are in one together. What is of `translated` IP versions may go out from
    any.
    """
    scopes = {subnet.cidr.version: planning.gateways.scope(want, subnet) for subnet in near}
    known, apart = [], []
    for other in interfaces(want, port.device_id):
        for subnet in _subnets(want, other) if other.id != port.id else ():
            version = subnet.cidr.version
            if version not in scopes:
                continue
            scope = planning.gateways.scope(want, subnet)
            if scope != scopes[version] and version not in translated:
                apart.append(str(subnet.cidr))
            elif scope and scope == scopes[version] and version in translated:
                known.append(str(subnet.cidr))
    return sorted(known), sorted(apart)


def _prefixes(subnets: Iterable[Subnet]) -> Iterator[Prefix]:
    for subnet in subnets:
        if subnet.cidr.version == 6 and subnet.ra_mode is not None:
            yield Prefix(str(subnet.cidr), subnet.ra_mode)  # type: ignore[arg-type]  # one of Neutron's three


def _ways(
    want: Snapshot, router_id: str, ports: list[Port], parts: frozenset[str], proxying: Collection[str]
) -> Iterator[Way]:
    """Yield the routes of a router: its own first, then where it sends everything else.

    By those of its ports that are `parts` goes IPv4 alone, unless they are `proxying`. They have no address of a
    subnet, which takes a route, too.
    """
    dual = {port.id for port in ports} - parts | {*proxying}
    near = [(port, net) for port in ports for net in _subnets(want, port) if port.id in dual or net.cidr.version == 4]
    yield from (Way(str(subnet.cidr), "", port.id) for port, subnet in near if port.id in parts)
    # To its own subnets a router has a route already; the kernel takes no other one to the same.
    seen = {subnet.cidr for _, subnet in near}
    for destination, nexthop in want.routers[router_id].routes:
        by = next((port for port, subnet in near if nexthop in subnet.cidr), None)
        if by is not None and destination not in seen:
            seen.add(destination)
            yield Way(str(destination), str(nexthop), by.id)
    told = {(net.version, "") for net in seen if net.prefixlen == 0}
    for port, subnet in near:
        version, own = subnet.cidr.version, {item.address for item in port.fixed_ips}
        # The first of all gateways, or of each.
        key = version, port.id if want.routers[router_id].spreads else ""
        is_told = key in told or (version, "") in told
        if _is_gateway(port) and subnet.gateway is not None and not is_told and subnet.gateway not in own:
            told.add(key)
            yield Way(planning.gateways.EVERYWHERE[version], str(subnet.gateway), port.id)


def _subnets(want: Snapshot, port: Port) -> list[Subnet]:
    return [want.subnets[item.subnet_id] for item in port.fixed_ips if item.subnet_id in want.subnets]


def _is_gateway(port: Port) -> bool:
    return port.device_owner == GATEWAY_OWNER


def is_led(want: Snapshot, router_id: str, port_id: str, host: str) -> bool:
    """Tell whether what comes for a port from outside by a router comes by a host's."""
    port = want.ports.get(port_id)
    if port is None or not port.host or port.network_id not in want.networks:
        return False
    return host == (first_host(want, router_id) if _is_physical(want, port) else port.host)
