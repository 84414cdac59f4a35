# SPDX-License-Identifier: Apache-2.0
"""What plans of backends have in common whose ports are realised by agents: links, port security, groups, leases. Pure.

May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from portico import planning
from portico.contract import Dirty
from portico.hoststate import (
    Dhcp,
    DhcpOption,
    DhcpSubnet,
    Group,
    Guard,
    HostObject,
    Lease,
    Route,
    Rule,
    Source,
    Vif,
    key_of,
)
from portico.model.l3 import FLOATING_OWNER, NdpProxy
from portico.model.log import PacketLog
from portico.model.metering import MeteringLabel, MeteringLabelRule
from portico.model.snapshot import (
    DHCP_OWNER,
    ROUTER_OWNERS,
    FloatingIp,
    Network,
    Port,
    PortForwarding,
    SecurityGroupRule,
    Snapshot,
    Subnet,
)

Item = TypeVar("Item")


class LinkNames(msgspec.Struct, frozen=True):
    """The names of a port's links in its host's namespace."""

    plug: str
    link: str
    tap: str


class Part(msgspec.Struct, frozen=True):
    """A change of one host's wanted state."""

    objects: tuple[HostObject, ...]
    gone: tuple[str, ...]


class Ways(msgspec.Struct, frozen=True):
    """How a kind of network's ports concern hosts.

    `near` gives the hosts whose wanted state may hold something about a port, `about` everything there that one port
    brings about, `is_shared` tells whether another port brings about the same.
    """

    near: Callable[[Snapshot, Port], set[str]]
    about: Callable[[Snapshot, str, Port], Iterable[HostObject]]
    is_shared: Callable[[Snapshot, HostObject], bool]


class Memory:
    """What the last plan saw: a cache that tells which hosts a change concerns. Empty means: plan everything."""

    def __init__(self) -> None:
        self.ports: dict[str, Port] = {}
        self.subnets: dict[str, Subnet] = {}
        self.floating_ips: dict[str, FloatingIp] = {}
        self.forwardings: dict[str, PortForwarding] = {}
        self.proxies: dict[str, NdpProxy] = {}
        self.labels: dict[str, MeteringLabel] = {}
        self.label_rules: dict[str, MeteringLabelRule] = {}
        self.logs: dict[str, PacketLog] = {}
        self.hosts_of_router: dict[str, frozenset[str]] = {}
        self.first_hosts: dict[str, str] = {}
        self.presence: dict[str, tuple[frozenset[str], ...]] = {}


def link_names(port: Port) -> LinkNames:
    """Return the links of a port; 11 characters of its id keep within IFNAMSIZ, as Nova's tap names do."""
    short = port.id[:11]
    return LinkNames(plug=port.plug, link=f"pv{short}", tap=str(port.profile.get("tap_name") or f"tap{short}"))


def add_part(parts: dict[str, Part | None], host: str, part: Part) -> None:
    """Add `part` to what changes on `host`."""
    have = parts.get(host)
    if have is not None:
        objects = {key_of(item): item for item in (*have.objects, *part.objects)}
        part = Part(objects=tuple(objects.values()), gone=(*have.gone, *part.gone))
    parts[host] = part


def vif(want: Snapshot, port: Port) -> Vif:
    """Return the VIF of a bound port."""
    network = want.networks[port.network_id]
    names = link_names(port)
    made = Vif(
        port_id=port.id,
        network_id=port.network_id,
        mac=port.mac,
        mtu=network.mtu,
        link_name=names.link,
        plug="veth" if names.plug == "veth" else "tap",
        tap_name=names.tap if names.plug == "tap" else "",
        make_tap=bool(port.profile.get("make_tap", False)),
        admin_up=port.admin_state_up and network.admin_state_up,
        steady=port.steady,
        guard=guard(want, port) if port.port_security else None,
        qos=planning.qos.qos(want, port),
    )
    return _subport(want, port, made)


def _subport(want: Snapshot, port: Port, made: Vif) -> Vif:
    """Return the VIF of a trunk's subport, which is at the tap of the trunk's port; of other ports as it is."""
    trunk = want.trunks.get(port.trunk_id)
    parent = want.ports.get(trunk.port_id) if trunk else None
    if trunk is None or parent is None or port.id not in trunk.vlans:
        return made
    vlan, tap = trunk.vlans[port.id], link_names(parent.on(port.host)).tap
    return msgspec.structs.replace(made, plug="tap", tap_name=tap, make_tap=False, vlan=vlan)


def own_cidrs(port: Port) -> tuple[str, ...]:
    """Return a port's own addresses as /32 and /128."""
    return tuple(f"{item.address}/{item.address.max_prefixlen}" for item in port.fixed_ips)


def guard(want: Snapshot, port: Port) -> Guard:
    """Return the port security of a port that has it."""
    sources = [Source(port.mac, cidr) for cidr in own_cidrs(port)]
    if not sources and not want.subnets_of_network.get(port.network_id):
        # Held to its MAC address only. Where there are subnets it could answer for its neighbours: there, as with
        # Neutron, a port without addresses sends nothing but requests for one.
        sources = [Source(port.mac, "0.0.0.0/0"), Source(port.mac, "::/0")]
    sources += [Source(pair.mac, str(pair.cidr)) for pair in port.pairs]
    groups = tuple(sorted(port.group_ids))
    return Guard(tuple(dict.fromkeys(sources)), groups, planning.logs.logs(want, port))


def group(want: Snapshot, group_id: str) -> Group:
    """Return a security group with its rules."""
    rules = [_rule(want.rules[rule_id]) for rule_id in sorted(want.rules_of_group.get(group_id, ()))]
    return Group(group_id=group_id, rules=tuple(rules), stateful=want.groups[group_id].stateful)


def _rule(rule: SecurityGroupRule) -> Rule:
    return Rule(
        direction="ingress" if rule.direction == "ingress" else "egress",
        ethertype="IPv4" if rule.ethertype == "IPv4" else "IPv6",
        protocol=rule.protocol,
        port_min=rule.port_min,
        port_max=rule.port_max,
        remote_cidr=str(rule.remote_cidr) if rule.remote_cidr else None,
        remote_group_id=_remote(rule),
    )


def _remote(rule: SecurityGroupRule) -> str | None:
    return rule.remote_group_id or rule.remote_address_group_id


def remote_groups(want: Snapshot, host: str) -> list[str]:
    """Return the groups of either kind that rules of the host's own groups name as remote."""
    return sorted(
        {
            remote
            for group_id in want.groups_of_host.get(host, ())
            for rule_id in want.rules_of_group.get(group_id, ())
            if (remote := _remote(want.rules[rule_id])) is not None
        }
    )


def dhcp(want: Snapshot, network: Network, host: str, dns_domain: str) -> Iterator[HostObject]:
    """Yield the DHCP server of a network and what it knows."""
    server_id = min(want.dhcp_ports_of_network.get(network.id, ()), default=None)
    if server_id is None:
        return
    server = want.ports[server_id]
    own = {item.subnet_id: str(item.address) for item in server.fixed_ips}
    subnets = [want.subnets[subnet_id] for subnet_id in sorted(want.subnets_of_network.get(network.id, ()))]
    yield Dhcp(
        network_id=network.id,
        port_id=server.id,
        mac=server.mac,
        mtu=network.mtu,
        domain=network.dns_domain.rstrip(".") or dns_domain,
        subnets=tuple(dhcp_subnet(want, subnet, own[subnet.id]) for subnet in subnets if subnet.id in own),
    )
    for port_id in want.ports_of_network.get(network.id, ()):
        if port_id not in want.dhcp_ports_of_network[network.id]:
            yield lease(want.ports[port_id], host)


def dhcp_subnet(want: Snapshot, subnet: Subnet, server: str) -> DhcpSubnet:
    """Return a subnet as its DHCP server, whose address there is `server`, tells it."""
    gateway = planning.routers.gateway(want, subnet)
    mode = subnet.address_mode or subnet.ra_mode
    return DhcpSubnet(
        subnet_id=subnet.id,
        cidr=str(subnet.cidr),
        server=server,
        mode="dhcpv4" if subnet.cidr.version == 4 else mode,  # type: ignore[arg-type]
        advertise=subnet.ra_mode is not None,
        gateway=None if gateway is None else str(gateway),
        dns_servers=tuple(str(item) for item in subnet.dns_servers),
        routes=tuple(Route(str(destination), str(nexthop)) for destination, nexthop in subnet.routes),
    )


def lease(port: Port, host: str) -> Lease:
    """Return what the DHCP server on `host` knows of a port."""
    return Lease(
        network_id=port.network_id,
        port_id=port.id,
        mac=port.mac,
        addresses=tuple(str(item.address) for item in port.fixed_ips),
        hostname=port.dns_name,
        domain=port.dns_domain.rstrip("."),
        options=tuple(DhcpOption(name, value, version) for name, value, version in port.dhcp_options),
        serve=port.host == host,
    )


def changes(want: Snapshot, dirty: Dirty, memory: Memory, ways: Ways) -> dict[str, Part | None]:
    """Return what changes on which host; None stands for "everything on it has to be planned again"."""
    ports = [(memory.ports.get(port_id), want.ports.get(port_id)) for port_id in dirty.ids.get("port", ())]
    whole = _hosts_to_replan(want, dirty, memory, [port for pair in ports for port in pair if port is not None])
    parts: dict[str, Part | None] = dict.fromkeys(whole)
    for before, after in ports:
        for host in _near(want, before, ways) | _near(want, after, ways):
            if host not in whole:
                add_part(parts, host, _port_part(want, host, before, after, ways))
    return parts


def router_changes(want: Snapshot, dirty: Dirty, memory: Memory) -> Iterator[tuple[str, Part]]:
    """Yield the routers whose floating IPs, NDP proxies or meters have changed, by host, where they are namespaces."""
    proxies = planning.ndp.routers(want, dirty, memory.proxies)
    metering = planning.metering.routers(want, dirty, memory.labels, memory.label_rules)
    for router_id in _routers(want, dirty, memory) | proxies | metering:
        for host in planning.routers.hosts_of_router(want, router_id):
            yield host, Part((planning.routers.router(want, host, router_id),), ())


def _routers(want: Snapshot, dirty: Dirty, memory: Memory) -> set[str]:
    """Return the routers whose floating IPs have changed or moved."""
    ids = dirty.ids
    ports = [known.get(port_id) for port_id in ids.get("port", ()) for known in (memory.ports, want.ports)]
    floating = set(ids.get("floatingip", ()))
    floating |= {port.device_id for port in ports if port and port.device_owner == FLOATING_OWNER}
    floating |= {
        known[item].floatingip_id
        for item in ids.get("port_forwarding", ())
        for known in (memory.forwardings, want.forwardings)
        if item in known
    }
    before = {memory.floating_ips[item].router_id for item in floating if item in memory.floating_ips}
    return before | planning.routers.touched(want, ports, floating)


def remember(want: Snapshot, dirty: Dirty, memory: Memory, parts: Mapping[str, Part | None]) -> None:
    """Note in `memory` that `dirty` was planned as `parts`; on hosts that have one the networks are what they were."""
    _remember(memory.ports, want.ports, dirty, "port")
    _remember(memory.subnets, want.subnets, dirty, "subnet")
    _remember(memory.floating_ips, want.floating_ips, dirty, "floatingip")
    _remember(memory.forwardings, want.forwardings, dirty, "port_forwarding")
    _remember(memory.proxies, want.proxies, dirty, "ndp_proxy")
    _remember(memory.labels, want.labels, dirty, "metering_label")
    _remember(memory.label_rules, want.label_rules, dirty, "metering_label_rule")
    _remember(memory.logs, want.logs, dirty, "log")
    routers = {*want.routers} if dirty.everything else {*dirty.ids.get("router", ())}
    for host in (host for host, part in parts.items() if part is None):
        memory.presence[host] = _presence(want, host)
        routers |= {router_id for router_id, known in memory.hosts_of_router.items() if host in known}
        routers |= planning.routers.routers_of_host(want, host)
    for router_id in routers:
        memory.hosts_of_router[router_id] = frozenset(planning.routers.hosts_of_router(want, router_id))
        memory.first_hosts[router_id] = planning.routers.first_host(want, router_id)


def _remember(known: dict[str, Item], now: Mapping[str, Item], dirty: Dirty, resource: str) -> None:
    for object_id in now if dirty.everything else dirty.ids.get(resource, ()):
        if object_id in now:
            known[object_id] = now[object_id]
        else:
            known.pop(object_id, None)


def _presence(want: Snapshot, host: str) -> tuple[frozenset[str], ...]:
    return (
        frozenset(want.networks_of_host.get(host, ())),
        frozenset(want.groups_of_host.get(host, ())),
        frozenset(want.taps_of_host.get(host, ())),
    )


def _hosts_to_replan(want: Snapshot, dirty: Dirty, memory: Memory, ports: Collection[Port]) -> set[str]:
    """Return the hosts that a changed network, subnet, router or group of either kind concerns, or its ports.

    A rule's change is also its group's. `ports` are changed ones, as they were and are.
    """
    hosts = planning.qos.hosts_of(want, dirty.ids.get("policy", ()))
    hosts |= planning.logs.hosts(want, dirty.ids.get("log", ()), memory.logs)
    trunks = set(dirty.ids.get("trunk", ())) | {port.trunk_id for port in ports if port.trunk_id}
    for port in want.ports.values() if trunks else ():
        hosts.update(port.hosts if port.trunk_id in trunks else ())
    networks = set(dirty.ids.get("network", ()))
    networks |= {
        known[item].network_id
        for item in dirty.ids.get("subnet", ())
        for known in (memory.subnets, want.subnets)
        if item in known
    }
    networks |= {port.network_id for port in ports if port.device_owner == DHCP_OWNER}
    if pools := dirty.ids.get("subnetpool"):
        networks |= {subnet.network_id for subnet in want.subnets.values() if subnet.pool_id in pools}
    for network_id in networks:
        hosts.update(want.hosts_of_network.get(network_id, ()))
    routers = {router_id for network_id in networks for router_id in want.routers_of_network.get(network_id, ())}
    routers.update(
        dirty.ids.get("router", ()), (port.device_id for port in ports if port.device_owner in ROUTER_OWNERS)
    )
    routed: set[str] = set()
    for router_id in routers:
        routed |= planning.routers.hosts_of_router(want, router_id) | memory.hosts_of_router.get(router_id, frozenset())
    groups = set(dirty.ids.get("security_group", ()))
    for group_id in dirty.ids.get("address_group", ()):
        groups |= {want.rules[rule_id].group_id for rule_id in want.rules_naming_address_group.get(group_id, ())}
    for group_id in groups:
        hosts.update(want.hosts_of_group.get(group_id, ()))
    near = {host for port in ports for host in port.hosts}
    near = {host for host in near if _presence(want, host) != memory.presence.get(host)}
    # What a host's agent tells of physical networks may be other than before.
    near |= {want.hosts[item].name for item in dirty.ids.get("agent", ()) if item in want.hosts}
    return hosts | near | routed | _with_other_firsts(want, memory, near | routed)


def _with_other_firsts(want: Snapshot, memory: Memory, changed: set[str]) -> set[str]:
    """Return the hosts of routers whose first host is another, for networks or routers of `changed` hosts are others.

    On networks that are one on all hosts, only the first one has a router.
    """
    routers = {router_id for host in changed for router_id in planning.routers.routers_of_host(want, host)}
    routers |= {router_id for router_id, hosts in memory.hosts_of_router.items() if not changed.isdisjoint(hosts)}
    found: set[str] = set()
    for router_id in routers:
        if planning.routers.first_host(want, router_id) != memory.first_hosts.get(router_id, ""):
            found |= planning.routers.hosts_of_router(want, router_id)
            found |= memory.hosts_of_router.get(router_id, frozenset())
    return found


def _near(want: Snapshot, port: Port | None, ways: Ways) -> set[str]:
    return set() if port is None else ways.near(want, port)


def _port_part(want: Snapshot, host: str, before: Port | None, after: Port | None, ways: Ways) -> Part:
    old = {key_of(item): item for item in ways.about(want, host, before)} if before else {}
    old = {key: item for key, item in old.items() if not ways.is_shared(want, item)}
    new = {key_of(item): item for item in ways.about(want, host, after)} if after else {}
    return Part(objects=tuple(new.values()), gone=tuple(sorted(old.keys() - new.keys())))
