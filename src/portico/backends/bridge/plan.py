# SPDX-License-Identifier: Apache-2.0
"""From the wanted state to what each host must have. Pure.

A host needs the bridge of every network on which it has a port, the groups that filter its ports, and the members of
the groups that those groups' rules name: of security groups as far as they are on its networks, for nobody else can
reach it without a router; of address groups all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from portico import planning
from portico.contract import Dirty
from portico.hoststate import Bridge, HostObject, Member
from portico.model.snapshot import DHCP_OWNER, Port, Snapshot


def host_objects(want: Snapshot, host: str, dns_domain: str = "") -> list[HostObject]:
    """Return all that `host` must have; `dns_domain` is that of networks which name none."""
    objects: list[HostObject] = []
    for network_id in sorted(want.networks_of_host.get(host, ())):
        network = want.networks[network_id]
        objects.append(Bridge(network_id=network.id, mtu=network.mtu))
        if network_id in want.taps_of_host.get(host, ()):
            objects.extend(planning.dhcp(want, network, host, dns_domain))
    # A port's row may be newer than what is known of groups: theirs follows.
    groups = sorted(want.groups_of_host.get(host, ()))
    objects.extend(planning.group(want, group_id) for group_id in groups if group_id in want.groups)
    networks: Collection[str] = want.networks_of_host.get(host, ())
    for group_id in planning.remote_groups(want, host):
        for network_id, cidr in want.members_of_group.get(group_id, ()):
            if network_id in networks:
                objects.append(Member(group_id=group_id, network_id=network_id, cidr=cidr))
        for cidr in want.address_groups[group_id].cidrs if group_id in want.address_groups else ():
            objects.extend(Member(group_id=group_id, network_id=network_id, cidr=cidr) for network_id in networks)
    for port_id in want.ports_of_host.get(host, ()):
        port = want.ports[port_id]
        if port.device_owner != DHCP_OWNER:
            objects.append(planning.vif(want, port.on(host)))
    return objects


def changes(want: Snapshot, dirty: Dirty, memory: planning.Memory) -> dict[str, planning.Part | None]:
    """Return what changes on which host; None stands for "everything on it: call `host_objects`"."""
    return planning.changes(want, dirty, memory, planning.Ways(_hosts_near, _about, _is_shared))


def _hosts_near(want: Snapshot, port: Port) -> set[str]:
    """Return the hosts whose wanted state may hold something about `port`."""
    return {*port.hosts, *want.hosts_of_network.get(port.network_id, ())}


def _is_shared(want: Snapshot, item: HostObject) -> bool:
    """Tell whether another port still gives a group this member: address pairs may be several ports'."""
    return isinstance(item, Member) and (item.network_id, item.cidr) in want.members_of_group.get(item.group_id, ())


def _about(want: Snapshot, host: str, port: Port) -> Iterator[HostObject]:
    """Yield everything in `host`'s wanted state that one port brings about."""
    network = want.networks.get(port.network_id)
    if network is None or port.device_owner == DHCP_OWNER:
        return
    if host in port.hosts:
        yield planning.vif(want, port.on(host))
    if network.id in want.taps_of_host.get(host, ()) and network.id in want.dhcp_ports_of_network:
        yield planning.lease(port, host)
    yield from _members(want, port, host, set(planning.remote_groups(want, host)))


def _members(want: Snapshot, port: Port, host: str, groups: set[str]) -> Iterator[Member]:
    if port.network_id not in want.networks_of_host.get(host, ()):
        return
    for group_id in groups.intersection(port.group_ids):
        for cidr in port.cidrs:
            yield Member(group_id=group_id, network_id=port.network_id, cidr=cidr)
