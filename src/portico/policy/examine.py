# SPDX-License-Identifier: Apache-2.0
"""A look at rules before anybody asks: what cannot be used is found at the start, wherever in a rule it stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from oslo_policy.policy import AndCheck, NotCheck, OrCheck, RuleCheck, Rules

from portico.errors import SettingsError
from portico.model.resource import Registry
from portico.policy.condition import Condition, Creds, Equal, Field, reduce, simplify
from portico.policy.sql import clause, is_of_sharing
from portico.store.tables import Tables

_VERBS = ("create_", "get_", "update_", "delete_")


class Names:
    """Which rules requests ask for, and about which resource."""

    def __init__(self, registry: Registry) -> None:
        self._attributes: Mapping[str, Collection[str]] = {
            one.name: one.attributes for one in registry.resources.values()
        }
        self._resources = {
            f"{verb}{one.policy_word}": one.name for one in registry.resources.values() for verb in _VERBS
        }
        self._resources |= {item.name: one.name for one in registry.resources.values() for item in one.actions}

    def resource(self, rule: str) -> str:
        """Return the resource that a rule is about; "" if that is not known."""
        return self._resources.get(rule.partition(":")[0], "")

    def attributes(self, rule: str) -> Collection[str]:
        """Return the attributes that a request may give for what a rule is about."""
        return self._attributes.get(self.resource(rule), ())

    def unasked(self, rules: Rules, given: Iterable[str], defaults: Collection[str]) -> list[str]:
        """Return which of the `given` rules nothing asks for, neither a request nor another rule."""
        named = {part.match for name in rules for part in _leaves(rules[name]) if isinstance(part, RuleCheck)}
        return [name for name in given if name not in defaults and name not in named and not self._is_asked(name)]

    def _is_asked(self, rule: str) -> bool:
        word, colon, attribute = rule.partition(":")
        if word not in self._resources or not colon:
            return word in self._resources
        is_action, about = not word.startswith(_VERBS), self.attributes(rule)
        return is_action or attribute in about or attribute.rpartition(":")[0] in about


def examine(rule: str, rules: Rules, creds: Creds, names: Names, tables: Tables) -> None:
    """Use every part of a rule once, also those that for most callers another part makes needless.

    Raises:
        SettingsError: a part cannot be used.
        RecursionError: the rule asks for itself.
    """
    resource = names.resource(rule)
    # Lists are read with these; of others the object may be one that is yet to be made of a request.
    is_stored = ":" not in rule and rule.startswith(_VERBS[1:])

    def use(part: Equal | Field) -> bool:
        if isinstance(part, Field) and part.pattern:
            _check_pattern(part)
        if resource in tables.of:
            parent = part.parent if isinstance(part, Equal) else ""
            own = not parent and not (isinstance(part, Field) and is_of_sharing(part))
            if not (own and not is_stored and part.attribute in names.attributes(rule)):
                clause(tables, resource, part, "project")
        return True

    for part in _parts(rules[rule], rules, creds):
        simplify(part, use)


def _parts(check: object, rules: Rules, creds: Creds) -> Iterator[Condition]:
    for leaf in _leaves(check):
        if isinstance(leaf, RuleCheck) and leaf.match in rules:
            yield from _parts(rules[leaf.match], rules, creds)
        else:
            yield reduce(leaf, rules, creds)


def _leaves(check: object) -> Iterator[object]:
    match check:
        case NotCheck():
            yield from _leaves(check.rule)
        case AndCheck() | OrCheck():
            for each in check.rules:
                yield from _leaves(each)
        case _:
            yield check


def _check_pattern(field: Field) -> None:
    try:
        re.compile(field.value)
    except re.error as error:
        raise SettingsError(
            f"policy: field:{field.plural}:{field.attribute}=~{field.value} is no regular expression: {error}"
        ) from error
