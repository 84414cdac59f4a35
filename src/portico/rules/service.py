# SPDX-License-Identifier: Apache-2.0
"""Objects of other packages: what their models say, and the functions that the models name."""

from __future__ import annotations

import importlib
import uuid
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

from portico.errors import SettingsError
from portico.model.resource import Resource
from portico.rules import lookup
from portico.rules.context import Context, Row, Rules
from portico.store.transaction import Transaction


@cache
def rules_of(resource: Resource) -> Rules:
    """Return the rules of a resource that another package brings.

    Its own functions, if it names a module of them, are called before anything is written, with what the rules here
    get: `create(tx, context, body)`, `update(tx, context, row, changes)`, `delete(tx, context, row)`; they raise what
    is to be refused. One with the name of an action does the action.

    Raises:
        SettingsError: the module is not there, or lacks an action's function.
    """
    module = _module(resource)
    objects = _Objects(resource, module)
    actions = {action.name: getattr(module, action.name, None) for action in resource.actions}
    if missing := [name for name, function in actions.items() if function is None]:
        raise SettingsError(f"model of {resource.name}: module '{resource.rules}' of its rules has no {missing[0]}")
    return Rules(
        create=objects.create if "create" in resource.verbs else None,
        update=objects.update if "update" in resource.verbs else None,
        delete=objects.delete if "delete" in resource.verbs else None,
        actions={name: function for name, function in actions.items() if function is not None},
    )


def _module(resource: Resource) -> ModuleType | None:
    if not resource.rules:
        return None
    try:
        return importlib.import_module(resource.rules)
    except ImportError as error:
        raise SettingsError(f"model of {resource.name}: module '{resource.rules}' of its rules: {error}") from error


class _Objects:
    """The verbs of one resource."""

    def __init__(self, resource: Resource, module: ModuleType | None) -> None:
        self._name = resource.name
        self._references = {one.name: one.references for one in resource.attributes.values() if one.references}
        self._has_status = "status" in resource.attributes
        self._check: Callable[[str], Callable[..., Any] | None] = lambda verb: getattr(module, verb, None)

    def create(self, tx: Transaction, context: Context, body: Row) -> Row:
        """Make an object; what it references must be there for who asks."""
        self._find_references(tx, context, body)
        self._ask("create", tx, context, body)
        row = {**body, "id": str(uuid.uuid4()), **({"status": "DOWN"} if self._has_status else {})}
        context.broker.admit(self._name, None, row)
        return tx.insert(self._name, row)

    def update(self, tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
        """Change an object."""
        self._find_references(tx, context, changes)
        self._ask("update", tx, context, row, changes)
        context.broker.admit(self._name, row, {**row, **changes})
        return tx.update(self._name, row, changes)

    def delete(self, tx: Transaction, context: Context, row: Row) -> None:
        """Remove an object that none of another package's references."""
        self._ask("delete", tx, context, row)
        tx.delete(self._name, row)

    def _ask(self, verb: str, *about: object) -> None:
        if check := self._check(verb):
            check(*about)

    def _find_references(self, tx: Transaction, context: Context, given: Row) -> None:
        for name, resource in self._references.items():
            if given.get(name) is not None:
                lookup.visible(tx, context, resource, given[name])
