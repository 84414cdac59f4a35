# SPDX-License-Identifier: Apache-2.0
"""Options of a command from the attributes of a resource, and their text as values for the API."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Container, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from portico.client import singular
from portico.errors import BadRequest
from portico.model.resource import OWNER, Attribute, Resource

Kind = Literal["text", "number", "boolean", "reference", "references", "list", "dict"]
# Turns a name or an id of an object of the resource into its id.
FindId = Callable[[Resource, str], str]
Resources = Mapping[str, Resource]

# A comma separates pairs only where another NAME= follows, so that values may hold commas.
BETWEEN_PAIRS = re.compile(r",(?=[A-Za-z_][\w:-]*=)")
PAIR = re.compile(r"([A-Za-z_][\w:-]*)=(.*)", re.DOTALL)
NUMBER_COLUMNS = ("integer", "bigint")
NUMBER_VALIDATORS = {"type:integer", "type:non_negative", "type:range"}


class Option(NamedTuple):
    """One attribute as an option. `target` names the resource of a reference; `flag` has its two dashes."""

    attribute: Attribute
    kind: Kind
    flag: str
    target: str

    @property
    def dest(self) -> str:
        """Name in the parsed arguments, one that no other argument of ours can have."""
        return f"attribute {self.attribute.name}"


def option_of(resources: Resources, attribute: Attribute, others: Container[str] = ()) -> Option:
    """Return how an attribute is given on the command line, where `others` are given, too."""
    target = attribute.references if attribute.references in resources else ""
    validators = {name for name, _ in attribute.validate}
    kind: Kind = "text"
    name = attribute.name
    if target:
        kind, short = "reference", name.removesuffix("_id")
        name = name if short in others else short
    elif "type:uuid_list" in validators and singular(name) in resources:
        kind, name = "references", singular(name)
        target = name
    elif attribute.column == "boolean" or _converter(attribute).startswith("convert_to_boolean"):
        kind = "boolean"
    elif (
        attribute.column in NUMBER_COLUMNS
        or _converter(attribute) == "convert_to_int"
        or validators & NUMBER_VALIDATORS
    ):
        kind = "number"
    elif any(v.startswith("type:dict") for v in validators):
        kind = "dict"
    elif attribute.column == "json":
        kind, name = "list", singular(name)
    elif name == OWNER:
        name = "project"
    return Option(attribute, kind, "--" + re.sub(r"[_:]", "-", name), target)


def _converter(attribute: Attribute) -> str:
    return getattr(attribute.convert_to, "__name__", "")


def add_option(parser: argparse._ActionsContainer, option: Option, *, required: bool = False) -> None:
    """Add an option, and the hidden `--no-...` that empties it."""
    text = option.attribute.doc.replace("%", "%%")
    negative = "--no-" + option.flag.removeprefix("--")
    match option.kind:
        case "boolean":
            parser.add_argument(option.flag, dest=option.dest, action=argparse.BooleanOptionalAction, help=text)
            return
        case "references" | "list":
            metavar = _metavar(option)
            parser.add_argument(option.flag, dest=option.dest, action="append", metavar=metavar, help=text)
            parser.add_argument(negative, dest=option.dest, action="store_const", const=[], help=argparse.SUPPRESS)
        case _:
            parser.add_argument(option.flag, dest=option.dest, metavar=_metavar(option), required=required, help=text)
            if not required:
                parser.add_argument(
                    negative, dest=option.dest, action="store_const", const=NULL, help=argparse.SUPPRESS
                )


def add_filter(parser: argparse._ActionsContainer, option: Option) -> None:
    """Add an option of a list; one that is repeated asks for any of its values."""
    text = option.attribute.doc.replace("%", "%%")
    if option.kind == "boolean":
        parser.add_argument(option.flag, dest=option.dest, action=argparse.BooleanOptionalAction, help=text)
    else:
        parser.add_argument(option.flag, dest=option.dest, action="append", metavar=_metavar(option), help=text)


class Null:
    """Stands for JSON's null; None among the arguments means that an option was not given."""


NULL = Null()


def _metavar(option: Option) -> str:
    if option.target:
        return option.target.upper().replace("_", "-")
    return {"number": "N", "dict": "KEY=VALUE,...", "list": "VALUE"}.get(option.kind, "TEXT")


def value_of(resources: Resources, option: Option, given: Any, find_id: FindId) -> Any:
    """Return what the API expects for what was given on the command line.

    Raises:
        BadRequest: the text cannot be read as this kind of value.
    """
    if isinstance(given, Null):
        return None
    match option.kind:
        case "reference":
            return find_id(resources[option.target], given)
        case "references":
            return [find_id(resources[option.target], word) for word in given]
        case "number":
            # What is no number goes out as it is; the API's answer names the rule.
            return int(given) if re.fullmatch(r"-?[0-9]+", given) else given
        case "list":
            return [_element(resources, option, text, find_id) for text in given]
        case "dict":
            value = _element(resources, option, given, find_id)
            if not isinstance(value, dict):
                raise BadRequest(f"{option.flag} {given!r}: must be KEY=VALUE,... or a JSON object")
            return value
    return given


def _element(resources: Resources, option: Option, text: str, find_id: FindId) -> Any:
    """Return one element: JSON, KEY=VALUE pairs, or the text itself."""
    if text.startswith(("{", "[")):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise BadRequest(f"{option.flag} {text!r}: is not JSON: {error}") from error
    pairs = [PAIR.fullmatch(part) for part in BETWEEN_PAIRS.split(text)]
    if not all(pairs):
        return text
    return dict(_member(resources, pair[1].replace("-", "_"), pair[2], find_id) for pair in pairs if pair)


def _member(resources: Resources, name: str, text: str, find_id: FindId) -> tuple[str, Any]:
    """Return a pair with names of objects turned into ids: `subnet=blue` is `subnet_id` of the subnet blue."""
    target = name.removesuffix("_id")
    if target in resources:
        return f"{target}_id", find_id(resources[target], text)
    words: Mapping[str, bool] = {"true": True, "false": False}
    return name, words.get(text, text)


def filter_text(resources: Resources, option: Option, given: Any, find_id: FindId) -> Any:
    """Return a filter's values in a query; pairs become Neutron's `fixed_ips=ip_address=192.0.2.1`."""
    if option.kind == "boolean":
        return given
    if option.kind not in ("list", "references"):
        return [value_of(resources, option, text, find_id) for text in given]
    value = value_of(resources, option, given, find_id)
    pairs = [f"{name}={inner}" for element in value if isinstance(element, dict) for name, inner in element.items()]
    return pairs + [element for element in value if not isinstance(element, dict)]
