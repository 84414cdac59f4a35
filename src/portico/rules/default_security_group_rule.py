# SPDX-License-Identifier: Apache-2.0
"""Rules that new security groups begin with."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from portico.errors import Conflict
from portico.rules import lookup, security_group_rule
from portico.rules.context import Context, Row
from portico.store.initial import DEFAULT_RULES, PARENT
from portico.store.transaction import Transaction

_USES = ("used_in_default_sg", "used_in_non_default_sg")


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a default rule; groups that exist do not get it.

    Raises:
        BadRequest: its attributes contradict each other.
        NotFound: the remote group does not exist.
        Conflict: a rule for the same groups says the same.
    """
    row = {name: value for name, value in body.items() if name != "project_id"}
    row["id"] = str(uuid.uuid4())
    security_group_rule.prepare(row)
    if row["remote_group_id"] not in (None, PARENT):
        lookup.visible(tx, context, "security_group", row["remote_group_id"])
    if row["remote_address_group_id"] is not None:
        lookup.visible(tx, context, "address_group", row["remote_address_group_id"])
    _refuse_duplicate(tx, row)
    context.broker.admit("security_group_rule", None, row)
    return tx.insert(DEFAULT_RULES, row)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a default rule; groups that began with it keep theirs."""
    tx.delete(DEFAULT_RULES, row)


def of_new_group(tx: Transaction, *, is_default: bool) -> Sequence[Row]:
    """Return the rules that a new group begins with."""
    return tx.find(DEFAULT_RULES, **{_USES[0] if is_default else _USES[1]: True})


def _refuse_duplicate(tx: Transaction, row: Row) -> None:
    for other in tx.find(DEFAULT_RULES, direction=row["direction"], ethertype=row["ethertype"]):
        if security_group_rule.meaning(other) != security_group_rule.meaning(row):
            continue
        if not any(other[name] and row[name] for name in _USES):
            continue
        if other["revision_number"] == tx.revision:
            raise Conflict(
                "Duplicate Default Security Group Rule in POST: two rules for the same groups say the same.",
                type="DuplicateDefaultSgRuleInPost",
            )
        raise Conflict(
            f"Default Security group rule already exists. Rule id is {other['id']}.",
            type="DefaultSecurityGroupRuleExists",
        )
