# SPDX-License-Identifier: Apache-2.0
"""What the backend `bridge` has hosts tell their peers outside of its routers."""

from __future__ import annotations

from typing import Any

from tests.unit.backends.bgp_world import PEER, SPEAKER, Told, put_hosts, put_network

from portico.backends.bridge import BridgeBackend
from portico.hoststate import Behind
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.snapshot import Snapshot

SPEAKING = SPEAKER | {"networks": ["outside"]}
ROUTER: dict[str, Any] = {
    "id": "r1", "name": "", "project_id": "p", "admin_state_up": True, "routes": [],
    "external_gateways": [{"network_id": "outside", "port_id": "gw", "enable_snat": True}],
}  # fmt: skip
OUTSIDE = str(PEER["peer_ip"])
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
    put_hosts(want, 2)
    want.put("subnetpool", {"id": "pool", "address_scope_id": "scope"})
    for name, cidr in (("outside", "8.0.0.0/24"), ("near", "10.10.0.0/24")):
        put_network(want, name, "bridge", cidr, subnetpool_id="pool")
    want.put("router", ROUTER)
    want.put("port", port("gw", "outside", "8.0.0.5", GATEWAY_OWNER))
    want.put("port", port("leg", "near", "10.10.0.1", INTERFACE_OWNER))
    want.put("bgp_peer", PEER)
    want.put("bgp_speaker", SPEAKING)
    return want


def routes(told: Told, host: str = "h1") -> dict[str, str]:
    items = told.of.get(host, {}).values()
    return {net: hop for item in items if isinstance(item, Behind) for net, hop in item.routes}


def test_who_speaks_with_a_peer_outside_tells_it_of_routers_and_of_each_change() -> None:
    told = Told(want := wanted(), BridgeBackend)
    assert told.of == {"h1": {f"behind/{OUTSIDE}": Behind(OUTSIDE, (("10.10.0.0/24", "8.0.0.5"),))}}
    want.put("floatingip", floating(77))
    told.sync("floatingip", "f77")
    assert routes(told) == {**NET, "8.0.0.77/32": "8.0.0.5"}
    want.remove("port", "leg")
    told.sync("port", "leg")
    assert routes(told) == {"8.0.0.77/32": "8.0.0.5"}
    want.put("port", port("leg", "near", "10.10.0.1", INTERFACE_OWNER))
    want.put("bgp_peer", PEER | {"portico:hosts": []})
    told.sync("bgp_peer", "p1")
    told.sync("port", "leg")
    assert routes(told, "h1") == routes(told, "h2") == {**NET, "8.0.0.77/32": "8.0.0.5"}
    before = told.of
    told.sync()
    assert told.of == before, "the whole is what its parts came to"
    want.put("router", ROUTER | {"admin_state_up": False})
    told.sync("router", "r1")
    assert routes(told, "h1") == routes(told, "h2") == {}
    told.sync()
    assert told.of == {}


def test_a_scope_that_changes_and_a_speaker_that_goes_are_noticed() -> None:
    told = Told(want := wanted(), BridgeBackend)
    want.put("subnetpool", {"id": "pool", "address_scope_id": None})
    told.sync("subnetpool", "pool")
    assert routes(told) == {}
    want.put("subnetpool", {"id": "pool", "address_scope_id": "scope"})
    told.sync("subnetpool", "pool")
    assert routes(told) == NET
    want.remove("bgp_speaker", "s4")
    told.sync("bgp_speaker", "s4")
    assert routes(told) == {}
