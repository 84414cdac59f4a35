# SPDX-License-Identifier: Apache-2.0
"""Networks."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from ipaddress import ip_network

from portico.errors import Conflict, Forbidden
from portico.model.show import some
from portico.model.snapshot import DHCP_OWNER
from portico.rules import (
    address_scope,
    agent,
    availability_zone,
    bgp_speaker,
    floating_use,
    floatingip,
    mtu,
    port,
    provider,
    qos_minimum,
    qos_policy,
    quota,
    router_port,
    segment,
    segment_range,
    sharing,
    subnet,
)
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store import blocks
from portico.store.sharing import EXTERNAL, SHARED
from portico.store.transaction import Transaction

# Attributes that say where the network is realised.
_PLACE = {"portico:backend", provider.TYPE, provider.PHYSICAL, provider.SEGMENT}
# Attributes that stand for a policy for every project.
_SHARED_BY = {"shared": SHARED, "router:external": EXTERNAL}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a network; provider attributes that are not given are chosen."""
    quota.check(tx, context, "network", body["project_id"])
    backend, network_type = _choose(tx, context, body, body)
    availability_zone.check_hints(tx, context, body.get("availability_zone_hints") or [])
    row = {
        **body,
        "id": str(uuid.uuid4()),
        "status": "ACTIVE",
        "subnets": [],
        "mtu": body.get("mtu") or context.limits.mtu - context.broker.capabilities(backend).overhead,
        "portico:backend": backend,
        "provider:network_type": network_type,
        "availability_zone_hints": body.get("availability_zone_hints") or [],
        "qos_policy_id": body.get("qos_policy_id") or qos_policy.default_of(tx, body["project_id"]),
    }
    row |= provider.place(tx, context, row, segment_range.offered(tx, context, row["project_id"]))
    row["is_default"] = _is_default(tx, row)
    mtu.check(row, row["mtu"], [])
    context.broker.admit("network", None, row)
    qos_policy.check_network(tx, context, None, row)
    made = tx.insert("network", row)
    segment.attach(tx, made)
    for name, action in _SHARED_BY.items():
        if body.get(name):
            sharing.share(tx, "network", made, action)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a network."""
    if "mtu" in changes:
        backend = row["portico:backend"] or ""
        changes["mtu"] = changes["mtu"] or context.limits.mtu - context.broker.capabilities(backend).overhead
        mtu.check(row, changes["mtu"], tx.find("subnet", network_id=row["id"]))
    moves = changes.keys() & _PLACE
    if moves:
        _move(tx, context, row, changes)
        offered = segment_range.offered(tx, context, row["project_id"])
        changes |= provider.place(tx, context, {**row, **changes}, offered, row)
        _refuse_under_ports(tx, row, changes)
    context.broker.admit("network", row, {**row, **changes})
    if moves or "qos_policy_id" in changes:
        qos_policy.check_network(tx, context, row, {**row, **changes})
    if moves:
        segment.follow(tx, {**row, **changes})
    if changes.get("router:external") is False:
        router_port.refuse_internal(tx, row["id"])
        floating_use.refuse_internal(tx, row["id"])
        floatingip.delete_unused(tx, context, row["id"])
    if changes.keys() & {"is_default", "router:external"}:
        changes["is_default"] = _is_default(tx, {**row, **changes})
    for name, action in _SHARED_BY.items():
        if name in changes:
            (sharing.share if changes[name] else sharing.unshare)(tx, "network", row, action)
    updated = tx.update("network", row, changes)
    qos_minimum.check_network(tx, context, row, updated)
    return updated


def _is_default(tx: Transaction, row: Row) -> bool:
    """Return whether a network, as it would be, is the default external one; of others it means nothing.

    Raises:
        Conflict: another one is.
    """
    if not (row.get("is_default") and row.get("router:external")):
        return False
    for other in tx.find("network", is_default=True):
        if other["id"] != row["id"]:
            raise Conflict(
                f"A default external network already exists: {other['id']}.", type="DefaultExternalNetworkExists"
            )
    return True


def _choose(tx: Transaction, context: Context, row: Row, given: Row) -> tuple[str, str]:
    """Return backend and type of a network: one that names neither gets the first its project has that a host can have.

    Raises:
        Conflict: no host can have it.
        Forbidden: the backend is the operator's to give.
        Unsupported: there is no such backend or type, or they do not fit together.
    """
    project_id, backend = row["project_id"], given.get("portico:backend")
    kind, before = given.get("provider:network_type"), row.get("provider:network_type") or ""
    offered = context.broker.offered(project_id)
    refused = []
    for name in (backend,) if backend is not None or kind is not None else offered:
        chosen = context.broker.choose(project_id, name, kind, before)
        if backend is not None and backend not in offered and not context.policy.allows(context, "portico:any_backend"):
            raise Forbidden(
                f"rule:portico:any_backend is disallowed by policy: portico:backend '{backend}' is none of those of "
                f"project {project_id}: {', '.join(offered)}",
                type="PolicyNotAuthorized",
            )
        able = context.broker.capabilities(chosen[0])
        reason = agent.nowhere(tx, provider.host_needs(able, chosen[1]))
        if not reason:
            return chosen
        refused.append(f"portico:backend '{chosen[0]}' can be had on no host: {reason}")
    (text,) = discreet(tx, context, [f"{'. '.join(refused)}."])
    raise Conflict(text, type="BackendNotAvailable")


def _move(tx: Transaction, context: Context, row: Row, changes: Row) -> None:
    """Complete a change of backend or type: the type stays if the new backend has it.

    Raises:
        Conflict: the backend would change under ports.
        Unsupported: the new backend cannot have one of the subnets.
    """
    before = row["portico:backend"] or ""
    backend = str(changes.get("portico:backend", before))
    if backend == before:
        changes.pop("portico:backend", None)
        asked = before or None, changes.get("provider:network_type"), row["provider:network_type"]
        _, changes["provider:network_type"] = context.broker.choose(row["project_id"], *asked)
        return
    _, changes["provider:network_type"] = _choose(tx, context, row, changes)
    if named := _ports_in_the_way(tx.find("port", network_id=row["id"])):
        raise Conflict(
            f"Unable to complete operation on network {row['id']}: portico:backend cannot change from '{before}' to "
            f"'{backend}' while ports are in use on the network: {named}.",
            type="NetworkInUse",
        )
    for item in tx.find("subnet", network_id=row["id"]):
        subnet.check_space(tx, context, backend, ip_network(item["cidr"]))
        context.broker.admit("subnet", item, item, {**row, **changes})
        blocks.forget(tx, item["id"])


def _refuse_under_ports(tx: Transaction, row: Row, changes: Row) -> None:
    """Refuse to move a network to or from a physical network, or on it, under its ports.

    Raises:
        Conflict: names what would change, and the ports.
    """
    moved = [name for name in (provider.PHYSICAL, provider.SEGMENT) if changes.get(name, row[name]) != row[name]]
    if moved and (named := _ports_in_the_way(tx.find("port", network_id=row["id"]))):
        raise Conflict(
            f"Unable to complete operation on network {row['id']}: {moved[0]} cannot change from '{row[moved[0]]}' to "
            f"'{changes[moved[0]]}' while ports are in use on the network: {named}.",
            type="NetworkInUse",
        )


def _ports_in_the_way(ports: Sequence[Row]) -> str:
    """Return the ids, five at most, of ports that are not the network's own DHCP server's."""
    return some([item["id"] for item in ports if item["device_owner"] != DHCP_OWNER])


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared`, the address scopes, and availability_zones: where its ports can be bound now, of its hints."""
    sharing.present(tx, context, "network", rows)
    address_scope.present_networks(tx, rows)
    agent.present_zones(tx, rows)
    return rows


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a network, its subnets and the DHCP server's port; any other port is in the way."""
    floatingip.delete_unused(tx, context, row["id"])
    ports = tx.find("port", network_id=row["id"])
    if named := _ports_in_the_way(ports):
        raise Conflict(
            f"Unable to complete operation on network {row['id']}. There are one or more ports still in use on the "
            f"network: {named}.",
            type="NetworkInUse",
        )
    for item in ports:
        port.remove(tx, item)
    for item in tx.find("subnet", network_id=row["id"]):
        subnet.remove(tx, item)
    segment.detach(tx, row)
    bgp_speaker.forget(tx, "networks", row["id"])
    sharing.forget(tx, "network", row["id"])
    for item in tx.find("auto_allocated_topology", id=row["id"]):
        tx.delete("auto_allocated_topology", item)
    tx.delete("network", row)
