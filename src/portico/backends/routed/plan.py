# SPDX-License-Identifier: Apache-2.0
"""From the wanted state to what each host must have of the routed space. Pure.

All routed networks are one space: their addresses are unique, ports of one reach those of another where their groups
let them, and a remote group has its members of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from portico import planning
from portico.backends.routed import outside
from portico.contract import Dirty
from portico.hoststate import ROUTED, Dhcp, HostObject, Member, Space, Vif
from portico.model.snapshot import DHCP_OWNER, Port, Snapshot


def host_objects(want: Snapshot, host: str, dns_domain: str = "") -> list[HostObject]:
    """Return all that `host` must have; `dns_domain` is that of networks which name none."""
    networks = [want.networks[network_id] for network_id in sorted(want.networks_of_host.get(host, ()))]
    if not networks:
        return []
    objects: list[HostObject] = [space(want, host)]
    for network in networks:
        if network.id in want.taps_of_host.get(host, ()):
            objects.extend(map(_routed, planning.ports.dhcp(want, network, host, dns_domain)))
    groups = sorted(want.groups_of_host.get(host, ()))
    objects.extend(planning.ports.group(want, group_id) for group_id in groups if group_id in want.groups)
    for group_id in planning.ports.remote_groups(want, host):
        cidrs = {cidr for _, cidr in want.members_of_group.get(group_id, ())}
        if group_id in want.address_groups:
            cidrs.update(want.address_groups[group_id].cidrs)
        objects.extend(Member(group_id=group_id, network_id=ROUTED, cidr=cidr) for cidr in sorted(cidrs))
    for port_id in want.ports_of_host.get(host, ()):
        port = want.ports[port_id]
        if port.device_owner != DHCP_OWNER:
            objects.append(vif(want, port.on(host)))
            objects.extend(outside.published(want, host, port))
    return objects


def space(want: Snapshot, host: str) -> Space:
    """Return the routed space of a host that has networks in it."""
    networks = [want.networks[network_id] for network_id in want.networks_of_host[host]]
    subnets = (want.subnets[item] for network in networks for item in want.subnets_of_network.get(network.id, ()))
    mtu, ipv6 = max(network.mtu for network in networks), any(subnet.cidr.version == 6 for subnet in subnets)
    made = outside.with_way_out(want, host, Space(mtu=mtu, ipv6=ipv6))
    return outside.with_shares(want, host, outside.with_scopes(want, made))


def changes(want: Snapshot, dirty: Dirty, memory: planning.ports.Memory) -> dict[str, planning.ports.Part | None]:
    """Return what changes on which host; None stands for "everything on it: call `host_objects`"."""
    dirty = outside.concerned(want, dirty, memory)
    parts = planning.ports.changes(want, dirty, memory, planning.ports.Ways(_hosts_near, _about, _is_shared))
    more = [*outside.unpublished(want, dirty, memory)]
    is_elsewhere = not dirty.ids.keys().isdisjoint(("network", "subnet", "subnetpool"))
    if is_elsewhere or ("floatingip" in dirty.ids and outside.scopes(want)):
        hosts = {host for host, networks in want.networks_of_host.items() if networks}
    else:
        hosts = outside.with_other_shares(want, dirty, memory)
    more += [(host, planning.ports.Part((space(want, host),), ())) for host in sorted(hosts)]
    for host, part in more:
        if host not in parts or parts[host] is not None:
            planning.ports.add_part(parts, host, part)
    return parts


def vif(want: Snapshot, port: Port) -> Vif:
    """Return the VIF of a bound port.

    An address pair is led to it only within its network's subnets: else a port could have anybody's traffic come to it.
    """
    found = planning.ports.vif(want, port)
    own = planning.ports.own_cidrs(port)
    if found.guard is not None and not own:
        # With no address it sends nothing but what its pairs allow: there is no network that it could number itself.
        sources = tuple(source for source in found.guard.sources if not source.cidr.endswith("/0"))
        found = structs.replace(found, guard=structs.replace(found.guard, sources=sources))
    nets = [want.subnets[subnet_id].cidr for subnet_id in want.subnets_of_network.get(port.network_id, ())]
    shared = {
        str(pair.cidr)
        for pair in port.pairs
        for net in nets
        if net.version == pair.cidr.version and pair.cidr.subnet_of(net)  # type: ignore[arg-type]  # the same version
    }
    found = structs.replace(found, network_id=ROUTED, routes=own, shared_routes=tuple(sorted(shared - {*own})))
    return outside.with_floating(want, port, found)


def _hosts_near(want: Snapshot, port: Port) -> set[str]:
    """Return the hosts whose wanted state may hold something about `port`.

    Its own and its network's, which know its name, and all where one of its groups may come in.
    """
    near = {*port.hosts, *want.hosts_of_network.get(port.network_id, ())}
    return near | {*want.ports_of_host} if port.group_ids else near


def _routed(item: HostObject) -> HostObject:
    return structs.replace(item, routed=True) if isinstance(item, Dhcp) else item


def _about(want: Snapshot, host: str, port: Port) -> Iterator[HostObject]:
    """Yield everything in `host`'s wanted state that one port brings about.

    A port may have gone together with its network: hosts that had nothing else of that know its addresses all the same.
    """
    if port.device_owner == DHCP_OWNER:
        return
    if port.network_id in want.networks and host in port.hosts:
        yield vif(want, port.on(host))
        yield from outside.published(want, host, port)
    if port.network_id in want.taps_of_host.get(host, ()) and port.network_id in want.dhcp_ports_of_network:
        yield planning.ports.lease(port, host)
    if want.networks_of_host.get(host):
        for group_id in set(planning.ports.remote_groups(want, host)).intersection(port.group_ids):
            for cidr in port.cidrs:
                yield Member(group_id=group_id, network_id=ROUTED, cidr=cidr)


def _is_shared(want: Snapshot, item: HostObject) -> bool:
    """Tell whether another port still gives a group this member: address pairs may be several ports'."""
    members = want.members_of_group.get(item.group_id, ()) if isinstance(item, Member) else ()
    return isinstance(item, Member) and any(cidr == item.cidr for _, cidr in members)
