# SPDX-License-Identifier: Apache-2.0
"""From the wanted state to what each host must have. Pure.

A host needs the bridge of every network on which it has a port, the routers of those networks with the bridges of all
that these are on, the groups that filter its ports, and the members of the groups that those groups' rules name: of
security groups as far as they are on its networks or joined to them by a router; of address groups all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from portico import planning
from portico.backends.bridge import uplink
from portico.contract import Dirty
from portico.hoststate import Bridge, HostObject, Member
from portico.model.snapshot import DHCP_OWNER, Network, Port, Snapshot


def host_objects(want: Snapshot, host: str, dns_domain: str = "") -> list[HostObject]:
    """Return all that `host` must have; `dns_domain` is that of networks which name none."""
    objects: list[HostObject] = []
    for network_id in sorted(planning.routers.networks_of_host(want, host)):
        network = want.networks[network_id]
        objects.append(bridge(network))
        if network_id in want.taps_of_host.get(host, ()):
            objects.extend(planning.ports.dhcp(want, network, host, dns_domain))
    # A port's row may be newer than what is known of groups: theirs follows.
    groups = sorted(want.groups_of_host.get(host, ()))
    objects.extend(planning.ports.group(want, group_id) for group_id in groups if group_id in want.groups)
    networks: Collection[str] = want.networks_of_host.get(host, ())
    near = _near(want, host)
    for group_id in planning.ports.remote_groups(want, host):
        members = want.members_of_group.get(group_id, ())
        found = {(network_id, cidr) for home, cidr in members for network_id in near.get(home, ())}
        objects.extend(Member(group_id=group_id, network_id=network_id, cidr=cidr) for network_id, cidr in found)
        for cidr in want.address_groups[group_id].cidrs if group_id in want.address_groups else ():
            objects.extend(Member(group_id=group_id, network_id=network_id, cidr=cidr) for network_id in networks)
    for port_id in want.ports_of_host.get(host, ()):
        port = want.ports[port_id]
        if port.device_owner != DHCP_OWNER:
            objects.append(planning.ports.vif(want, port.on(host)))
    routers = sorted(planning.routers.routers_of_host(want, host))
    objects.extend(planning.routers.router(want, host, router_id) for router_id in routers)
    objects.extend(uplink.host_objects(want, host))
    return objects


def bridge(network: Network) -> Bridge:
    """Return the bridge of a network."""
    if network.network_type not in planning.routers.PHYSICAL:
        return Bridge(network_id=network.id, mtu=network.mtu)
    return Bridge(network.id, network.mtu, network.physical_network or "", network.segmentation_id or 0)


def _near(want: Snapshot, host: str) -> dict[str, list[str]]:
    """Return the networks of the host's ports that those of a network reach, itself or by a router."""
    found: dict[str, list[str]] = {}
    for network_id in want.networks_of_host.get(host, ()):
        for home in planning.routers.joined(want, network_id):
            found.setdefault(home, []).append(network_id)
    return found


def changes(want: Snapshot, dirty: Dirty, memory: planning.ports.Memory) -> dict[str, planning.ports.Part | None]:
    """Return what changes on which host; None stands for "everything on it: call `host_objects`"."""
    parts = planning.ports.changes(want, dirty, memory, planning.ports.Ways(_hosts_near, _about, _is_shared))
    for host, part in (*planning.ports.router_changes(want, dirty, memory), *uplink.changes(want, dirty, memory)):
        if host not in parts or parts[host] is not None:
            planning.ports.add_part(parts, host, part)
    return parts


def _hosts_near(want: Snapshot, port: Port) -> set[str]:
    """Return the hosts whose wanted state may hold something about `port`."""
    networks = planning.routers.joined(want, port.network_id)
    return {*port.hosts, *(host for network_id in networks for host in want.hosts_of_network.get(network_id, ()))}


def _is_shared(want: Snapshot, item: HostObject) -> bool:
    """Tell whether another port still gives a group this member: address pairs may be several ports'."""
    if not isinstance(item, Member):
        return False
    members = want.members_of_group.get(item.group_id, ())
    return any((home, item.cidr) in members for home in planning.routers.joined(want, item.network_id))


def _about(want: Snapshot, host: str, port: Port) -> Iterator[HostObject]:
    """Yield everything in `host`'s wanted state that one port brings about."""
    network = want.networks.get(port.network_id)
    if network is None or port.device_owner == DHCP_OWNER:
        return
    if host in port.hosts:
        yield planning.ports.vif(want, port.on(host))
    if network.id in want.taps_of_host.get(host, ()) and network.id in want.dhcp_ports_of_network:
        yield planning.ports.lease(port, host)
    yield from _members(want, port, host, set(planning.ports.remote_groups(want, host)))


def _members(want: Snapshot, port: Port, host: str, groups: set[str]) -> Iterator[Member]:
    here: Collection[str] = want.networks_of_host.get(host, ())
    near = [network_id for network_id in planning.routers.joined(want, port.network_id) if network_id in here]
    for group_id in groups.intersection(port.group_ids):
        for cidr in port.cidrs:
            yield from (Member(group_id=group_id, network_id=network_id, cidr=cidr) for network_id in near)
