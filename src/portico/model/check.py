# SPDX-License-Identifier: Apache-2.0
"""Checking requests against the registry: bodies of creates and updates, and values of filters.

Whatever the JSON holds, the outcome is a body that rules and store can take, or `BadRequest`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

from portico.errors import BadRequest
from portico.model.converters import convert_to_boolean, convert_to_int
from portico.model.network_validators import VALIDATORS
from portico.model.resource import OWNER, OWNER_ALIAS, Action, Attribute, Convert, Resource
from portico.model.show import show
from portico.model.validators import Validator

# Limits that keep every later step (database, JSON encoder) free of surprises.
MAX_DEPTH = 32
# In one list or object: some of what is done with them takes a time that grows with the square.
MAX_ITEMS = 10_000
MAX_INTEGER = (1 << 31) - 1
MAX_JSON_INTEGER = (1 << 63) - 1
_MOST = {"integer": MAX_INTEGER, "bigint": MAX_JSON_INTEGER}

_SIZED = re.compile(r"string\((\d+)\)")


class _Step(NamedTuple):
    """What happens to one attribute's value. `size` is the length of its text, `most` the largest number."""

    convert: Convert | None
    rules: tuple[tuple[Validator, Any], ...]
    size: int
    most: int


class _Plan(NamedTuple):
    """What happens to a body. A step of None: the attribute exists but may not be in this kind of request."""

    steps: Mapping[str, _Step | None]
    required: tuple[str, ...]
    defaults: Mapping[str, Any]
    containers: tuple[tuple[str, Any], ...]  # defaults that must be copied


def _step(attribute: Attribute) -> _Step:
    sized = _SIZED.fullmatch(attribute.column)
    return _Step(
        convert=attribute.convert_to,
        rules=tuple((VALIDATORS[name], argument) for name, argument in attribute.validate),
        size=int(sized[1]) if sized else 0,
        most=_MOST.get(attribute.column, 0),
    )


@cache
def _post_plan(resource: Resource) -> _Plan:
    attributes = resource.attributes.values()
    filled = [(one.name, one.default) for one in attributes if one.allow_post and one.has_default]
    return _Plan(
        steps={one.name: _step(one) if one.allow_post else None for one in attributes},
        required=tuple(one.name for one in attributes if one.required),
        defaults={name: value for name, value in filled if not isinstance(value, list | dict)},
        containers=tuple((name, value) for name, value in filled if isinstance(value, list | dict)),
    )


@cache
def _put_plan(resource: Resource) -> _Plan:
    steps = {one.name: _step(one) if one.allow_put else None for one in resource.attributes.values()}
    return _Plan(steps=steps, required=(), defaults={}, containers=())


def prepare_post(resource: Resource, body: object) -> dict[str, Any]:
    """Return the body of a create, converted, checked, with defaults filled in.

    An attribute that is not given and has no default is absent from the result. The owner is `project_id` whatever
    name the body has for it; it is absent when the body has none, or null: clients that got no project from a Keystone
    send that, such as Ansible's module openstack.cloud.address_scope.

    Args:
        resource: what is to be created.
        body: what stands under the resource's name in the request.

    Raises:
        BadRequest: an attribute is unknown, missing, not for creates, or has a value that is refused.
    """
    plan = _post_plan(resource)
    given = _given(resource, plan, body)
    if given.get(OWNER, "") is None:
        given = {name: value for name, value in given.items() if name != OWNER}
    for name in given:
        if plan.steps[name] is None:
            raise _bad(f"Attribute '{name}' not allowed in POST of {resource.name}")
    for name in plan.required:
        if name not in given:
            raise _bad(f"Failed to parse request. Required attribute '{name}' not specified for {resource.name}")
    result = dict(plan.defaults)
    for name, value in plan.containers:
        if name not in given:
            result[name] = deepcopy(value)
    return _checked(plan, given, result)


def prepare_put(resource: Resource, body: object) -> dict[str, Any]:
    """Return the body of an update, converted and checked: only what it changes.

    Args:
        resource: what is to be updated.
        body: what stands under the resource's name in the request.

    Raises:
        BadRequest: an attribute is unknown, read-only, or has a value that is refused.
    """
    plan = _put_plan(resource)
    given = _given(resource, plan, body)
    for name in given:
        if plan.steps[name] is None:
            raise _bad(f"Cannot update read-only attribute {name} of {resource.name}")
    return _checked(plan, given, {})


@cache
def _action_plan(action: Action) -> _Plan:
    steps = {one.name: _step(one) for one in action.takes.values()}
    required = tuple(one.name for one in action.takes.values() if one.required)
    return _Plan(steps=steps, required=required, defaults={}, containers=())


def prepare_action(action: Action, body: object) -> dict[str, Any]:
    """Return the body of an action, converted and checked.

    Raises:
        BadRequest: it is none, something is missing in it or unknown, or has a value that is refused.
    """
    plan = _action_plan(action)
    if not isinstance(body, dict) or not plan.steps.keys() >= body.keys() >= set(plan.required):
        words = [" and ".join(plan.required), " or ".join(name for name in plan.steps if name not in plan.required)]
        rule = f"it must hold {', and may hold '.join(filter(None, words))}, and nothing else"
        raise _bad(f"Request body contains invalid data for {action.name}: {rule}.")
    return _checked(plan, body, {})


def _given(resource: Resource, plan: _Plan, body: object) -> dict[str, Any]:
    """Return the body with the owner under one name, after checking that it is an object of known attributes."""
    if not isinstance(body, dict):
        raise _bad(f"Invalid input for {resource.name}. Reason: '{show(body)}' is not a dictionary.")
    if OWNER_ALIAS in body and OWNER in plan.steps:
        if body.get(OWNER, body[OWNER_ALIAS]) != body[OWNER_ALIAS]:
            raise _bad(f"'{OWNER}' and '{OWNER_ALIAS}' do not match")
        body = {OWNER if name == OWNER_ALIAS else name: value for name, value in body.items()}
    if not plan.steps.keys() >= body.keys():
        unknown = ", ".join(sorted(show(name) for name in body if name not in plan.steps))
        raise _bad(f"Unrecognized attribute(s) '{show(unknown)}' of {resource.name}")
    return body


def _checked(plan: _Plan, given: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if value is not None and value is not True and value is not False:
            refuse_unstorable(name, value)
        if step := plan.steps[name]:
            result[name] = _checked_value(name, value, step)
    return result


def _checked_value(name: str, value: Any, step: _Step) -> Any:
    if isinstance(value, list | dict) and len(value) > MAX_ITEMS:
        raise _bad(f"Invalid input for {name}. Reason: {len(value)} is more than {MAX_ITEMS} items.")
    try:
        converted = step.convert(value) if step.convert else value
        for validate, argument in step.rules:
            if reason := validate(converted, argument):
                raise _bad(f"{reason}.")
    except BadRequest as error:
        raise _named(name, error) from error
    if step.size:
        _check_text(name, converted, step.size)
    elif step.most and converted is not None:
        return _integer(name, converted, step.most)
    return converted


def _converted(name: str, convert: Convert, value: Any) -> Any:
    """Return what a converter makes of a value; its refusal names the attribute."""
    try:
        return convert(value)
    except BadRequest as error:
        raise _named(name, error) from error


def _named(name: str, error: BadRequest) -> BadRequest:
    return BadRequest(f"Invalid input for {name}. Reason: {error.message}", type=error.type)


def _bad(message: str) -> BadRequest:
    return BadRequest(message, type="HTTPBadRequest")


def _check_text(name: str, value: Any, size: int) -> None:
    """Refuse what a text column cannot hold; validators of most attributes did so already."""
    if value is None:
        return
    if not isinstance(value, str):
        raise _bad(f"Invalid input for {name}. Reason: '{show(value)}' is not a valid string.")
    if len(value) > size:
        raise _bad(f"Invalid input for {name}. Reason: '{show(value)}' exceeds maximum length of {size}.")


def _integer(name: str, value: Any, most: int) -> int:
    """Return `value` as an integer that a column can hold; a validator may have let text pass that spells one."""
    number: int = _converted(name, convert_to_int, value)
    if not -most - 1 <= number <= most:
        raise _bad(f"Invalid input for {name}. Reason: '{show(value)}' is beyond {most}.")
    return number


def refuse_unstorable(name: str, value: Any) -> None:
    """Refuse what no database or JSON encoder takes, at any depth of `value`.

    That is: NUL characters, lone surrogates, integers beyond 64 bits, infinities, and more than `MAX_DEPTH` levels.
    """
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif not _storable(item):
                raise _bad(f"Invalid input for {name}. Reason: '{show(item)}' is no text or number that can be stored.")
        if not below:
            return
        level = below
    raise _bad(f"Invalid input for {name}. Reason: more than {MAX_DEPTH} levels of lists and objects.")


def _storable(item: Any) -> bool:
    if isinstance(item, str):
        return "\0" not in item and (item.isascii() or _encodes(item))
    if isinstance(item, int):
        return -MAX_JSON_INTEGER - 1 <= item <= MAX_JSON_INTEGER
    return not isinstance(item, float) or math.isfinite(item)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_filter(attribute: Attribute, text: str) -> Any:
    """Return the value that a filter in a query string asks for, in the type of the attribute's column; None is null.

    Raises:
        BadRequest: `text` spells no such value.
    """
    refuse_unstorable(attribute.name, text)
    if attribute.column == "boolean" or attribute.convert_to is convert_to_boolean:
        return _converted(attribute.name, convert_to_boolean, text)
    if attribute.column in _MOST:
        return _integer(attribute.name, text, _MOST[attribute.column])
    if attribute.convert_to is None or not _SIZED.fullmatch(attribute.column):
        return text
    # As the value of an object is kept: a MAC address in its usual spelling, for one, and null for the protocol "any".
    return _converted(attribute.name, attribute.convert_to, text)
