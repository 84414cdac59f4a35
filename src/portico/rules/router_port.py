# SPDX-License-Identifier: Apache-2.0
"""What is a router's among ports: its interfaces and its gateways, and what may not be done with them as ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from portico.errors import BadRequest, Conflict, Unsupported
from portico.model.bgp import ROUTED
from portico.model.l3 import GATEWAY_OWNER, INTERFACE_OWNER
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

OWNERS = (INTERFACE_OWNER, GATEWAY_OWNER)
# The provider:network_type of external networks that are behind the host itself: it reaches their floating IPs.
BEHIND_HOST = "host"
# What a router tells of a conntrack helper, of which it has no two alike.
HELPER = ("protocol", "port", "helper")
# What says whose a port is, and where.
_KEPT = ("device_id", "device_owner", "binding:host_id")


def of_router(tx: Transaction, router_id: str, *owners: str) -> list[Row]:
    """Return the ports of a router that have one of `owners`, all of them by default, in the order of their ids."""
    found = tx.find("port", device_id=router_id)
    return sorted((row for row in found if row["device_owner"] in (owners or OWNERS)), key=lambda row: str(row["id"]))


def subnets(tx: Transaction, ports: Sequence[Row]) -> list[Row]:
    """Return the subnets that ports have addresses of, once each."""
    return tx.get_many("subnet", list(dict.fromkeys(item["subnet_id"] for port in ports for item in port["fixed_ips"])))


def reach(tx: Transaction, router_id: str) -> list[Row]:
    """Return the subnets that a router is on: of networks that it has gateways to, all."""
    inside = subnets(tx, of_router(tx, router_id, INTERFACE_OWNER))
    networks = {port["network_id"] for port in of_router(tx, router_id, GATEWAY_OWNER)}
    outside = [row for network_id in sorted(networks) for row in tx.find("subnet", network_id=network_id)]
    return inside + outside


def check_apart(present: Sequence[Row], added: Sequence[Row]) -> None:
    """Refuse subnets that overlap those that a router is on already.

    Raises:
        BadRequest: names both.
    """
    for here in present:
        for new in added:
            if here["id"] == new["id"]:
                raise bad_router(f"Router already has a port on subnet {new['id']}")
            mine, other = ip_network(new["cidr"]), ip_network(here["cidr"])
            if mine.version == other.version and mine.overlaps(other):
                raise bad_router(
                    f"Cidr {new['cidr']} of subnet {new['id']} overlaps with cidr {here['cidr']} of subnet {here['id']}"
                )


def _fit(network: Row, other: Row) -> bool:
    """Tell whether a router may join two networks: of one backend, or routed ones and the hosts that they are on."""
    kinds = {row["portico:backend"] for row in (network, other) if row["provider:network_type"] != BEHIND_HOST}
    return network["portico:backend"] == other["portico:backend"] or kinds == {ROUTED}


def check_backend(tx: Transaction, context: Context, router: Row, network: Row) -> None:
    """Refuse a network whose backend does not route, or not to the router's other networks.

    Raises:
        Unsupported: names the router and both networks.
    """
    ports = of_router(tx, router["id"])
    others = {port["network_id"] for port in ports} - {network["id"]}
    for other in tx.get_many("network", sorted(others)):
        if not _fit(network, other):
            raise Unsupported(
                f"Invalid input for operation: router {router['id']} cannot join network {network['id']} of "
                f"portico:backend '{network['portico:backend']}' with network {other['id']} of portico:backend "
                f"'{other['portico:backend']}': all networks of a router are of one backend.",
                type="InvalidInput",
            )
    policies = [port["qos_policy_id"] for port in ports if port["device_owner"] == GATEWAY_OWNER]
    limits = next(filter(None, policies), None)
    helped = [shown_helper(row) for row in tx.find("conntrack_helper", router_id=router["id"])]
    joined = {**router, "qos_policy_id": limits, "conntrack_helpers": helped}
    context.broker.admit("router", router, joined, network)


def shown_helper(row: Row) -> Row:
    """Return what a router tells of one of its conntrack helpers."""
    return {name: row[name] for name in HELPER}


def refuse_delete(tx: Transaction, port: Row) -> None:
    """Refuse to delete a router's port as if it were a workload's.

    Raises:
        Conflict: the router is there, and this is one of its ports.
    """
    if _router(tx, port) is not None:
        raise Conflict(
            f"Port {port['id']} cannot be deleted directly via the port API: has device owner {port['device_owner']}, "
            f"device_id {port['device_id']}.",
            type="ServicePortInUse",
        )


def refuse_update(tx: Transaction, context: Context, port: Row, changes: Row) -> None:
    """Refuse to make a port a router's, to take one from a router, or to put one on a host, as a port's update.

    Raises:
        BadRequest: it would become a router's.
        Conflict: it is a router's, or would become one of another project's router.
    """
    router = _router(tx, port)
    if router is None:
        refuse_create(tx, context, {**port, **changes})
        return
    for name in _KEPT:
        if name in changes and (changes[name] or "") != (port[name] or ""):
            raise Conflict(
                f"Unable to complete operation on port {port['id']} for network {port['network_id']}. Port already has "
                f"an attached device {router['id']}: {name} of a router's port stays.",
                type="PortInUse",
            )


def check_addresses(tx: Transaction, port: Row) -> None:
    """Refuse an interface that has been given an address of a subnet which overlaps another one of its router.

    Raises:
        BadRequest: names both.
    """
    if port["device_owner"] == INTERFACE_OWNER and _router(tx, port) is not None:
        own = subnets(tx, [port])
        known = {row["id"] for row in own}
        check_apart([row for row in reach(tx, port["device_id"]) if row["id"] not in known], own)


def refuse_create(tx: Transaction, context: Context, port: Row) -> None:
    """Refuse a port that says that it is a router's: only the router's own requests make one.

    Raises:
        BadRequest: the router is one of who asks.
        Conflict: it is another project's.
    """
    router = _router(tx, port)
    if router is None:
        return
    if lookup.seen(tx, context, "router", router["id"]) is None:
        raise Conflict(
            f"The following device_id {router['id']} is not owned by your project or matches another project router.",
            type="DeviceIDNotOwnedByTenant",
        )
    raise BadRequest(
        f"Invalid input for operation: device_owner '{port['device_owner']}' with device_id '{router['id']}' is given "
        "to ports by add_router_interface and external_gateway_info of the router.",
        type="InvalidInput",
    )


def gateways_on(tx: Transaction, network_id: str) -> list[Row]:
    """Return the ports of routers' gateways on a network."""
    return tx.find("port", network_id=network_id, device_owner=GATEWAY_OWNER)


def projects_beyond(tx: Transaction, network_id: str) -> set[str]:
    """Return the projects whose routers have a gateway on a network."""
    ids = {port["device_id"] for port in gateways_on(tx, network_id)}
    return {str(row["project_id"]) for row in tx.get_many("router", sorted(ids))}


def refuse_internal(tx: Transaction, network_id: str) -> None:
    """Refuse to make a network internal that routers have gateways on.

    Raises:
        Conflict: names one.
    """
    if ports := gateways_on(tx, network_id):
        raise Conflict(
            f"External network {network_id} cannot be updated to be made non-external, since it has existing gateway "
            f"ports: {ports[0]['id']} of router {ports[0]['device_id']}.",
            type="ExternalNetworkInUse",
        )


def rows(tx: Transaction, ids: Sequence[str]) -> Iterator[Row]:
    """Yield the ports of `ids` that are there, in that order."""
    found = {row["id"]: row for row in tx.get_many("port", ids)}
    return (found[port_id] for port_id in ids if port_id in found)


def bad_router(rule: str) -> BadRequest:
    """Return the error for a request about a router that breaks a rule."""
    return BadRequest(f"Bad router request: {rule}.", type="BadRequest")


def _router(tx: Transaction, port: Row) -> Row | None:
    is_one = port.get("device_owner") in OWNERS and port.get("device_id")
    return tx.get("router", str(port["device_id"])) if is_one else None
