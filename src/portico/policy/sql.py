# SPDX-License-Identifier: Apache-2.0
"""Conditions on objects as SQL."""

from __future__ import annotations

import sqlalchemy as sa

from portico.errors import SettingsError
from portico.model.converters import boolean
from portico.policy.condition import PARENTS, WHOLE, All, Condition, Equal, Field, Not, Some
from portico.store.sharing import EXTERNAL, SHARED, shared_with
from portico.store.tables import Tables

# What a rule may ask about networks of objects that are on one.
OF_NETWORK = ("shared", "router:external")


def clause(tables: Tables, resource: str, condition: Condition, project_id: str) -> sa.ColumnElement[bool]:
    """Return `condition` on rows of `resource` as SQL, for who asks from `project_id`.

    Raises:
        SettingsError: it asks for an attribute that no column holds.
    """
    match condition:
        case bool():
            return sa.true() if condition else sa.false()
        case Not():
            return sa.not_(clause(tables, resource, condition.of, project_id))
        case All():
            return sa.and_(*(clause(tables, resource, each, project_id) for each in condition.of))
        case Some():
            return sa.or_(*(clause(tables, resource, each, project_id) for each in condition.of))
        case Equal(parent=""):
            return sa.func.coalesce(_column(tables, resource, condition.attribute), "") == condition.value
        case Equal():
            return _of_parent(
                tables, resource, condition.parent, Equal("", condition.attribute, condition.value), project_id
            )
    return _field(tables, resource, condition, project_id)


def is_of_network(resource: str, field: Field) -> bool:
    """Return whether a condition on an object of `resource` is one on the network that it is on."""
    return field.attribute in OF_NETWORK and field.plural in ("networks", "subnets") and resource != "network"


def is_of_sharing(field: Field) -> bool:
    """Return whether a condition is one on RBAC policies, which no column holds."""
    return field.attribute in OF_NETWORK


def truth(field: Field) -> bool:
    """Return which of both a condition on what is true or false asks for, in any of the words that Neutron knows.

    Raises:
        SettingsError: its value is no such word.
    """
    value = boolean(field.value)
    if value is None:
        raise SettingsError(
            f"policy: field:{field.plural}:{field.attribute}={field.value}: the value is neither true nor false"
        )
    return value


def _of_parent(
    tables: Tables, resource: str, parent: str, condition: Equal | Field, project_id: str
) -> sa.ColumnElement[bool]:
    """Return that the object which a row of `resource` belongs to meets the condition."""
    if parent == WHOLE and resource not in tables.parents:
        raise SettingsError(f"policy: a rule on {resource} asks for {WHOLE}, and it is no part of another object")
    parent, name = tables.parents[resource] if parent == WHOLE else (parent, PARENTS[parent])
    column = _column(tables, resource, name)
    owner = tables.of[parent]
    return column.in_(sa.select(owner.c.id).where(clause(tables, parent, condition, project_id)))


def _field(tables: Tables, resource: str, field: Field, project_id: str) -> sa.ColumnElement[bool]:
    if is_of_network(resource, field):
        known = "network_id" in tables.of[resource].c
        return _of_parent(tables, resource, "network", field, project_id) if known else sa.false()
    if is_of_sharing(field):
        action = EXTERNAL if field.attribute == "router:external" else SHARED
        found = shared_with(tables, resource, project_id, action)
        return found if truth(field) else sa.not_(found)
    column = _column(tables, resource, field.attribute)
    if field.pattern:
        return sa.func.coalesce(column, "").regexp_match(f"^(?:{field.value})")
    if isinstance(column.type, sa.Boolean):
        return sa.func.coalesce(column, sa.false()) == truth(field)
    return sa.cast(sa.func.coalesce(column, ""), sa.Text) == field.value


def _column(tables: Tables, resource: str, name: str) -> sa.Column[object]:
    table = tables.of[resource]
    if name not in table.c:
        raise SettingsError(f"policy: a rule on {resource} asks for {name}, which is not kept")
    return table.c[name]
