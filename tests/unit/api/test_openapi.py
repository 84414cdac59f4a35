# SPDX-License-Identifier: Apache-2.0
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from portico.api.openapi import document
from portico.api.schema import create_schema, rule_schema
from portico.errors import BadRequest
from portico.model import check
from portico.model.network_validators import VALIDATORS
from portico.model.resource import Registry

UUID = "0d6d6f6e-97f4-4c1e-a6f4-0a4d8b0d3c11"
ARGUMENTS: dict[str, Any] = {
    "type:values": [1, 2],
    "type:port_range": [1, 5],
    "type:range": [0, 5],
    "type:range_or_none": [0, 5],
    "type:regex": "a",
    "type:regex_or_none": "a",
    "type:list_of_any_key_specs_or_none": [{"a": {"type:string": 5, "required": True}}],
}


@pytest.fixture(scope="module")
def described(registry: Registry) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(document(registry)))
    return plain


def test_the_document_is_valid_openapi(described: dict[str, Any]) -> None:
    validate(described)


def test_every_verb_of_every_resource_is_described(registry: Registry, described: dict[str, Any]) -> None:
    methods = {"list": "get", "create": "post", "show": "get", "update": "put", "delete": "delete"}
    for resource in registry.resources.values():
        if resource.name == "quota":
            continue
        for verb, method in methods.items():
            key = "project_id" if resource.name == "auto_allocated_topology" else "id"
            suffix = "" if verb in ("list", "create") else f"/{{{key}}}"
            present = method in described["paths"].get(resource.path + suffix, {})
            assert present == (verb in resource.verbs), (resource.name, verb)


def test_every_validator_has_a_schema() -> None:
    for rule in VALIDATORS:
        Draft202012Validator.check_schema(rule_schema(rule, ARGUMENTS.get(rule)))


def test_a_list_offers_every_filter_and_sort_key(registry: Registry, described: dict[str, Any]) -> None:
    parameters = {one["name"]: one for one in described["paths"]["/v2.0/ports"]["get"]["parameters"]}
    for attribute in registry.resources["port"].attributes.values():
        assert (attribute.name in parameters) == attribute.is_filter
    assert {"tenant_id", "fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"} <= parameters.keys()
    assert "mac_address" in parameters["sort_key"]["schema"]["items"]["enum"]


@pytest.mark.parametrize("resource", ["network", "subnet", "subnetpool", "port", "security_group"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_the_schema_of_a_create_refuses_by_type_the_server_refuses_too(
    registry: Registry, resource: str, data: st.DataObject
) -> None:
    """A value of a shape that no attribute has is taken by the server only where the schema says so."""
    found = registry.resources[resource]
    schema = create_schema(found)
    name = data.draw(st.sampled_from(sorted(schema["properties"])))
    value = data.draw(st.lists(st.lists(st.none(), max_size=1), min_size=1, max_size=2))
    required = dict.fromkeys(schema.get("required", []), UUID)
    fits = Draft202012Validator(schema["properties"][name]).is_valid(value)
    try:
        check.prepare_post(found, {**required, name: value})
    except BadRequest:
        taken = False
    else:
        taken = True
    assert taken <= fits
