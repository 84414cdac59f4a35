# SPDX-License-Identifier: Apache-2.0
"""Security groups, and the group `default` that every project has from its first use."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cache

import sqlalchemy as sa

from portico.errors import Conflict
from portico.rules import default_security_group_rule, log, lookup, quota, security_group_rule, sharing
from portico.rules.context import Context, Row
from portico.store import select
from portico.store.initial import DEFAULT_RULES
from portico.store.query import Query
from portico.store.store import Store
from portico.store.transaction import Read, Transaction

DEFAULT_NAME = security_group_rule.DEFAULT_NAME
MAX_PROJECT_ID = 255


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a group with the default rules; its project gets its default group if it has none."""
    _refuse_default_name(body.get("name") or "")
    quota.check(tx, context, "security_group", body["project_id"])
    ensure_default(tx, context, body["project_id"])
    quota.check(
        tx,
        context,
        "security_group_rule",
        body["project_id"],
        adding=len(default_security_group_rule.of_new_group(tx, is_default=False)),
    )
    return _insert(tx, context, body)


def before_list(store: Store, context: Context, query: Query) -> None:
    """Make the default group, which a list shows even if nothing needed it so far.

    It is that of the project that asks, or of the one whose groups an administrator asks for.
    """
    project_id = (_asked_for(query) if context.is_admin else "") or context.project_id
    if not project_id:
        return
    with store.read() as tx:
        if _find_default(tx, project_id) is not None:
            return
    with store.write() as tx:
        ensure_default(tx, context, project_id)


def _asked_for(query: Query) -> str:
    """Return the project whose groups are asked for, or "": several, or an id that no project can have."""
    for asked in query.filters:
        if asked.attribute == "project_id" and asked.operator == "equal" and len(asked.values) == 1:
            project_id = str(asked.values[0])
            return project_id if len(project_id) <= MAX_PROJECT_ID and project_id.isprintable() else ""
    return ""


def ensure_default(tx: Transaction, context: Context, project_id: str) -> str:
    """Return the id of the project's default group; make it when the project has none yet.

    It counts towards the quotas but is not subject to them: nobody asked for it, and what did must not fail for it.
    """
    found = _find_default(tx, project_id)
    if found is not None:
        return found
    body = {"name": DEFAULT_NAME, "description": "Default security group", "project_id": project_id, "stateful": True}
    return str(_insert(tx, context, body)["id"])


def _find_default(tx: Transaction, project_id: str) -> str | None:
    """Return the id of the project's default group, or None when it has not been made yet."""
    found = tx.ask(*default_of(tx, project_id))
    return str(found[0]["id"]) if found else None


def default_of(tx: Transaction, project_id: str) -> Read:
    """Return what `ensure_default` asks first."""
    return tx.finding("security_group", project_id=project_id, name=DEFAULT_NAME)


def _insert(tx: Transaction, context: Context, body: Row) -> Row:
    """Insert a group with the rules that a new one begins with."""
    row = {**body, "id": str(uuid.uuid4())}
    context.broker.admit("security_group", None, row)
    group = tx.insert("security_group", row)
    for rule in default_security_group_rule.of_new_group(tx, is_default=group["name"] == DEFAULT_NAME):
        security_group_rule.insert_initial(tx, group, rule)
    return group


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a group; the default one keeps its name, and one that filters ports stays stateful or stateless."""
    if "name" in changes:
        if row["name"] == DEFAULT_NAME:
            raise Conflict(
                f"Updating default security group not allowed: the name of {row['id']} stays '{DEFAULT_NAME}'.",
                type="SecurityGroupCannotUpdateDefault",
            )
        _refuse_default_name(changes["name"] or "")
    if changes.get("stateful", row["stateful"]) != row["stateful"]:
        _refuse_in_use(tx, context, row, "stateful cannot change")
    context.broker.admit("security_group", row, {**row, **changes})
    return tx.update("security_group", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a group with its rules, and the rules of other groups and of new ones that name it as remote group."""
    _refuse_in_use(tx, context, row, "it cannot be deleted")
    if row["name"] == DEFAULT_NAME and not context.is_admin:
        raise Conflict(
            f"Insufficient rights for removing default security group {row['id']}: only an administrator may.",
            type="SecurityGroupCannotRemoveDefault",
        )
    rules = tx.find("security_group_rule", security_group_id=row["id"])
    naming = tx.find("security_group_rule", remote_group_id=row["id"])
    for rule in {item["id"]: item for item in rules + naming}.values():
        tx.delete("security_group_rule", rule)
    for rule in tx.find(DEFAULT_RULES, remote_group_id=row["id"]):
        tx.delete(DEFAULT_RULES, rule)
    others = {item["security_group_id"] for item in naming} - {row["id"]}
    for group in tx.get_many("security_group", sorted(others)):
        tx.update("security_group", group, {})
    log.forget_group(tx, row["id"])
    sharing.forget(tx, "security_group", row["id"])
    tx.delete("security_group", row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared` and `security_group_rules`."""
    sharing.present(tx, context, "security_group", rows)
    groups = {row["id"]: row for row in rows}
    for row in rows:
        row["security_group_rules"] = []
    for rule in security_group_rule.of_groups(tx, list(groups)):
        # The API adds the owner's other name at the top of an answer; these are nested.
        groups[rule["security_group_id"]]["security_group_rules"].append({**rule, "tenant_id": rule["project_id"]})
    return rows


def _refuse_default_name(name: str) -> None:
    if name.lower() == DEFAULT_NAME:
        raise Conflict(
            f"Default security group already exists: the name '{name}' is that of the group every project has.",
            type="SecurityGroupDefaultAlreadyExists",
        )


def _refuse_in_use(tx: Transaction, context: Context, row: Row, consequence: str) -> None:
    links = tx.tables.port_group
    port_id = tx.connection.execute(sa.select(links.c.port_id).where(links.c.group_id == row["id"]).limit(1)).scalar()
    if port_id is not None:
        port = lookup.named(tx, context, "port", port_id)
        raise Conflict(f"Security Group {row['id']} in use by {port}: {consequence}.", type="SecurityGroupInUse")


def link(tx: Transaction, port_id: str, before: Sequence[str], after: Sequence[str]) -> None:
    """Keep the table of which groups filter which port."""
    table = tx.tables.port_group
    gone = [group for group in before if group not in after]
    if gone:
        tx.later(_unlink(table), [{"port": port_id, "group": group} for group in gone])
    added = [group for group in after if group not in before]
    if added:
        tx.later(select.insert(table), [{"port_id": port_id, "group_id": group} for group in added])


@cache
def _unlink(table: sa.Table) -> sa.Delete:
    """Return the statement that drops that the group `group` filters the port `port`."""
    return sa.delete(table).where(table.c.port_id == sa.bindparam("port"), table.c.group_id == sa.bindparam("group"))
