# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary of models: which keywords an attribute may have, and what each may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from portico.errors import PorticoError
from portico.model.converters import CONVERTERS
from portico.model.network_validators import VALIDATORS
from portico.model.place import Place
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
OWN_KEYWORDS = frozenset({"extension", "column", "references", "on_delete", "as_text", "secret", "doc"})
# Validators whose argument says of each key of an object which values it may have.
_OF_KEYS = ("type:dict", "type:dict_or_none", "type:dict_or_nodata", "type:list_of_dict_or_nodata")
_COLUMN = re.compile(r"string\([1-9]\d{0,4}\)|text|integer|bigint|boolean|json|datetime")


def attribute(name: str, spec: Mapping[str, Any], place: Place) -> Attribute:
    """Return the attribute that `spec`, whose keywords are checked, describes.

    Raises:
        SettingsError: the default cannot be converted.
    """
    default = spec.get("default", UNSET)
    convert = CONVERTERS[spec["convert_to"]] if "convert_to" in spec else None
    has_default = not isinstance(default, Unset)
    if has_default and convert:
        try:
            default = convert(default)
        except PorticoError as error:
            raise place.at("keyword default", "default").fault(error.message) from error
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
        goes_along=spec.get("on_delete") == "delete",
        as_text=spec.get("as_text", False),
        secret=spec.get("secret", False),
        doc=spec.get("doc", ""),
    )


def check(spec: Mapping[str, Any], place: Place) -> None:
    """Check the keywords of an attribute's description.

    Raises:
        SettingsError: a keyword is unknown or holds what it may not.
    """
    for keyword, value in spec.items():
        _check_keyword(keyword, value, place.at(f"keyword {keyword}", keyword))


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
    if keyword == "on_delete" and value not in ("refuse", "delete"):
        raise place.fault("must be refuse or delete")
    if keyword == "validate":
        _check_rules(place.mapping(value), place)


def _check_rules(rules: Mapping[str, Any], place: Place) -> None:
    """Check names of validators and their arguments, and those inside the argument of one that looks into objects."""
    for rule, argument in rules.items():
        here = place.at(rule, rule)
        if rule not in VALIDATORS:
            raise here.fault("there is no such validator")
        if rule in _OF_KEYS:
            _check_keys([argument or {}], here, ())
        elif rule == "type:list_of_any_key_specs_or_none":
            if not isinstance(argument, list):
                raise here.fault("must be a list of mappings")
            _check_keys(argument, here, range(len(argument)))
        elif complaint := _argument_fault(rule, argument):
            raise here.fault(complaint)


def _argument_fault(rule: str, argument: Any) -> str:
    """Return what is wrong with the argument of a validator; empty if nothing is."""
    name = rule.removeprefix("type:").removesuffix("_or_none")
    if name == "values":
        return "" if isinstance(argument, list | tuple) and argument else "must be a list of values"
    if name in ("range", "range_or_empty"):
        is_pair = isinstance(argument, list | tuple) and len(argument) == 2
        return "" if is_pair and all(isinstance(one, int) for one in argument) else "must be two integers"
    if name == "regex":
        try:
            re.compile(argument)
        except (TypeError, re.error) as error:
            return f"must be a regular expression: {error}"
        return ""
    if name in ("string", "not_empty_string", "name_string") and argument is not None:
        is_length = isinstance(argument, int) and not isinstance(argument, bool) and argument > 0
        return "" if is_length else "must be the greatest length, or null"
    return ""


def _check_keys(specs: Sequence[Any], place: Place, positions: Sequence[int]) -> None:
    for number, keys in enumerate(specs):
        at = place.at(f"number {number}", number) if positions else place
        for key, item in at.mapping(keys).items():
            inside = at.at(f"key {key}", key)
            inner = dict(inside.mapping(item))
            inner.pop("required", None)
            convert = inner.pop("convert_to", None)
            if convert is not None and convert not in CONVERTERS:
                raise inside.at("keyword convert_to", "convert_to").fault(f"there is no converter {convert!r}")
            _check_rules(inner, inside)
