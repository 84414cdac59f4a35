# SPDX-License-Identifier: Apache-2.0
"""Routes of a router besides those to its subnets."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

from portico.errors import BadRequest, Conflict
from portico.model.address import IpNetwork
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.model.show import some
from portico.rules import pools, quota, router_port
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction


def replace(tx: Transaction, context: Context, router: Row, routes: Sequence[Row]) -> Row:
    """Give a router these routes instead of those it has.

    Raises:
        BadRequest: a next hop is on no subnet of the router, is the router, or can be nobody.
        OverQuota: there are too many.
        Unsupported: the backend of the router's networks realises none.
    """
    plain = _plain(routes)
    check(tx, router, plain)
    quota.check(tx, context, "router_route", router["project_id"], len(plain))
    inside = router_port.of_router(tx, router["id"], INTERFACE_OWNER) if plain else ()
    for network in tx.get_many("network", sorted({port["network_id"] for port in inside})):
        context.broker.admit("router", router, {**router, "routes": plain}, network)
    return tx.update("router", router, {"routes": plain})


def add(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Add routes to a router; see `replace`."""
    return replace(tx, context, row, [*row["routes"], *body["routes"]])


def remove(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Take routes away from a router."""
    gone = _plain(body["routes"])
    return replace(tx, context, row, [route for route in row["routes"] if route not in gone])


def check(tx: Transaction, router: Row, routes: Sequence[Row]) -> None:
    """Refuse next hops that the router, as it is now, cannot send to.

    Raises:
        BadRequest: names the next hop.
    """
    if not routes:
        return
    ports = router_port.of_router(tx, router["id"], INTERFACE_OWNER, GATEWAY_OWNER)
    subnets = [ip_network(row["cidr"]) for row in router_port.subnets(tx, ports)]
    own = {ip_address(item["ip_address"]): port["id"] for port in ports for item in port["fixed_ips"]}
    for route in routes:
        next_hop = ip_address(route["nexthop"])
        if next_hop.version != ip_network(route["destination"]).version:
            raise _invalid(route, "destination and nexthop are of different IP versions")
        near = next((subnet for subnet in subnets if next_hop in subnet), None)
        if near is None:
            on = ", ".join(map(str, subnets)) or "no subnet"
            raise _invalid(route, f"the nexthop is not connected with router {router['id']}, which is on {on}")
        if next_hop in own:
            raise _invalid(route, f"the nexthop is used by router {router['id']}, as address of port {own[next_hop]}")
        first, last = pools.bounds(near)
        if not first <= int(next_hop) <= last:
            raise _invalid(route, f"the nexthop is no host's address in {near}")
        _check_alone(route, near, routes)


def _check_alone(route: Row, near: IpNetwork, routes: Sequence[Row]) -> None:
    """Refuse a next hop of IPv6 that one of the routes would lead to by another one, or by itself.

    The kernel takes no route by it then (Linux, net/ipv6/route.c, ip6_route_check_nh).
    """
    next_hop = ip_address(route["nexthop"])
    for other in routes if next_hop.version == 6 else ():
        net = ip_network(other["destination"])
        if next_hop in net and net.prefixlen > near.prefixlen:
            raise _invalid(route, f"the nexthop is in {net}, which is sent by {other['nexthop']}: it must be on {near}")


def refuse_loss(router: Row, subnet: Row) -> None:
    """Refuse to take a subnet from a router that a route's next hop is on.

    Raises:
        Conflict: names subnet, router and routes.
    """
    cidr = ip_network(subnet["cidr"])
    lost = [route for route in router["routes"] if ip_address(route["nexthop"]) in cidr]
    if lost:
        named = some([f"{route['destination']} by {route['nexthop']}" for route in lost])
        raise Conflict(
            f"Router interface for subnet {subnet['id']} on router {router['id']} cannot be deleted, as it is required "
            f"by one or more routes: {named}.",
            type="RouterInterfaceInUseByRoute",
        )


def _plain(routes: Sequence[Row]) -> list[Row]:
    """Return routes in their usual spelling, each once."""
    plain = [
        {"destination": str(ip_network(route["destination"])), "nexthop": str(ip_address(route["nexthop"]))}
        for route in routes
    ]
    return [route for number, route in enumerate(plain) if route not in plain[:number]]


def _invalid(route: Row, rule: str) -> BadRequest:
    return BadRequest(
        f"Invalid format for routes: destination {route['destination']} nexthop {route['nexthop']}, {rule}.",
        type="InvalidRoutes",
    )
