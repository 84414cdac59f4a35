# SPDX-License-Identifier: Apache-2.0
"""JSON schemas (2020-12, as OpenAPI 3.1 uses them) of attributes and resources, from their validators and columns.

They describe what a client should send. The server also takes what Neutron's converters take: "true" for true, "80" for
80, a MAC address in other spellings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from portico.model.check import MAX_INTEGER
from portico.model.network_validators import MAX_ADDRESS_PAIRS
from portico.model.resource import OWNER, OWNER_ALIAS, Action, Attribute, Resource

Schema = dict[str, Any]

UUID: Schema = {"type": "string", "format": "uuid"}
MAC: Schema = {"type": "string", "pattern": "^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$"}
ADDRESS: Schema = {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}]}
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
RANGE: Schema = {
    "anyOf": [
        {"type": "string", "pattern": rf"^{_OCTET}(\.{_OCTET}){{3}}/(3[0-2]|[12]?[0-9])$"},
        {"type": "string", "pattern": "^[0-9a-fA-F]*:[0-9a-fA-F:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9])$"},
    ]
}

_SIZED = re.compile(r"string\((\d+)\)")
_ANY: Schema = {}


def nullable(schema: Schema) -> Schema:
    """Return a schema that also takes null."""
    if not schema:
        return schema
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def array(items: Schema, **more: Any) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **more}


def record(properties: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    """Return the schema of an object that has no other keys than `properties`."""
    schema: Schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def _text(max_len: int | None) -> Schema:
    return {"type": "string"} if max_len is None else {"type": "string", "maxLength": max_len}


def _within(bounds: list[int | None]) -> Schema:
    low, high = bounds
    limits = {"minimum": low, "maximum": high}
    return {"type": "integer", **{name: limit for name, limit in limits.items() if limit is not None}}


def _dictionary(specs: Mapping[str, Mapping[str, Any]] | None) -> Schema:
    if not specs:
        return {"type": "object"}
    properties = {
        key: next((rule_schema(rule, argument) for rule, argument in spec.items() if rule.startswith("type:")), _ANY)
        for key, spec in specs.items()
    }
    return record(properties, [key for key, spec in specs.items() if spec.get("required")])


# Validator -> the schema of what it lets pass, from its argument.
_RULES: Mapping[str, Callable[[Any], Schema]] = {
    "allowed_address_pairs": lambda _: array(
        record({"ip_address": {"anyOf": [*ADDRESS["anyOf"], *RANGE["anyOf"]]}, "mac_address": MAC}, ["ip_address"]),
        maxItems=MAX_ADDRESS_PAIRS,
        uniqueItems=True,
    ),
    "availability_zone_hint_list": lambda _: array({"type": "string"}, uniqueItems=True),
    "boolean": lambda _: {"type": "boolean"},
    "dict": _dictionary,
    "dict_or_nodata": lambda specs: nullable(_dictionary(specs)),
    "dns_domain_name": _text,
    "dns_host_name": _text,
    "fip_dns_host_name": _text,
    "fixed_ips": lambda _: array(
        {"type": "object", "properties": {"subnet_id": UUID, "ip_address": ADDRESS}, "minProperties": 1}
    ),
    "hostroutes": lambda _: array(
        record({"destination": RANGE, "nexthop": ADDRESS}, ["destination", "nexthop"]), uniqueItems=True
    ),
    "integer": lambda _: {"type": "integer"},
    "subports": lambda _: array(
        {
            "type": "object",
            "properties": {
                "port_id": UUID,
                "segmentation_type": {"enum": ["vlan", "inherit"]},
                "segmentation_id": {"type": "integer", "minimum": 1, "maximum": 4094},
            },
            "required": ["port_id"],
        }
    ),
    "ip_address": lambda _: ADDRESS,
    "ip_or_subnet": lambda _: {"anyOf": [*ADDRESS["anyOf"], *RANGE["anyOf"]]},
    "ip_pools": lambda _: array(record({"start": ADDRESS, "end": ADDRESS}, ["start", "end"])),
    "list_of_any_key_specs": lambda specs: array({"anyOf": [_dictionary(spec) for spec in specs]}),
    "list_of_dict_or_nodata": lambda specs: nullable(array(_dictionary(specs))),
    "list_of_subnet_service_types": lambda _: array({"type": "string"}),
    "list_of_subnets": lambda _: array(RANGE, uniqueItems=True),
    "list_of_unique_strings": lambda max_len: array(_text(max_len), uniqueItems=True),
    "mac_address": lambda _: MAC,
    "name_string": _text,
    "name_string_not_default": _text,
    "nameservers": lambda _: array(ADDRESS, uniqueItems=True),
    "non_negative": lambda _: {"type": "integer", "minimum": 0},
    "not_empty_name_string": lambda max_len: {**_text(max_len), "minLength": 1},
    "not_empty_string": lambda max_len: {**_text(max_len), "minLength": 1},
    "oneline_not_empty_string": lambda max_len: {**_text(max_len), "minLength": 1},
    "port_range": lambda _: {"type": ["string", "integer", "null"], "pattern": "^[0-9]{1,5}(:[0-9]{1,5})?$"},
    "range": _within,
    "regex": lambda pattern: {"type": "string", "pattern": f"^(?:{pattern})"},
    "string": _text,
    "subnet": lambda _: RANGE,
    "subnet_list": lambda _: array(RANGE, uniqueItems=True),
    "subnetpool_id": lambda _: {"anyOf": [UUID, {"const": "prefix_delegation"}, {"type": "null"}]},
    "uuid": lambda _: UUID,
    "uuid_list": lambda _: array(UUID, uniqueItems=True),
    "values": lambda allowed: {"enum": list(allowed)},
}


def rule_schema(rule: str, argument: Any) -> Schema:
    """Return the schema of what a validator lets pass; `rule` as a model names it, `type:NAME`."""
    name = rule.removeprefix("type:")
    if name.endswith("_or_none"):
        return nullable(_RULES[name.removesuffix("_or_none")](argument))
    return _RULES[name](argument)


# Converter -> the schema of what it makes, for attributes without a validator.
_CONVERTED: Mapping[str, Schema] = {
    "convert_to_boolean": {"type": "boolean"},
    "convert_to_boolean_if_not_none": {"type": ["boolean", "null"]},
    "convert_to_int": {"type": "integer"},
    "convert_to_int_if_not_none": {"type": ["integer", "null"]},
    "convert_protocol": {"type": ["string", "integer", "null"], "minimum": 0, "maximum": 255},
    "convert_to_protocol": {"type": ["string", "null"]},
    "convert_validate_port_value": {"type": ["integer", "null"], "minimum": 0, "maximum": 65535},
    "convert_to_ranges": array({"anyOf": [*ADDRESS["anyOf"], *RANGE["anyOf"]]}),
    "convert_ip_prefix_to_cidr": {"anyOf": [*ADDRESS["anyOf"], *RANGE["anyOf"], {"type": "null"}]},
}  # fmt: skip


def _column_schema(column: str) -> Schema:
    if sized := _SIZED.fullmatch(column):
        return _text(int(sized[1]))
    return {
        "boolean": {"type": "boolean"},
        "integer": {"type": "integer"},
        "bigint": {"type": "integer"},
        "datetime": {"type": "string", "format": "date-time"},
        "text": {"type": "string"},
    }.get(column, _ANY)


def request_schema(attribute: Attribute) -> Schema:
    """Return what a request may give for an attribute."""
    schema: Schema = {}
    if attribute.validate:
        rule, argument = attribute.validate[0]
        schema = rule_schema(rule, argument)
    elif attribute.convert_to is not None:
        schema = _CONVERTED.get(attribute.convert_to.__name__, _ANY)
    schema = schema or _column_schema(attribute.column)
    if schema.get("type") == "integer":
        schema = {"maximum": MAX_INTEGER, **schema}
    if attribute.has_default:
        schema = {**schema, "default": attribute.default}
    return {**schema, "description": attribute.doc}


def response_schema(attribute: Attribute) -> Schema:
    """Return what an answer holds for an attribute: its column's type, or what a validator of a compound value says."""
    schema = {"type": "string"} if attribute.as_text else _column_schema(attribute.column)
    if not schema and attribute.validate:
        schema = _without_limits(rule_schema(*attribute.validate[0]))
    return {**nullable(schema), "description": attribute.doc}


def _without_limits(schema: Schema) -> Schema:
    """Return only the outermost type: what is stored obeys the server's rules, not a reader's schema."""
    return {"type": schema["type"]} if isinstance(schema.get("type"), str) else _ANY


def object_schema(resource: Resource) -> Schema:
    """Return one object as an answer shows it; `fields` in the query may leave any attribute out."""
    shown = {one.name: response_schema(one) for one in resource.attributes.values() if one.is_visible}
    if OWNER in shown:
        shown[OWNER_ALIAS] = {**shown[OWNER], "description": f"The same as {OWNER}."}
    return {"type": "object", "description": resource.doc, "properties": shown}


def create_schema(resource: Resource) -> Schema:
    """Return one object as a create may give it."""
    given = [one for one in resource.attributes.values() if one.allow_post]
    return record({one.name: request_schema(one) for one in given}, [one.name for one in given if one.required])


def action_schema(action: Action) -> Schema:
    """Return what the body of an action holds."""
    required = [name for name, one in action.takes.items() if one.required]
    return record({name: request_schema(one) for name, one in action.takes.items()}, required)


def answer_schema(action: Action) -> Schema:
    """Return the object that an action answers with where it has one of its own."""
    return record({name: response_schema(one) for name, one in action.answer.items()}, list(action.answer))


def update_schema(resource: Resource) -> Schema:
    """Return the changes that an update may make."""
    given = [one for one in resource.attributes.values() if one.allow_put]
    schemas = {one.name: request_schema(one) for one in given}
    return record({name: {k: v for k, v in schema.items() if k != "default"} for name, schema in schemas.items()})
