# SPDX-License-Identifier: Apache-2.0
"""Floating IPs. Errors are those of Neutron's L3 service.

Each has a port of its own on the external network, which holds its address and is on no host.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from portico.errors import BadRequest, Conflict
from portico.model.l3 import FLOATING_OWNER
from portico.model.show import some
from portico.model.snapshot import DHCP_OWNER
from portico.rules import fixed_ip, floating_use, lookup, port, qos_policy, quota, router_port, service_port
from portico.rules.context import Context, Row
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction

# The status of ports that no agent ever reports (neutron_lib.constants.PORT_STATUS_NOTAPPLICABLE).
NOT_APPLICABLE = "N/A"
# What a floating IP tells of its port.
_DETAILS = ("name", "network_id", "mac_address", "admin_state_up", "status", "device_id", "device_owner")
# What it tells of its port forwardings: for a single port, and for a range.
_SINGLE = ("id", "protocol", "internal_port_id", "internal_ip_address", "internal_port", "external_port")
_RANGE = (*_SINGLE[:4], "internal_port_range", "external_port_range")
_FREE: Mapping[str, Any] = {"port_id": None, "fixed_ip_address": None, "router_id": None}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a floating IP: take its address, and have it lead to a port if one is named.

    Raises:
        BadRequest: the network is not external or has no IPv4 subnet, or the address or the port does not fit.
        Conflict: the address is taken, there is none left, or the port's address has a floating IP.
        NotFound: there is no such network, subnet or port, or no router between port and network.
        OverQuota: the project has as many as it may.
    """
    quota.check(tx, context, "floatingip", body["project_id"])
    network = lookup.visible(tx, context, "network", body["floating_network_id"])
    row = {**body, **_FREE, "id": str(uuid.uuid4()), "status": floating_use.DOWN}
    qos_policy.check_outside(tx, context, None, row, network, "floatingip")
    own = service_port.row_of(context, network["id"], FLOATING_OWNER, row["id"], "")
    own["status"] = NOT_APPLICABLE
    own["fixed_ips"] = fixed_ip.record(tx, own["id"], _address(tx, context, network, own, body))
    own["ip_allocation"] = fixed_ip.allocation(own["fixed_ips"])
    tx.insert("port", own)
    row["floating_ip_address"] = own["fixed_ips"][0]["ip_address"]
    row |= _association(tx, context, row, body)
    _check_limits(tx, context, row)
    return tx.insert("floatingip", row)


def _address(tx: Transaction, context: Context, network: Row, own: Row, body: Row) -> fixed_ip.Chosen:
    """Take the address of a new floating IP: the one that is asked for, one of the subnet, or any."""
    subnets = [item for item in fixed_ip.subnets_of(tx, network) if item["ip_version"] == 4]
    if not network["router:external"]:
        raise _bad(f"Network {network['id']} is not a valid external network")
    if not subnets:
        raise _bad(f"Network {network['id']} does not contain any IPv4 subnet")
    address, subnet_id = body.get("floating_ip_address"), body.get("subnet_id")
    if subnet_id and subnet_id not in {item["id"] for item in subnets}:
        lookup.visible(tx, context, "subnet", subnet_id)
    if address and address in {item["gateway_ip"] for item in subnets}:
        raise _bad(f"floating_ip_address {address} is the gateway_ip of a subnet of network {network['id']}")
    asked = {"subnet_id": subnet_id, "ip_address": address}
    wanted = [{name: value for name, value in asked.items() if value}] if address or subnet_id else None
    return fixed_ip.choose(tx, own, subnets, wanted)


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a floating IP; see `create` for what is refused.

    One whose port or address is not named keeps both; an empty change has it lead to no port, as in Neutron.
    """
    if "qos_policy_id" in changes:
        network = lookup.get(tx, "network", row["floating_network_id"])
        qos_policy.check_outside(tx, context, row, {**row, **changes}, network, "floatingip")
        _check_limits(tx, context, {**row, **changes})
    if changes and not changes.keys() & {"port_id", "fixed_ip_address", "router_id"}:
        return tx.update("floatingip", row, changes)
    if "port_id" not in changes and changes.get("fixed_ip_address") is None:
        address = {} if "fixed_ip_address" in changes else {"fixed_ip_address": row["fixed_ip_address"]}
        changes = changes and {**changes, **address, "port_id": row["port_id"]}
    changes |= _association(tx, context, row, changes)
    _check_limits(tx, context, {**row, **changes})
    return tx.update("floatingip", row, changes)


def _check_limits(tx: Transaction, context: Context, row: Row) -> None:
    """Refuse a policy of a floating IP whose port is realised by others than its network, if they limit nothing.

    Raises:
        Unsupported: what that backend says.
    """
    if row.get("qos_policy_id") and row["port_id"]:
        network = lookup.get(tx, "network", lookup.get(tx, "port", row["port_id"])["network_id"])
        context.broker.admit("floatingip", row, row, network)


def _association(tx: Transaction, context: Context, row: Row, given: Row) -> Row:
    """Return what a floating IP that is to lead to a port, or to none, has to say of that."""
    if not given.get("port_id"):
        if given.get("fixed_ip_address"):
            raise _without_port("fixed_ip_address")
        if given.get("router_id"):
            raise _without_port("router_id")
        # A floating IP with port forwardings stays at the router that has them.
        router_id = row["router_id"] if _has_forwardings(tx, row) else None
        return {**_FREE, "router_id": router_id, "status": floating_use.status_by(tx, row["id"], router_id)}
    if _has_forwardings(tx, row):
        raise _in_use(tx, row)
    found = lookup.visible(tx, context, "port", given["port_id"])
    fixed = _fixed(context, row, found, given.get("fixed_ip_address"))
    address, network_id = fixed["ip_address"], row["floating_network_id"]
    router_id = _router(tx, context, row, found, fixed, given.get("router_id"))
    for other in tx.find("floatingip", port_id=found["id"], fixed_ip_address=address, floating_network_id=network_id):
        if other["id"] != row["id"]:
            raise already_associated(row, found["id"], address, other)
    status = floating_use.status_by(tx, row["id"], router_id)
    return {"port_id": found["id"], "fixed_ip_address": address, "router_id": router_id, "status": status}


def _router(tx: Transaction, context: Context, row: Row, found: Row, fixed: Row, named: str | None) -> str:
    """Return the router that is to have a floating IP: the one that is named, else one on the port's own subnet.

    One that is named need not be on that subnet: its routes may lead there.

    Raises:
        Conflict: it has neither gateway nor interface on the floating IP's network.
        NotFound: there is no such router, or none between port and network.
        Unsupported: it is not of the backend of the port's network.
    """
    network_id = row["floating_network_id"]
    if not named:
        router_id = floating_use.router_for(tx, found, fixed, network_id)
        floating_use.admit(tx, context, row, router_id, found)
        return router_id
    router = lookup.visible(tx, context, "router", named)
    floating_use.admit(tx, context, row, router["id"], found)
    if not (floating_use.has_gateway(router, network_id) or floating_use.interfaces_at(tx, router["id"], network_id)):
        raise Conflict(f"Router {router['id']} has no external gateway on network {network_id}", type="Conflict")
    router_port.check_backend(tx, context, router, lookup.get(tx, "network", found["network_id"]))
    return str(router["id"])


def _fixed(context: Context, row: Row, found: Row, address: str | None) -> Row:
    """Return which of a port's fixed_ips a floating IP is to stand for.

    Raises:
        BadRequest: the port is none that may have a floating IP, has no such address, or it must be said which.
    """
    if found["project_id"] != row["project_id"] and not context.is_admin:
        raise _bad(
            f"Cannot process floating IP association with Port {found['id']}, since that port is owned by a different "
            "project"
        )
    if found["device_owner"] == DHCP_OWNER:
        raise _bad(f"Port {found['id']} is unable to be assigned a floating IP: its device_owner is {DHCP_OWNER}")
    if address and ip_address(address).version != 4:
        raise _bad(f"Cannot process floating IP association with {address}, since that is not an IPv4 address")
    candidates = [item for item in floating_use.ipv4(found) if address in (None, item["ip_address"])]
    if address and not candidates:
        raise _bad(f"Port {found['id']} does not have fixed ip {address}")
    if not candidates:
        raise _bad(f"Cannot add floating IP to port {found['id']} that has no fixed IPv4 addresses")
    if len(candidates) > 1:
        raise _bad(
            f"Port {found['id']} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when "
            "assigning a floating IP"
        )
    return candidates[0]


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a floating IP and give its address back.

    Raises:
        Conflict: it has port forwardings.
    """
    if _has_forwardings(tx, row):
        raise _in_use(tx, row)
    for own in tx.find("port", device_id=row["id"], device_owner=FLOATING_OWNER):
        port.remove(tx, own)
    tx.delete("floatingip", row)


def delete_unused(tx: Transaction, context: Context, network_id: str) -> None:
    """Remove the floating IPs of a network that lead nowhere: it goes away, or is external no more."""
    for row in tx.find("floatingip", floating_network_id=network_id):
        if row["router_id"] is None:
            delete(tx, context, row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add port_details, port_forwardings and the network's QoS policy."""
    networks = {row["id"]: row for row in tx.get_many("network", sorted({row["floating_network_id"] for row in rows}))}
    ports = {row["id"]: row for row in tx.get_many("port", [row["port_id"] for row in rows if row["port_id"]])}
    forwardings = _forwardings(tx, [row["id"] for row in rows])
    for row in rows:
        found = ports.get(row["port_id"])
        row["qos_network_policy_id"] = networks[row["floating_network_id"]]["qos_policy_id"]
        row["port_details"] = {name: found[name] for name in _DETAILS} if found else None
        row["port_forwardings"] = [
            {name: item[name] for name in (_RANGE if item["external_port"] is None else _SINGLE)}
            for item in forwardings
            if item["floatingip_id"] == row["id"]
        ]
    return rows


def _forwardings(tx: Transaction, ids: Sequence[str]) -> list[Row]:
    return tx.list("port_forwarding", Query(filters=(Filter("floatingip_id", tuple(ids)),))) if ids else []


def already_associated(row: Row, port_id: str, address: str, other: Row) -> Conflict:
    """Return the error for a floating IP, or a port's address, that has its other side already: `other` leads there."""
    return Conflict(
        f"Cannot associate floating IP {row['floating_ip_address']} ({row['id']}) with port {port_id} using fixed IP "
        f"{address}, as that fixed IP already has a floating IP on external network {row['floating_network_id']}: "
        f"{other['floating_ip_address']} leads to {other['fixed_ip_address']} of port {other['port_id']}.",
        type="FloatingIPPortAlreadyAssociated",
    )


def _has_forwardings(tx: Transaction, row: Row) -> bool:
    return bool(row["router_id"]) and row["port_id"] is None and bool(floating_use.forwardings_of(tx, row["id"]))


def _in_use(tx: Transaction, row: Row) -> Conflict:
    named = some(sorted(item["id"] for item in floating_use.forwardings_of(tx, row["id"])))
    return Conflict(
        f"Floating IP {row['id']} in use by Port Forwarding resources: {named}.", type="FipInUseByPortForwarding"
    )


def _without_port(name: str) -> BadRequest:
    return _bad(f"{name} cannot be specified without a port_id")


def _bad(rule: str) -> BadRequest:
    return BadRequest(f"Bad floatingip request: {rule}.", type="BadRequest")
