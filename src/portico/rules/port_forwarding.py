# SPDX-License-Identifier: Apache-2.0
"""Port forwardings of floating IPs. Errors are those of Neutron's port forwarding service."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address

from portico.errors import BadRequest, Conflict, NotFound, Unsupported
from portico.model.address import IpAddress
from portico.model.bgp import ROUTED
from portico.model.l3 import FLOATING_OWNER
from portico.rules import fixed_ip, floating_use, lookup, port
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.rules.floatingip import already_associated
from portico.rules.router_port import BEHIND_HOST
from portico.store.query import Filter, Query
from portico.store.transaction import Transaction

Ports = tuple[int, int]  # first and last


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a port forwarding.

    Raises:
        BadRequest: ports clash with those of another one, or the port has no such address.
        Conflict: the floating IP leads to a port, or the port has a floating IP of its own.
        NotFound: there is no such port.
    """
    floating = lookup.get(tx, "floatingip", body["floatingip_id"])
    row = {**body, "id": str(uuid.uuid4()), "project_id": floating["project_id"], **_sides(body, {})}
    row["portico:host_addresses"] = _published(body.get("portico:host_addresses"))
    found = lookup.visible(tx, context, "port", row["internal_port_id"])
    _check_publishing(tx, floating, row, found)
    _refuse_clash(tx, row, found)
    _refuse_floating(tx, floating, row, found)
    router_id = _router_of(tx, floating, row, found)
    floating_use.admit(tx, context, floating, router_id, found)
    _refuse_other_host(tx, context, row, found)
    _take_ipv6(tx, context, floating, row, found)
    made = tx.insert("port_forwarding", row)
    here: Row = {}
    if floating["router_id"] is None:
        here = {"router_id": router_id, "status": floating_use.status_by(tx, floating["id"], router_id)}
    tx.update("floatingip", floating, here)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a port forwarding; see `create` for what is refused."""
    floating = lookup.get(tx, "floatingip", row["floatingip_id"])
    after = {**row, **changes, **_sides(changes, row)}
    after["portico:host_addresses"] = _published(after["portico:host_addresses"])
    moves = after["internal_port_id"] != row["internal_port_id"]
    port_id = after["internal_port_id"]
    found = lookup.visible(tx, context, "port", port_id) if moves else lookup.get(tx, "port", port_id)
    if moves and "internal_ip_address" not in changes:
        after["internal_ip_address"] = next((item["ip_address"] for item in floating_use.ipv4(found)), None)
    _check_publishing(tx, floating, after, found)
    _refuse_clash(tx, after, found)
    if moves:
        _refuse_floating(tx, floating, after, found)
    floating_use.admit(tx, context, floating, _router_of(tx, floating, after, found), found)
    _refuse_other_host(tx, context, after, found)
    _take_ipv6(tx, context, floating, after, found)
    different = {name: value for name, value in after.items() if row.get(name) != value}
    changed = tx.update("port_forwarding", row, different)
    tx.update("floatingip", floating, {})
    return changed


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a port forwarding."""
    floating_use.remove_forwarding(tx, row)


def _sides(given: Row, row: Row) -> Row:
    """Return external and internal ports, each as a port and as a range, by a request and what there was.

    Raises:
        BadRequest: one is missing or told twice, or they are not one for one or many for one.
    """
    sides = {side: _side(side, given, row) for side in ("external", "internal")}
    (first, last), inside = sides["external"], sides["internal"]
    if inside[0] != inside[1] and inside[1] - inside[0] != last - first:
        raise _bad(
            "Invalid ranges of internal and/or external ports. The relation between internal and external ports must "
            f"be N-N or 1-N: internal {_text(inside)}, external {_text((first, last))}"
        )
    single = {f"{side}_port": ports[0] if ports[0] == ports[1] else None for side, ports in sides.items()}
    return single | {f"{side}_port_range": _text(ports) for side, ports in sides.items()}


def _side(side: str, given: Row, row: Row) -> Ports:
    single, spread = f"{side}_port", f"{side}_port_range"
    told = {_ports(given[name]) for name in (single, spread) if given.get(name) is not None}
    if len(told) > 1:
        raise _bad(f"{single} {given[single]} and {spread} {given[spread]} are not the same: one of them is enough")
    if not told and not row:
        raise _bad(f"{single} or {spread} must be given")
    return told.pop() if told else _ports(row[spread])


def _ports(value: int | str) -> Ports:
    first, _, last = str(value).partition(":")
    return int(first), int(last or first)


def _text(ports: Ports) -> str:
    return f"{ports[0]}:{ports[1]}"


def _published(addresses: Sequence[str] | None) -> list[str]:
    """Return addresses of a host as they are kept."""
    found = [ip_address(item) for item in addresses or ()]
    for item in found:
        if why := _oddity(item):
            raise _bad(f"portico:host_addresses {item} is {why}")
    return list(dict.fromkeys(str(item) for item in found))


def _oddity(address: IpAddress) -> str:
    """Return why nothing can be published on an address, whatever host it is; "" if it may be some host's."""
    if address.is_multicast:
        return "a multicast address: no host has it for its own"
    if str(address) == "::1":
        return "no way to a port: the kernel sends nothing from there to other links; 127.0.0.1 can be had"
    if address.version == 6 and address.ipv4_mapped is not None:
        return f"none of IPv6: name {address.ipv4_mapped}"
    if address.version == 6 and address.is_link_local:
        return "a link-local address, and each link may have it"
    return ""


def _check_publishing(tx: Transaction, floating: Row, row: Row, found: Row) -> None:
    """Refuse addresses of a host where hosts reach neither the floating IP by themselves, nor the port.

    Raises:
        Unsupported: names the network and its type.
    """
    network = lookup.get(tx, "network", floating["floating_network_id"])
    is_reached = network["provider:network_type"] == BEHIND_HOST or _is_routed(tx, found)
    if row["portico:host_addresses"] and not is_reached:
        raise Unsupported(
            f"Invalid input for operation: port_forwarding {row['id']}: portico:host_addresses needs a floating IP of "
            f"a network of provider:network_type '{BEHIND_HOST}', or a routed port, and network {network['id']} is of "
            f"type '{network['provider:network_type']}'.",
            type="InvalidInput",
        )


def _refuse_clash(tx: Transaction, row: Row, found: Row) -> None:
    """Refuse ports that another forwarding of the floating IP, to the same address, or on the same host has.

    Raises:
        BadRequest: names both.
    """
    same = {"protocol": row["protocol"]}
    to_port = {"internal_port_id": found["id"], "internal_ip_address": row["internal_ip_address"]}
    for name, others in (
        ("internal_port_range", tx.find("port_forwarding", **to_port, **same)),
        ("external_port_range", tx.find("port_forwarding", floatingip_id=row["floatingip_id"], **same)),
    ):
        for other in _overlapping(row, others, name):
            if name == "external_port_range" or not _both_published(row, other):
                raise _clash(row, other, name, name)
    if row["portico:host_addresses"]:
        _refuse_host_clash(tx, row, found)


def _both_published(row: Row, other: Row) -> bool:
    """Tell whether both are for ports of a host: several of those may lead to one port, as with Docker."""
    return bool(row["portico:host_addresses"] and other["portico:host_addresses"])


def _refuse_host_clash(tx: Transaction, row: Row, found: Row) -> None:
    number = row["external_port"]
    with_ports = (Filter("external_port", (number, None)),) if number is not None else ()
    published = tx.list("port_forwarding", Query(filters=(Filter("protocol", (row["protocol"],)), *with_ports)))
    for other in _overlapping(row, published, "external_port_range"):
        there = lookup.get(tx, "port", other["internal_port_id"])
        is_here = there["binding:host_id"] == found["binding:host_id"]
        if is_here and _share_address(row["portico:host_addresses"], other["portico:host_addresses"] or ()):
            raise _clash(row, other, "portico:host_addresses", "external_port_range")


def _overlapping(row: Row, others: Iterable[Row], name: str) -> Iterator[Row]:
    first, last = _ports(row[name])
    for other in others:
        low, high = _ports(other[name])
        if other["id"] != row["id"] and low <= last and first <= high:
            yield other


def _share_address(some: Iterable[str], others: Iterable[str]) -> bool:
    """Tell whether two lists of a host's addresses have one in common; the unspecified one is all of its version."""
    pairs = ((ip_address(one), ip_address(other)) for one in some for other in others)
    return any(
        one == other or (one.version == other.version and (one.is_unspecified or other.is_unspecified))
        for one, other in pairs
    )


def _clash(row: Row, other: Row, name: str, ports: str) -> BadRequest:
    return _bad(
        f"There is a port collision with the {name}. The following ranges collide: {other[ports]} and {row[ports]} "
        f"(port forwarding {other['id']} of floating IP {other['floatingip_id']} to port {other['internal_port_id']}, "
        f"protocol {row['protocol']})"
    )


def _refuse_floating(tx: Transaction, floating: Row, row: Row, found: Row) -> None:
    if floating["port_id"]:
        raise already_associated(floating, found["id"], row["internal_ip_address"], floating)
    for other in tx.find("floatingip", port_id=found["id"]):
        raise Conflict(
            f"Cannot create port forwarding to floating IP {floating['floating_ip_address']} ({floating['id']}) with "
            f"port {found['id']} using fixed IP {row['internal_ip_address']}, as that port already has a binding "
            f"floating IP: {other['floating_ip_address']}.",
            type="PortHasBindingFloatingIP",
        )


def _is_routed(tx: Transaction, port: Row) -> bool:
    return bool(lookup.get(tx, "network", port["network_id"])["portico:backend"] == ROUTED)


def _refuse_other_host(tx: Transaction, context: Context, row: Row, found: Row) -> None:
    """Refuse a routed port on another host than those of the floating IP's other forwardings: its route leads to one.

    Raises:
        Unsupported: names both ports and hosts.
    """
    if row["portico:host_addresses"] or not found["binding:host_id"] or not _is_routed(tx, found):
        return
    others = tx.find("port_forwarding", floatingip_id=row["floatingip_id"])
    ids = {it["internal_port_id"] for it in others if it["id"] != row["id"] and not it["portico:host_addresses"]}
    for other in tx.get_many("port", sorted(ids)):
        if other["binding:host_id"] not in ("", found["binding:host_id"]):
            text = (
                f"Invalid input for operation: port_forwarding {row['id']}: internal_port_id {found['id']} is on host "
                f"{found['binding:host_id']}, and port {other['id']}, to which floating IP {row['floatingip_id']} "
                f"leads too, on host {other['binding:host_id']}: in the routed space a floating IP is on one host."
            )
            raise Unsupported(
                discreet(tx, context, [text], found["binding:host_id"], other["binding:host_id"])[0],
                type="InvalidInput",
            )


def _take_ipv6(tx: Transaction, context: Context, floating: Row, row: Row, found: Row) -> None:
    """Give a floating IP behind the host an IPv6 address beside its own, by which hosts publish theirs, if it has none.

    Raises:
        Conflict: there is none left.
    """
    network = lookup.get(tx, "network", floating["floating_network_id"])
    is_published = any(":" in text for text in row["portico:host_addresses"])
    is_led = any(":" in item["ip_address"] for item in found["fixed_ips"]) and not _is_routed(tx, found)
    if not (is_published and is_led and network["provider:network_type"] == BEHIND_HOST):
        return
    subnets = [subnet for subnet in fixed_ip.subnets_of(tx, network) if subnet["ip_version"] == 6]
    for own in tx.find("port", device_id=floating["id"], device_owner=FLOATING_OWNER) if subnets else ():
        if not any(":" in item["ip_address"] for item in own["fixed_ips"]):
            port.change(tx, context, own, {"fixed_ips": [*own["fixed_ips"], {"subnet_id": subnets[0]["id"]}]})


def _router_of(tx: Transaction, floating: Row, row: Row, found: Row) -> str:
    """Return the router that has the floating IP and reaches the port.

    Raises:
        BadRequest: the port has no such IPv4 address, or there is no such router.
    """
    fixed_ips = floating_use.ipv4(found)
    if not fixed_ips:
        raise _bad(f"Requested internal port {found['id']} must allocate an IPv4 address at least")
    fixed = next((item for item in fixed_ips if item["ip_address"] == row["internal_ip_address"]), None)
    if fixed is None:
        raise _bad(
            f"Requested internal IP address {row['internal_ip_address']} is not suitable for internal neutron port "
            f"{found['id']}, as its fixed_ips are {', '.join(item['ip_address'] for item in fixed_ips)}"
        )
    network_id, present = floating["floating_network_id"], floating["router_id"]
    try:
        router_id = floating_use.router_for(tx, found, fixed, network_id, prefer=present)
    except NotFound as error:
        raise _bad(
            f"External network {network_id} is not reachable from subnet {fixed['subnet_id']}. Cannot set Port "
            f"forwarding for port {found['id']} with Floating IP {floating['id']}"
        ) from error
    if present not in (None, router_id):
        raise _bad(
            f"The Floating IP {floating['id']} had been set on router {present}, the internal Neutron port "
            f"{found['id']} can not reach it"
        )
    return router_id


def _bad(rule: str) -> BadRequest:
    return BadRequest(f"Bad port_forwarding request: {rule}.", type="BadRequest")
