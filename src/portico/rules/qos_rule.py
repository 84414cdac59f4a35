# SPDX-License-Identifier: Apache-2.0
"""Rules of QoS policies: one resource for each type, which differ in their attributes alone."""

from __future__ import annotations

import uuid
from functools import partial

from portico.errors import Conflict
from portico.rules import lookup, qos_minimum, qos_policy
from portico.rules.context import Context, Row, Rules
from portico.store.transaction import Transaction

# What rules of one direction ask for that must not be more than what another one lets pass.
_LEAST, _MOST = {"minimum_bandwidth": "min_kbps"}, {"bandwidth_limit": "max_kbps"}


def of(kind: str) -> Rules:
    """Return the functions of one type's resource."""
    return Rules(partial(_create, kind), partial(_update, kind), partial(_delete, kind))


def _create(kind: str, tx: Transaction, context: Context, body: Row) -> Row:
    """Add a rule to its policy.

    Raises:
        Conflict: the policy has such a rule, or one that cannot be kept together with it; or what has the policy cannot
            have the rule.
    """
    policy = lookup.get(tx, "policy", body["qos_policy_id"])
    row = {**body, "id": str(uuid.uuid4())}
    _put(tx, context, policy, kind, row)
    return tx.insert(f"{kind}_rule", row)


def _update(kind: str, tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a rule; raises what `_create` does."""
    policy = lookup.get(tx, "policy", row["qos_policy_id"])
    _put(tx, context, policy, kind, {**row, **changes})
    return tx.update(f"{kind}_rule", row, changes)


def _delete(kind: str, tx: Transaction, context: Context, row: Row) -> None:
    """Remove a rule from its policy."""
    policy = lookup.get(tx, "policy", row["qos_policy_id"])
    tx.update("policy", policy, {"rules": [rule for rule in policy["rules"] if rule["id"] != row["id"]]})
    tx.delete(f"{kind}_rule", row)


def _put(tx: Transaction, context: Context, policy: Row, kind: str, row: Row) -> None:
    """Add or replace a rule in its policy's copy."""
    others = [rule for rule in policy["rules"] if rule["id"] != row["id"]]
    _check(policy, others, {**row, "type": kind})
    rules = sorted([*others, {**row, "type": kind}], key=lambda rule: str(rule["id"]))
    qos_policy.admit(tx, context, policy["id"], rules)
    qos_minimum.check_policy(tx, context, policy, tx.update("policy", policy, {"rules": rules}))


def _check(policy: Row, others: list[Row], rule: Row) -> None:
    for other in others:
        if not _meet(other.get("direction"), rule.get("direction")):
            continue
        if other["type"] == rule["type"]:
            raise Conflict(
                f"Rule {rule['type']} conflicts with rule {other['id']} which already exists in QoS Policy "
                f"{policy['id']}.",
                type="QoSRulesConflict",
            )
        for low, high in ((rule, other), (other, rule)):
            least, most = _LEAST.get(low["type"]), _MOST.get(high["type"])
            if least and most and low[least] > high[most]:
                value, had = (low[least], high[most]) if low is rule else (high[most], low[least])
                raise Conflict(
                    f"Unable to add the rule with value {value} to the policy {policy['id']} as the existing rule of "
                    f"type {other['type']} has value {had}.",
                    type="QoSRuleParameterConflict",
                )


def _meet(one: str | None, other: str | None) -> bool:
    """Tell whether rules of two directions are about the same packets; some have none, and some are about any."""
    return one == other or "any" in (one, other)
