# SPDX-License-Identifier: Apache-2.0
"""What the backend `bridge` has hosts tell their peers outside of its routers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from portico.backends.bridge import BridgeBackend
from portico.contract import Dirty
from portico.hoststate import Behind, HostObject, key_of
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.snapshot import Snapshot

SPEAKER: dict[str, Any] = {
    "id": "s4", "local_as": 65000, "ip_version": 4, "peers": ["p1"], "networks": ["outside"],
    "advertise_tenant_networks": True, "advertise_floating_ip_host_routes": True, "portico:mode": "full-mesh",
    "portico:reflectors": [], "portico:excluded_hosts": [], "portico:bfd": False, "portico:graceful_restart": True,
    "portico:communities": [],
}  # fmt: skip
PEER = {"id": "p1", "peer_ip": "198.51.100.9", "remote_as": 65001, "password": "", "portico:bfd": False,
        "portico:hosts": ["h1"]}  # fmt: skip
ROUTER: dict[str, Any] = {
    "id": "r1", "name": "", "project_id": "p", "admin_state_up": True, "routes": [],
    "external_gateways": [{"network_id": "outside", "port_id": "gw", "enable_snat": True}],
}  # fmt: skip
NET = {"10.10.0.0/24": "8.0.0.5"}


def port(port_id: str, network: str, address: str, owner: str) -> dict[str, Any]:
    return {
        "id": port_id, "project_id": "p", "network_id": network, "name": "", "mac_address": "00:00:5e:00:53:01",
        "fixed_ips": [{"subnet_id": f"{network}-4", "ip_address": address}], "admin_state_up": True,
        "port_security_enabled": False, "security_groups": [], "allowed_address_pairs": [], "binding:host_id": "",
        "binding:profile": {}, "binding:vnic_type": "normal", "device_owner": owner, "device_id": "r1",
        "extra_dhcp_opts": [],
    }  # fmt: skip


def floating(last: int) -> dict[str, Any]:
    return {"id": f"f{last}", "floating_ip_address": f"8.0.0.{last}", "floating_network_id": "outside",
            "router_id": "r1", "port_id": "x", "fixed_ip_address": "10.10.0.9"}  # fmt: skip


def wanted() -> Snapshot:
    want = Snapshot()
    for number in (1, 2):
        told = {"address_v4": f"198.51.100.{number}"}
        want.put("agent", {"id": f"a{number}", "host": f"h{number}", "configurations": told})
    want.put("subnetpool", {"id": "pool", "address_scope_id": "scope"})
    for name, cidr in (("outside", "8.0.0.0/24"), ("near", "10.10.0.0/24")):
        want.put("network", {
            "id": name, "project_id": "p", "name": "", "mtu": 1500, "admin_state_up": True,
            "provider:network_type": "local", "provider:physical_network": None, "provider:segmentation_id": None,
            "portico:backend": "bridge",
        })  # fmt: skip
        want.put("subnet", {
            "id": f"{name}-4", "network_id": name, "cidr": cidr, "gateway_ip": None, "enable_dhcp": False,
            "dns_nameservers": [], "host_routes": [], "ipv6_ra_mode": None, "ipv6_address_mode": None,
            "allocation_pools": [], "subnetpool_id": "pool",
        })  # fmt: skip
    want.put("router", ROUTER)
    want.put("port", port("gw", "outside", "8.0.0.5", GATEWAY_OWNER))
    want.put("port", port("leg", "near", "10.10.0.1", INTERFACE_OWNER))
    want.put("bgp_peer", PEER)
    want.put("bgp_speaker", SPEAKER)
    return want


class Told:
    """What hosts are told, by key."""

    def __init__(self, want: Snapshot) -> None:
        self.of: dict[str, dict[str, HostObject]] = {}
        self.want, self.backend = want, BridgeBackend(self)
        self.sync()

    def put(self, _backend: str, host: str, objects: Iterable[HostObject], gone: Iterable[str]) -> None:
        state = self.of.setdefault(host, {})
        state |= {key_of(item): item for item in objects}
        for key in gone:
            state.pop(key, None)

    def replace(self, _backend: str, host: str, objects: Iterable[HostObject]) -> None:
        self.of[host] = {key_of(item): item for item in objects}

    def keep(self, _backend: str, hosts: Collection[str]) -> None:
        self.of = {host: state for host, state in self.of.items() if host in hosts}

    def sync(self, resource: str = "", *ids: str) -> None:
        dirty = Dirty(ids={resource: frozenset(ids)}) if resource else Dirty(everything=True)
        list(self.backend.sync(self.want, dirty))

    def routes(self, host: str = "h1") -> dict[str, str]:
        items = self.of.get(host, {}).values()
        return {net: hop for item in items if isinstance(item, Behind) for net, hop in item.routes}


def test_who_speaks_with_a_peer_outside_tells_it_of_routers_and_of_each_change() -> None:
    told = Told(want := wanted())
    assert told.of == {"h1": {"behind/198.51.100.9": Behind("198.51.100.9", (("10.10.0.0/24", "8.0.0.5"),))}}
    want.put("floatingip", floating(77))
    told.sync("floatingip", "f77")
    assert told.routes() == {**NET, "8.0.0.77/32": "8.0.0.5"}
    want.remove("port", "leg")
    told.sync("port", "leg")
    assert told.routes() == {"8.0.0.77/32": "8.0.0.5"}
    want.put("port", port("leg", "near", "10.10.0.1", INTERFACE_OWNER))
    want.put("bgp_peer", PEER | {"portico:hosts": []})
    told.sync("bgp_peer", "p1")
    told.sync("port", "leg")
    assert told.routes("h1") == told.routes("h2") == {**NET, "8.0.0.77/32": "8.0.0.5"}
    before = told.of
    told.sync()
    assert told.of == before, "the whole is what its parts came to"
    want.put("router", ROUTER | {"admin_state_up": False})
    told.sync("router", "r1")
    assert told.routes("h1") == told.routes("h2") == {}
    told.sync()
    assert told.of == {}


def test_a_scope_that_changes_and_a_speaker_that_goes_are_noticed() -> None:
    told = Told(want := wanted())
    want.put("subnetpool", {"id": "pool", "address_scope_id": None})
    told.sync("subnetpool", "pool")
    assert told.routes() == {}
    want.put("subnetpool", {"id": "pool", "address_scope_id": "scope"})
    told.sync("subnetpool", "pool")
    assert told.routes() == NET
    want.remove("bgp_speaker", "s4")
    told.sync("bgp_speaker", "s4")
    assert told.routes() == {}
