# SPDX-License-Identifier: Apache-2.0
"""What floating IPs, port forwardings and NDP proxies are to ports and routers, and what these may not do for that."""

from __future__ import annotations

from ipaddress import ip_address

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.l3 import FLOATING_OWNER, INTERFACE_OWNER, REACH
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

ACTIVE, DOWN = "ACTIVE", "DOWN"
# What says of a floating IP's own port whose it is, where, and which address.
_KEPT = ("device_id", "device_owner", "binding:host_id", "fixed_ips")


def forwardings_of(tx: Transaction, floatingip_id: str) -> list[Row]:
    """Return the port forwardings of a floating IP."""
    return tx.find("port_forwarding", floatingip_id=floatingip_id)


def ipv4(port: Row) -> list[Row]:
    """Return those of a port's fixed_ips that are of IPv4."""
    return [item for item in port["fixed_ips"] if ip_address(item["ip_address"]).version == 4]


def router_for(tx: Transaction, port: Row, fixed: Row, network_id: str, *, prefer: str | None = None) -> str:
    """Return the router between one of a port's fixed_ips and an external network, where it has gateway or interface.

    Of several it is the one to `prefer`, that has a gateway, or has the subnet's gateway address, to which the port's
    packets go.

    Raises:
        NotFound: there is none.
    """
    found: dict[str, str] = {}
    for interface in tx.find("port", network_id=port["network_id"], device_owner=INTERFACE_OWNER):
        for item in interface["fixed_ips"]:
            if item["subnet_id"] == fixed["subnet_id"]:
                found[interface["device_id"]] = item["ip_address"]
    beyond = {
        str(row["id"]): has_gateway(row, network_id)
        for row in tx.get_many("router", sorted(found))
        if has_gateway(row, network_id) or interfaces_at(tx, row["id"], network_id)
    }
    subnet = lookup.get(tx, "subnet", fixed["subnet_id"])
    if not beyond:
        raise NotFound(
            f"External network {network_id} is not reachable from subnet {subnet['id']}.  Therefore, cannot associate "
            f"Port {port['id']} with a Floating IP.",
            type="ExternalGatewayForFloatingIPNotFound",
        )
    return min(beyond, key=lambda one: (one != prefer, not beyond[one], found[one] != subnet["gateway_ip"], one))


def has_gateway(router: Row, network_id: str) -> bool:
    """Tell whether a router has a gateway on a network."""
    return any(item["network_id"] == network_id for item in router["external_gateways"] or ())


def interfaces_at(tx: Transaction, router_id: str, network_id: str) -> list[Row]:
    """Return the interfaces of a router on a network where it can answer for floating IPs."""
    found = tx.find("port", device_id=router_id, device_owner=INTERFACE_OWNER, network_id=network_id)
    return [port for port in found if ipv4(port)]


def status_by(tx: Transaction, floatingip_id: str, router_id: str | None) -> str:
    """Return the status of a floating IP that a router has, or none has; why it is so is noted."""
    tx.forget_reason("floatingip", floatingip_id)
    router = tx.get("router", router_id) if router_id else None
    if router is None:
        return DOWN
    why = tx.reason("router", router["id"])
    if why and why == tx.reason(REACH, router["id"]):
        return ACTIVE  # who reaches gateways is told of each floating IP for itself
    if why:
        tx.note_reason("floatingip", floatingip_id, why)
    return str(router["status"])


def leave(tx: Transaction, context: Context, port: Row) -> None:
    """Have nothing lead to a port any more that is about to go.

    Raises:
        Conflict: it is a floating IP's own, or one that is not who asks' leads to it.
    """
    _refuse_own(tx, port)
    asked = (
        tx.finding("floatingip", port_id=port["id"]),
        tx.finding("port_forwarding", internal_port_id=port["id"]),
        tx.finding("ndp_proxy", port_id=port["id"]),
    )
    tx.foresee(asked)
    rows, forwardings, proxies = (tx.ask(*read) for read in asked)
    for row in rows:
        if lookup.seen(tx, context, "floatingip", row["id"]) is None:
            raise Conflict(
                f"Unable to complete the operation on port {port['id']} because the port still has an associated "
                "floating IP, which is another project's.",
                type="FipAssociated",
            )
        free = {"port_id": None, "fixed_ip_address": None, "router_id": None}
        tx.update("floatingip", row, {**free, "status": status_by(tx, row["id"], None)})
    for row in forwardings:
        remove_forwarding(tx, row)
    for row in proxies:
        tx.delete("ndp_proxy", row)


def follow_addresses(tx: Transaction, before: Row, port: Row) -> None:
    """Drop port forwardings to addresses that a port has no more, and NDP proxies of such.

    Raises:
        BadRequest: a floating IP stands for such an address.
    """
    if before["fixed_ips"] == port["fixed_ips"]:
        return
    kept = {item["ip_address"] for item in port["fixed_ips"]}
    for row in tx.find("floatingip", port_id=port["id"]):
        if row["fixed_ip_address"] not in kept:
            raise BadRequest(
                f"Bad port request: Cannot update the fixed_ips of the port {port['id']}, because its original "
                f"fixed_ip {row['fixed_ip_address']} has been associated to a floating ip "
                f"({row['floating_ip_address']}).",
                type="BadRequest",
            )
    for row in tx.find("port_forwarding", internal_port_id=port["id"]):
        if row["internal_ip_address"] not in kept:
            remove_forwarding(tx, row)
    for row in tx.find("ndp_proxy", port_id=port["id"]):
        if row["ip_address"] not in kept:
            tx.delete("ndp_proxy", row)


def remove_forwarding(tx: Transaction, row: Row) -> None:
    """Remove a port forwarding; the last one takes the router from the floating IP."""
    tx.delete("port_forwarding", row)
    floating = lookup.get(tx, "floatingip", row["floatingip_id"])
    changes: Row = {}
    if not forwardings_of(tx, floating["id"]):
        changes = {"router_id": None, "status": status_by(tx, floating["id"], None)}
    tx.update("floatingip", floating, changes)


def refuse_interface_loss(tx: Transaction, router: Row, subnet: Row) -> None:
    """Refuse to take a router off a subnet whose addresses its floating IPs lead to.

    Raises:
        Conflict: names one.
    """
    for row in tx.find("floatingip", router_id=router["id"]):
        forwardings = forwardings_of(tx, row["id"])
        ports = [row["port_id"], *(item["internal_port_id"] for item in forwardings)]
        used = {row["fixed_ip_address"], *(item["internal_ip_address"] for item in forwardings)}
        for port in tx.get_many("port", [item for item in ports if item]):
            if any(item["subnet_id"] == subnet["id"] and item["ip_address"] in used for item in port["fixed_ips"]):
                raise Conflict(
                    f"Router interface for subnet {subnet['id']} on router {router['id']} cannot be deleted, as it is "
                    f"required by one or more floating IPs: {row['floating_ip_address']} leads to port {port['id']}.",
                    type="RouterInterfaceInUseByFloatingIP",
                )


def admit(tx: Transaction, context: Context, row: Row, router_id: str, port: Row) -> None:
    """Refuse a floating IP at an interface of a router where the backend of the port's network has none there.

    Raises:
        Unsupported: what that backend says.
    """
    if interfaces_at(tx, router_id, row["floating_network_id"]):
        network = lookup.get(tx, "network", port["network_id"])
        context.broker.admit("floatingip", row, {**row, "router_id": router_id, "at_interface": True}, network)


def refuse_outlet_loss(tx: Transaction, router: Row, subnet: Row, port: Row) -> None:
    """Refuse to take from a router its last interface on a network whose floating IPs it has there.

    Raises:
        Conflict: names one.
    """
    network_id = subnet["network_id"]
    left = [item for item in interfaces_at(tx, router["id"], network_id) if item["id"] != port["id"]]
    if subnet["ip_version"] != 4 or left:
        return
    for row in tx.find("floatingip", router_id=router["id"], floating_network_id=network_id):
        raise Conflict(
            f"Router interface for subnet {subnet['id']} on router {router['id']} cannot be deleted, as it is the "
            f"gateway of one or more floating IPs: {row['floating_ip_address']}.",
            type="RouterInterfaceInUseAsGatewayByFloatingIP",
        )


def refuse_internal(tx: Transaction, network_id: str) -> None:
    """Refuse to make a network internal whose floating IPs a router has at an interface.

    Raises:
        Conflict: there are such, of whatever project.
    """
    if any(row["router_id"] for row in tx.find("floatingip", floating_network_id=network_id)):
        raise Conflict(
            f"External network {network_id} cannot be updated to be made non-external, since routers have floating IPs "
            "of it.",
            type="ExternalNetworkInUse",
        )


def refuse_gateway_loss(tx: Transaction, router: Row, network_id: str) -> None:
    """Refuse to take from a router its last gateway on a network whose floating IPs it has.

    Raises:
        Conflict: names one.
    """
    for row in tx.find("floatingip", router_id=router["id"], floating_network_id=network_id):
        raise Conflict(
            f"Gateway cannot be updated for router {router['id']}, since a gateway to external network {network_id} is "
            f"required by one or more floating IPs: {row['floating_ip_address']}.",
            type="RouterExternalGatewayInUseByFloatingIp",
        )


def refuse_update(tx: Transaction, port: Row, changes: Row) -> None:
    """Refuse to take a floating IP's own port from it, or the address.

    Raises:
        Conflict: names the attribute.
    """
    names = [name for name in _KEPT if name in changes and (changes[name] or "") != (port[name] or "")]
    if names and _is_own(tx, port):
        raise Conflict(
            f"Unable to complete operation on port {port['id']} for network {port['network_id']}. Port already has an "
            f"attached device {port['device_id']}: {names[0]} of a floating IP's port stays.",
            type="PortInUse",
        )


def _refuse_own(tx: Transaction, port: Row) -> None:
    if _is_own(tx, port):
        raise Conflict(
            f"Port {port['id']} cannot be deleted directly via the port API: has device owner {port['device_owner']}, "
            f"device_id {port['device_id']}.",
            type="ServicePortInUse",
        )


def _is_own(tx: Transaction, port: Row) -> bool:
    return port["device_owner"] == FLOATING_OWNER and tx.get("floatingip", str(port["device_id"])) is not None
