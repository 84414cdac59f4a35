# SPDX-License-Identifier: Apache-2.0
"""The whole wanted state as typed values, with the indexes that planners need.

Values are frozen; the Snapshot that holds them is filled by one writer (the broker) and read by pure planners.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, TypeVar

from portico.model.address import IpAddress, IpNetwork, Row
from portico.model.l3 import (
    FLOATING_OWNER,
    ROUTER_OWNERS,
    ConnectionReader,
    FloatingIp,
    Gateway,
    NdpProxy,
    PortForwarding,
    Router,
    SubnetPool,
)
from portico.model.log import PacketLog
from portico.model.metering import MeteringLabel, MeteringLabelRule
from portico.model.qos import QosPolicy
from portico.model.speaker import BgpPeer, BgpSpeaker
from portico.model.trunk import Trunk
from portico.model.values import (
    BINDING_FAILED,
    DHCP_OWNER,
    HOST_ADDRESSES,
    ICMP,
    ICMPV6,
    INTERFACES,
    MIN_MTU,
    RESOURCES,
    UNBOUND,
    AddressGroup,
    AddressPair,
    Block,
    FixedIp,
    Host,
    Network,
    Port,
    SecurityGroup,
    SecurityGroupRule,
    ServiceObject,
    Standby,
    Subnet,
    Value,
    read,
)

__all__ = [
    "BINDING_FAILED",
    "DHCP_OWNER",
    "HOST_ADDRESSES",
    "ICMP",
    "ICMPV6",
    "INTERFACES",
    "MIN_MTU",
    "RESOURCES",
    "ROUTER_OWNERS",
    "UNBOUND",
    "AddressGroup",
    "AddressPair",
    "BgpPeer",
    "BgpSpeaker",
    "Block",
    "FixedIp",
    "FloatingIp",
    "Gateway",
    "Host",
    "IpAddress",
    "IpNetwork",
    "Network",
    "Port",
    "PortForwarding",
    "Router",
    "Row",
    "SecurityGroup",
    "SecurityGroupRule",
    "ServiceObject",
    "Snapshot",
    "Standby",
    "Subnet",
    "SubnetPool",
    "Value",
]

Item = TypeVar("Item")


class Snapshot:
    """All wanted objects and their indexes. `revision` is the newest revision that it holds."""

    def __init__(self) -> None:
        self.revision = 0
        self.networks: dict[str, Network] = {}
        self.subnets: dict[str, Subnet] = {}
        self.ports: dict[str, Port] = {}
        self.groups: dict[str, SecurityGroup] = {}
        self.rules: dict[str, SecurityGroupRule] = {}
        self.address_groups: dict[str, AddressGroup] = {}
        self.speakers: dict[str, BgpSpeaker] = {}
        self.peers: dict[str, BgpPeer] = {}
        self.hosts: dict[str, Host] = {}
        self.blocks: dict[str, Block] = {}
        self.policies: dict[str, QosPolicy] = {}
        self.trunks: dict[str, Trunk] = {}
        self.routers: dict[str, Router] = {}
        self.pools: dict[str, SubnetPool] = {}
        self.floating_ips: dict[str, FloatingIp] = {}
        self.forwardings: dict[str, PortForwarding] = {}
        self.proxies: dict[str, NdpProxy] = {}
        self.helpers: dict[str, ConnectionReader] = {}
        self.labels: dict[str, MeteringLabel] = {}
        self.label_rules: dict[str, MeteringLabelRule] = {}
        self.logs: dict[str, PacketLog] = {}
        # Objects of other packages' resources, by resource and id.
        self.services: defaultdict[str, dict[str, ServiceObject]] = defaultdict(dict)
        self.subnets_of_network: defaultdict[str, set[str]] = defaultdict(set)
        self.ports_of_network: defaultdict[str, set[str]] = defaultdict(set)
        self.ports_of_host: defaultdict[str, set[str]] = defaultdict(set)
        # How many bound ports (DHCP servers' own left out) a host has on a network or in a group, seen from both sides.
        self.hosts_of_network: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.hosts_of_group: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.networks_of_host: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.groups_of_host: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.taps_of_host: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.dhcp_ports_of_network: defaultdict[str, set[str]] = defaultdict(set)
        # How many ports give a group an address (network id, CIDR): an address pair may be several ports'.
        self.members_of_group: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self.rules_of_group: defaultdict[str, set[str]] = defaultdict(set)
        self.rules_naming_address_group: defaultdict[str, set[str]] = defaultdict(set)
        # Interfaces and gateways.
        self.ports_of_router: defaultdict[str, set[str]] = defaultdict(set)
        self.routers_of_network: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.floating_ips_of_router: defaultdict[str, set[str]] = defaultdict(set)
        self.floating_ips_of_port: defaultdict[str, set[str]] = defaultdict(set)
        # Of a floating IP the port that holds its addresses.
        self.port_of_floating_ip: dict[str, str] = {}
        self.forwardings_of_floating_ip: defaultdict[str, set[str]] = defaultdict(set)
        self.forwardings_of_port: defaultdict[str, set[str]] = defaultdict(set)
        self.proxies_of_router: defaultdict[str, set[str]] = defaultdict(set)
        self.proxies_of_port: defaultdict[str, set[str]] = defaultdict(set)
        self.helpers_of_router: defaultdict[str, set[str]] = defaultdict(set)
        self.rules_of_label: defaultdict[str, set[str]] = defaultdict(set)
        self.logs_of_subject: defaultdict[str, set[str]] = defaultdict(set)
        self._plain = self._found_by_none()
        self._owned = self._found_by_others()

    def _found_by_none(self) -> Mapping[str, dict[str, Any]]:
        """Return the objects whose removal concerns no index, by resource."""
        return {
            "network": self.networks,
            "security_group": self.groups,
            "address_group": self.address_groups,
            "bgp_speaker": self.speakers,
            "bgp_peer": self.peers,
            "agent": self.hosts,
            "block": self.blocks,
            "router": self.routers,
            "subnetpool": self.pools,
            "policy": self.policies,
            "trunk": self.trunks,
            "metering_label": self.labels,
        }

    def _found_by_others(self) -> Mapping[str, tuple[dict[str, Any], Mapping[str, defaultdict[str, set[str]]]]]:
        """Return the objects that are found by others, by resource: with what tells by whom, and in which index."""
        return {
            "subnet": (self.subnets, {"network_id": self.subnets_of_network}),
            "security_group_rule": (
                self.rules,
                {"group_id": self.rules_of_group, "remote_address_group_id": self.rules_naming_address_group},
            ),
            "floatingip": (
                self.floating_ips,
                {"router_id": self.floating_ips_of_router, "port_id": self.floating_ips_of_port},
            ),
            "port_forwarding": (
                self.forwardings,
                {"floatingip_id": self.forwardings_of_floating_ip, "port_id": self.forwardings_of_port},
            ),
            "ndp_proxy": (self.proxies, {"router_id": self.proxies_of_router, "port_id": self.proxies_of_port}),
            "conntrack_helper": (self.helpers, {"router_id": self.helpers_of_router}),
            "metering_label_rule": (self.label_rules, {"label_id": self.rules_of_label}),
            "log": (self.logs, {"subject_id": self.logs_of_subject}),
        }

    def objects(self, resource: str) -> Mapping[str, Value]:
        """Return the objects of one of RESOURCES, or of another package's resource, by id."""
        if resource == "port":
            return self.ports
        found: Mapping[str, Value] | None = self._plain.get(resource)
        if found is None and resource in self._owned:
            found = self._owned[resource][0]
        return self.services.get(resource, {}) if found is None else found

    def beside(self, floating_id: str) -> IpAddress | None:
        """Return the IPv6 address that a floating IP has beside its own, if it has one."""
        port = self.ports.get(self.port_of_floating_ip.get(floating_id, ""))
        return next((item.address for item in port.fixed_ips if item.address.version == 6), None) if port else None

    def put(self, resource: str, row: Row) -> None:
        """Add or replace the object that `row` (in the API's shape) describes."""
        self.place(resource, read(resource, row))

    def place(self, resource: str, value: Value) -> None:
        """Add or replace an object."""
        self.remove(resource, value.id)
        if isinstance(value, Port):
            self._put_port(value)
        elif resource in self._owned:
            found, indexes = self._owned[resource]
            found[value.id] = value
            for owner, index in indexes.items():
                if owner_id := getattr(value, owner):
                    index[owner_id].add(value.id)
        elif isinstance(value, ServiceObject):
            self.services[resource][value.id] = value
        else:
            self._plain[resource][value.id] = value

    def _put_port(self, port: Port) -> None:
        self.ports[port.id] = port
        self.ports_of_network[port.network_id].add(port.id)
        for host in port.hosts:
            self.ports_of_host[host].add(port.id)
            self._count(port.on(host), 1)
        if port.device_owner == DHCP_OWNER:
            self.dhcp_ports_of_network[port.network_id].add(port.id)
        if port.device_owner in ROUTER_OWNERS:
            self.ports_of_router[port.device_id].add(port.id)
            _add(self.routers_of_network, port.network_id, port.device_id, 1)
        if port.device_owner == FLOATING_OWNER:
            self.port_of_floating_ip[port.device_id] = port.id
        for group_id in port.group_ids:
            for cidr in port.cidrs:
                _add(self.members_of_group, group_id, (port.network_id, cidr), 1)

    def remove(self, resource: str, object_id: str) -> None:
        """Remove an object; one that is absent is no error."""
        if resource == "port":
            if port := self.ports.pop(object_id, None):
                self._forget_port(port)
        elif resource in self._owned:
            found, indexes = self._owned[resource]
            value = found.pop(object_id, None)
            for owner, index in indexes.items() if value is not None else ():
                _discard(index, getattr(value, owner), object_id)
        else:
            plain = self._plain[resource] if resource in self._plain else self.services[resource]
            plain.pop(object_id, None)

    def _forget_port(self, port: Port) -> None:
        _discard(self.ports_of_network, port.network_id, port.id)
        for host in port.hosts:
            _discard(self.ports_of_host, host, port.id)
            self._count(port.on(host), -1)
        if port.device_owner == DHCP_OWNER:
            _discard(self.dhcp_ports_of_network, port.network_id, port.id)
        if port.device_owner in ROUTER_OWNERS:
            _discard(self.ports_of_router, port.device_id, port.id)
            _add(self.routers_of_network, port.network_id, port.device_id, -1)
        if port.device_owner == FLOATING_OWNER:
            self.port_of_floating_ip.pop(port.device_id, None)
        for group_id in port.group_ids:
            for cidr in port.cidrs:
                _add(self.members_of_group, group_id, (port.network_id, cidr), -1)

    def _count(self, port: Port, by: int) -> None:
        if port.device_owner == DHCP_OWNER:
            return
        _add(self.hosts_of_network, port.network_id, port.host, by)
        _add(self.networks_of_host, port.host, port.network_id, by)
        if port.plug == "tap":
            _add(self.taps_of_host, port.host, port.network_id, by)
        for group_id in port.group_ids:
            _add(self.hosts_of_group, group_id, port.host, by)
            _add(self.groups_of_host, port.host, group_id, by)


def _add(index: defaultdict[str, Counter[Item]], key: str, item: Item, by: int) -> None:
    """Count `item` under `key`; what comes to nothing is dropped."""
    counter = index[key]
    counter[item] += by
    if not counter[item]:
        del counter[item]
    if not counter:
        del index[key]


def _discard(index: defaultdict[str, set[str]], key: str, object_id: str) -> None:
    """Take `object_id` out of `index[key]` and drop the set when it is empty: indexes must not grow for ever."""
    ids = index.get(key)
    if ids is not None:
        ids.discard(object_id)
        if not ids:
            del index[key]
