# SPDX-License-Identifier: Apache-2.0
"""The seam between the broker and its backends.

May import `errors`, `hoststate` and `model`; everything that plugs in imports this and never the store, the API,
the agent or another backend.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

import msgspec

from portico.hoststate import HostObject
from portico.model.snapshot import Port, Snapshot


class Capabilities(msgspec.Struct, frozen=True):
    """What a backend realises; anything else is refused at admission.

    `network_types` are values of provider:network_type; the first is the type of a network that names none.
    Networks of `physical_types` are on a physical network of hosts, which provider:physical_network names, and hosts
    without it have no ports of theirs; one of type `vlan` has a VLAN ID for provider:segmentation_id besides.
    `features` are names from `FEATURES`. `overhead` is encapsulation in bytes, taken off the underlay's MTU. `look_s`
    is how often at least a sync of everything is to come: short where what is realised changes without a word.
    `services` are resources of other packages that it realises; who realises some wants everything on all networks, and
    a backend of services alone has no network types.
    `host_needs` are what a host must be able to do to have ports of it, as its agent tells (`agent.drivers.sysctls`).
    With `one_space` its networks share one space of addresses: no two of them may have the same.
    """

    name: str
    network_types: tuple[str, ...]
    features: frozenset[str]
    overhead: int = 0
    max_mtu: int = 65535
    look_s: float = 60.0
    host_needs: tuple[str, ...] = ()
    one_space: bool = False
    services: tuple[str, ...] = ()
    physical_types: tuple[str, ...] = ()


FEATURES = frozenset(
    {
        "ipv4",  # subnets of this IP version
        "ipv6",  # as before
        "logging",  # writing down what security groups let in and refuse
        "metering",  # routers that count for metering labels
        "interface-floating-ips",  # floating IPs of networks that a router has an interface to, and no gateway
        "conntrack-helpers",  # routers that let in what is agreed on in connections (conntrack_helpers)
        "ndp-proxies",  # routers that answer for IPv6 addresses of ports, and let in nothing else (enable_ndp_proxy)
        "no-address",  # ports without any address
        "port-security-off",  # port_security_enabled=false
        "address-pairs",  # allowed_address_pairs
        "security-groups",
        "stateless-groups",  # security groups with stateful=false
        "remote-groups",
        "remote-address-groups",
        "dhcp",
        "router-advertisements",
        "dhcp-options",
        "tap",
        "veth",
        "admin-state",  # admin_state_up=false cuts the port off
        "qos-bandwidth-limit",
        "qos-dscp-marking",
        "qos-floating-ips",  # limits of their bandwidth
        "qos-gateways",  # the same of routers' gateways
        "qos-minimum-bandwidth",  # admission alone: rules see to it, where agents tell what their hosts carry
        "qos-minimum-packet-rate",  # as before
        "qos-packet-rate-limit",
        "routers",  # networks that routers join, gateways and floating IPs
        "routed-segments",  # networks of several segments, with subnets of their own
        "steady-link",  # propagate_uplink_status=false: a port's link stays up although nothing passes
        "trunks",  # ports told apart by tags at the tap of another one
        "vlan-transparent",
    }
)


class Change(msgspec.Struct, frozen=True):
    """One request as a backend sees it at admission: `before` is None for a create."""

    resource: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any]


class Binding(msgspec.Struct, frozen=True):
    """How a port is reached on its host: Neutron's binding:vif_type and binding:vif_details."""

    vif_type: str
    vif_details: dict[str, Any]


class Dirty(msgspec.Struct, frozen=True):
    """What may have changed since the last sync: a hint, never a promise. `everything` also asks for a sweep.

    `ids` maps a resource name to ids of objects that were created, changed or deleted.
    """

    ids: Mapping[str, frozenset[str]] = {}
    everything: bool = False


class ObjectStatus(msgspec.Struct, frozen=True):
    """What a backend knows of an object's realisation. `state`: ACTIVE, BUILD, DOWN or ERROR, as Neutron writes it.

    `binding` is that of a port on `host` where `bind` could not know it yet; once the port is bound elsewhere, such a
    status tells nothing of it any more.
    """

    resource: str
    id: str
    state: str
    reason: str = ""
    host: str = ""
    binding: Binding | None = None


class Hosts(Protocol):
    """Where a backend whose networks are realised by agents puts what each host must have."""

    def put(self, backend: str, host: str, objects: Iterable[HostObject], gone: Iterable[str]) -> None:
        """Replace `objects` and remove `gone` keys in `backend`'s part of `host`'s state; equal ones are free."""

    def replace(self, backend: str, host: str, objects: Iterable[HostObject]) -> None:
        """Make `objects` the whole of `backend`'s part of `host`'s wanted state."""

    def keep(self, backend: str, hosts: Collection[str]) -> None:
        """Empty `backend`'s part of the wanted state of every host but `hosts`."""


class Backend(Protocol):
    """A kind of network. Stateless but for caches: a new instance must converge from nothing.

    Everything but `sync` is pure: no I/O, no clock, no randomness.
    """

    def describe(self) -> Capabilities:
        """Return what this backend realises; constant over the life of the instance."""

    def admit(self, want: Snapshot, change: Change) -> None:
        """Refuse what cannot be realised, with `Unsupported` naming attribute, value and reason."""

    def bind(self, port: Port, host: str) -> Binding:
        """Return how `port` is reached on `host`; called inside the request that sets binding:host_id.

        Where another service decides that, it is vif_type "unbound", and a status of the port brings the binding.
        """

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        """Make the network equal to `want`. Idempotent; `want` is whole; absent objects are removed silently.

        Statuses that arrive later, from agents, are not returned here.
        """
