# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary of models: which keywords an attribute may have, and what each may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from portico.errors import SettingsError
from portico.model.converters import CONVERTERS
from portico.model.network_validators import VALIDATORS
from portico.model.resource import OWNER, Attribute


class Unset:
    """The value of `default: !unset`: the attribute may be left out of a create, and has no default."""


UNSET = Unset()

_BOOLEANS = frozenset(
    {
        "allow_post",
        "allow_put",
        "is_visible",
        "is_filter",
        "is_sort_key",
        "required_by_policy",
        "enforce_policy",
        "primary_key",
        "as_text",
        "secret",
    }
)
# Keywords of neutron_lib.api.definitions. Of these `convert_list_to` reads filters, which the API does itself;
# `dict_populate_defaults` and `default_overrides_none` come with the resources that need them.
NEUTRON_KEYWORDS = _BOOLEANS - {"as_text", "secret"} | {
    "default",
    "validate",
    "convert_to",
    "convert_list_to",
    "dict_populate_defaults",
    "default_overrides_none",
}
OWN_KEYWORDS = frozenset({"extension", "column", "references", "as_text", "secret", "doc"})
_COLUMN = re.compile(r"string\([1-9]\d{0,4}\)|text|integer|bigint|boolean|json|datetime")


class Place:
    """Where in which file something stands: the beginning of every complaint about it."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def at(self, *words: str) -> Place:
        """Return a place further inside."""
        return Place(*self.words, *words)

    def fault(self, rule: str) -> SettingsError:
        """Return the error that names this place and the rule broken."""
        return SettingsError(f"model {': '.join(self.words)}: {rule}")

    def mapping(self, value: object) -> dict[str, Any]:
        """Return `value`, which must be a mapping with text keys."""
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.fault("must be a mapping with text keys")
        return value


def attribute(name: str, spec: Mapping[str, Any], place: Place) -> Attribute:
    """Return the attribute that `spec` describes.

    Raises:
        SettingsError: a keyword is unknown or holds what it may not.
    """
    for keyword, value in spec.items():
        _check_keyword(keyword, value, place.at(f"keyword {keyword}"))
    default = spec.get("default", UNSET)
    convert = CONVERTERS[spec["convert_to"]] if "convert_to" in spec else None
    has_default = not isinstance(default, Unset)
    if has_default and convert:
        default = convert(default)
    return Attribute(
        name=name,
        extension=spec["extension"],
        allow_post=spec.get("allow_post", False),
        allow_put=spec.get("allow_put", False),
        # Whoever asks owns what it makes unless it names another project: the owner is never missing.
        required=spec.get("allow_post", False) and "default" not in spec and name != OWNER,
        has_default=has_default,
        default=default if has_default else None,
        validate=tuple(spec.get("validate", {}).items()),
        convert_to=convert,
        is_visible=spec.get("is_visible", False),
        is_filter=spec.get("is_filter", False),
        is_sort_key=spec.get("is_sort_key", False),
        required_by_policy=spec.get("required_by_policy", False),
        enforce_policy=spec.get("enforce_policy", False),
        primary_key=spec.get("primary_key", False),
        column=spec.get("column", ""),
        references=spec.get("references", ""),
        as_text=spec.get("as_text", False),
        secret=spec.get("secret", False),
        doc=spec.get("doc", ""),
    )


def _check_keyword(keyword: str, value: Any, place: Place) -> None:
    if keyword not in NEUTRON_KEYWORDS and keyword not in OWN_KEYWORDS:
        raise place.fault("no such keyword")
    if keyword in _BOOLEANS and not isinstance(value, bool):
        raise place.fault("must be true or false")
    if keyword in ("doc", "references", "extension") and not isinstance(value, str):
        raise place.fault("must be text")
    if keyword == "column" and not (isinstance(value, str) and _COLUMN.fullmatch(value)):
        raise place.fault(f"{value!r} is no column type: string(N), text, integer, bigint, boolean, json or datetime")
    if keyword == "convert_to" and (not isinstance(value, str) or value not in CONVERTERS):
        raise place.fault(f"there is no converter {value!r}")
    if keyword == "validate":
        _check_rules(place.mapping(value), place)


def _check_rules(rules: Mapping[str, Any], place: Place) -> None:
    """Check names of validators, and those inside the argument of one that looks into objects."""
    for rule, argument in rules.items():
        if rule not in VALIDATORS:
            raise place.fault(f"there is no validator {rule!r}")
        if rule in ("type:dict", "type:dict_or_none"):
            specs = [argument or {}]
        elif rule == "type:list_of_any_key_specs_or_none":
            specs = argument
        else:
            continue
        for key, item in (pair for keys in specs for pair in place.mapping(keys).items()):
            inside = place.at(f"key {key}")
            inner = dict(inside.mapping(item))
            inner.pop("required", None)
            convert = inner.pop("convert_to", None)
            if convert is not None and convert not in CONVERTERS:
                raise inside.fault(f"there is no converter {convert!r}")
            _check_rules(inner, inside)
