# SPDX-License-Identifier: Apache-2.0
"""L2 networks: a Linux bridge each, on every host that needs it, which a physical network may join."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from portico import planning
from portico.admission import refuse_undeclared
from portico.backends.bridge import behind, plan, uplink
from portico.contract import Binding, Capabilities, Change, Dirty, Hosts, ObjectStatus
from portico.errors import Unsupported
from portico.model.snapshot import Port, Snapshot

CAPABILITIES = Capabilities(
    name="bridge",
    network_types=("local", uplink.TYPE, *planning.routers.PHYSICAL),
    features=frozenset(
        {
            "ipv4", "ipv6", "conntrack-helpers", "interface-floating-ips", "logging", "ndp-proxies",
            "metering", "no-address", "port-security-off", "address-pairs", "security-groups", "stateless-groups",
            "remote-groups", "remote-address-groups", "dhcp", "router-advertisements", "dhcp-options", "tap", "veth",
            "admin-state", "steady-link", "routers", "qos-bandwidth-limit", "qos-dscp-marking", "qos-packet-rate-limit",
            "qos-minimum-bandwidth", "qos-minimum-packet-rate", "qos-floating-ips", "qos-gateways", "trunks",
        }
    ),
    host_needs=("bridge",),
    physical_types=planning.routers.PHYSICAL,
)  # fmt: skip


class BridgeBackend:
    """Networks of type `local`, external ones of type `host`, and such of types `flat` and `vlan`, by hosts' agents.

    `dns_domain` is that of networks which name none.
    """

    def __init__(self, hosts: Hosts, dns_domain: str = "") -> None:
        self._hosts = hosts
        self._dns_domain = dns_domain.rstrip(".")
        self._memory = planning.ports.Memory()
        self._behind = behind.memory()
        self._told: dict[str, frozenset[ObjectStatus]] = {}

    def describe(self) -> Capabilities:
        """Return what a Linux bridge realises."""
        return CAPABILITIES

    def admit(self, want: Snapshot, change: Change) -> None:
        """Refuse what a Linux bridge cannot be."""
        refuse_undeclared(CAPABILITIES, change)
        uplink.admit(want, change)
        after: Mapping[str, Any] = change.after
        if change.resource == "network" and after.get("provider:network_type") not in CAPABILITIES.physical_types:
            for name in ("provider:physical_network", "provider:segmentation_id"):
                if after.get(name) is not None:
                    raise Unsupported(
                        f"Invalid input for operation: {name} '{after[name]}' cannot be specified for a network on "
                        "a Linux bridge.",
                        type="InvalidInput",
                    )
        if change.resource == "port" and after["binding:vnic_type"] != "normal":
            raise Unsupported(
                f"Invalid input for operation: port {after['id']}: binding:vnic_type '{after['binding:vnic_type']}' is "
                "not realised by the bridge backend, which has only 'normal'.",
                type="InvalidInput",
            )

    def bind(self, port: Port, _host: str) -> Binding:
        """Return the link that stands for the port on its host."""
        names = planning.ports.link_names(port)
        details = {"port_filter": True, "connectivity": "l2", "link_name": names.link}
        if names.plug == "tap":
            details["tap_name"] = names.tap
        return Binding(vif_type=names.plug, vif_details=details)

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        """Give every host that is concerned its part; most statuses come later, from the agents.

        What is told here is which hosts do not reach a router's gateways.
        """
        told = planning.reach.changed(want, dirty, self._memory, self._told)
        if dirty.everything:
            self._memory, self._behind = planning.ports.Memory(), behind.memory()
        said = self._behind.change(want, dirty)
        if dirty.everything:
            hosts = {*want.ports_of_host, *self._behind.hosts()}
            parts: dict[str, planning.ports.Part | None] = dict.fromkeys(hosts)
            self._hosts.keep(CAPABILITIES.name, hosts)
        else:
            parts = plan.changes(want, dirty, self._memory)
        for host, part in parts.items():
            if part is None:
                objects = [*plan.host_objects(want, host, self._dns_domain), *self._behind.objects(host)]
                self._hosts.replace(CAPABILITIES.name, host, objects)
            else:
                self._hosts.put(CAPABILITIES.name, host, part.objects, part.gone)
        for host, part in said.items():
            self._hosts.put(CAPABILITIES.name, host, part.objects, part.gone)
        planning.ports.remember(want, dirty, self._memory, parts)
        return told
