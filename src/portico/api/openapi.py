# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI 3.1 document: every collection from the registry, and the paths that are no collections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from portico import __version__
from portico.api import schema
from portico.api.fixed_paths import fixed_paths
from portico.model.resource import OWNER, OWNER_ALIAS, VERBS, Action, Registry, Resource

MAX_BULK = 1000

_REASONS = {
    400: "A value breaks a rule.",
    403: "Not for this caller.",
    404: "There is no such object.",
    409: "What exists is in the way.",
    410: "The journal does not reach back so far.",
    412: "The object has another revision than If-Match demands.",
    413: "The body is too large.",
    503: "Something that the request needs does not answer now.",
}
_FAULTS = {
    "list": (400, 403, 404),
    "show": (400, 403, 404),
    "create": (400, 403, 404, 409, 413, 503),
    "update": (400, 403, 404, 409, 412, 413, 503),
    "delete": (400, 403, 404, 409, 412, 503),
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The revision that the object must have.",
    "schema": {"type": "string", "pattern": "^revision_number=[0-9]{1,18}$"},
}
# Verbs of resources whose paths differ from those of a collection; `fixed_paths` has theirs.
_APART = {"auto_allocated_topology": ("show", "delete"), "quota": VERBS}


def document(registry: Registry) -> dict[str, Any]:
    """Return the OpenAPI document of a registry, as plain data for a JSON encoder."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {"NeutronError": _error_schema()}
    for resource in registry.resources.values():
        schemas |= _schemas(resource)
        usual = [verb for verb in resource.verbs if verb not in _APART.get(resource.name, ())]
        if usual:
            paths |= _collection(replace(resource, verbs=tuple(usual)))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portico",
            "version": __version__,
            "description": "OpenStack's Networking API v2.0, and Portico's own paths under /portico/v1.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths | fixed_paths(_answers),
        "components": {"schemas": schemas},
    }


def _name(resource: Resource, suffix: str = "") -> str:
    return "".join(word.capitalize() for word in resource.name.split("_")) + suffix


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(content: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": content}}


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    inside = schema.record({"type": text, "message": text, "detail": text}, ["type", "message", "detail"])
    return schema.record({"NeutronError": inside}, ["NeutronError"])


def _schemas(resource: Resource) -> dict[str, Any]:
    found = {_name(resource): schema.object_schema(resource)}
    if "create" in resource.verbs:
        found[_name(resource, "Create")] = schema.create_schema(resource)
    if "update" in resource.verbs:
        found[_name(resource, "Update")] = schema.update_schema(resource)
    return found


def _answers(status: int, body: dict[str, Any] | None, faults: Iterable[int]) -> dict[str, Any]:
    """Return the answers of an operation: what it gives when all is well, and its errors."""
    good: dict[str, Any] = {"description": "Done."}
    if body is not None:
        good["content"] = _json(body)
    errors = {
        str(fault): {"description": _REASONS[fault], "content": _json(_reference("NeutronError"))} for fault in faults
    }
    return {str(status): good, **errors}


def _collection(resource: Resource) -> dict[str, Any]:
    """Return the paths of one collection."""
    many: dict[str, Any] = {}
    one: dict[str, Any] = {}
    if "list" in resource.verbs:
        many["get"] = _list(resource)
    if "create" in resource.verbs:
        many["post"] = _create(resource)
    if "show" in resource.verbs:
        one["get"] = _operation(resource, "show", 200, parameters=[_fields(resource)])
    if "update" in resource.verbs:
        body = schema.record({resource.name: _reference(_name(resource, "Update"))}, [resource.name])
        one["put"] = _operation(resource, "update", 200, parameters=[_IF_MATCH], body=body)
    if "delete" in resource.verbs:
        one["delete"] = _operation(resource, "delete", 204, parameters=[_IF_MATCH])
    inside = [_parent(resource)] if resource.parent is not None else []
    paths = {resource.path: {"parameters": inside, **many} if inside else many}
    if one:
        paths[f"{resource.path}/{{id}}"] = {"parameters": [*inside, _id(resource)], **one}
    for path in resource.tag_paths:
        paths |= _tags(resource, path)
    return paths | {f"{resource.path}/{{id}}/{action.name}": _action(resource, action) for action in resource.actions}


def _action(resource: Resource, action: Action) -> dict[str, Any]:
    """Return the path of an action."""
    name = action.gives or resource.name
    if action.gives == "list":
        answer: dict[str, Any] = schema.array({"type": "object"})
    elif action.gives == "body":
        answer = schema.action_schema(action)
    elif action.answer:
        answer = schema.answer_schema(action)
    elif action.gives:
        answer = schema.record({name: schema.response_schema(resource.attributes[name])}, [name])
    else:
        answer = schema.record({name: _reference(_name(resource))}, [name])
    operation: dict[str, Any] = {
        "operationId": f"{action.name}_of_{resource.name}",
        "summary": action.doc,
        "tags": [resource.plural],
    }
    if action.reads:
        return {
            "parameters": [_id(resource)],
            "get": {**operation, "responses": _answers(200, answer, _FAULTS["show"])},
        }
    given = schema.action_schema(action)
    if action.wrapped:
        given = schema.record({resource.name: given}, [resource.name])
    body = {"required": True, "content": _json(given)}
    operation |= {"requestBody": body, "responses": _answers(200, answer, _FAULTS["create"])}
    return {"parameters": [_id(resource)], "put": operation}


def _operation(
    resource: Resource, verb: str, status: int, *, parameters: list[Any], body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return an operation on one object; it answers with the object, unless it deletes it."""
    answer = None
    if status != 204:
        answer = schema.record({resource.name: _reference(_name(resource))}, [resource.name])
    operation: dict[str, Any] = {
        "operationId": f"{verb}_{resource.name}",
        "summary": f"{verb.capitalize()} a {resource.name.replace('_', ' ')}.",
        "tags": [resource.plural],
        "parameters": parameters,
        "responses": _answers(status, answer, _FAULTS[verb]),
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _json(body)}
    return operation


def _create(resource: Resource) -> dict[str, Any]:
    """Return the operation that makes one object or, with the plural in the body, several or none at all."""
    given, shown = _reference(_name(resource, "Create")), _reference(_name(resource))
    several = schema.array(given, minItems=1, maxItems=MAX_BULK)
    body = {
        "oneOf": [
            schema.record({resource.name: given}, [resource.name]),
            schema.record({resource.plural: several}, [resource.plural]),
        ]
    }
    operation = _operation(resource, "create", 201, parameters=[], body=body)
    answer = {
        "oneOf": [
            schema.record({resource.name: shown}, [resource.name]),
            schema.record({resource.plural: schema.array(shown)}, [resource.plural]),
        ]
    }
    operation["responses"]["201"]["content"] = _json(answer)
    return operation


def _list(resource: Resource) -> dict[str, Any]:
    link = schema.record({"rel": {"enum": ["next", "previous"]}, "href": {"type": "string"}}, ["rel", "href"])
    answer = schema.record(
        {resource.plural: schema.array(_reference(_name(resource))), f"{resource.plural}_links": schema.array(link)},
        [resource.plural],
    )
    return {
        "operationId": f"list_{resource.plural}",
        "summary": f"List {resource.plural.replace('_', ' ')}.",
        "tags": [resource.plural],
        "parameters": [*_filters(resource), _fields(resource), *_order(resource), *_page()],
        "responses": _answers(200, answer, _FAULTS["list"]),
    }


def _id(resource: Resource) -> dict[str, Any]:
    doc = resource.attributes[resource.key].doc
    return {"name": "id", "in": "path", "required": True, "description": doc, "schema": schema.UUID}


def _parent(resource: Resource) -> dict[str, Any]:
    """Return the parameter that says whose part the objects are."""
    name = resource.parent_key
    doc = resource.attributes[name].doc
    return {"name": name, "in": "path", "required": True, "description": doc, "schema": schema.UUID}


def _query(name: str, doc: str, items: dict[str, Any], *, repeated: bool = False) -> dict[str, Any]:
    content = schema.array(items) if repeated else items
    return {"name": name, "in": "query", "description": doc, "schema": content}


def _filters(resource: Resource) -> list[dict[str, Any]]:
    found = []
    for attribute in (one for one in resource.attributes.values() if one.is_filter):
        kind = {"boolean": {"type": "boolean"}, "integer": {"type": "integer"}, "bigint": {"type": "integer"}}.get(
            attribute.column, {"type": "string"}
        )
        found.append(_query(attribute.name, f"Only objects with this value. {attribute.doc}", kind, repeated=True))
        if attribute.name == OWNER:
            found.append(_query(OWNER_ALIAS, f"The same as {OWNER}.", kind, repeated=True))
    return found


def _fields(resource: Resource) -> dict[str, Any]:
    names = [one.name for one in resource.attributes.values() if one.is_visible]
    return _query("fields", "Attributes that the answer is to have; all without it.", {"enum": names}, repeated=True)


def _order(resource: Resource) -> list[dict[str, Any]]:
    names = [one.name for one in resource.attributes.values() if one.is_sort_key and one.column not in ("", "json")]
    if not names:
        return []
    return [
        _query("sort_key", "Attributes to sort by, the most important first.", {"enum": names}, repeated=True),
        _query("sort_dir", "A direction for each sort_key.", {"enum": ["asc", "desc"]}, repeated=True),
    ]


def _page() -> list[dict[str, Any]]:
    return [
        _query("limit", "How many objects at most.", {"type": "integer", "minimum": 0}),
        _query("marker", "The id after which the page starts.", schema.UUID),
        _query("page_reverse", "Whether the page ends before the marker.", {"type": "boolean"}),
    ]


def _tags(resource: Resource, path: str) -> dict[str, Any]:
    """Return the paths of an object's labels, below a path of the collection."""
    where = "" if path == resource.path else "_by_plural"
    label = {"type": "string", "maxLength": 255}
    body = schema.record({"tags": schema.array(label, uniqueItems=True)}, ["tags"])
    faults = (400, 403, 404, 413, 503)

    def operation(verb: str, name: str, status: int, answer: dict[str, Any] | None = None) -> dict[str, Any]:
        return {
            "operationId": f"{name}_{resource.name}{where}",
            "summary": verb,
            "tags": [resource.plural],
            "responses": _answers(status, answer, faults),
        }

    with_body = {"requestBody": {"required": True, "content": _json(body)}}
    tag = {"name": "tag", "in": "path", "required": True, "schema": {**label, "pattern": "^[A-Za-z0-9_.-]+$"}}
    return {
        f"{path}/{{id}}/tags": {
            "parameters": [_id(resource)],
            "get": operation("Show the labels of an object.", "tags_of", 200, body),
            "put": operation("Replace the labels of an object.", "replace_tags_of", 200, body) | with_body,
            "post": operation("Add labels to an object.", "add_tags_to", 200, body) | with_body,
            "delete": operation("Remove all labels of an object.", "remove_tags_of", 204),
        },
        f"{path}/{{id}}/tags/{{tag}}": {
            "parameters": [_id(resource), tag],
            "get": operation("Tell whether an object has a label.", "has_tag", 204),
            "put": operation("Add a label to an object.", "add_tag_to", 201),
            "delete": operation("Remove a label of an object.", "remove_tag_of", 204),
        },
    }
