# SPDX-License-Identifier: Apache-2.0
"""Validators of single values: the functions that a model names in `validate`, as `type:NAME: ARGUMENT`.

Each takes any JSON value and the argument from the model, and returns None or the reason why the value is refused.
Names and behaviour are neutron-lib's (neutron_lib.api.validators). Those of addresses and compound values are in
`network_validators`; `VALIDATORS` there holds them all.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Callable
from typing import Any

from portico.errors import Conflict
from portico.model.converters import boolean
from portico.model.show import show

Validator = Callable[[Any, Any], str | None]

PREFIX_DELEGATION = "prefix_delegation"


def or_none(validator: Validator) -> Validator:
    """Return a validator that lets None pass too."""

    def validate(value: Any, argument: Any) -> str | None:
        return None if value is None else validator(value, argument)

    return validate


def or_nodata(validator: Validator) -> Validator:
    """Return a validator that lets pass what is empty, too."""

    def validate(value: Any, argument: Any) -> str | None:
        return validator(value, argument) if value else None

    return validate


def each(validator: Validator) -> Validator:
    """Return a validator of a list without duplicates, each item of which `validator` lets pass."""

    def validate(value: Any, argument: Any) -> str | None:
        if not isinstance(value, list):
            return f"'{show(value)}' is not a list"
        if duplicates := duplicated(value):
            return f"Duplicate items in the list: '{', '.join(show(item) for item in duplicates)}'"
        return next((reason for item in value if (reason := validator(item, argument))), None)

    return validate


def duplicated(items: list[Any]) -> list[Any]:
    """Return what is in `items` more than once; quick for strings, slower for what cannot be hashed."""
    try:
        if len(set(items)) == len(items):
            return []
    except TypeError:
        pass
    seen: list[Any] = []
    twice: list[Any] = []
    for item in items:
        if item in seen:
            if item not in twice:
                twice.append(item)
        else:
            seen.append(item)
    return twice


def values(value: Any, allowed: list[Any]) -> str | None:
    """One of a list of values."""
    return None if value in allowed else f"{show(value)} is not in {show(allowed)}"


def string(value: Any, max_len: int | None) -> str | None:
    """Text of at most `max_len` characters."""
    if not isinstance(value, str):
        return f"'{show(value)}' is not a valid string"
    if max_len is not None and len(value) > max_len:
        return f"'{show(value)}' exceeds maximum length of {max_len}"
    return None


def not_empty_string(value: Any, max_len: int | None) -> str | None:
    """Text with something to see in it."""
    if reason := string(value, max_len):
        return reason
    return None if value.strip() else f"'{show(value)}' Blank strings are not permitted"


def oneline_not_empty_string(value: Any, max_len: int | None) -> str | None:
    """Text of one line."""
    if reason := not_empty_string(value, max_len):
        return reason
    return f"Multi-line string is not allowed: '{show(value)}'" if len(value.splitlines()) > 1 else None


def name_string(value: Any, max_len: int | None) -> str | None:
    """Printable text without white space at its ends; may be empty."""
    if reason := string(value, max_len):
        return reason
    if value.isascii() and value.isprintable():
        blank_ends = value[:1] == " " or value[-1:] == " "
        return f"'{show(value)}' is not a valid string" if blank_ends else None
    # The reference's pattern ends with U+FFFE: characters beyond the basic plane are unprintable to it.
    categories = [unicodedata.category(character) if character < "\uffff" else "Co" for character in value]
    unprintable = any(kind[0] == "C" or kind in ("Zl", "Zp") for kind in categories)
    blank_ends = bool(categories) and "Zs" in (categories[0], categories[-1])
    if unprintable or blank_ends:
        return f"'{show(value)}' is not a valid string"
    return None


def not_empty_name_string(value: Any, max_len: int | None) -> str | None:
    """Printable text without white space at its ends, and not empty."""
    return not_empty_string(value, max_len) or name_string(value, max_len)


def name_string_not_default(value: Any, max_len: int | None) -> str | None:
    """A name that is not "default" in any case.

    Raises:
        Conflict: the name is "default": every project has that group.
    """
    if reason := name_string(value, max_len):
        return reason
    if value.lower() == "default":
        raise Conflict("Default security group already exists.", type="SecurityGroupDefaultAlreadyExists")
    return None


def regex(value: Any, pattern: str) -> str | None:
    """Text whose beginning matches a pattern."""
    matches = isinstance(value, str) and re.match(pattern, value)
    return None if matches else f"'{show(value)}' is not a valid input"


def boolean_value(value: Any, _: Any) -> str | None:
    """What spells true or false."""
    return f"'{show(value)}' is not a valid boolean value" if boolean(value) is None else None


def integer(value: Any, allowed: list[Any] | None) -> str | None:
    """An integer, or text that spells one; not a boolean."""
    if allowed is not None and (reason := values(value, allowed)):
        return reason
    try:
        whole = float(value) == int(value)
    except (ValueError, TypeError, OverflowError):
        whole = False
    return None if whole and not isinstance(value, bool) else f"'{show(value)}' is not an integer"


def within(value: Any, bounds: list[int | None]) -> str | None:
    """An integer between two bounds, both included; a bound of None is open."""
    low, high = bounds
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        return f"'{show(value)}' is not an integer"
    if low is not None and number < low:
        return f"'{show(value)}' is too small - must be at least '{low}'"
    if high is not None and number > high:
        return f"'{show(value)}' is too large - must be no larger than '{high}'"
    return None


def port_range(value: Any, bounds: list[int]) -> str | None:
    """A port, or the first and last of several with a colon between them; None passes."""
    if value is None:
        return None
    low, high = bounds
    try:
        ports = [int(part) for part in str(value).split(":")]
    except ValueError:
        ports = []
    if not 1 <= len(ports) <= 2:
        return f"'{show(value)}' is no port and no port range: two integers separated by a colon"
    if odd := [port for port in ports if not low <= port <= high]:
        return f"Invalid port: {show(odd[0])}, the port must be in the range [{low}, {high}]"
    if ports[0] > ports[-1]:
        return f"'{show(value)}': First port in a port range must be lower than the second port"
    return None


def non_negative(value: Any, _: Any) -> str | None:
    """An integer from 0."""
    try:
        negative = int(value) < 0
    except (ValueError, TypeError, OverflowError):
        return f"'{show(value)}' is not an integer"
    return f"'{show(value)}' should be non-negative" if negative else None


def uuid_value(value: Any, _: Any) -> str | None:
    """A UUID, with or without hyphens, braces, upper case or `urn:uuid:`."""
    try:
        bare = value.replace("urn:", "").replace("uuid:", "").strip("{}").replace("-", "").lower()
        like = uuid.UUID(value).hex == bare
    except (TypeError, ValueError, AttributeError):
        like = False
    return None if like else f"'{show(value)}' is not a valid UUID"


def subnetpool_id(value: Any, _: Any) -> str | None:
    """A UUID, None, or the word for IPv6 prefix delegation."""
    return None if value is None or value == PREFIX_DELEGATION else uuid_value(value, None)
