# SPDX-License-Identifier: Apache-2.0
"""Interfaces of routers: ports on the networks that they join."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.l3 import INTERFACE_OWNER
from portico.rules import (
    extra_route,
    fixed_ip,
    floating_use,
    lookup,
    ndp_proxy,
    pools,
    port,
    router_place,
    router_port,
    service_port,
)
from portico.rules.context import Context, Row
from portico.rules.router_port import bad_router
from portico.store.sharing import SHARED
from portico.store.transaction import Transaction


def add(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Give a router an interface on a subnet, or make a port one.

    Raises:
        BadRequest: the subnet has no gateway, overlaps another one of the router, or is another project's.
        Conflict: the gateway's address or the port is in use.
        NotFound: there is no such subnet or port.
    """
    if "port_id" in body and "subnet_id" in body:
        raise bad_router("Cannot specify both subnet-id and port-id")
    _require_one(body)
    made, subnets = _by_port(tx, context, row, body) if "port_id" in body else _by_subnet(tx, context, row, body)
    tx.update("router", row, {})
    return _answer(row, made, subnets)


def remove(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Take an interface away from a router.

    Raises:
        BadRequest: the port has no address of the subnet.
        Conflict: a route needs it.
        NotFound: the router has no such interface.
    """
    _require_one(body)
    found, subnets = _meant(tx, context, row, body)
    for subnet in subnets:
        extra_route.refuse_loss(row, subnet)
        floating_use.refuse_outlet_loss(tx, row, subnet, found)
        floating_use.refuse_interface_loss(tx, row, subnet)
        ndp_proxy.refuse_interface_loss(tx, row, subnet)
    gone = {item["id"] for item in subnets}
    rest = [item for item in found["fixed_ips"] if item["subnet_id"] not in gone]
    if rest:
        port.change(tx, context, found, {"fixed_ips": rest})
    else:
        port.remove(tx, found)
    tx.update("router", row, {})
    return _answer(row, found, subnets)


def _require_one(body: Row) -> None:
    if not body:
        raise bad_router("Either subnet_id or port_id must be specified")


def _by_subnet(tx: Transaction, context: Context, router: Row, body: Row) -> tuple[Row, list[Row]]:
    """Give a router an interface with a subnet's gateway address; IPv6 goes to the port that it has there."""
    subnet = lookup.visible(tx, context, "subnet", body["subnet_id"])
    if not subnet["gateway_ip"]:
        raise bad_router("Subnet for router interface must have a gateway IP")
    _check_owner(tx, context, subnet)
    _check_modes(subnet)
    router_port.check_apart(router_port.reach(tx, router["id"]), [subnet])
    network = lookup.get(tx, "network", subnet["network_id"])
    router_port.check_backend(tx, context, router, network)
    router_place.check(context, router, network)
    wanted = [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
    twin = _with_ipv6(tx, router, network["id"]) if subnet["ip_version"] == 6 else None
    if twin is not None:
        return port.change(tx, context, twin, {"fixed_ips": twin["fixed_ips"] + wanted}), [subnet]
    made = service_port.row_of(context, network["id"], INTERFACE_OWNER, router["id"], router["project_id"])
    made["fixed_ips"] = fixed_ip.record(tx, made["id"], fixed_ip.choose(tx, made, [subnet], wanted))
    made["ip_allocation"] = fixed_ip.allocation(made["fixed_ips"])
    return tx.insert("port", made), [subnet]


def _by_port(tx: Transaction, context: Context, router: Row, body: Row) -> tuple[Row, list[Row]]:
    """Make a port that nothing uses an interface of a router."""
    found = lookup.visible(tx, context, "port", body["port_id"])
    if found["device_id"]:
        raise Conflict(
            f"Unable to complete operation on port {found['id']} for network {found['network_id']}. Port already has "
            f"an attached device {found['device_id']}.",
            type="PortInUse",
        )
    if not found["fixed_ips"]:
        raise bad_router("Router port must have at least one fixed IP")
    subnets = router_port.subnets(tx, [found])
    for subnet in subnets:
        _check_modes(subnet)
    if sum(subnet["ip_version"] == 4 for subnet in subnets) > 1:
        raise bad_router("Cannot have multiple IPv4 subnets on router port")
    if _has_ipv6(found) and (twin := _with_ipv6(tx, router, found["network_id"])):
        raise bad_router(
            f"Router already contains IPv6 port {twin['id']} belonging to network id {found['network_id']}. Only one "
            "IPv6 port from the same network subnet can be connected to a router"
        )
    router_port.check_apart(router_port.reach(tx, router["id"]), subnets)
    _check_range(context, found, subnets)
    network = lookup.get(tx, "network", found["network_id"])
    router_port.check_backend(tx, context, router, network)
    router_place.check(context, router, network)
    # A router is on every host that needs it: one that the port was to be on is forgotten.
    whose = {"device_id": router["id"], "device_owner": INTERFACE_OWNER, "binding:host_id": ""}
    changed = port.change(tx, context, found, whose)
    return tx.update("port", changed, {"status": "ACTIVE"}, touch=False), subnets


def _check_owner(tx: Transaction, context: Context, subnet: Row) -> None:
    """Refuse another project's subnet unless its network is shared with just the one that asks.

    What is shared with everybody is not everybody's to have routers on.
    """
    if subnet["project_id"] == context.project_id or context.is_admin:
        return
    policy = {"object_type": "network", "object_id": subnet["network_id"], "action": SHARED}
    if not tx.find("rbac_policy", **policy, target_tenant=context.project_id):
        raise bad_router(
            f"Cannot add interface to router because subnet {subnet['id']} is not owned by project making the request"
        )


def _check_range(context: Context, found: Row, subnets: Sequence[Row]) -> None:
    """Refuse a port whose address only the owner of the subnet could choose."""
    owned = {subnet["id"]: subnet for subnet in subnets}
    for item in found["fixed_ips"]:
        subnet, address = owned[item["subnet_id"]], int(ip_address(item["ip_address"]))
        inside = any(int(first) <= address <= int(last) for first, last in pools.parse(subnet["allocation_pools"]))
        if not (inside or context.is_admin or subnet["project_id"] == context.project_id):
            raise bad_router(
                f"Cannot add interface to router because specified port {found['id']} has an IP address out of the "
                f"allocation pool of subnet {subnet['id']}, which is not owned by the project making the request"
            )


def _check_modes(subnet: Row) -> None:
    if subnet["ip_version"] == 6 and subnet["ipv6_ra_mode"] is None and subnet["ipv6_address_mode"] is not None:
        raise bad_router(
            f"IPv6 subnet {subnet['id']} configured to receive RAs from an external router cannot be added to Neutron "
            "Router"
        )


def _has_ipv6(row: Row) -> bool:
    return any(ip_address(item["ip_address"]).version == 6 for item in row["fixed_ips"])


def _with_ipv6(tx: Transaction, router: Row, network_id: str) -> Row | None:
    """Return the router's interface on a network that has IPv6 addresses, or None."""
    found = router_port.of_router(tx, router["id"], INTERFACE_OWNER)
    return next((row for row in found if row["network_id"] == network_id and _has_ipv6(row)), None)


def _meant(tx: Transaction, context: Context, router: Row, body: Row) -> tuple[Row, list[Row]]:
    """Return the interface that a request to remove one means, and the subnets that it is to lose."""
    mine = router_port.of_router(tx, router["id"], INTERFACE_OWNER)
    if "port_id" in body:
        found = next((row for row in mine if row["id"] == body["port_id"]), None)
        if found is None:
            raise NotFound(
                f"Router {router['id']} does not have an interface with id {body['port_id']}",
                type="RouterInterfaceNotFound",
            )
        subnets = router_port.subnets(tx, [found])
        if body.get("subnet_id") not in (None, *(item["id"] for item in subnets)):
            raise BadRequest(
                f"Subnet on port {found['id']} does not match the requested subnet {body['subnet_id']}.",
                type="SubnetMismatchForPort",
            )
        return found, subnets
    subnet = lookup.visible(tx, context, "subnet", body["subnet_id"])
    for row in mine:
        if any(item["subnet_id"] == subnet["id"] for item in row["fixed_ips"]):
            return row, [subnet]
    raise NotFound(
        f"Router {router['id']} has no interface on subnet {subnet['id']}", type="RouterInterfaceNotFoundForSubnet"
    )


def _answer(router: Row, row: Row, subnets: Sequence[Row]) -> Row:
    return {
        "id": router["id"],
        "project_id": row["project_id"],
        "tenant_id": row["project_id"],
        "port_id": row["id"],
        "network_id": row["network_id"],
        "subnet_id": subnets[-1]["id"],
        "subnet_ids": [item["id"] for item in subnets],
    }
