# SPDX-License-Identifier: Apache-2.0
"""Who may use what belongs to another project, as SQL: the RBAC policies of the Networking API."""

from __future__ import annotations

import sqlalchemy as sa

from portico.store.tables import Tables

# The target of a policy for every project.
EVERYBODY = "*"
SHARED = "access_as_shared"
EXTERNAL = "access_as_external"

_WORDS = {"policy": "qos_policy"}


def object_type(resource: str) -> str:
    """Return the word that policies have for a resource: Neutron's."""
    return _WORDS.get(resource, resource)


def resource_of(word: str) -> str:
    """Return the resource that policies have a word for."""
    return next((resource for resource, other in _WORDS.items() if other == word), word)


def shared_with(tables: Tables, resource: str, project_id: str, action: str = SHARED) -> sa.ColumnElement[bool]:
    """Return the condition that an object of `resource` is shared with a project, or with everybody."""
    policy = tables.of["rbac_policy"]
    chosen = sa.select(policy.c.object_id).where(
        policy.c.object_type == object_type(resource),
        policy.c.action == action,
        policy.c.target_tenant.in_((EVERYBODY, project_id)),
    )
    return tables.of[resource].c.id.in_(chosen)
