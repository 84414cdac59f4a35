# SPDX-License-Identifier: Apache-2.0
"""An external network, a network of a project's, and a router between them."""

from __future__ import annotations

from typing import Any

from .asker import Answer, Asker, Row

GATEWAY = "external_gateway_info"


class Site:
    """Asks for floating IPs and what they lead to."""

    def __init__(
        self,
        api: Asker,
        network_type: str = "local",
        physical_network: str | None = None,
        outside: str = "198.51.100.0/24",
    ) -> None:
        self.api = api
        kind = {"router:external": True, "provider:network_type": network_type}
        kind |= {"provider:physical_network": physical_network} if physical_network else {}
        self.outside = api.network(outside, **kind)
        self.inside = api.network("10.0.0.0/24")
        self.router = self.new_router(self.inside)

    def new_router(self, *networks: Row, gateway: bool = True) -> Row:
        """Make a router with an interface on the first subnet of each network."""
        info = {GATEWAY: {"network_id": self.outside["id"]}} if gateway else {}
        router = self.api.create("routers", **info)
        for network in networks:
            self.interface(router, "add", network["subnets"][0])
        return router

    def interface(self, router: Row, verb: str, subnet_id: str) -> Answer:
        path = f"routers/{router['id']}/{verb}_router_interface"
        return self.api.ask("PUT", path, {"subnet_id": subnet_id})

    def floating(self, **values: Any) -> Row:
        return self.api.create("floatingips", floating_network_id=self.outside["id"], **values)

    def try_floating(self, **values: Any) -> Answer:
        return self.api.try_create("floatingips", **{"floating_network_id": self.outside["id"], **values})

    def forward(self, floating: Row, port: Row, external: Any, internal: Any, **values: Any) -> Answer:
        """Ask for a port forwarding; ranges are text with a colon."""
        address = port["fixed_ips"][0]["ip_address"] if port["fixed_ips"] else "10.0.0.77"
        body = {"protocol": "tcp", "internal_port_id": port["id"], "internal_ip_address": address}
        for side, ports in (("external", external), ("internal", internal)):
            body[f"{side}_port_range" if ":" in str(ports) else f"{side}_port"] = ports
        return self.api.ask("POST", self.path(floating), {"port_forwarding": {**body, **values}})

    @staticmethod
    def path(floating: Row) -> str:
        return f"floatingips/{floating['id']}/port_forwardings"

    def now(self, floating: Row) -> Row:
        return self.api.show("floatingips", floating["id"])
