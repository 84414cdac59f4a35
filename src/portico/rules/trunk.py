# SPDX-License-Identifier: Apache-2.0
"""Trunks and their subports. Errors are those of Neutron's trunk service."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.show import show
from portico.model.trunk import status as status_of
from portico.rules import lookup, port, quota, trunk_port
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

_VLANS = range(1, 4095)


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a trunk of a port that is in no other one.

    Raises:
        NotFound: a port is none that who asks may see.
        Conflict: a port is in use.
        BadRequest: a subport is none; see `_check`.
    """
    quota.check(tx, context, "trunk", body["project_id"])
    parent = lookup.visible(tx, context, "port", body["port_id"])
    if parent.get("trunk_id"):
        if trunk_port.is_parent(tx, parent):
            raise _parent_in_use(parent, f"it is that of trunk {parent['trunk_id']}")
        raise _in_use(parent)
    trunk_port.check_plug(parent)
    context.broker.admit("trunk", None, body, lookup.get(tx, "network", parent["network_id"]))
    trunk: Row = {**body, "id": str(uuid.uuid4()), "status": "DOWN", "sub_ports": [], "tags": []}
    trunk = tx.insert("trunk", trunk)
    tx.update("port", parent, {"trunk_id": trunk["id"]}, touch=False)
    return _add(tx, context, trunk, body.get("sub_ports") or [])


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what a trunk is called, and whether it may be changed."""
    return tx.update("trunk", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a trunk; its subports are ports like others again.

    Raises:
        Conflict: it is disabled, or its port is on a host.
    """
    _refuse_disabled(row)
    parent = lookup.get(tx, "port", row["port_id"])
    if parent["binding:host_id"]:
        raise Conflict(f"Trunk {row['id']} is currently in use.", type="TrunkInUse")
    for item in row["sub_ports"]:
        trunk_port.release(tx, context, lookup.get(tx, "port", item["port_id"]), port.change)
    tx.update("port", parent, {"trunk_id": None}, touch=False)
    tx.delete("trunk", row)


def add_subports(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Give a trunk subports; raises what `create` does."""
    _refuse_disabled(row)
    return _whole(_add(tx, context, row, body["sub_ports"]))


def remove_subports(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Take subports away from a trunk.

    Raises:
        NotFound: one is none of its subports.
        Conflict: it is disabled.
    """
    _refuse_disabled(row)
    kept = {item["port_id"]: item for item in row["sub_ports"]}
    for item in body["sub_ports"]:
        if kept.pop(item["port_id"], None) is None:
            raise NotFound(
                f"SubPort {item['port_id']} on trunk {row['id']} could not be found.", type="SubPortNotFound"
            )
        trunk_port.release(tx, context, lookup.get(tx, "port", item["port_id"]), port.change)
    return _whole(_set(tx, row, list(kept.values())))


def get_subports(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Return a trunk's subports."""
    return {"sub_ports": row["sub_ports"]}


def _whole(trunk: Row) -> Row:
    """Return what an action answers: the trunk with no name around it, as Neutron does."""
    return {**trunk, "tenant_id": trunk["project_id"]}


def _add(tx: Transaction, context: Context, trunk: Row, items: Sequence[Row]) -> Row:
    parent = lookup.get(tx, "port", trunk["port_id"])
    network = lookup.get(tx, "network", parent["network_id"])
    kept = list(trunk["sub_ports"])
    for item in items:
        found = lookup.visible(tx, context, "port", item["port_id"])
        own = lookup.get(tx, "network", found["network_id"])
        chosen = {"port_id": found["id"], "segmentation_type": "vlan", "segmentation_id": _vlan(item, own)}
        _check(trunk, network, found, own)
        if any(other["segmentation_id"] == chosen["segmentation_id"] for other in kept):
            raise Conflict(
                f"segmentation_type vlan and segmentation_id {chosen['segmentation_id']} already in use on trunk "
                f"{trunk['id']}.",
                type="DuplicateSubPort",
            )
        kept.append(chosen)
        found = tx.update("port", found, {"trunk_id": trunk["id"]}, touch=False)
        trunk_port.bind(tx, context, parent, found, port.change)
    return _set(tx, trunk, kept)


def _set(tx: Transaction, trunk: Row, items: list[Row]) -> Row:
    own = lookup.get(tx, "port", trunk["port_id"])
    subports = tx.get_many("port", [item["port_id"] for item in items])
    status = status_of(own["status"], (row["status"] for row in subports))
    if (items, status) == (trunk["sub_ports"], trunk["status"]):
        return trunk
    return tx.update("trunk", trunk, {"sub_ports": items, "status": status})


def _vlan(item: Row, network: Row) -> int:
    """Return the VLAN of a subport.

    Raises:
        BadRequest: it is none, or is to be that of a network without one.
    """
    kind, number = item.get("segmentation_type"), item.get("segmentation_id")
    if kind == "inherit":
        kind, number = network["provider:network_type"], network["provider:segmentation_id"]
    if kind is None or (number is None and kind == "vlan"):
        raise _invalid(
            f"Invalid subport details '{show(item)}': missing segmentation information. Must specify both "
            "segmentation_id and segmentation_type"
        )
    if kind != "vlan":
        raise _invalid(f"Unknown segmentation_type '{show(kind)}'")
    try:
        vlan = int(number) if isinstance(number, int | str) and not isinstance(number, bool) else 0
    except ValueError as error:
        raise _invalid(f"Invalid subport details: segmentation_id '{show(number)}' is not an integer") from error
    if vlan not in _VLANS:
        raise _invalid(f"Segmentation ID '{show(number)}' is not in range")
    return vlan


def _check(trunk: Row, network: Row, found: Row, own: Row) -> None:
    """Refuse a port that cannot be a subport: its trunk's own, one in use, one whose network carries more or is not of
    the same backend."""
    if found["id"] == trunk["port_id"]:
        raise _parent_in_use(found, "a trunk's own port is none of its subports")
    if own["mtu"] > network["mtu"]:
        raise Conflict(
            f"MTU {own['mtu']} of subport {found['id']} cannot be greater than MTU {network['mtu']} of trunk "
            f"{trunk['id']}.",
            type="SubPortMtuGreaterThanTrunkPortMtu",
        )
    if found.get("trunk_id"):
        raise _in_use(found)
    if found["device_id"] or found["binding:host_id"]:
        raise Conflict(
            f"Unable to complete operation on port {found['id']} for network {own['id']}. Port already has an attached "
            f"device {found['device_id'] or 'on a host'}.",
            type="PortInUse",
        )
    if own["portico:backend"] != network["portico:backend"]:
        raise _invalid(
            f"trunk {trunk['id']} is of portico:backend '{network['portico:backend']}', port {found['id']} of "
            f"'{own['portico:backend']}': all ports of a trunk are of one backend"
        )


def _refuse_disabled(trunk: Row) -> None:
    if not trunk["admin_state_up"]:
        raise Conflict(f"Trunk {trunk['id']} is currently disabled.", type="TrunkDisabled")


def _parent_in_use(row: Row, why: str) -> Conflict:
    return Conflict(
        f"Port {row['id']} is currently in use and is not eligible for use as a parent port: {why}.",
        type="ParentPortInUse",
    )


def _in_use(row: Row) -> Conflict:
    return Conflict(f"Port {row['id']} is in use by another trunk: {row['trunk_id']}.", type="TrunkPortInUse")


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {reason}.", type="InvalidInput")
