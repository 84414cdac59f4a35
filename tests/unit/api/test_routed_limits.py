# SPDX-License-Identifier: Apache-2.0
"""Limits of floating IPs of routed ports; those of gateways of routed networks, which nobody realises, are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from portico import settings
from portico.errors import Conflict, Unsupported
from portico.testing.in_process import InProcessApi

REFUSED = "needs 'qos-gateways', which the routed backend does not realise"


class Site:
    """A router between a routed network and the host, beside one on a bridge; `policy` limits."""

    def __init__(self, api: InProcessApi) -> None:
        self.api = api
        self.policy = api.create("qos/policies", {"name": "slow"})["id"]
        outside = {"router:external": True, "provider:network_type": "host"}
        self.outside, self.inside, self.bridged = (
            self.network(cidr, **more)
            for cidr, more in (
                ("100.64.0.0/16", outside),
                ("10.1.0.0/24", {"portico:backend": "routed"}),
                ("10.2.0.0/24", {}),
            )
        )
        self.gateway = {"network_id": self.outside[0], "qos_policy_id": self.policy}

    def network(self, cidr: str, **more: Any) -> tuple[str, str]:
        """Make a network with a subnet; return their ids."""
        network = self.api.create("networks", more)["id"]
        subnet = {"network_id": network, "cidr": cidr, "ip_version": 4, "enable_dhcp": False}
        return network, self.api.create("subnets", subnet)["id"]

    def router(self, *networks: tuple[str, str], gateway: Any = None) -> str:
        """Make a router with interfaces; return its id."""
        info = gateway or {"network_id": self.outside[0]}
        router: str = self.api.create("routers", {"external_gateway_info": info})["id"]
        for _, subnet in networks:
            self.api.request("PUT", f"/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
        return router


@pytest.fixture
def site(tmp_path: Path) -> Site:
    empty = tmp_path / "empty.toml"
    empty.touch()
    found = settings.load(empty, {"state_dir": str(tmp_path), "host": "h", "backends": ["bridge", "routed"]}, {})
    return Site(InProcessApi(found))


def test_a_gateway_of_routed_networks_is_not_limited(site: Site) -> None:
    with pytest.raises(Unsupported, match=REFUSED):
        site.router(site.inside, gateway=site.gateway)
    router = site.router(site.inside)
    with pytest.raises(Unsupported, match=REFUSED):
        site.api.update("routers", router, {"external_gateway_info": site.gateway})
    site.router(site.bridged, gateway=site.gateway)


def test_a_floating_ip_of_a_routed_port_is_limited_in_bandwidth_and_nothing_else(site: Site) -> None:
    site.router(site.inside), site.router(site.bridged)
    routed, bridged = (site.api.create("ports", {"network_id": it[0]})["id"] for it in (site.inside, site.bridged))
    free = {"floating_network_id": site.outside[0], "qos_policy_id": site.policy}
    limited = site.api.create("floatingips", {**free, "port_id": bridged})["id"]
    site.api.update("floatingips", limited, {"port_id": routed})
    site.api.update("floatingips", limited, {"qos_policy_id": None, "port_id": None})
    led = site.api.create("floatingips", {**free, "port_id": routed})
    assert led["qos_policy_id"] == site.policy
    with pytest.raises(Conflict, match=f"dscp_marking is not supported by floatingip {led['id']}"):
        site.api.create(f"qos/policies/{site.policy}/dscp_marking_rules", {"dscp_mark": 10})
