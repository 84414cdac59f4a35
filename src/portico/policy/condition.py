# SPDX-License-Identifier: Apache-2.0
"""What a rule asks of an object, once it is known who asks: a small language of conditions, made from a rule's tree."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from oslo_policy.policy import AndCheck, Check, NotCheck, OrCheck, RuleCheck, Rules

from portico.errors import SettingsError

Creds = Mapping[str, Any]


class Equal(msgspec.Struct, frozen=True):
    """The attribute of the object, or of its `parent` ("network", "security_group", WHOLE), is `value` as text."""

    parent: str
    attribute: str
    value: str


class Field(msgspec.Struct, frozen=True):
    """An attribute of an object in `plural`, the object itself or the one it belongs to, is `value`.

    `pattern`: `value` is a regular expression that the attribute begins with.
    """

    plural: str
    attribute: str
    value: str
    pattern: bool = False


class Not(msgspec.Struct, frozen=True):
    """The other way round."""

    of: Condition


class All(msgspec.Struct, frozen=True):
    """Each holds."""

    of: tuple[Condition, ...]


class Some(msgspec.Struct, frozen=True):
    """One holds at least."""

    of: tuple[Condition, ...]


Condition = bool | Equal | Field | Not | All | Some

_TARGET = re.compile(r"%\(([^)]+)\)s")
_FIELD = re.compile(r"([^:]+):(.+?)=(~?)(.*)")
# Parents that rules may name: the resource, and the attribute that holds its id.
PARENTS = {"network": "network_id", "security_group": "security_group_id"}
# Neutron's word in rules for what an object is a part of, whatever that is.
WHOLE = "ext_parent"
# Neutron's older name for the same.
_OWNER = {"tenant_id": "project_id", "tenant": "project_id", "network_owner": "network:project_id"}


def reduce(check: object, rules: Rules, creds: Creds) -> Condition:
    """Return what is left of a rule's tree for who has `creds`.

    Raises:
        SettingsError: the rule has a check that says nothing about a stored object.
    """
    match check:
        case NotCheck():
            return negate(reduce(check.rule, rules, creds))
        case AndCheck():
            return conjunction(reduce(each, rules, creds) for each in check.rules)
        case OrCheck():
            return negate(conjunction(negate(reduce(each, rules, creds)) for each in check.rules))
        case RuleCheck():
            if check.match not in rules:
                raise SettingsError(f"policy: rule:{check.match} is asked, and there is no such rule")
            return reduce(rules[check.match], rules, creds)
        case Check(kind="role"):
            return check.match.lower() in [role.lower() for role in creds["roles"]]
        case Check(kind="field"):
            return _field(check.match)
        case Check():
            return _equal(check.kind, check.match, creds)
    # What remains are the constants, which oslo.policy has no public names for.
    return str(check) == "@"


def negate(condition: Condition) -> Condition:
    """Return the opposite; negations are pushed inwards, so that a constant anywhere is seen."""
    match condition:
        case bool():
            return not condition
        case Not():
            return condition.of
        case All():
            return Some(tuple(negate(each) for each in condition.of))
        case Some():
            return All(tuple(negate(each) for each in condition.of))
    return Not(condition)


def conjunction(conditions: Any) -> Condition:
    """Return one condition that holds when all do."""
    kept: dict[Condition, None] = {}
    for condition in conditions:
        if condition is False:
            return False
        if condition is not True:
            kept.update(dict.fromkeys(condition.of if isinstance(condition, All) else (condition,)))
    if not kept:
        return True
    return next(iter(kept)) if len(kept) == 1 else All(tuple(kept))


def _field(text: str) -> Condition:
    found = _FIELD.fullmatch(text)
    if found is None:
        raise SettingsError(f"policy: field:{text} is not of the form field:COLLECTION:ATTRIBUTE=VALUE")
    plural, attribute, pattern, value = found.groups()
    return Field(plural, attribute, value, pattern == "~")


def _equal(kind: str, match: str, creds: Creds) -> Condition:
    """Reduce `kind:match`: on the left is what is known of who asks, or a constant; on the right may be the object."""
    values = _known(kind, creds)
    named = _TARGET.fullmatch(match)
    if named is None:
        if "%(" in match:
            raise SettingsError(f"policy: {kind}:{match} mixes text and attributes, which cannot be used here")
        return match in values
    parent, _, attribute = _OWNER.get(named[1], named[1]).rpartition(":")
    if parent and parent not in PARENTS and parent != WHOLE:
        # Not a parent: an attribute with a colon in its name.
        parent, attribute = "", f"{parent}:{attribute}"
    attribute = _OWNER.get(attribute, attribute)
    return negate(conjunction(Not(Equal(parent, attribute, value)) for value in values))


def _known(kind: str, creds: Creds) -> list[str]:
    name = _OWNER.get(kind, kind)
    if name in creds:
        value = creds[name]
        # Who has no project owns nothing, not even what has no owner.
        return [str(item) for item in value] if isinstance(value, tuple) else [str(value)] if value != "" else []
    try:
        return [str(literal_eval(kind))]
    except (ValueError, SyntaxError) as error:
        known = ", ".join(["rule", "role", "field", *creds])
        raise SettingsError(f"policy: {kind!r} in a check is none of {known}, and no constant") from error


def simplify(condition: Condition, test: Callable[[Equal | Field], bool]) -> bool:
    """Return whether the condition holds when `test` tells of each part whether it does."""
    match condition:
        case bool():
            return condition
        case Not():
            return not simplify(condition.of, test)
        case All():
            return all(simplify(each, test) for each in condition.of)
        case Some():
            return any(simplify(each, test) for each in condition.of)
    return test(condition)
