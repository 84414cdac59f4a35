# SPDX-License-Identifier: Apache-2.0
"""The part of the OpenAPI document that no resource gives: versions, extensions, bindings, quotas, our own paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from portico.api import schema
from portico.model.qos import RULE_TYPES

Answers = Callable[[int, dict[str, Any] | None, Iterable[int]], dict[str, Any]]

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}


def _parameter(name: str, doc: str, where: str = "path", content: dict[str, Any] | None = None) -> dict[str, Any]:
    found = {"name": name, "in": where, "description": doc, "schema": content or {"type": "string", "minLength": 1}}
    return {**found, "required": True} if where == "path" else found


def _operation(
    name: str, summary: str, group: str, responses: dict[str, Any], parameters: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    operation = {"operationId": name, "summary": summary, "tags": [group], "responses": responses}
    return {**operation, "parameters": list(parameters)} if parameters else operation


def fixed_paths(answers: Answers) -> dict[str, Any]:
    """Return the paths; `answers` makes the responses of an operation from status, body and error statuses."""
    parts: Sequence[Callable[[Answers], dict[str, Any]]] = (
        _discovery,
        _bindings,
        _speakers,
        _flavor_profiles,
        _rule_aliases,
        _automatic,
        _quotas,
        _own,
        _followed,
        _trace,
    )
    return {path: item for part in parts for path, item in part(answers).items()}


def _discovery(answers: Answers) -> dict[str, Any]:
    extension = schema.record(
        {
            "alias": _TEXT,
            "name": _TEXT,
            "description": _TEXT,
            "updated": _TEXT,
            "links": schema.array(_OBJECT),
        },
        [],
    )
    fields = _parameter("fields", "Attributes that the answer is to have; all without it.", "query",
                        schema.array({"enum": ["alias", "name", "description", "updated", "links"]}))  # fmt: skip
    several = schema.record({"extensions": schema.array(extension)}, ["extensions"])
    one = schema.record({"extension": extension}, ["extension"])
    group = "discovery"
    alias = _parameter("alias", "The extension's short name.", content={"type": "string", "pattern": "^[a-z][a-z_-]*$"})
    return {
        "/": {"get": _operation("versions", "List versions of the API.", group, answers(200, _OBJECT, ()))},
        "/v2.0/": {"get": _operation("collections", "List collections.", group, answers(200, _OBJECT, ()))},
        "/v2.0/extensions": {
            "get": _operation("list_extensions", "List extensions.", group, answers(200, several, ()), [fields]),
        },
        "/v2.0/extensions/{alias}": {
            "parameters": [alias],
            "get": _operation("show_extension", "Show an extension.", group, answers(200, one, (404,)), [fields]),
        },
    }


def _bindings(answers: Answers) -> dict[str, Any]:
    group = "ports"
    name = {"type": "string", "minLength": 1, "maxLength": 255}
    given: dict[str, dict[str, Any]] = {"host": name, "vnic_type": _TEXT, "profile": _OBJECT}
    told = {**given, "vif_type": _TEXT, "vif_details": _OBJECT, "status": {"enum": ["ACTIVE", "INACTIVE"]}}
    shown = schema.record({**told, "host": _TEXT})
    one = schema.record({"binding": shown}, ["binding"])
    several = {"bindings": schema.array(shown), "bindings_links": schema.array(_OBJECT)}

    def body(required: list[str] | None) -> dict[str, Any]:
        content = schema.record({"binding": schema.record(given, required)}, ["binding"])
        return {"required": True, "content": {"application/json": {"schema": content}}}

    port = _parameter("id", "The port.", content=schema.UUID)
    host = _parameter("host", "The host that it is a binding to.")
    fields = _parameter("fields", "Attributes that the answer is to have; all without it.", "query",
                        schema.array({"enum": list(told)}))  # fmt: skip
    path = "/v2.0/ports/{id}/bindings"
    faults = (400, 403, 404, 409, 413, 503)
    return {
        path: {
            "parameters": [port],
            "get": _operation(
                "list_bindings", "List a port's bindings.", group,
                answers(200, schema.record(several, ["bindings"]), (400, 403, 404)),
                [_parameter(name, f"Only bindings with this {name}.", "query", _TEXT) for name in ("host", "status")],
            ),
            "post": {
                **_operation("create_binding", "Make a host ready for a port.", group, answers(201, one, faults)),
                "requestBody": body(["host"]),
            },
        },
        f"{path}/{{host}}": {
            "parameters": [port, host],
            "get": _operation("show_binding", "Show a binding.", group, answers(200, one, (400, 403, 404)), [fields]),
            "put": {
                **_operation("update_binding", "Change a binding.", group, answers(200, one, faults)),
                "requestBody": body(None),
            },
            "delete": _operation("delete_binding", "Remove a binding.", group, answers(204, None, faults)),
        },
        f"{path}/{{host}}/activate": {
            "parameters": [port, host],
            "put": _operation(
                "activate_binding", "Make a binding the active one.", group,
                answers(200, shown, (400, 403, 404, 409, 503)),
            ),
        },
    }  # fmt: skip


def _speakers(answers: Answers) -> dict[str, Any]:
    """Return where BGP speakers are on agents, and agents have BGP speakers."""
    group = "bgp_speakers"
    speakers = schema.record(
        {"bgp_speakers": schema.array({"$ref": "#/components/schemas/BgpSpeaker"})}, ["bgp_speakers"]
    )
    agents = schema.record({"agents": schema.array({"$ref": "#/components/schemas/Agent"})}, ["agents"])
    body = {"application/json": {"schema": schema.record({"bgp_speaker_id": schema.UUID}, ["bgp_speaker_id"])}}
    agent, speaker = (_parameter(name, doc, content=schema.UUID) for name, doc in (
        ("id", "The agent."), ("speaker", "The speaker."),
    ))  # fmt: skip
    faults = (400, 403, 404, 409, 413, 503)
    path = "/v2.0/agents/{id}/bgp-drinstances"
    return {
        path: {
            "parameters": [agent],
            "get": _operation("speakers_on", "List an agent's speakers.", group, answers(200, speakers, (403, 404))),
            "post": {
                **_operation("add_speaker_to", "Let an agent speak.", group, answers(201, {"type": "null"}, faults)),
                "requestBody": {"required": True, "content": body},
            },
        },
        f"{path}/{{speaker}}": {
            "parameters": [agent, speaker],
            "delete": _operation("remove_speaker_from", "Keep an agent silent.", group, answers(204, None, faults)),
        },
        "/v2.0/bgp-speakers/{id}/bgp-dragents": {
            "parameters": [_parameter("id", "The speaker.", content=schema.UUID)],
            "get": _operation("agents_of", "List a speaker's agents.", group, answers(200, agents, (403, 404))),
        },
    }


def _flavor_profiles(answers: Answers) -> dict[str, Any]:
    """Return where flavors get service profiles one by one."""
    group, word = "flavors", "service_profile"
    one = schema.record({word: schema.record({"id": schema.UUID}, ["id"])}, [word])
    flavor, profile = (_parameter(name, doc, content=schema.UUID) for name, doc in (
        ("id", "The flavor."), ("profile", "The service profile."),
    ))  # fmt: skip
    faults = (400, 403, 404, 409, 413, 503)
    path = "/v2.0/flavors/{id}/service_profiles"
    return {
        path: {
            "parameters": [flavor],
            "post": {
                **_operation("add_profile_to", "Give a flavor a service profile.", group, answers(201, one, faults)),
                "requestBody": {"required": True, "content": {"application/json": {"schema": one}}},
            },
        },
        f"{path}/{{profile}}": {
            "parameters": [flavor, profile],
            "delete": _operation(
                "remove_profile_from", "Take a service profile from a flavor.", group, answers(204, None, faults)
            ),
        },
    }


def _rule_aliases(answers: Answers) -> dict[str, Any]:
    """Return where rules of QoS policies are told by their id alone."""
    faults = (400, 403, 404, 409, 413, 503)
    found: dict[str, Any] = {}
    for kind in RULE_TYPES:
        word, model = f"alias_{kind}_rule", f"#/components/schemas/{kind.title().replace('_', '')}Rule"
        shown = schema.record({word: {"$ref": model}}, [word])
        change = schema.record({word: {"$ref": f"{model}Update"}}, [word])
        found[f"/v2.0/qos/{word.replace('_', '-')}s/{{id}}"] = {
            "parameters": [_parameter("id", "The rule.", content=schema.UUID)],
            "get": _operation(f"show_{word}", "Show a rule.", "policies", answers(200, shown, (400, 403, 404))),
            "put": {
                **_operation(f"update_{word}", "Change a rule.", "policies", answers(200, shown, faults)),
                "requestBody": {"required": True, "content": {"application/json": {"schema": change}}},
            },
            "delete": _operation(f"delete_{word}", "Remove a rule.", "policies", answers(204, None, faults)),
        }
    return found


def _automatic(answers: Answers) -> dict[str, Any]:
    """Return where a project has the network that it gets when it asks for just any."""
    word = "auto_allocated_topology"
    shown = schema.record({word: {"$ref": "#/components/schemas/AutoAllocatedTopology"}}, [word])
    fields = _parameter("fields", "`dry-run`: tell only whether it could be made.", "query",
                        schema.array({"enum": ["dry-run", "id", "project_id"]}))  # fmt: skip
    project = _parameter("project_id", "The project; `None` is that of who asks.",
                         content={"type": "string", "pattern": "^([0-9a-f]{1,32}|None)$"})  # fmt: skip
    faults, group = (400, 403, 409, 503), "auto_allocated_topologies"
    return {
        "/v2.0/auto-allocated-topology/{project_id}": {
            "parameters": [project],
            "get": _operation(
                f"show_{word}", "Show, or make, a network.", group, answers(200, shown, faults), [fields]
            ),
            "delete": _operation(f"delete_{word}", "Remove the network.", group, answers(204, None, faults)),
        },
    }


def _quotas(answers: Answers) -> dict[str, Any]:
    group = "quotas"
    limits = schema.record({"quota": {"$ref": "#/components/schemas/Quota"}}, ["quota"])
    listed = {"quotas": schema.array({"$ref": "#/components/schemas/Quota"}), "quotas_links": schema.array(_OBJECT)}
    several = schema.record(listed, ["quotas"])
    page = [
        _parameter("project_id", "Only the limits of this project.", "query", _TEXT),
        _parameter("limit", "How many objects at most.", "query", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The project after which the page starts.", "query", _TEXT),
        _parameter("page_reverse", "Whether the page ends before the marker.", "query", {"type": "boolean"}),
    ]
    change = schema.record({"quota": {"$ref": "#/components/schemas/QuotaUpdate"}}, ["quota"])
    project = _parameter("project_id", "The project.", content={"type": "string", "pattern": "^[0-9a-f]{1,32}$"})
    body = {"required": True, "content": {"application/json": {"schema": change}}}
    details = schema.record({"quota": _OBJECT}, ["quota"])
    return {
        "/v2.0/quotas": {
            "get": _operation(
                "list_quotas", "List own limits of projects.", group, answers(200, several, (400, 403, 404)), page
            )
        },
        "/v2.0/quotas/{project_id}": {
            "parameters": [project],
            "get": _operation("show_quota", "Show a project's limits.", group, answers(200, limits, (400, 403))),
            "put": {
                **_operation("update_quota", "Set limits.", group, answers(200, limits, (400, 403, 409, 413, 503))),
                "requestBody": body,
            },
            "delete": _operation("delete_quota", "Reset limits.", group, answers(204, None, (400, 403, 404, 503))),
        },
        "/v2.0/quotas/{project_id}/default": {
            "parameters": [project],
            "get": _operation("default_quota", "Show the default limits.", group, answers(200, limits, (400, 403))),
        },
        "/v2.0/quotas/{project_id}/details.json": {
            "parameters": [project],
            "get": _operation("quota_details", "Show limits and usage.", group, answers(200, details, (400, 403))),
        },
    }  # fmt: skip


def _own(answers: Answers) -> dict[str, Any]:
    group = "portico"
    count = {"type": "integer", "minimum": 0}
    port = _parameter("id", "The port.", content=schema.UUID)
    status = schema.record({"status": _TEXT, "reason": _TEXT, "revision": count}, ["status", "reason", "revision"])
    health = schema.record({"status": _TEXT, "version": _TEXT}, ["status"])
    metrics = {**answers(200, None, (403,)), "200": {"description": "Metrics.", "content": {"text/plain": {}}}}
    one = schema.record(
        {
            **dict.fromkeys(("name", "status", "reason", "since"), _TEXT),
            **dict.fromkeys(("network_types", "features"), schema.array(_TEXT)),
            **dict.fromkeys(("overhead", "max_mtu", "networks", "ports"), count),
            "synced_at": {"type": ["string", "null"]},
            "hosts": schema.array(schema.record({"host": _TEXT, "able": {"type": "boolean"}, "reason": _TEXT})),
        }
    )
    name = {"type": "string", "pattern": "^[a-z][a-z-]*$"}
    aspect = schema.record({**dict.fromkeys(("aspect", "wanted", "actual"), _TEXT), "same": {"type": "boolean"}})
    seen = schema.record({"host": _TEXT, "aspects": schema.array(aspect)}, ["host", "aspects"])
    backends, backend = schema.record({"backends": schema.array(one)}), schema.record({"backend": one})
    return {
        "/healthz": {"get": _operation("health", "Tell whether the API serves.", group, answers(200, health, (503,)))},
        "/readyz": {"get": _operation("ready", "Tell whether it is ready.", group, answers(200, health, (503,)))},
        "/metrics": {"get": _operation("metrics", "Show metrics for Prometheus.", group, metrics)},
        "/openapi.json": {"get": _operation("openapi", "Show this document.", group, answers(200, _OBJECT, ()))},
        "/portico/v1/backends": {
            "get": _operation("backends", "List backends.", group, answers(200, backends, (403,))),
        },
        "/portico/v1/backends/{name}": {
            "parameters": [_parameter("name", "The backend's name.", content=name)],
            "get": _operation("backend", "Show a backend.", group, answers(200, backend, (403, 404))),
        },
        "/portico/v1/ports/{id}/status": {
            "parameters": [
                port,
                _parameter("wait", "The status to wait for.", "query", _TEXT),
                _parameter("timeout_s", "How many seconds to wait at most.", "query", {**count, "maximum": 60}),
            ],
            "get": _operation("port_status", "Show a port's status and why.", group, answers(200, status, (400, 404))),
        },
        "/portico/v1/ports/{id}/kernel": {
            "parameters": [port],
            "get": _operation(
                "port_kernel", "Ask its host what the kernel has of a port.", group, answers(200, seen, (403, 404, 503))
            ),
        },
    }  # fmt: skip


def _followed(answers: Answers) -> dict[str, Any]:
    """Return what clients and agents follow: the topology, the journal, a host's wanted state."""
    group = "portico"
    count = {"type": "integer", "minimum": 0}
    told = schema.record(
        {
            "revision": count,
            "complete": {"type": "boolean"},
            **dict.fromkeys(("networks", "subnets", "ports", "routers", "floatingips"), schema.array(_OBJECT)),
            "gone": schema.array(_TEXT),
            "topology_links": schema.array(_OBJECT),
            "reasons": {"type": "object", "additionalProperties": _TEXT},
        },
        ["revision", "complete", "networks", "subnets", "ports", "gone", "reasons"],
    )
    lines = {
        "200": {"description": "Lines of JSON, as long as the client reads.", "content": {"application/x-ndjson": {}}}
    }
    return {
        "/portico/v1/topology": {
            "parameters": [
                _parameter("since", "Only what has changed after this revision.", "query", count),
                _parameter("limit", "How many objects a page holds at most.", "query", count),
                _parameter("marker", "Where the page begins, as the link to it says.", "query", _TEXT),
                _parameter("revision", "What the first page told, as the link says.", "query", count),
            ],
            "get": _operation("topology", "Show all objects, in pages, or changes.", group, answers(200, told, (400,))),
        },
        "/portico/v1/watch": {
            "parameters": [_parameter("since", "The last revision already seen.", "query", count)],
            "get": _operation("watch", "Follow every change.", group, {**answers(200, None, (400, 410)), **lines}),
        },
        "/portico/v1/hosts/{host}/wanted": {
            "parameters": [_parameter("host", "The host's name.")],
            "get": _operation("wanted", "Follow what a host must have.", group, lines),
        },
        "/portico/v1/hosts/{host}/looks/{id}": {
            "parameters": [_parameter("host", "The host's name."), _parameter("id", "The question's id.")],
            "put": {
                **_operation("sight", "Tell what the kernel has.", group, answers(204, None, (400, 413))),
                "requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}},
            },
        },
        "/portico/v1/hosts/{host}/status": {
            "parameters": [_parameter("host", "The host's name.")],
            "put": {
                **_operation("report", "Report what a host has.", group, answers(204, None, (400, 413, 503))),
                "requestBody": {"required": True, "content": {"application/json": {"schema": _OBJECT}}},
            },
        },
    }  # fmt: skip


def _trace(answers: Answers) -> dict[str, Any]:
    """Return where it is asked whether a packet passes."""
    port = {"type": "integer", "minimum": 1, "maximum": 65535}
    word = {"type": "string", "minLength": 1, "maxLength": 255}
    asked = schema.record(
        {"source": word, "destination": word, "protocol": word, "port": port}, ["source", "destination"]
    )
    hop = schema.record(
        {"object": _TEXT, "what": _TEXT, "verdict": {"enum": ["pass", "drop", "missing"]}, "why": _TEXT},
        ["object", "what", "verdict", "why"],
    )
    told = schema.record(
        {"passes": {"type": "boolean"}, "reason": _TEXT, "hops": schema.array(hop)}, ["passes", "reason", "hops"]
    )
    operation = _operation("trace", "Tell whether a packet passes.", "portico", answers(200, told, (400, 404, 409)))
    body = {"required": True, "content": {"application/json": {"schema": asked}}}
    return {"/portico/v1/trace": {"post": {**operation, "requestBody": body}}}
