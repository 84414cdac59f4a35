# SPDX-License-Identifier: Apache-2.0
"""The API without its HTTP: rules and store in this process, behind the methods of `portico.client.Client`.

For tests of the API's clients that would be slow or hard to steer with a server: it can be made to fail at any request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from portico.api import collection as verbs
from portico.api.server import make_api
from portico.broker.status import reason, write_report
from portico.client import singular
from portico.hoststate import Report, Status
from portico.model.resource import Resource
from portico.rules import lookup
from portico.rules.context import Context
from portico.settings import Settings

Object = dict[str, Any]


class InProcessApi:
    """An API on the settings' database.

    `before` is called with method and path of each request and may raise; `requests` counts them. While
    `agents_run`, every bound port is found ACTIVE as if its host's agent had plugged it.
    """

    def __init__(self, settings: Settings) -> None:
        api = make_api(settings)
        self.service = api.service
        self.broker = api.broker
        self._registry = api.registry
        self._context = Context(
            project_id=settings.default_project, is_admin=True, limits=api.limits, broker=api.broker, roles=("admin",)
        )
        self.agents_run = True
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.requests = 0

    def list(self, collection: str, **filters: object) -> list[Object]:
        """Return the objects of a collection."""
        resource, parent_id = self._begin("GET", collection)
        pairs = [
            (name, str(value))
            for name, given in filters.items()
            for value in (given if isinstance(given, list | tuple) else [given])
        ]
        body = verbs.list_objects(self.service, resource, self._context, pairs, "", parent_id)
        found: list[Object] = body[resource.plural]
        return found

    def create(self, collection: str, body: Mapping[str, object]) -> Object:
        """Create an object and return it."""
        resource, parent_id = self._begin("POST", collection)
        wrapped = {resource.name: dict(body)}
        return self._only(verbs.create(self.service, resource, self._context, wrapped, parent_id))

    def update(
        self,
        collection: str,
        id: str,  # noqa: A002 (the wire's word)
        body: Mapping[str, object],
        revision: int | None = None,
    ) -> Object:
        """Change an object and return it, if it has the revision that may be given."""
        resource, parent_id = self._begin("PUT", collection)
        wrapped = {resource.name: dict(body)}
        return self._only(verbs.update(self.service, resource, self._context, id, wrapped, revision, parent_id))

    def delete(self, collection: str, id: str, revision: int | None = None) -> None:  # noqa: A002
        """Delete an object, if it has the revision that may be given."""
        resource, parent_id = self._begin("DELETE", collection)
        verbs.delete(self.service, resource, self._context, id, revision, parent_id)

    def request(self, method: str, target: str, body: object = None, timeout_s: float | None = None) -> Any:
        """Send a bulk create or an action, or ask for a port's status; nothing here takes as long as `timeout_s`."""
        del timeout_s
        path = target.partition("?")[0].strip("/").split("/")
        if method == "POST":
            resource, parent_id = self._begin(method, "/".join([*path[1:-1], path[-1].replace("-", "_")]))
            return verbs.create(self.service, resource, self._context, body, parent_id)
        if method == "PUT":
            resource, _ = self._begin(method, "/".join(path[1:-2]))
            return verbs.act(self.service, resource, self._context, path[-2], path[-1], body)
        self.requests += 1
        self.before(method, target)
        if path[-1] == "status":
            return self._port_status(path[-2])
        return {}

    def within(self, seconds: float) -> AbstractContextManager[None]:
        """Do nothing: nothing here takes long."""
        del seconds
        return nullcontext()

    def _port_status(self, port_id: str) -> Object:
        with self.service.store.write() as tx:
            row = lookup.get(tx, "port", port_id)
            if self.agents_run and row["binding:host_id"]:
                write_report(tx, row["binding:host_id"], Report(0, (Status(f"vif/{port_id}", "active"),)))
            row = lookup.get(tx, "port", port_id)
            return {
                "status": row["status"],
                "reason": reason(tx, "port", port_id),
                "revision": row["revision_number"],
            }

    def _begin(self, method: str, collection: str) -> tuple[Resource, str]:
        """Return the resource of a collection and the id of the object that it is inside of, or ""."""
        self.requests += 1
        self.before(method, collection)
        whose, _, word = collection.rpartition("/")
        return self._registry.resources[singular(word)], whose.rpartition("/")[2]

    @staticmethod
    def _only(body: Object) -> Object:
        [found] = body.values()
        assert isinstance(found, dict)
        return found
