# SPDX-License-Identifier: Apache-2.0
"""Hosts that speak BGP, networks of theirs, and what a backend tells each host."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from portico.contract import Backend, Dirty, Hosts
from portico.hoststate import HostObject, key_of
from portico.model.snapshot import Snapshot

SPEAKER: dict[str, Any] = {
    "id": "s4", "local_as": 65000, "ip_version": 4, "peers": ["p1"], "networks": [], "advertise_tenant_networks": True,
    "advertise_floating_ip_host_routes": True,
    "portico:mode": "full-mesh", "portico:reflectors": [], "portico:excluded_hosts": [], "portico:bfd": True,
    "portico:graceful_restart": True, "portico:communities": ["65000:1"],
}  # fmt: skip
PEER = {"id": "p1", "peer_ip": "198.51.100.254", "remote_as": 4200000001, "password": "secret", "portico:bfd": False,
        "portico:hosts": ["h1"]}  # fmt: skip


def put_hosts(want: Snapshot, count: int) -> None:
    """Add hosts h1, h2... that have told their addresses."""
    for number in range(1, count + 1):
        told = {"address_v4": f"198.51.100.{number}", "address_v6": f"2001:db8::{number}"}
        want.put("agent", {"id": f"a{number}", "host": f"h{number}", "configurations": told})


def put_network(want: Snapshot, name: str, backend: str, cidr: str, **subnet: object) -> None:
    """Add a network with a subnet, whose id is the network's and `-4`."""
    kind = {"bridge": "local"}.get(backend, backend)
    want.put("network", {
        "id": name, "project_id": "p", "name": "", "mtu": 1500, "admin_state_up": True,
        "provider:network_type": kind, "provider:physical_network": None, "provider:segmentation_id": None,
        "portico:backend": backend,
    })  # fmt: skip
    want.put("subnet", {
        "id": f"{name}-4", "network_id": name, "cidr": cidr, "gateway_ip": None, "enable_dhcp": False,
        "dns_nameservers": [], "host_routes": [], "ipv6_ra_mode": None, "ipv6_address_mode": None,
        "allocation_pools": [], **subnet,
    })  # fmt: skip


class Told:
    """What hosts are told, by key, of what is wanted; `sync` has the backend look at all of it, or at some objects."""

    def __init__(self, want: Snapshot, make: Callable[[Hosts], Backend]) -> None:
        self.of: dict[str, dict[str, HostObject]] = {}
        self._want, self._backend = want, make(self)
        self.sync()

    def put(self, _backend: str, host: str, objects: Iterable[HostObject], gone: Iterable[str]) -> None:
        """See Hosts."""
        state = self.of.setdefault(host, {})
        state |= {key_of(item): item for item in objects}
        for key in gone:
            state.pop(key, None)

    def replace(self, _backend: str, host: str, objects: Iterable[HostObject]) -> None:
        """See Hosts."""
        self.of[host] = {key_of(item): item for item in objects}

    def keep(self, _backend: str, hosts: Collection[str]) -> None:
        """See Hosts."""
        self.of = {host: state for host, state in self.of.items() if host in hosts}

    def sync(self, resource: str = "", *ids: str) -> None:
        """Have the backend look at all, or at objects of a resource."""
        dirty = Dirty(ids={resource: frozenset(ids)}) if resource else Dirty(everything=True)
        list(self._backend.sync(self._want, dirty))
