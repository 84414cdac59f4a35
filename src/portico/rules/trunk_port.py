# SPDX-License-Identifier: Apache-2.0
"""What is a trunk's among ports: its own port and its subports, and what may not be done with them as ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portico.errors import BadRequest, Conflict
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

SUBPORT_OWNER = "trunk:subport"

Change = Callable[[Transaction, Context, Row, Row], Row]


def refuse_delete(tx: Transaction, port: Row) -> None:
    """Refuse to delete a port that a trunk needs.

    Raises:
        Conflict: names the trunk.
    """
    if not port.get("trunk_id"):
        return
    if is_parent(tx, port):
        raise Conflict(
            f"Port {port['id']} is currently a parent port for trunk {port['trunk_id']}.", type="PortInUseAsTrunkParent"
        )
    raise Conflict(f"Port {port['id']} is currently a subport for trunk {port['trunk_id']}.", type="PortInUseAsSubPort")


def is_parent(tx: Transaction, port: Row) -> bool:
    """Tell whether a port of a trunk is the trunk's own."""
    return bool(lookup.get(tx, "trunk", port["trunk_id"])["port_id"] == port["id"])


def follow(tx: Transaction, context: Context, before: Row, after: Row, change: Change) -> None:
    """Bring a trunk's subports to where its port has gone; `change` changes a port.

    Raises:
        BadRequest: the port would be plugged without a tap, where no tags are told apart.
    """
    names = ("binding:host_id", "binding:profile")
    if not after.get("trunk_id") or all(before[name] == after[name] for name in names) or not is_parent(tx, after):
        return
    check_plug(after)
    trunk = lookup.get(tx, "trunk", after["trunk_id"])
    for item in trunk["sub_ports"]:
        bind(tx, context, after, lookup.get(tx, "port", item["port_id"]), change)


def check_plug(port: Row) -> None:
    """Refuse a trunk's port that is plugged into a container.

    Raises:
        BadRequest: names the port.
    """
    if (port["binding:profile"] or {}).get("plug") == "veth":
        raise BadRequest(
            f"Invalid input for operation: port {port['id']}: binding:profile key plug 'veth' cannot be had while the "
            "port is a trunk's: tags are told apart at taps only.",
            type="InvalidInput",
        )


def bind(tx: Transaction, context: Context, parent: Row, port: Row, change: Change) -> None:
    """Bind a subport to where its trunk's port is."""
    host = parent["binding:host_id"] or ""
    if (port["binding:host_id"] or "") == host and (port["device_owner"] == SUBPORT_OWNER) == bool(host):
        return
    wanted = {"binding:host_id": host, "binding:profile": {"plug": "tap"} if host else {}}
    change(tx, context, port, {**wanted, "device_owner": SUBPORT_OWNER if host else ""})


def release(tx: Transaction, context: Context, port: Row, change: Change) -> None:
    """Make a subport a port like any other, which no host has."""
    port = change(tx, context, port, {"binding:host_id": "", "binding:profile": {}, "device_owner": ""})
    tx.update("port", port, {"trunk_id": None}, touch=False)


def present(tx: Transaction, rows: Sequence[Row]) -> None:
    """Add trunk_details to ports that are trunks'."""
    ids = sorted({row["trunk_id"] for row in rows if row.get("trunk_id")})
    trunks = {row["id"]: row for row in tx.get_many("trunk", ids)} if ids else {}
    of_port = {trunk["port_id"]: trunk for trunk in trunks.values()}
    subports = sorted({item["port_id"] for trunk in trunks.values() for item in trunk["sub_ports"]})
    macs = {row["id"]: row["mac_address"] for row in tx.get_many("port", subports)} if subports else {}
    for row in rows:
        trunk = of_port.get(row["id"])
        row["trunk_details"] = trunk and {
            "trunk_id": trunk["id"],
            "sub_ports": [{**item, "mac_address": macs[item["port_id"]]} for item in trunk["sub_ports"]],
        }
