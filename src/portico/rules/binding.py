# SPDX-License-Identifier: Apache-2.0
"""Binding of a port to a host: synchronous, in the request that sets binding:host_id."""

from __future__ import annotations

import re

import msgspec
import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.model.show import show
from portico.model.snapshot import BINDING_FAILED as FAILED
from portico.model.snapshot import UNBOUND
from portico.rules import agent, dhcp, lookup, provider
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

# dev_valid_name in the kernel's net/core/dev.c, and nothing that a terminal or a log would act on; IFNAMSIZ is 16 with
# the terminating zero. Of "tap%d" dev_alloc_name makes another name, and no name has a percent sign in it.
LINK_NAME = re.compile(r"(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}")
PLUGS = ("tap", "veth")
# The name of a port's tap when the request chooses none, as Nova makes it: of the first eleven letters of the id.
OWN_TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")

# Device owners (their beginnings) whose ports may be on their way from host to host: Nova's and Manila's.
MOVABLE = ("compute:", "manila:")

# Attributes whose change means that the port is bound anew.
ATTRIBUTES = ("binding:host_id", "binding:profile", "binding:vnic_type")
# Attributes that tell what a bound port is on its host; while they and `make_tap` stay, so does its status.
_RESULT = ("binding:host_id", "binding:vnic_type", "binding:vif_type", "binding:vif_details")


def check_profile(profile: Row) -> None:
    """Refuse a binding:profile whose keys that Portico knows have wrong values.

    Raises:
        BadRequest: names key, value and rule.
    """
    plug = profile.get("plug", "tap")
    if plug not in PLUGS:
        raise _invalid("plug", plug, f"is none of {', '.join(PLUGS)}")
    name = profile.get("tap_name", "tap")
    if not (isinstance(name, str) and LINK_NAME.fullmatch(name)):
        rule = "is no link name: 1 to 15 ASCII characters but space, slash, colon and percent sign"
        raise _invalid("tap_name", show(name), rule)
    if not isinstance(profile.get("make_tap", False), bool):
        raise _invalid("make_tap", profile["make_tap"], "is not true or false")


def _invalid(key: str, value: object, rule: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: binding:profile key {key} '{value}' {rule}.", type="InvalidInput")


def must_bind(before: Row, after: Row, changes: Row) -> bool:
    """Tell whether a request binds its port anew; naming the host again tries a binding again that failed."""
    if any(after[name] != before[name] for name in ATTRIBUTES):
        return True
    return "binding:host_id" in changes and before["binding:vif_type"] == FAILED


def bind(tx: Transaction, context: Context, before: Row | None, row: Row) -> Row:
    """Return the binding attributes for a port's row whose host or (checked) profile was set.

    Args:
        before: the port as it was, None if it is new. One that is bound to the host already can stay.
    """
    bound, reason = result(tx, context, before, row)
    if before is not None:
        if _is_same(before, {**row, **bound}):
            return bound
        tx.forget_reason("port", row["id"])
    refuse_taken_tap(tx, {**row, **bound})
    if reason:
        tx.note_reason("port", row["id"], f"binding failed: {reason}")
    return {**bound, "status": "DOWN"}


def result(tx: Transaction, context: Context, before: Row | None, row: Row) -> tuple[Row, str]:
    """Return how a port is reached on its host, and why that failed if it did."""
    host = row["binding:host_id"]
    if not host:
        return {"binding:vif_type": UNBOUND, "binding:vif_details": {}}, ""
    network = lookup.get(tx, "network", row["network_id"])
    stays = before is not None and before["binding:host_id"] == host and before["binding:vif_type"] != FAILED
    reason = "" if stays else _unfit(tx, context, network, host)
    if reason:
        return {"binding:vif_type": FAILED, "binding:vif_details": {}}, reason
    bound = context.broker.bind(row, network)
    return {"binding:vif_type": bound.vif_type, "binding:vif_details": bound.vif_details}, ""


def _unfit(tx: Transaction, context: Context, network: Row, host: str) -> str:
    """Return why no port of a network can be bound to a host now, or ""."""
    able = context.broker.capabilities(network["portico:backend"] or "")
    network_type, physical = network["provider:network_type"], network["provider:physical_network"]
    if reason := agent.unfit(tx, host, provider.host_needs(able, network_type)):
        return reason
    return agent.lacks_physical_network(tx, host, physical) if network_type in able.physical_types else ""


def refuse_taken_tap(tx: Transaction, port: Row) -> None:
    """Refuse a tap that another port has, or is to have: traffic of one would come out of the other.

    Looks only when the request chose the name: a name made of a fresh id is nobody's, and is kept for that port.
    """
    name = port["binding:vif_details"].get("tap_name")
    if not name or name != port["binding:profile"].get("tap_name"):
        return
    table, host = tx.tables.of["port"], port["binding:host_id"]
    named = table.c["binding:vif_details"]["tap_name"].as_string() == name
    there = sa.and_(table.c["binding:host_id"] == host, table.c["binding:vif_type"] == dhcp.TAP, named)
    owns = table.c.id.startswith(name[3:], autoescape=True) if OWN_TAP.fullmatch(name) else sa.false()
    found = tx.connection.execute(sa.select(table.c.id).where(table.c.id != port["id"], there | owns).limit(1)).scalar()
    found = found or _awaits_tap(tx, port["id"], host, name)
    if found is not None:
        raise Conflict(
            f"Unable to complete operation on port {port['id']}: tap {name} of host {host} is port {found}'s.",
            type="TapNameInUse",
        )


def _awaits_tap(tx: Transaction, port_id: str, host: str, name: str) -> str | None:
    """Return another port that has the tap `name` by a binding to `host` that is not active."""
    table = tx.tables.of["port"]
    bindings = table.c.inactive_bindings
    mentions = sa.cast(bindings, sa.Text).contains(msgspec.json.encode(name).decode(), autoescape=True)
    for row in tx.connection.execute(sa.select(table.c.id, bindings).where(table.c.id != port_id, mentions)):
        if any(item["host"] == host and item["vif_details"].get("tap_name") == name for item in row.inactive_bindings):
            return str(row.id)
    return None


def _is_same(before: Row, after: Row) -> bool:
    """Tell whether a port that works is bound as it was: its host has nothing to do and would say nothing anew."""
    if before["binding:vif_type"] == FAILED:
        return False
    made = [bool(port["binding:profile"].get("make_tap", False)) for port in (before, after)]
    return made[0] == made[1] and all(before[name] == after[name] for name in _RESULT)


def others(port: Row) -> list[Row]:
    """Return the inactive bindings that a port keeps: not one to the host that has it now, none if it cannot move."""
    if not port["device_owner"].startswith(MOVABLE):
        return []
    return [item for item in port["inactive_bindings"] or () if item["host"] != port["binding:host_id"]]


def settle_dhcp(tx: Transaction, context: Context, before: Row | None, after: Row | None) -> None:
    """Give the network its DHCP server's port when a first port needs one, and take it away after the last.

    Args:
        before, after: the port that a request makes (`before` None), changes or removes (`after` None).
    """
    port, role = after or before, dhcp.role(after)
    if port is None or role == dhcp.role(before):
        return
    if role == "served" and dhcp.find(tx, port["network_id"]) is not None:
        return  # subnets keep it up to date
    try:
        dhcp.settle(tx, context, lookup.get(tx, "network", port["network_id"]))
    except Conflict as error:
        raise Conflict(
            f"Port {port['id']} cannot be bound to {port['binding:host_id']}: {error}", type=error.type
        ) from error
