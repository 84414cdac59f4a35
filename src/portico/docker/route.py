# SPDX-License-Identifier: Apache-2.0
"""What Join says of routes. Pure.

A port without L2 (`connectivity` l3 in its binding:vif_details) has its addresses alone, as /32 and /128, and sends
everything to a next hop that its host answers for, whatever the subnet is. The next hops get routes of their own: the
engine asks the container's kernel by which link they are reached before it adds the routes that need them (moby,
libnetwork/osl/route_linux.go), and a link-local one is behind every link.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from portico.docker import wire
from portico.docker.api import Object

# moby, libnetwork/types/types.go
_NEXT_HOP, _CONNECTED = 0, 1
_GATEWAYS = {4: "Gateway", 6: "GatewayIPv6"}


def is_routed(port: Object) -> bool:
    """Tell whether a port's network has no L2."""
    return bool(port["binding:vif_details"].get("connectivity") == "l3")


def by_router(port: Object, gateways: Iterable[str]) -> wire.Answer:
    """Return the gateways for a container's link on an L2 network: of each IP version that the port has, if any."""
    versions = {ip_address(item["ip_address"]).version for item in port["fixed_ips"]}
    return {_GATEWAYS[version]: it for it in gateways if (version := ip_address(it).version) in versions}


def to_join(port: Object, cidrs: Iterable[str], *, default_route: bool, second: bool = False) -> wire.Answer:
    """Return gateways and routes for a container's link.

    Args:
        port: a routed one.
        second: another link of the container has the first next hop.
        cidrs: the network's subnets: they are reached by this link even if another one carries the default route.
        default_route: the network may carry it; of several that may, the engine chooses one.
    """
    details = port["binding:vif_details"]
    versions = sorted({ip_address(item["ip_address"]).version for item in port["fixed_ips"]})
    name = "second_next_hop" if second else "next_hop"
    hops = {version: str(details[f"{name}_v{version}"]) for version in versions}
    routes: list[Object] = [
        {"Destination": f"{hop}/{ip_address(hop).max_prefixlen}", "RouteType": _CONNECTED} for hop in hops.values()
    ]
    nets = sorted({ip_network(cidr) for cidr in cidrs}, key=lambda net: (net.version, net))
    routes += [
        {"Destination": str(net), "RouteType": _NEXT_HOP, "NextHop": hops[net.version]}
        for net in nets
        if net.version in hops
    ]
    gateways = {_GATEWAYS[version]: hop for version, hop in hops.items()} if default_route else {}
    return {**gateways, "StaticRoutes": routes}
