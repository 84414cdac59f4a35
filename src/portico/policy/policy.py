# SPDX-License-Identifier: Apache-2.0
"""The policy in force: Neutron's rules as changed by the operator's file, asked about objects and lists."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from oslo_policy.policy import Rules

from portico.errors import Forbidden, SettingsError
from portico.model.resource import OWNER, Registry, Resource
from portico.policy.condition import PARENTS, Condition, reduce, simplify
from portico.policy.examine import Names, examine
from portico.policy.row import Parents, holds
from portico.policy.sql import clause
from portico.rules import lookup
from portico.rules.context import Context
from portico.store.tables import Tables
from portico.store.transaction import Transaction

LOG = logging.getLogger(__name__)
DEFAULTS = Path(__file__).with_name("defaults.yaml")
# Different callers whose reduced rules are remembered.
_REMEMBERED = 4096
# Who may see one but not change it is told that it is not there, as Neutron does.
_NOT_FOUND = ("address_group",)

_KNOWN = ("project_id", "user_id", "roles", "service_roles", "system_scope", "domain_id", "is_admin")
# Who has all that can be known of a caller, so that each check of it is looked at.
_SOMEBODY = dict(zip(_KNOWN, ("project", "user", ("role",), ("role",), "all", "domain", False), strict=True))
_Key = tuple[str, str, tuple[str, ...], tuple[str, ...], str, str, bool]


class Policy:
    """Who may do what, by rules that are read once.

    Args:
        registry: the resources that rules are about.
        file: the operator's rules, which replace the defaults of the same names; None for the defaults alone.

    Raises:
        SettingsError: a rule of the file cannot be understood or used; names the rule.
    """

    def __init__(self, registry: Registry, file: Path | None = None) -> None:
        self._registry = registry
        self._rules = _load(file, registry)
        if file:
            _warn_of_unasked(file, registry, self._rules)
        # Whoever is one without the policy stays one, whatever its file says.
        self._for_administrators = Rules({**self._rules, **Rules.from_dict({"context_is_admin": "@"})})
        self._words = {resource.name: resource.policy_word for resource in registry.resources.values()}
        self._attributes = {
            (verb, resource.name): tuple(
                name.partition(":")[2] for name in self._rules if name.startswith(f"{verb}_{resource.policy_word}:")
            )
            for resource in registry.resources.values()
            for verb in ("create", "get", "update")
        } | {
            (action.name, resource.name): tuple(
                name.partition(":")[2] for name in self._rules if name.startswith(f"{action.name}:")
            )
            for resource in registry.resources.values()
            for action in resource.actions
        }
        self._reduced = lru_cache(_REMEMBERED)(self._reduce)
        self._clause = lru_cache(_REMEMBERED)(self._make_clause)
        self._secrets = lru_cache(_REMEMBERED)(self._find_secrets)
        self._check()

    def visible(self, tables: Tables, context: Context, resource: str, /) -> sa.ColumnElement[bool] | None:
        """See `portico.rules.context.Policy`."""
        return self._clause(tables, resource, _key(context))

    def require(
        self,
        tx: Transaction,
        context: Context,
        action: str,
        resource: str,
        row: Mapping[str, Any],
        given: Mapping[str, Any],
        /,
    ) -> None:
        """See `portico.rules.context.Policy`."""
        name = self._name(action, resource)
        parents = self._parents(tx, context, resource, row) if action == "create" else {}
        if not self._holds(tx, context, name, resource, row, parents):
            if resource in _NOT_FOUND and action != "create":
                raise lookup.missing(resource, row["id"])
            raise _disallowed(name)
        for attribute in self._attributes.get((action, resource), ()):
            asked = _names(given, attribute)
            if asked and not self._holds(tx, context, f"{name}:{attribute}", resource, row, parents):
                raise _disallowed(f"{name}:{attribute}")

    def refuse_whatever(self, context: Context, action: str, resource: str, /) -> None:
        """See `portico.rules.context.Policy`."""
        name = self._name(action, resource)
        if self._reduced(name, _key(context)) is False:
            raise _disallowed(name)

    def _name(self, action: str, resource: str) -> str:
        return f"{action}_{self._words[resource]}" if action in ("create", "update", "delete") else action

    def allows(self, context: Context, name: str, /) -> bool:
        """See `portico.rules.context.Policy`."""
        return simplify(self._reduced(name, _key(context)), lambda _: False)

    def secrets(self, context: Context, resource: str, /) -> Collection[str]:
        """See `portico.rules.context.Policy`."""
        always, sometimes = self._secrets(resource, _key(context))
        return [*always, *(name for name, _ in sometimes)]

    def hidden(
        self, tx: Transaction, context: Context, resource: str, rows: Sequence[Mapping[str, Any]], /
    ) -> Sequence[Collection[str]]:
        """See `portico.rules.context.Policy`."""
        always, sometimes = self._secrets(resource, _key(context))
        if not sometimes:
            return [always] * len(rows)
        found = []
        for row in rows:
            parents: Parents = {}
            shows = {
                name: holds(tx, resource, row, is_shown, context.project_id, parents) for name, is_shown in sometimes
            }
            found.append([*always, *(name for name, shown in shows.items() if not shown)])
        return found

    def _find_secrets(self, resource: str, key: _Key) -> tuple[tuple[str, ...], tuple[tuple[str, Condition], ...]]:
        """Return the attributes that a caller sees of no object, and those whose condition depends on the object."""
        names = self._attributes.get(("get", resource), ())
        conditions = [(name, self._reduced(f"get_{self._words[resource]}:{name}", key)) for name in names]
        always = tuple(name for name, condition in conditions if condition is False)
        return always, tuple(pair for pair in conditions if not isinstance(pair[1], bool))

    def _parents(self, tx: Transaction, context: Context, resource: str, row: Mapping[str, Any]) -> Parents:
        """Find what the new object belongs to: who may not see it learns no more than that it is not there."""
        return {
            parent: lookup.visible(tx, context, parent, row[attribute])
            for parent, attribute in PARENTS.items()
            if parent != resource and row.get(attribute) and parent in tx.tables.of
        }

    def _holds(
        self, tx: Transaction, context: Context, name: str, resource: str, row: Mapping[str, Any], parents: Parents
    ) -> bool:
        condition = self._reduced(name, _key(context))
        if isinstance(condition, bool):
            return condition
        return holds(tx, resource, row, condition, context.project_id, parents)

    def _reduce(self, name: str, key: _Key) -> Condition:
        rules = self._for_administrators if key[-1] else self._rules
        return reduce(rules.get(name) or rules["default"], rules, dict(zip(_KNOWN, key, strict=True)))

    def _make_clause(self, tables: Tables, resource: str, key: _Key) -> sa.ColumnElement[bool] | None:
        condition = self._reduced(f"get_{self._words[resource]}", key)
        return None if condition is True else clause(tables, resource, condition, key[0])

    def _check(self) -> None:
        """Use every rule once, so that what cannot be used is found before anybody asks."""
        tables, names = Tables(self._registry), Names(self._registry)
        for name in self._rules:
            try:
                examine(name, self._rules, _SOMEBODY, names, tables)
            except RecursionError as error:
                raise SettingsError(f"policy: rule {name} asks for itself") from error
            except SettingsError as error:
                raise SettingsError(f"{error} (in rule {name})") from error


def _key(context: Context) -> _Key:
    # Keystone's admin role implies the others; the administrator of an API without Keystone has them all.
    roles = (*context.roles, "admin", "manager", "member", "reader") if context.is_admin else context.roles
    who, scope = (context.project_id, context.user_id), (context.system_scope, context.domain_id)
    return *who, roles, context.service_roles, *scope, context.is_admin


def _names(given: Mapping[str, Any], attribute: str) -> bool:
    """Return whether a request gives the attribute, or the part of one such as `fixed_ips:ip_address`."""
    if attribute in given:
        return True
    whole, _, part = attribute.rpartition(":")
    found = given.get(whole) if whole else None
    items = found if isinstance(found, list) else [found]
    return any(isinstance(item, Mapping) and item.get(part) is not None for item in items)


def _disallowed(name: str) -> Forbidden:
    return Forbidden(f"rule:{name} is disallowed by policy", type="PolicyNotAuthorized")


def texts(file: Path | None, registry: Registry | None = None) -> dict[str, str]:
    """Return the checks of all rules by name: the defaults, and those of the file instead of them.

    With a registry, those of other packages' resources are among the defaults.

    Raises:
        SettingsError: the file cannot be read.
    """
    services = registry.services if registry else ()
    packages = {name: check for one in services for name, check in _of_package(one).items()}
    return _read(DEFAULTS) | packages | (_read(file) if file else {})


def _of_package(resource: Resource) -> dict[str, str]:
    """Return the rules of another package's resource: its owner may do all, unless its model says otherwise."""
    owned = OWNER in resource.attributes
    member, reader = ("rule:project_member", "rule:project_reader") if owned else ("rule:admin_only", "rule:admin_only")
    checks = {"create": member, "get": reader, "update": member, "delete": member}
    checks |= {action.name: member for action in resource.actions}
    checks |= resource.policy
    names = {}
    for verb, check in checks.items():
        word, colon, attribute = verb.partition(":")
        known = word in ("create", "get", "update", "delete")
        names[f"{word}_{resource.policy_word}{colon}{attribute}" if known else verb] = check
    return names


def _load(file: Path | None, registry: Registry) -> Rules:
    checks = texts(file, registry)
    # It logs what it does not understand, with the way through its parser, and forbids it; here one line says all.
    logging.getLogger("oslo_policy").setLevel(logging.CRITICAL)
    rules = Rules.from_dict(dict(checks))
    for name, text in checks.items():
        if sum(str(check) == "!" for check in _leaves(rules[name])) > text.count("!"):
            raise SettingsError(f"policy: rule {name}: '{text}' is no check that oslo.policy understands")
    return rules


def _warn_of_unasked(file: Path, registry: Registry, rules: Rules) -> None:
    """Tell of rules that change nothing: misspelt ones, and those of services that are not here."""
    if unasked := Names(registry).unasked(rules, _read(file), texts(None, registry)):
        LOG.warning("policy: file %s: nothing asks for %s", file, ", ".join(unasked))


def _read(file: Path) -> dict[str, str]:
    try:
        loader = yaml.SafeLoader(file.read_text())
        tree = loader.get_single_node()
        found = loader.construct_document(tree) if tree else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"policy: file {file}: {error}") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(item, str) for pair in found.items() for item in pair):
        raise SettingsError(f"policy: file {file}: must hold lines of the form NAME: 'CHECK'")
    names = [key.value for key, _ in tree.value] if isinstance(tree, yaml.MappingNode) else []
    if twice := [name for name in found if names.count(name) > 1]:
        raise SettingsError(f"policy: file {file}: holds rule {twice[0]} twice")
    return found


def _leaves(check: Any) -> Iterable[object]:
    children = getattr(check, "rules", None) or [item for item in (getattr(check, "rule", None),) if item is not None]
    if not children:
        yield check
    for child in children:
        yield from _leaves(child)
