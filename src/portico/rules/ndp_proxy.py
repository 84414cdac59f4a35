# SPDX-License-Identifier: Apache-2.0
"""NDP proxies: routers that answer outside for IPv6 addresses of ports. Errors are those of Neutron's service.

A router may have them at work (`enable_ndp_proxy`) while it has a gateway with an IPv6 address, on a network in an IPv6
address scope: what is outside is then of the same scope as ports inside, and reaches them by their own addresses.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from portico.errors import BadRequest, Conflict
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.rules import address_scope, lookup, router_port
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

PROXY, ENABLED = "ndp_proxy", "enable_ndp_proxy"


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Have a router answer for an address of a port.

    Raises:
        BadRequest: the port has no IPv6 address, not the one that is named, or the router is not near to that.
        Conflict: the router's proxies are not at work, it does not reach the port, its gateway is in another address
            scope, or it answers for the address already.
        NotFound: there is no such port or router for who asks.
    """
    port = lookup.visible(tx, context, "port", body["port_id"])
    router = lookup.visible(tx, context, "router", body["router_id"])
    interfaces = router_port.of_router(tx, router["id"], INTERFACE_OWNER)
    near = [item for item in interfaces if item["network_id"] == port["network_id"]]
    if not near:
        raise _unreachable(port, router)
    if not router[ENABLED]:
        raise Conflict(
            f"The enable_ndp_proxy parameter of router {router['id']} must be set as True while create ndp proxy entry "
            "on it.",
            type="RouterNDPProxyNotEnable",
        )
    address = _address(port, router, {item["subnet_id"] for one in near for item in _ipv6(one)}, body["ip_address"])
    _check_scope(tx, router, port)
    for other in tx.find(PROXY, router_id=router["id"], ip_address=address):
        raise Conflict(
            "Failed to create a duplicate NDPProxy: for attribute(s) ['router_id', 'ip_address'] with value(s) "
            f"{router['id']}, {address}: {other['id']} is one.",
            type="NeutronDbObjectDuplicateEntry",
        )
    return tx.insert(PROXY, {**body, "id": str(uuid.uuid4()), "ip_address": address})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what people call it."""
    return tx.update(PROXY, row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Have the router answer for the address no more."""
    tx.delete(PROXY, row)


def enable(tx: Transaction, context: Context, router: Row, reason: str) -> None:
    """Refuse to have a router's proxies at work that cannot be.

    Raises:
        Conflict: no gateway is fit, for which `reason` has the words.
        Unsupported: the backend of one of its networks does not do it.
    """
    if not is_possible(tx, router["id"]):
        raise gateway_unfit(router["id"], reason)
    networks = {port["network_id"] for port in router_port.of_router(tx, router["id"])}
    for network in tx.get_many("network", sorted(networks)):
        context.broker.admit("router", router, {**router, ENABLED: True}, network)


def is_possible(tx: Transaction, router_id: str) -> bool:
    """Tell whether a router has a gateway with an IPv6 address in an address scope."""
    return bool(_scopes(tx, router_id))


def refuse_gateway_loss(tx: Transaction, router: Row) -> None:
    """Refuse to take a gateway from a router with proxies.

    Raises:
        Conflict: names one.
    """
    for row in tx.find(PROXY, router_id=router["id"]):
        raise Conflict(
            f"Unable to unset external gateway of router {router['id']}, There are one or more ndp proxies still in "
            f"use on the router: {row['ip_address']}.",
            type="RouterGatewayInUseByNDPProxy",
        )


def refuse_ipv6_loss(tx: Transaction, router: Row) -> None:
    """Refuse a gateway that has lost the IPv6 address by which proxies are at work.

    Raises:
        Conflict: they are, and no gateway has any.
    """
    if router[ENABLED] and not is_possible(tx, router["id"]):
        raise Conflict(
            f"Can't remove the IPv6 subnet from external gateway of router {router['id']}, the IPv6 subnet in use by "
            "the router's ndp proxy.",
            type="RouterIPv6GatewayInUse",
        )


def refuse_interface_loss(tx: Transaction, router: Row, subnet: Row) -> None:
    """Refuse to take a router off a subnet for whose addresses it answers.

    Raises:
        Conflict: names one.
    """
    net = ip_network(subnet["cidr"])
    for row in tx.find(PROXY, router_id=router["id"]):
        if ip_address(row["ip_address"]) in net:
            raise Conflict(
                f"Unable to remove subnet {subnet['id']} from router {router['id']}, There are one or more ndp proxies "
                f"still in use on the subnet: {row['ip_address']}.",
                type="RouterInterfaceInUseByNDPProxy",
            )


def gateway_unfit(router_id: str, reason: str) -> Conflict:
    """Return the error for a router whose proxies cannot be at work."""
    return Conflict(f"Can not enable ndp proxy on router {router_id}, {reason}.", type="RouterGatewayNotValid")


def _scopes(tx: Transaction, router_id: str) -> set[str]:
    """Return the IPv6 address scopes of the networks where a router has a gateway with an IPv6 address."""
    gateways = [port for port in router_port.of_router(tx, router_id, GATEWAY_OWNER) if _ipv6(port)]
    return set(_scope_of(tx, {port["network_id"] for port in gateways}).values()) - {""}


def _scope_of(tx: Transaction, network_ids: Iterable[str]) -> dict[str, str]:
    """Return the IPv6 address scopes of networks, "" for none."""
    networks = [dict(row) for row in tx.get_many("network", sorted(network_ids))]
    address_scope.present_networks(tx, networks)
    return {row["id"]: row["ipv6_address_scope"] or "" for row in networks}


def _check_scope(tx: Transaction, router: Row, port: Row) -> None:
    inside, outside = _scope_of(tx, [port["network_id"]])[port["network_id"]], _scopes(tx, router["id"])
    if inside not in outside:
        raise Conflict(
            f"The IPv6 address scope {', '.join(sorted(outside)) or None} of external network conflict with internal "
            f"network's IPv6 address scope {inside or None}.",
            type="AddressScopeConflict",
        )


def _address(port: Row, router: Row, near: set[str], asked: str | None) -> str:
    """Return the address that a router is to answer for, which is in one of the subnets that it is near to."""
    own = _ipv6(port)
    if not own:
        raise BadRequest(
            f"Bad ndp_proxy request: Requested port {port['id']} must allocate one IPv6 address at least.",
            type="BadRequest",
        )
    if asked is None:
        found = next((item["ip_address"] for item in own if item["subnet_id"] in near), None)
        if found is None:
            raise _unreachable(port, router)
        return str(found)
    item = next((item for item in own if ip_address(item["ip_address"]) == ip_address(asked)), None)
    if item is None:
        raise _invalid(asked, f"This address not belong to the port {port['id']}")
    if item["subnet_id"] not in near:
        raise _invalid(asked, f"This address cannot reach the router {router['id']}")
    return str(item["ip_address"])


def _ipv6(port: Row) -> list[Row]:
    return [item for item in port["fixed_ips"] if ip_address(item["ip_address"]).version == 6]


def _unreachable(port: Row, router: Row) -> Conflict:
    return Conflict(
        f"The port {port['id']} cannot reach the router {router['id']} by IPv6 subnet.", type="PortUnreachableRouter"
    )


def _invalid(address: str, reason: str) -> BadRequest:
    return BadRequest(f"The address {address} is invalid, reason: {reason}.", type="InvalidAddress")
