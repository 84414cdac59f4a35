# SPDX-License-Identifier: Apache-2.0
"""Conditions asked of one object, with a look at the object that it belongs to where they speak of that."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from portico.policy.condition import PARENTS, WHOLE, Condition, Equal, Field, simplify
from portico.policy.sql import is_of_network, is_of_sharing, truth
from portico.store.sharing import EXTERNAL, SHARED, shared_with
from portico.store.transaction import Transaction

Parents = dict[str, Mapping[str, Any] | None]


def holds(
    tx: Transaction,
    resource: str,
    row: Mapping[str, Any],
    condition: Condition,
    project_id: str,
    parents: Parents | None = None,
) -> bool:
    """Return whether `row`, an object of `resource` that need not be stored yet, meets the condition.

    `parents` keeps what was looked up, for further conditions on the same row.
    """
    kept: Parents = {} if parents is None else parents

    def test(part: Equal | Field) -> bool:
        if isinstance(part, Equal):
            owner = _parent(tx, resource, row, part.parent, kept) if part.parent else row
            return owner is not None and str(owner.get(part.attribute) or "") == part.value
        if is_of_network(resource, part):
            network = _parent(tx, resource, row, "network", kept)
            return network is not None and _field(tx, "network", network, part, project_id)
        return _field(tx, resource, row, part, project_id)

    return simplify(condition, test)


def _parent(
    tx: Transaction, resource: str, row: Mapping[str, Any], parent: str, kept: Parents
) -> Mapping[str, Any] | None:
    if parent not in kept:
        name, attribute = tx.tables.parents[resource] if parent == WHOLE else (parent, PARENTS[parent])
        object_id = row.get(attribute)
        kept[parent] = tx.get(name, object_id) if object_id else None
    return kept[parent]


def _field(tx: Transaction, resource: str, row: Mapping[str, Any], field: Field, project_id: str) -> bool:
    if is_of_sharing(field):
        action = EXTERNAL if field.attribute == "router:external" else SHARED
        shared = shared_with(tx.tables, resource, project_id, action)
        statement = sa.select(sa.literal(1)).where(tx.tables.of[resource].c.id == row.get("id"), shared)
        found: object = tx.connection.execute(statement).first() is not None
    else:
        found = row.get(field.attribute)
    if isinstance(found, bool) and not field.pattern:
        return found is truth(field)
    text = "" if found is None else str(found)
    return re.match(field.value, text) is not None if field.pattern else text == field.value
