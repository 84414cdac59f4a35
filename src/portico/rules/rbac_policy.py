# SPDX-License-Identifier: Apache-2.0
"""RBAC policies: an owner lets another project use an object."""

from __future__ import annotations

import uuid

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.rules import lookup, quota, router_port, sharing
from portico.rules.context import Context, Row
from portico.store.sharing import EVERYBODY, EXTERNAL, SHARED, object_type, resource_of
from portico.store.transaction import Transaction

_ACTIONS = {"network": (SHARED, EXTERNAL)}


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a policy about an object that who asks owns."""
    kind, action = body["object_type"], body["action"]
    resource = resource_of(kind)
    valid = _ACTIONS.get(kind, (SHARED,))
    if object_type(resource) != kind or resource not in tx.tables.of:
        raise _invalid(f"'{kind}' is not a valid RBAC object type")
    if action not in valid:
        raise BadRequest(
            f"Invalid action '{action}' for object type '{kind}'. Valid actions: {', '.join(valid)}",
            type="InvalidAction",
        )
    owned = lookup.visible(tx, context, resource, body["object_id"])
    if owned["project_id"] != context.project_id and not context.is_admin:
        raise _invalid(f"Only admins can manipulate policies on {kind} objects which they do not own: {owned['id']}")
    _check_scope(tx, body, owned)
    quota.check(tx, context, "rbac_policy", body["project_id"])
    row = {**body, "id": str(uuid.uuid4())}
    try:
        made = tx.insert("rbac_policy", row)
        tx.settle()
    except sa.exc.IntegrityError as error:
        raise _duplicate() from error
    _tell(tx, made)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change whom a policy is for, unless the one it was for uses the object."""
    owned = tx.get(resource_of(row["object_type"]), row["object_id"])
    if owned is not None:
        _check_scope(tx, {**row, **changes}, owned)
    _refuse_loss(tx, row, changes.get("target_tenant", row["target_tenant"]))
    try:
        changed = tx.update("rbac_policy", row, changes)
        tx.settle()
    except sa.exc.IntegrityError as error:
        raise _duplicate() from error
    _tell(tx, changed)
    return changed


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a policy, unless the one it is for uses the object."""
    _refuse_loss(tx, row, None)
    tx.delete("rbac_policy", row)
    _tell(tx, row)


def _refuse_loss(tx: Transaction, policy: Row, target: str | None) -> None:
    if policy["action"] == EXTERNAL and policy["target_tenant"] == EVERYBODY != target:
        network = tx.get("network", policy["object_id"])
        if network is not None and network["is_default"]:
            raise Conflict(
                f"RBAC policy on object {policy['object_id']} cannot be removed because other objects depend on it.\n"
                "Details: Default external networks must be shared to everyone.",
                type="RbacPolicyInUse",
            )
    if lost := sharing.losers(tx, policy, target):
        raise Conflict(
            f"RBAC policy on object {policy['object_id']} cannot be removed because other objects depend on it.\n"
            f"Details: {policy['object_type']} {policy['object_id']} is in use by project {', '.join(lost[:5])}",
            type="RbacPolicyInUse",
        )


def _check_scope(tx: Transaction, policy: Row, owned: Row) -> None:
    """Refuse to share a pool with who cannot use the address scope that it is in."""
    scope_id = owned.get("address_scope_id") if policy["object_type"] == "subnetpool" else None
    if not scope_id:
        return
    targets = {
        item["target_tenant"] for item in tx.find("rbac_policy", object_type="address_scope", object_id=scope_id)
    }
    scope = lookup.get(tx, "address_scope", scope_id)
    if not targets & {EVERYBODY, policy["target_tenant"]} and scope["project_id"] != policy["target_tenant"]:
        raise BadRequest(
            f"Failed to create RBAC policy on object {owned['id']} because target project {policy['target_tenant']} "
            f"doesn't have access to associated address scope {scope_id}.",
            type="RbacPolicyInitError",
        )


def _tell(tx: Transaction, policy: Row) -> None:
    """Give the object a new revision: what others see of it has changed. What makes a network external is one more."""
    kind, object_id = policy["object_type"], policy["object_id"]
    row = tx.get(resource_of(kind), object_id)
    if row is None:
        return
    changes = {}
    if policy["action"] == EXTERNAL:
        policies = tx.find("rbac_policy", object_type=kind, object_id=object_id, action=EXTERNAL)
        if not policies:
            router_port.refuse_internal(tx, object_id)
            changes["is_default"] = False
        changes["router:external"] = bool(policies)
    tx.update(resource_of(kind), row, changes)


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {reason}.", type="InvalidInput")


def _duplicate() -> Conflict:
    return Conflict("An RBAC policy already exists with those values.", type="DuplicateRbacPolicy")
