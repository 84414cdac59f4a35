# SPDX-License-Identifier: Apache-2.0
"""How many objects a project may have: checked by every create, read and set through /v2.0/quotas.

A limit is a number of objects; -1 means none. Resources are named in the singular, as in Neutron's quota bodies; those
of `Limits.quotas` have a quota, others never run out.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from portico.errors import BadRequest, NotFound, OverQuota
from portico.model.converters import boolean
from portico.model.show import show as shown
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.transaction import Read, Transaction

UNLIMITED = -1
# What Neutron's own column holds (neutron_lib.db.constants.DB_INTEGER_MAX_VALUE).
MAX_LIMIT = 2**31 - 1

# Switches of the PUT body that are no resources; Neutron checks the usage unless `force` is true.
_SWITCHES = ("force", "check_limit")


def check(tx: Transaction, context: Context, resource: str, project_id: str, adding: int = 1) -> None:
    """Refuse `adding` more objects than the project's quota has room for.

    Raises:
        OverQuota: names the resource, the project, its limit and what it has.
    """
    own = tx.ask(*limit_of(tx, resource, project_id))
    limit = own[0]["limit"] if own else context.limits.quotas.get(resource, UNLIMITED)
    if limit < 0:
        return
    used = tx.used(resource, project_id)
    if used + adding > limit:
        raise OverQuota(
            f"Quota exceeded for resources: ['{resource}']. Project {project_id} has {used} of {limit}, "
            f"{adding} more asked for.",
            type="OverQuota",
        )


def limit_of(tx: Transaction, resource: str, project_id: str) -> Read:
    """Return what `check` asks first."""
    return select.limit(tx.tables), {"project": project_id, "name": resource}


def list_all(tx: Transaction, context: Context) -> list[Row]:
    """Return the limits of every project that has limits of its own."""
    quota = tx.tables.quota
    answer: dict[str, Row] = {}
    for row in tx.connection.execute(sa.select(quota).order_by(quota.c.project_id)):
        start = {"project_id": row.project_id, "tenant_id": row.project_id, **context.limits.quotas}
        answer.setdefault(row.project_id, start)[row.resource] = row.limit
    return list(answer.values())


def show(tx: Transaction, context: Context, project_id: str) -> Row:
    """Return the project's limits."""
    quota = tx.tables.quota
    own = tx.connection.execute(sa.select(quota.c.resource, quota.c.limit).where(quota.c.project_id == project_id))
    return {**context.limits.quotas, **{row.resource: row.limit for row in own}}


def defaults(context: Context) -> Row:
    """Return the limits of a project that has none of its own."""
    return dict(context.limits.quotas)


def details(tx: Transaction, context: Context, project_id: str) -> Row:
    """Return limit, used and reserved per resource; nothing is ever reserved, creates count in their transaction."""
    usage = tx.tables.usage
    found = tx.connection.execute(sa.select(usage.c.resource, usage.c.used).where(usage.c.project_id == project_id))
    used = {row.resource: row.used for row in found}
    return {
        name: {"limit": limit, "used": used.get(name, 0), "reserved": 0}
        for name, limit in show(tx, context, project_id).items()
    }


def update(tx: Transaction, context: Context, project_id: str, values: Row) -> Row:
    """Set limits of the project and return all of them; `force` admits a limit below what is in use.

    Raises:
        BadRequest: an unknown resource, no number from -1 to 2**31 - 1, or less than the project already has; a switch
            that is neither true nor false.
    """
    limits = {name: _limit(context, name, value) for name, value in values.items() if name not in _SWITCHES}
    switches = {name: _switch(name, values[name]) for name in _SWITCHES if name in values}
    if not switches.get("force", False):
        for name, limit in limits.items():
            used = tx.used(name, project_id)
            if limit != UNLIMITED and used > limit:
                raise BadRequest(
                    f"Quota limit {limit} for {name} must be greater than or equal to already used {used} "
                    f"(project {project_id}).",
                    type="HTTPBadRequest",
                )
    quota = tx.tables.quota
    tx.note_edit("quota", project_id, "update", show(tx, context, project_id), limits)
    for name, limit in limits.items():
        tx.connection.execute(sa.delete(quota).where(quota.c.project_id == project_id, quota.c.resource == name))
        tx.connection.execute(quota.insert(), {"project_id": project_id, "resource": name, "limit": limit})
    return show(tx, context, project_id)


def reset(tx: Transaction, context: Context, project_id: str) -> None:
    """Give the project the default limits again.

    Raises:
        NotFound: it has no limits of its own.
    """
    tx.note_edit("quota", project_id, "delete", show(tx, context, project_id), {})
    gone = tx.connection.execute(sa.delete(tx.tables.quota).where(tx.tables.quota.c.project_id == project_id))
    if gone.rowcount == 0:
        raise NotFound(f"Quota for project {project_id} could not be found.", type="TenantQuotaNotFound")


def asking_project(context: Context, word: str) -> Row:
    """Return the body of /quotas/tenant and /quotas/project: who asks; `word` is the last part of the path."""
    if not context.project_id:
        raise BadRequest("Tenant-id was missing from quota request.", type="QuotaMissingTenant")
    return {word: {f"{word}_id": context.project_id}}


def _switch(name: str, value: Any) -> bool:
    truth = boolean(value)
    if truth is None:
        raise BadRequest(
            f"Invalid input for {name}. Reason: '{shown(value)}' cannot be converted to boolean.",
            type="HTTPBadRequest",
        )
    return truth


def _limit(context: Context, name: str, value: Any) -> int:
    if name not in context.limits.quotas:
        known = ", ".join(sorted(context.limits.quotas))
        raise BadRequest(f"Unrecognized attribute(s) '{shown(name)}': quotas exist for {known}.", type="HTTPBadRequest")
    try:
        number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else None
    except ValueError:  # also for text of more than 4,300 digits
        number = None
    if number is None or not UNLIMITED <= number <= MAX_LIMIT:
        raise BadRequest(
            f"Invalid input for {name}. Reason: '{shown(value)}' is not an integer from {UNLIMITED} to {MAX_LIMIT}.",
            type="InvalidInput" if number is None else "HTTPBadRequest",
        )
    return number
