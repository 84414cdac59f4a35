# SPDX-License-Identifier: Apache-2.0
"""Networks without L2: each port's addresses are routed to it, from host to host and from anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from portico import planning
from portico.admission import refuse_undeclared
from portico.backends.routed import bgp, plan
from portico.contract import Binding, Capabilities, Change, Dirty, Hosts, ObjectStatus
from portico.errors import Unsupported
from portico.hoststate import NEXT_HOPS, SECOND_NEXT_HOPS
from portico.model.snapshot import IpNetwork, Port, Snapshot

CAPABILITIES = Capabilities(
    name="routed",
    network_types=("routed",),
    features=frozenset(
        {
            "ipv4", "ipv6", "logging",
            "port-security-off", "address-pairs", "security-groups", "stateless-groups", "remote-groups",
            "remote-address-groups", "dhcp", "router-advertisements", "dhcp-options", "tap", "veth",
            "admin-state", "steady-link", "qos-bandwidth-limit", "qos-dscp-marking", "qos-packet-rate-limit",
            "qos-minimum-bandwidth", "qos-minimum-packet-rate", "qos-floating-ips", "trunks", "routers",
        }
    ),
    host_needs=("routed",),
    one_space=True,
)  # fmt: skip

NEXT_HOP_NET = ip_network("169.254.1.0/30")
"""Next hops, and the link between the agent's namespace and the host's, have their IPv4 addresses of this."""


class RoutedBackend:
    """Networks of type `routed`, realised by each host's agent. They share one space of addresses."""

    def __init__(self, hosts: Hosts, dns_domain: str = "") -> None:
        self._hosts = hosts
        self._dns_domain = dns_domain.rstrip(".")
        self._memory = planning.ports.Memory()
        self._bgp = bgp.memory()

    def describe(self) -> Capabilities:
        """Return what routing realises."""
        return CAPABILITIES

    def admit(self, want: Snapshot, change: Change) -> None:
        """Refuse what cannot be routed, and a subnet that overlaps another routed one."""
        refuse_undeclared(CAPABILITIES, change)
        after: Mapping[str, Any] = change.after
        if change.resource == "network":
            for name in ("provider:physical_network", "provider:segmentation_id"):
                if after.get(name) is not None:
                    raise _refused(f"{name} '{after[name]}' cannot be specified for a routed network")
        if change.resource == "port" and after["binding:vnic_type"] != "normal":
            raise _refused(
                f"port {after['id']}: binding:vnic_type '{after['binding:vnic_type']}' is not realised by the routed "
                "backend, which has only 'normal'"
            )
        for name in ("enable_default_route_ecmp", "enable_default_route_bfd") if change.resource == "router" else ():
            if after.get(name):
                raise _refused(
                    f"router {after['id']}: {name} True is not realised by the routed backend: what leaves the routed "
                    "space goes where the host's own routes lead"
                )
        if change.resource == "router" and after.get("routes"):
            raise _refused(
                f"router {after['id']}: routes {after['routes']!r} are not realised by the routed backend: all of its "
                "networks have one table of routes on each host, and a route of one router's would be everybody's; an "
                "allowed address pair within its network's subnets leads to its port"
            )
        if change.resource == "subnet":
            _refuse_overlap(want, after)

    def bind(self, port: Port, _host: str) -> Binding:
        """Return the link that stands for the port on its host, and what its consumer routes by."""
        names = planning.ports.link_names(port)
        details = {
            "port_filter": True,
            "connectivity": "l3",
            "link_name": names.link,
            "next_hop_v4": NEXT_HOPS[4],
            "next_hop_v6": NEXT_HOPS[6],
            "second_next_hop_v4": SECOND_NEXT_HOPS[4],
            "second_next_hop_v6": SECOND_NEXT_HOPS[6],
        }
        if names.plug == "tap":
            details["tap_name"] = names.tap
        return Binding(vif_type=names.plug, vif_details=details)

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        """Give every host that is concerned its part; statuses come later, from the agents."""
        if dirty.everything:
            self._memory, self._bgp = planning.ports.Memory(), bgp.memory()
        said = self._bgp.change(want, dirty)
        if dirty.everything:
            hosts = {*want.ports_of_host, *self._bgp.hosts()}
            parts: dict[str, planning.ports.Part | None] = dict.fromkeys(hosts)
            self._hosts.keep(CAPABILITIES.name, hosts)
        else:
            parts = plan.changes(want, dirty, self._memory)
        for host, part in parts.items():
            if part is None:
                objects = [*plan.host_objects(want, host, self._dns_domain), *self._bgp.objects(host)]
                self._hosts.replace(CAPABILITIES.name, host, objects)
            else:
                self._hosts.put(CAPABILITIES.name, host, part.objects, part.gone)
        for host, part in said.items():
            self._hosts.put(CAPABILITIES.name, host, part.objects, part.gone)
        planning.ports.remember(want, dirty, self._memory, parts)
        return ()


def _refuse_overlap(want: Snapshot, subnet: Mapping[str, Any]) -> None:
    """Refuse a subnet with addresses that are routed elsewhere."""
    net = ip_network(subnet["cidr"])
    if _overlap(net, NEXT_HOP_NET):
        raise _refused(f"subnet {subnet['id']}: cidr {net} overlaps {NEXT_HOP_NET}, where next hops are")
    for other in want.subnets.values():
        network = want.networks.get(other.network_id)
        is_routed = network is not None and network.network_type in CAPABILITIES.network_types
        if is_routed and other.id != subnet["id"] and _overlap(net, other.cidr):
            raise _refused(
                f"subnet {subnet['id']}: cidr {net} overlaps subnet {other.id} ({other.cidr}) of network "
                f"{other.network_id}: routed networks share one space of addresses"
            )


def _overlap(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _refused(text: str) -> Unsupported:
    return Unsupported(f"Invalid input for operation: {text}.", type="InvalidInput")
