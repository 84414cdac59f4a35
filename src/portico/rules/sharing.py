# SPDX-License-Identifier: Apache-2.0
"""Sharing of objects with other projects: what `shared` stands for, and who would lose what is in use."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import sqlalchemy as sa

from portico.errors import Conflict
from portico.model.l3 import GATEWAY_OWNER
from portico.model.snapshot import DHCP_OWNER
from portico.rules import router_port
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.sharing import EVERYBODY, EXTERNAL, SHARED, object_type, resource_of, shared_with
from portico.store.transaction import Transaction

# What uses an object that is shared: a resource and its attribute that holds the object's id.
_USES = {
    "network": (("port", "network_id"), ("subnet", "network_id")),
    "subnetpool": (("subnet", "subnetpool_id"),),
    "security_group": (("security_group_rule", "remote_group_id"),),
    "address_scope": (("subnetpool", "address_scope_id"),),
    "address_group": (("security_group_rule", "remote_address_group_id"),),
    "policy": (("network", "qos_policy_id"), ("port", "qos_policy_id"), ("floatingip", "qos_policy_id")),
}

# Of these the owner is counted, too, and who is to have the object instead is not: Neutron refuses to take from
# everybody a QoS policy that anything has.
_STRICT = frozenset({"policy"})


def present(tx: Transaction, context: Context, resource: str, rows: list[Row]) -> None:
    """Add `shared`: whether the project that asks may use each of the objects by a policy."""
    table = tx.tables.of[resource]
    shared = shared_with(tx.tables, resource, context.project_id)
    found: set[str] = set()
    for part in select.parts([row["id"] for row in rows]):
        statement = sa.select(table.c.id).where(shared, table.c.id.in_(part))
        found.update(tx.connection.execute(statement).scalars())
    for row in rows:
        row["shared"] = row["id"] in found


def share(tx: Transaction, resource: str, row: Row, action: str = SHARED) -> None:
    """Let every project use the object, unless a policy says so already."""
    if not _policies(tx, resource, row["id"], action, EVERYBODY):
        tx.insert(
            "rbac_policy",
            {
                "id": str(uuid.uuid4()),
                "object_type": object_type(resource),
                "object_id": row["id"],
                "action": action,
                "target_tenant": EVERYBODY,
                "project_id": row["project_id"],
            },
        )


def unshare(tx: Transaction, resource: str, row: Row, action: str = SHARED) -> None:
    """Take back what `share` gives.

    Raises:
        Conflict: another project uses the object.
    """
    for policy in _policies(tx, resource, row["id"], action, EVERYBODY):
        if losers(tx, policy, None):
            raise Conflict(
                f"Unable to reconfigure sharing settings for {resource} {row['id']}. Multiple tenants are using it.",
                type="InvalidSharedSetting",
            )
        tx.delete("rbac_policy", policy)


def forget(tx: Transaction, resource: str, object_id: str) -> None:
    """Remove all policies about an object that is being deleted."""
    for policy in tx.find("rbac_policy", object_type=object_type(resource), object_id=object_id):
        tx.delete("rbac_policy", policy)


def losers(tx: Transaction, policy: Row, target: str | None) -> Sequence[str]:
    """Return the projects that use an object and could not any more if `policy` went, or was for `target` instead."""
    kind, object_id = resource_of(policy["object_type"]), policy["object_id"]
    owned = tx.get(kind, object_id)
    others = [
        item["target_tenant"] for item in _policies(tx, kind, object_id, policy["action"]) if item["id"] != policy["id"]
    ]
    kept = {*others}
    if kind not in _STRICT:
        kept |= {target or "", owned["project_id"] if owned else ""}
    if EVERYBODY in kept:
        return ()
    external = policy["action"] == EXTERNAL
    using = router_port.projects_beyond(tx, object_id) if external else _users(tx, kind, object_id)
    had = using if policy["target_tenant"] == EVERYBODY else using & {policy["target_tenant"]}
    return sorted(had - kept)


def _users(tx: Transaction, resource: str, object_id: str) -> set[str]:
    found: set[str] = set()
    for user, attribute in _USES[resource]:
        table = tx.tables.of[user]
        statement = sa.select(table.c.project_id).where(table.c[attribute] == object_id).distinct()
        if user == "port":
            statement = statement.where(table.c.device_owner != DHCP_OWNER)
        found |= set(tx.connection.execute(statement).scalars())
    if resource == "security_group":
        port, link = tx.tables.of["port"], tx.tables.port_group
        filtered = sa.select(link.c.port_id).where(link.c.group_id == object_id)
        found |= set(tx.connection.execute(sa.select(port.c.project_id).where(port.c.id.in_(filtered))).scalars())
    if resource == "policy":
        # A gateway's port is nobody's: what it has is its router's.
        port, router = tx.tables.of["port"], tx.tables.of["router"]
        gateways = sa.select(port.c.device_id).where(
            port.c.device_owner == GATEWAY_OWNER, port.c.qos_policy_id == object_id
        )
        found |= set(tx.connection.execute(sa.select(router.c.project_id).where(router.c.id.in_(gateways))).scalars())
        found.discard("")
    return found


def _policies(tx: Transaction, resource: str, object_id: str, action: str, target: str = "") -> Sequence[Row]:
    """Return the policies about an object, those for one target if that is given."""
    asked = {"target_tenant": target} if target else {}
    return tx.find("rbac_policy", object_type=object_type(resource), object_id=object_id, action=action, **asked)
