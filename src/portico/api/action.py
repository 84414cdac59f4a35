# SPDX-License-Identifier: Apache-2.0
"""What is no plain collection: tags, quotas, extensions, availability zones, IP availability, versions. Synchronous."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import msgspec

from portico.api import query
from portico.api.collection import Service
from portico.errors import BadRequest, Forbidden, NotFound
from portico.model.resource import Registry, Resource
from portico.rules import availability_zone, floatingip_pool, ip_availability, log, lookup, quota, service_profile, tag
from portico.rules.context import Context, Row
from portico.store.query import Query
from portico.store.transaction import Transaction


def versions(url: str) -> Row:
    """Return the body of `GET /`."""
    link = {"rel": "self", "href": f"{url}/v2.0/"}
    return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}


def version(registry: Registry, url: str) -> Row:
    """Return the body of `GET /v2.0/`: where each collection is."""
    return {
        "resources": [
            {
                "name": resource.name,
                "collection": resource.plural,
                "links": [{"rel": "self", "href": f"{url}{resource.path}"}],
            }
            for resource in registry.resources.values()
            if resource.parent is None
        ]
    }


def extensions(registry: Registry) -> list[Row]:
    """Return what is advertised."""
    return [
        {
            "alias": item.alias,
            "name": item.name,
            "description": item.description,
            "updated": item.updated,
            "links": [],
        }
        for item in registry.extensions
    ]


def extension(registry: Registry, alias: str) -> Row:
    """Return one extension.

    Raises:
        NotFound: it is not advertised.
    """
    for item in extensions(registry):
        if item["alias"] == alias:
            return item
    raise NotFound(f"Extension with alias {alias} does not exist.", type="ExtensionNotFound")


def read_tags(service: Service, resource: Resource, context: Context, object_id: str, name: str | None) -> Row | None:
    """Return the tags of an object, or None when `name` is one of them."""
    with service.store.read() as tx:
        row = lookup.visible(tx, context, resource.name, object_id)
        if name is None:
            return tag.get(row)
        tag.check(row, name)
        return None


def write_tags(
    service: Service, resource: Resource, context: Context, object_id: str, verb: str, name: str | None, body: Any
) -> Row | None:
    """Change the tags of an object; `verb` is PUT, POST or DELETE."""
    with service.store.write() as tx:
        row = lookup.visible(tx, context, resource.name, object_id)
        context.policy.require(tx, context, "update", resource.name, row, {"tags": []})
        match verb, name:
            case "PUT", None:
                return tag.replace(tx, resource.name, row, body)
            case "POST", None:
                return tag.add_many(tx, resource.name, row, body)
            case "DELETE", None:
                tag.clear(tx, resource.name, row)
            case "DELETE", str():
                tag.remove(tx, resource.name, row, name)
            case _, str():
                tag.add(tx, resource.name, row, name)
    return None


def read_quota(service: Service, context: Context, project_id: str, what: str) -> Row:
    """Return a project's quota; `what` is "", "default", "details" or "details.json"."""
    if project_id in ("tenant", "project") and not what:
        return quota.asking_project(context, "tenant" if project_id == "tenant" else "project")
    with service.store.read() as tx:
        _require_quota(tx, context, "get_quota", project_id)
        if what == "default":
            return {"quota": quota.defaults(context)}
        found = quota.details(tx, context, project_id) if what else quota.show(tx, context, project_id)
    return {"quota": found}


def list_quotas(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return the quotas of all projects that have their own."""
    require(context, "get_quota")
    with service.store.read() as tx:
        rows = quota.list_all(tx, context)
    listing = Listing("quotas", "project_id", ("project_id", "tenant_id", *context.limits.quotas))
    return listing.answer(rows, service, pairs, url)


def update_quota(service: Service, context: Context, project_id: str, body: Any) -> Row:
    """Set limits of a project."""
    if not isinstance(body, dict) or not isinstance(body.get("quota"), dict):
        raise BadRequest("Unable to find 'quota' in request body.", type="HTTPBadRequest")
    with service.store.write() as tx:
        _require_quota(tx, context, "update_quota", project_id)
        return {"quota": quota.update(tx, context, project_id, body["quota"])}


def reset_quota(service: Service, context: Context, project_id: str) -> None:
    """Give a project the default limits again."""
    with service.store.write() as tx:
        _require_quota(tx, context, "delete_quota", project_id)
        quota.reset(tx, context, project_id)


def _require_quota(tx: Transaction, context: Context, rule: str, project_id: str) -> None:
    context.policy.require(tx, context, rule, "quota", {"project_id": project_id}, {})


def require(context: Context, rule: str) -> None:
    """Refuse what the rule does not let who asks do, whatever the object is."""
    if not context.policy.allows(context, rule):
        raise Forbidden(f"rule:{rule} is disallowed by policy", type="PolicyNotAuthorized")


def only(row: Row, pairs: query.Pairs) -> Row:
    """Return the attributes of a computed object that a query string asks for."""
    fields = query.parse_fields(pairs)
    return {name: value for name, value in row.items() if not fields or name in fields}


class Listing(msgspec.Struct, frozen=True):
    """How computed objects are listed: `key` tells them apart, `names` are filtered and sorted by.

    `decided` are parameters that were followed when the rows were made.
    """

    plural: str
    key: str
    names: Sequence[str]
    decided: Sequence[str] = ()

    def answer(self, rows: list[Row], service: Service, pairs: query.Pairs, url: str) -> Row:
        """Return the body: the page of `rows` that a query string asks for.

        Raises:
            BadRequest: the query string breaks a rule.
            NotFound: the marker is none of the rows.
        """
        open_pairs = [pair for pair in pairs if pair[0] not in self.decided]
        request = query.parse_computed(self.plural, self.names, open_pairs, service.page_max)
        asked = request.query
        rows = [row for row in rows if all(str(row[item.attribute]) in item.values for item in asked.filters)]
        for name, descending in reversed((*asked.sort, (self.key, False))):
            rows = sorted(rows, key=itemgetter(name), reverse=descending)
        rows = self._page(rows, asked)
        body: Row = {self.plural: [only(row, pairs) for row in rows]}
        found = query.links(url, pairs, request, [row[self.key] for row in rows]) if asked.limit is not None else []
        if found:
            body[f"{self.plural}_links"] = found
        return body

    def _page(self, rows: list[Row], asked: Query) -> list[Row]:
        if asked.reverse:
            rows = rows[::-1]
        if asked.marker is not None:
            position = next((at for at, row in enumerate(rows) if row[self.key] == asked.marker), None)
            if position is None:
                raise NotFound(
                    f"marker '{asked.marker[:40]}' is the {self.key} of none of the {self.plural}.", type="HTTPNotFound"
                )
            rows = rows[position + 1 :]
        rows = rows[: asked.limit]
        return rows[::-1] if asked.reverse else rows


_ZONES = Listing("availability_zones", "name", ("name", "resource", "state"))
_PROVIDERS = Listing("service_providers", "name", ("service_type", "name", "default"))
_LOGGABLE = Listing("loggable_resources", "type", ("type",))
_POOLS = Listing("floatingip_pools", "subnet_id", ("subnet_id", "subnet_name", "network_id", "cidr", "project_id"))
_IP_AVAILABILITY = Listing(
    "network_ip_availabilities",
    "network_id",
    ("network_id", "network_name", "project_id", "tenant_id"),
    ("ip_version",),
)


def list_zones(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return the availability zones."""
    require(context, "get_availability_zone")
    with service.store.read() as tx:
        rows = availability_zone.list_all(tx, context)
    return _ZONES.answer(rows, service, pairs, url)


def list_service_providers(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return the providers that can be chosen for a service."""
    require(context, "get_service_provider")
    return _PROVIDERS.answer(service_profile.providers(), service, pairs, url)


def list_loggable_resources(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return the kinds of objects of which a log may be."""
    require(context, "get_loggable_resource")
    return _LOGGABLE.answer(log.loggable(context), service, pairs, url)


def list_floatingip_pools(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return the subnets that floating IPs can be had from."""
    require(context, "get_floatingip_pool")
    with service.store.read() as tx:
        rows = floatingip_pool.list_all(tx, context)
    return _POOLS.answer(rows, service, pairs, url)


def list_ip_availability(service: Service, context: Context, pairs: query.Pairs, url: str) -> Row:
    """Return how many addresses each network has and uses."""

    given = query.grouped(pairs)

    def values(*keys: str) -> tuple[str, ...] | None:
        return tuple(value for key in keys for value in given.get(key, ())) or None

    versions_asked = values("ip_version")
    if versions_asked and not set(versions_asked) <= {"4", "6"}:
        raise BadRequest("Invalid input for ip_version. Reason: it is neither 4 nor 6.", type="HTTPBadRequest")
    if not context.policy.allows(context, "get_network_ip_availability"):
        return _IP_AVAILABILITY.answer([], service, pairs, url)
    with service.store.read() as tx:
        rows = ip_availability.list_all(
            tx,
            context,
            network_ids=values("network_id"),
            network_names=values("network_name"),
            project_ids=values("project_id", "tenant_id"),
            ip_versions=tuple(int(item) for item in versions_asked) if versions_asked else None,
        )
    return _IP_AVAILABILITY.answer(rows, service, pairs, url)


def show_ip_availability(service: Service, context: Context, network_id: str, pairs: query.Pairs) -> Row:
    """Return how many addresses a network has and uses."""
    if not context.policy.allows(context, "get_network_ip_availability"):
        raise lookup.missing("network", network_id)
    with service.store.read() as tx:
        return {"network_ip_availability": only(ip_availability.show(tx, context, network_id), pairs)}
