# SPDX-License-Identifier: Apache-2.0
"""What routers are in the routed space: floating IPs of ports, the way out of hosts, and what these publish. Pure.

The space needs no router between its networks. With a gateway one says that ports on its subnets reach what is outside
with their host's address; its floating IPs are routes to their ports like those of the ports' own addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from msgspec import structs

from portico import planning
from portico.contract import Dirty
from portico.hoststate import ROUTED, Forward, Publish, Scope, Space, Standing, Target, Vif
from portico.model import standing
from portico.model.snapshot import FloatingIp, Port, PortForwarding, Router, Snapshot, Subnet
from portico.planning.ports import Memory, Part

_ULA = ip_network("fc00::/7")  # RFC 4193


def with_floating(want: Snapshot, port: Port, vif: Vif) -> Vif:
    """Return a VIF with the floating addresses that are led to its port, and what stands for it."""
    floating, forwards, led = [], [], []
    for item in _of_port(want, port):
        holder = standing.holder(want, item)
        if holder is None or not port.admin_state_up or holder.host != port.host:
            continue
        if holder.id == port.id:
            led.append(f"{item.address}/32")
        if item.fixed_address is not None:
            floating.append(Standing(str(item.address), str(item.fixed_address), item.network_id in want.networks))
        forwards += [_forward(item, it) for it in standing.forwardings(want, item) if it.port_id == port.id]
    if not (floating or forwards):
        return vif
    return structs.replace(vif, floating=tuple(floating), forwards=tuple(forwards), routes=(*vif.routes, *led))


def _of_port(want: Snapshot, port: Port) -> list[FloatingIp]:
    ids = set(want.floating_ips_of_port.get(port.id, ()))
    ids |= {want.forwardings[item].floatingip_id for item in want.forwardings_of_port.get(port.id, ())}
    return [want.floating_ips[item] for item in sorted(ids) if item in want.floating_ips]


def _forward(floating: FloatingIp, item: PortForwarding) -> Forward:
    return Forward(
        address=str(floating.address),
        protocol=item.protocol,
        external=item.external_ports,
        fixed=str(item.internal_address),
        internal=item.internal_ports,
    )


def with_way_out(want: Snapshot, host: str, space: Space) -> Space:
    """Return the routed space of a host with what its routers' gateways make of it."""
    routers = [want.routers[item] for item in sorted(planning.routers.routers_of_host(want, host))]
    routers = [router for router in routers if router.gateways]
    if not routers:
        return space
    translated = {str(subnet.cidr) for router in routers for subnet in _translated(want, router)}
    known = sorted(str(subnet.cidr) for subnet in want.subnets.values())
    return structs.replace(space, way_out=True, masquerade=tuple(sorted(translated)), known=tuple(known))


def _translated(want: Snapshot, router: Router) -> Iterator[Subnet]:
    """Yield the subnets whose ports have their host's address outside.

    Of IPv6 only unique local ones, unless a gateway is behind the host; and none of the address scope of an external
    network of the space, for these addresses mean the same out there.
    """
    beyond = [item.network_id for item in router.gateways]
    if not any(item.enable_snat for item in router.gateways):
        return
    outside = {
        (near.cidr.version, _scope(want, near))
        for network_id in beyond
        for near in (want.subnets[item] for item in want.subnets_of_network.get(network_id, ()))
    }
    is_any = any(it not in want.networks for it in beyond)  # networks behind the host are of another backend
    for port in planning.routers.interfaces(want, router.id):
        for item in port.fixed_ips:
            subnet = want.subnets.get(item.subnet_id)
            if subnet is None or (subnet.cidr.version == 6 and not (is_any or subnet.cidr.subnet_of(_ULA))):  # type: ignore[arg-type]
                continue
            scope = _scope(want, subnet)
            if not scope or (subnet.cidr.version, scope) not in outside:
                yield subnet


def with_scopes(want: Snapshot, space: Space) -> Space:
    """Return the routed space of a host with the address scopes that are apart in it, if there are several."""
    found = scopes(want)
    if not found:
        return space
    floating = sorted(
        str(item.address) for item in want.floating_ips.values() if item.router_id and item.network_id in want.networks
    )
    return structs.replace(space, scopes=found, floating=tuple(floating))


def with_shares(want: Snapshot, host: str, space: Space) -> Space:
    """Return the routed space of a host with what the floating IPs that are led to it may use."""
    if not want.policies:
        return space
    found = {}
    for port_id in want.ports_of_host.get(host, ()):
        for item in _of_port(want, want.ports[port_id]):
            holder, share = standing.holder(want, item), planning.qos.share(want, item)
            if share is not None and holder is not None and holder.host == host:
                found[item.address] = share
    return structs.replace(space, shares=tuple(found[address] for address in sorted(found)))


def with_other_shares(want: Snapshot, dirty: Dirty, memory: Memory) -> set[str]:
    """Return the hosts of changed ports, where floating IPs have shares, or had: theirs may be among them."""
    both = (*want.floating_ips.values(), *memory.floating_ips.values())
    if not any(planning.qos.policy_of_floating(want, item) for item in both):
        return set()
    ports = (known.get(item) for item in dirty.ids.get("port", ()) for known in (memory.ports, want.ports))
    return {port.host for port in ports if port is not None and want.networks_of_host.get(port.host)}


def scopes(want: Snapshot) -> tuple[Scope, ...]:
    """Return the address scopes of routed subnets; none where all of an IP version are of one."""
    found: dict[str, list[str]] = {}
    several: dict[int, set[str]] = {4: set(), 6: set()}
    for subnet in want.subnets.values():
        scope_id = _scope(want, subnet)
        several[subnet.cidr.version].add(scope_id)
        found.setdefault(scope_id, []).append(str(subnet.cidr))
    if all(len(ids) < 2 for ids in several.values()):
        return ()
    return tuple(Scope(scope_id, tuple(sorted(found[scope_id]))) for scope_id in sorted(found))


def _scope(want: Snapshot, subnet: Subnet) -> str:
    pool = want.pools.get(subnet.pool_id)
    return pool.scope_id if pool else ""


def published(want: Snapshot, host: str, port: Port) -> Iterator[Publish]:
    """Yield the ports of a host that lead to a port there."""
    if port.host != host:
        return
    for forwarding_id in sorted(want.forwardings_of_port.get(port.id, ())):
        item = want.forwardings[forwarding_id]
        router_id = want.floating_ips[item.floatingip_id].router_id if item.floatingip_id in want.floating_ips else ""
        router = want.routers.get(router_id)
        if item.host_addresses and router is not None and router.admin_state_up:
            yield Publish(
                forwarding_id=item.id,
                network_id=ROUTED,
                protocol=item.protocol,  # type: ignore[arg-type]  # the API has no other
                addresses=tuple(sorted(set(item.host_addresses))),
                ports=item.external_ports,
                targets=tuple(_targets(port, item)),
            )


def _targets(port: Port, item: PortForwarding) -> Iterator[Target]:
    """Yield where published ports lead: to the port itself, by IPv6 to the first address of that version."""
    yield Target(str(item.internal_address), item.internal_ports)
    own = [fixed.address for fixed in port.fixed_ips if fixed.address.version == 6]
    if own:
        yield Target(str(own[0]), item.internal_ports)


def concerned(want: Snapshot, dirty: Dirty, memory: Memory) -> Dirty:
    """Return a hint with the ports that changed floating IPs and port forwardings lead, or led, to.

    Those of one floating IP depend on each other.
    """
    ports = set(dirty.ids.get("port", ()))
    known = (memory.forwardings, want.forwardings)
    items = {each[item] for item in dirty.ids.get("port_forwarding", ()) for each in known if item in each}
    ids = {item.floatingip_id for item in items} | set(dirty.ids.get("floatingip", ()))
    near = {*ports, *(it for network in dirty.ids.get("network", ()) for it in want.ports_of_network.get(network, ()))}
    ids |= {item for port_id in near for item in want.floating_ips_of_port.get(port_id, ())}
    ids |= {
        want.forwardings[item].floatingip_id for port_id in near for item in want.forwardings_of_port.get(port_id, ())
    }
    ports |= {item.port_id for item in items}
    for floating_id in ids:
        versions = [each[floating_id] for each in (memory.floating_ips, want.floating_ips) if floating_id in each]
        ports |= {item.port_id for item in versions if item.port_id}
        ports |= {want.forwardings[item].port_id for item in want.forwardings_of_floating_ip.get(floating_id, ())}
    return structs.replace(dirty, ids={**dirty.ids, "port": frozenset(ports)})


def unpublished(want: Snapshot, dirty: Dirty, memory: Memory) -> Iterator[tuple[str, Part]]:
    """Yield, by host, the ports that it published for port forwardings that are gone, or lead elsewhere."""
    ids = set(dirty.ids.get("port_forwarding", ()))
    for floating_id in dirty.ids.get("floatingip", ()):
        ids |= want.forwardings_of_floating_ip.get(floating_id, set())
    for item in (memory.forwardings[it] for it in sorted(ids) if it in memory.forwardings):
        before = memory.ports.get(item.port_id)
        after = want.ports.get(item.port_id)
        kept = {it.forwarding_id for it in published(want, before.host, after)} if before and after else set()
        if before is not None and before.host and item.id not in kept:
            yield before.host, Part((), (f"publish/{item.id}",))
