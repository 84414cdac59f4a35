# SPDX-License-Identifier: Apache-2.0
"""The application: every route and every middleware in one list each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from portico import __version__
from portico.api import (
    action,
    auto_allocated,
    backend,
    bgp_agents,
    collection,
    fault,
    flavor_profiles,
    identity,
    look,
    port_binding,
    qos,
    stream,
    trace,
    ui,
)
from portico.api.collection import Service
from portico.api.health import Health
from portico.api.message import as_json, as_lines, body_of, integer_of, origin_of
from portico.api.observe import Observe
from portico.api.rate_limit import RateLimit
from portico.api.route import Branches, Endpoint, route
from portico.api.work import Workers
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import PorticoError
from portico.identity.who import Authenticator
from portico.model.resource import Action, Registry, Resource
from portico.rules import of as rules_of
from portico.rules import served
from portico.rules.context import Context, Everything, Limits, Policy
from portico.settings_observe import RateLimitSettings
from portico.telemetry.metrics import CONTENT_TYPE, Metrics

# What a larger body brings about must not hold up the event loop.
SMALL_BODY = 4096
MAX_TIMEOUT_S = 60.0


class Api:
    """Endpoints: each takes a request apart, calls one synchronous function in a worker, and makes the answer."""

    def __init__(
        self, service: Service, broker: Broker, hosts: HostStates, limits: Limits, policy: Policy | None = None
    ) -> None:
        self.service = service
        self.registry: Registry = service.store.registry
        self.broker = broker
        self.hosts = hosts
        self.limits = limits
        self.policy = policy or Everything()
        self.workers = Workers(service.store)
        self.commits = stream.Commits(service.store)
        self.ending = stream.Ending()
        self.health = Health(service.store, broker, hosts, self.ending)
        self.metrics = Metrics()
        self.metrics.read_from(self.health.readings)
        self.metrics.read_from(partial(backend.readings, service, broker))
        service.store.on_transaction(self.metrics.transaction)
        broker.on_sync(self.metrics.synced)
        self._openapi: bytes = b""

    def context(self, request: Request) -> Context:
        """Return who asks."""
        context = identity.context_of(request, self.limits, self.broker)
        is_admin = context.is_admin or self.policy.allows(context, "context_is_admin")
        return msgspec.structs.replace(context, policy=self.policy, is_admin=is_admin)

    def require(self, request: Request, rule: str) -> None:
        """Refuse what the rule does not let who asks do."""
        action.require(self.context(request), rule)

    async def list_objects(self, resource: Resource, request: Request) -> Response:
        pairs = request.query_params.multi_items()
        url = f"{origin_of(request)}{request.url.path}"
        about = self.service, resource, self.context(request), pairs, url, _parent_id(resource, request)
        call = partial(collection.list_objects, *about)
        read = self.workers.read_one if collection.is_short(resource, pairs) else self.workers.read
        return as_json(await read(call))

    async def show(self, resource: Resource, request: Request) -> Response:
        pairs = request.query_params.multi_items()
        about = self.service, resource, self.context(request), request.path_params["id"]
        parent_id = _parent_id(resource, request)
        return as_json(await self.workers.read_one(collection.show, *about, pairs, parent_id))

    async def create(self, resource: Resource, request: Request) -> Response:
        raw = await body_of(request)
        body = collection.decode(raw)
        is_small = len(raw) <= SMALL_BODY and not collection.is_bulk(body, resource)
        run = self.workers.write_one if is_small else self.workers.write
        about = self.service, resource, self.context(request), body, _parent_id(resource, request)
        found = await run(collection.create, *about)
        return as_json(found, 201)

    async def update(self, resource: Resource, request: Request) -> Response:
        expected = collection.expected_revision(request.headers.get("if-match"))
        raw = await body_of(request)
        about = self.service, resource, self.context(request), request.path_params["id"]
        run = self.workers.write_one if len(raw) <= SMALL_BODY else self.workers.write
        parent_id = _parent_id(resource, request)
        return as_json(await run(collection.update, *about, collection.decode(raw), expected, parent_id))

    async def delete(self, resource: Resource, request: Request) -> Response:
        expected = collection.expected_revision(request.headers.get("if-match"))
        about = self.service, resource, self.context(request), request.path_params["id"]
        await self.workers.write_one(collection.delete, *about, expected, _parent_id(resource, request))
        return Response(status_code=204)

    async def act(self, resource: Resource, name: str, request: Request) -> Response:
        body = collection.decode(await body_of(request))
        about = self.service, resource, self.context(request), request.path_params["id"]
        return as_json(await self.workers.write(collection.act, *about, name, body))

    async def tell(self, resource: Resource, name: str, request: Request) -> Response:
        about = self.service, resource, self.context(request), request.path_params["id"]
        return as_json(await self.workers.read(collection.tell, *about, name))

    async def tags(self, resource: Resource, request: Request) -> Response:
        object_id, name = request.path_params["id"], request.path_params.get("tag")
        if request.method in ("GET", "HEAD"):
            found = await self.workers.read(
                action.read_tags, self.service, resource, self.context(request), object_id, name
            )
            return as_json(found) if found is not None else Response(status_code=204)
        has_body = request.method == "POST" or (request.method == "PUT" and name is None)
        body = collection.decode(await body_of(request)) if has_body else None
        found = await self.workers.write(
            action.write_tags, self.service, resource, self.context(request), object_id, request.method, name, body
        )
        if found is not None:
            return as_json(found)
        return Response(status_code=201 if request.method == "PUT" else 204)

    async def bindings(self, request: Request) -> Response:
        context, port_id = self.context(request), request.path_params["id"]
        if request.method == "POST":
            body = collection.decode(await body_of(request))
            return as_json(await self.workers.write(port_binding.create, self.service, context, port_id, body), 201)
        pairs, url = request.query_params.multi_items(), f"{origin_of(request)}{request.url.path}"
        return as_json(await self.workers.read(port_binding.list_all, self.service, context, port_id, pairs, url))

    async def binding(self, request: Request) -> Response:
        about = self.service, self.context(request), request.path_params["id"], request.path_params["host"]
        if request.method == "PUT":
            body = collection.decode(await body_of(request))
            return as_json(await self.workers.write(port_binding.update, *about, body))
        if request.method == "DELETE":
            await self.workers.write(port_binding.delete, *about)
            return Response(status_code=204)
        return as_json(await self.workers.read(port_binding.show, *about, request.query_params.multi_items()))

    async def activate_binding(self, request: Request) -> Response:
        about = self.service, self.context(request), request.path_params["id"], request.path_params["host"]
        return as_json(await self.workers.write(port_binding.activate, *about))

    async def quotas(self, request: Request) -> Response:
        return await self._listed(action.list_quotas, request)

    async def _listed(self, function: Callable[..., Any], request: Request) -> Response:
        pairs = request.query_params.multi_items()
        url = f"{origin_of(request)}{request.url.path}"
        return as_json(await self.workers.read(function, self.service, self.context(request), pairs, url))

    async def quota(self, request: Request) -> Response:
        context, project_id = self.context(request), request.path_params["project_id"]
        if request.method == "PUT":
            body = collection.decode(await body_of(request))
            return as_json(await self.workers.write(action.update_quota, self.service, context, project_id, body))
        if request.method == "DELETE":
            await self.workers.write(action.reset_quota, self.service, context, project_id)
            return Response(status_code=204)
        return as_json(await self.workers.read(action.read_quota, self.service, context, project_id, ""))

    async def quota_detail(self, request: Request) -> Response:
        context, project_id = self.context(request), request.path_params["project_id"]
        what = request.path_params["what"]
        if what not in ("default", "details", "details.json"):
            raise HTTPException(404)
        return as_json(await self.workers.read(action.read_quota, self.service, context, project_id, what))

    async def zones(self, request: Request) -> Response:
        return await self._listed(action.list_zones, request)

    async def service_providers(self, request: Request) -> Response:
        return await self._listed(action.list_service_providers, request)

    async def loggable_resources(self, request: Request) -> Response:
        return await self._listed(action.list_loggable_resources, request)

    async def floatingip_pools(self, request: Request) -> Response:
        return await self._listed(action.list_floatingip_pools, request)

    async def ip_availabilities(self, request: Request) -> Response:
        return await self._listed(action.list_ip_availability, request)

    async def ip_availability(self, request: Request) -> Response:
        context, network_id = self.context(request), request.path_params["id"]
        pairs = request.query_params.multi_items()
        return as_json(await self.workers.read(action.show_ip_availability, self.service, context, network_id, pairs))

    async def extensions(self, request: Request) -> Response:
        pairs = request.query_params.multi_items()
        return as_json({"extensions": [action.only(item, pairs) for item in action.extensions(self.registry)]})

    async def extension(self, request: Request) -> Response:
        found = action.extension(self.registry, request.path_params["alias"])
        return as_json({"extension": action.only(found, request.query_params.multi_items())})

    async def versions(self, request: Request) -> Response:
        return as_json(action.versions(origin_of(request)))

    async def version(self, request: Request) -> Response:
        return as_json(action.version(self.registry, origin_of(request)))

    async def openapi(self, _request: Request) -> Response:
        if not self._openapi:
            from portico.api.openapi import document

            self._openapi = msgspec.json.encode(document(self.registry))
        return Response(self._openapi, media_type="application/json")

    async def healthz(self, _request: Request) -> Response:
        return as_json({"status": "ok", "version": __version__})

    async def readyz(self, _request: Request) -> Response:
        trouble = await self.health.trouble()
        return as_json({"status": trouble or "ok", "version": __version__}, 503 if trouble else 200)

    async def show_metrics(self, request: Request) -> Response:
        self.require(request, "portico:metrics")
        return Response(await self.workers.read(self.metrics.text), media_type=CONTENT_TYPE)

    async def watch(self, request: Request) -> Response:
        self.require(request, "portico:watch")
        since = integer_of(request, "since", 0)
        await self.workers.read(stream.check_since, self.service, since)
        return as_lines(request, stream.watch(self.service, self.workers, self.commits, self.ending, since))

    async def host_wanted(self, request: Request) -> Response:
        self.require(request, "portico:host")
        return as_lines(request, stream.wanted(self.hosts, self.ending, request.path_params["host"]))

    async def host_status(self, request: Request) -> Response:
        self.require(request, "portico:host")
        raw = await body_of(request)
        # After a reconnect an agent tells the status of everything at once.
        run = self.workers.write_one if len(raw) <= SMALL_BODY else self.workers.write
        host = request.path_params["host"]
        told = await run(stream.report, self.service, host, raw)
        self.metrics.heard(host, told.measures)
        return Response(status_code=204)

    async def port_status(self, request: Request) -> Response:
        wait = request.query_params.get("wait", "")
        timeout_s = min(float(integer_of(request, "timeout_s", 5)), MAX_TIMEOUT_S)
        found = await stream.port_status(
            self.service,
            self.workers,
            self.commits,
            self.ending,
            self.context(request),
            request.path_params["id"],
            wait,
            timeout_s,
        )
        return as_json(found)


def _parent_id(resource: Resource, request: Request) -> str:
    """Return the id of the object whose part a request is about, or ""."""
    return str(request.path_params[resource.parent_key]) if resource.parent is not None else ""


def _collection_routes(api: Api, resource: Resource) -> list[Route]:
    rules = rules_of(resource)
    many: dict[str, Endpoint] = {"GET": partial(api.list_objects, resource)}
    one: dict[str, Endpoint] = {"GET": partial(api.show, resource)}
    if rules.create is not None:
        many["POST"] = partial(api.create, resource)
    if rules.update is not None:
        one["PUT"] = partial(api.update, resource)
    if rules.delete is not None:
        one["DELETE"] = partial(api.delete, resource)
    routes = [route(resource.path, many), route(f"{resource.path}/{{id}}", one)]
    routes += [
        route(f"{resource.path}/{{id}}/{item.name}", _action_verb(api, resource, item)) for item in resource.actions
    ]
    tags = partial(api.tags, resource)
    for path in resource.tag_paths:
        routes.append(route(f"{path}/{{id}}/tags", dict.fromkeys(("GET", "PUT", "POST", "DELETE"), tags)))
        routes.append(route(f"{path}/{{id}}/tags/{{tag:path}}", dict.fromkeys(("GET", "PUT", "DELETE"), tags)))
    return routes


def _action_verb(api: Api, resource: Resource, action: Action) -> dict[str, Endpoint]:
    if action.reads:
        return {"GET": partial(api.tell, resource, action.name)}
    return {"PUT": partial(api.act, resource, action.name)}


def routes(api: Api) -> list[Route]:
    """Return every path that is served."""
    found = [route for resource in served(api.registry) for route in _collection_routes(api, resource)]
    quota = dict.fromkeys(("GET", "PUT", "DELETE"), api.quota)
    return [
        route("/", {"GET": api.versions}),
        route("/v2.0", {"GET": api.version}),
        route("/v2.0/", {"GET": api.version}),
        *auto_allocated.routes(api),
        *found,
        route("/v2.0/extensions", {"GET": api.extensions}),
        route("/v2.0/extensions/{alias}", {"GET": api.extension}),
        route("/v2.0/ports/{id}/bindings", dict.fromkeys(("GET", "POST"), api.bindings)),
        route("/v2.0/ports/{id}/bindings/{host}", dict.fromkeys(("GET", "PUT", "DELETE"), api.binding)),
        route("/v2.0/ports/{id}/bindings/{host}/activate", {"PUT": api.activate_binding}),
        *bgp_agents.routes(api),
        *flavor_profiles.routes(api),
        *qos.routes(api),
        route("/v2.0/quotas", {"GET": api.quotas}),
        route("/v2.0/quotas/{project_id}", quota),
        route("/v2.0/quotas/{project_id}/{what}", {"GET": api.quota_detail}),
        route("/v2.0/availability_zones", {"GET": api.zones}),
        route("/v2.0/service-providers", {"GET": api.service_providers}),
        route("/v2.0/log/loggable-resources", {"GET": api.loggable_resources}),
        # Neutron's server has the first path, and its API reference the second.
        route("/v2.0/floatingip-pools", {"GET": api.floatingip_pools}),
        route("/v2.0/floatingip_pools", {"GET": api.floatingip_pools}),
        route("/v2.0/network-ip-availabilities", {"GET": api.ip_availabilities}),
        route("/v2.0/network-ip-availabilities/{id}", {"GET": api.ip_availability}),
        route("/openapi.json", {"GET": api.openapi}),
        route("/healthz", {"GET": api.healthz}),
        route("/readyz", {"GET": api.readyz}),
        route("/metrics", {"GET": api.show_metrics}),
        *backend.routes(api),
        route("/portico/v1/watch", {"GET": api.watch}),
        route("/portico/v1/hosts/{host}/wanted", {"GET": api.host_wanted}),
        route("/portico/v1/hosts/{host}/status", {"PUT": api.host_status}),
        route("/portico/v1/ports/{id}/status", {"GET": api.port_status}),
        *look.routes(api),
        *trace.routes(api),
        *ui.routes(api),
    ]


def make_app(
    api: Api,
    authenticator: Authenticator | None = None,
    rate_limit: RateLimitSettings = RateLimitSettings(),  # noqa: B008 (frozen)
    *,
    log_requests: bool = True,
) -> Starlette:
    """Return the ASGI application; without an authenticator it trusts everybody who can connect."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        api.commits.attach(asyncio.get_running_loop())
        api.broker.start()
        yield
        await asyncio.to_thread(api.broker.stop)

    return Starlette(
        routes=[Branches(routes(api))],
        middleware=[
            Middleware(Observe, api.metrics, log_requests),
            Middleware(identity.SameOrigin, authenticator),
            Middleware(identity.Authenticate, authenticator, api.limits.default_project),
            *([Middleware(RateLimit, rate_limit)] if rate_limit.requests_per_s else []),
        ],
        exception_handlers={
            PorticoError: fault.portico_error,
            HTTPException: fault.http_error,
            ClientDisconnect: fault.gone,
            Exception: fault.unexpected,
        },
        lifespan=lifespan,
    )
