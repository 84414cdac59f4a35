# SPDX-License-Identifier: Apache-2.0
"""Logs of security groups: of what hosts write down who passes and who does not. Errors are those of Neutron's service.

A log of a group or port goes with it. Which ports it concerns at any time is the planner's to find: `planning.logs`.
"""

from __future__ import annotations

import uuid

from portico.errors import BadRequest, Conflict, NotFound, Unsupported
from portico.model.log import SECURITY_GROUP
from portico.model.show import show
from portico.rules import agent, lookup
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store.transaction import Transaction

LOG = "log"
HOST_NEEDS = ("logging",)


def loggable(context: Context) -> list[Row]:
    """Return the kinds of objects of which a log may be: none if no backend of the asking project's writes any."""
    offered = (context.broker.capabilities(name) for name in context.broker.offered(context.project_id))
    return [{"type": SECURITY_GROUP}] if any("logging" in able.features for able in offered) else []


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Have something written down.

    Raises:
        BadRequest: a log cannot be of such objects, or the port is not in the group.
        Conflict: the port's backend or host cannot write anything down.
        NotFound: there is no such group or port for who asks.
        Unsupported: no backend can.
    """
    if body["resource_type"] != SECURITY_GROUP:
        raise BadRequest(
            f"Invalid log resource_type: {show(body['resource_type'])}: it is not '{SECURITY_GROUP}'.",
            type="InvalidLogResourceType",
        )
    row = {**body, "id": str(uuid.uuid4())}
    context.broker.admit(LOG, None, row)
    group_id, port_id = body["resource_id"], body["target_id"]
    if group_id is not None and lookup.seen(tx, context, "security_group", group_id) is None:
        raise NotFound(f"Resource {group_id} could not be found.", type="ResourceNotFound")
    if port_id is not None:
        _check_target(tx, context, row)
    return tx.insert(LOG, row)


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change what people call it, or whether anything is written down."""
    return tx.update(LOG, row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Have nothing written down for it any more; what was written stays with the hosts."""
    tx.delete(LOG, row)


def forget_port(tx: Transaction, port_id: str) -> None:
    """Remove the logs of a port that goes."""
    for row in tx.find(LOG, target_id=port_id):
        tx.delete(LOG, row)


def forget_group(tx: Transaction, group_id: str) -> None:
    """Remove the logs of a security group that goes."""
    for row in tx.find(LOG, resource_id=group_id):
        tx.delete(LOG, row)


def _check_target(tx: Transaction, context: Context, row: Row) -> None:
    port_id, group_id = row["target_id"], row["resource_id"]
    port = lookup.seen(tx, context, "port", port_id)
    if port is None:
        raise NotFound(f"Target resource {port_id} could not be found.", type="TargetResourceNotFound")
    if reason := _unable(tx, context, row, port):
        text = f"Logging type {SECURITY_GROUP} is not supported on port {port_id}: {reason}"
        (text,) = discreet(tx, context, [text], port["binding:host_id"])
        raise Conflict(text, type="LoggingTypeNotSupported")
    if group_id is not None and group_id not in port["security_groups"]:
        raise BadRequest(
            f"Invalid resource constraint between resource ({SECURITY_GROUP} {group_id}) and target resource "
            f"(port {port_id}).",
            type="InvalidResourceConstraint",
        )


def _unable(tx: Transaction, context: Context, row: Row, port: Row) -> str:
    """Return why nothing of a port can be written down, or ""."""
    try:
        context.broker.admit(LOG, None, row, lookup.get(tx, "network", port["network_id"]))
    except Unsupported as error:
        return error.message
    host = port["binding:host_id"]
    told = [row for row in tx.find("agent", host=host) if agent.tells(row)] if host else []
    reasons = [reason for row in told if (reason := agent.lacks(row, HOST_NEEDS))]
    return f"host {host}: {reasons[0]}" if reasons else ""
