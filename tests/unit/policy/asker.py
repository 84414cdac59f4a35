# SPDX-License-Identifier: Apache-2.0
"""One project's requests to the functions behind the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from portico.api import action, collection
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import PorticoError
from portico.policy.policy import Policy
from portico.rules import TABLE
from portico.rules.context import Context, Limits
from portico.store.store import Store

Row = dict[str, Any]


class Asker:
    """One project's requests to the functions behind the API."""

    def __init__(self, store: Store, policy: Policy, project_id: str, *roles: str) -> None:
        hosts = HostStates()
        broker = Broker(store, hosts, [BridgeBackend(hosts)])
        limits = Limits({"network": -1}, 1500, "fa:16:3e", "portico.test.", "red")
        self.service = Service(store, 1000)
        self.context = Context(project_id, "admin" in roles, limits, broker, roles, policy=policy)
        self.resources = store.registry.resources

    def create(self, name: str, /, **body: Any) -> Row:
        answer = collection.create(self.service, self.resources[name], self.context, {name: body})
        return dict(answer[name])

    def show(self, name: str, object_id: str) -> Row:
        return dict(collection.show(self.service, self.resources[name], self.context, object_id, ())[name])

    def list(self, name: str, *pairs: tuple[str, str]) -> list[Row]:
        resource = self.resources[name]
        answer = collection.list_objects(self.service, resource, self.context, pairs, "http://api.test")
        return list(answer[resource.plural])

    def update(self, name: str, object_id: str, /, **body: Any) -> Row:
        resource = self.resources[name]
        return dict(collection.update(self.service, resource, self.context, object_id, {name: body}, None)[name])

    def delete(self, name: str, object_id: str) -> None:
        collection.delete(self.service, self.resources[name], self.context, object_id, None)

    def tags(self, name: str, object_id: str, verb: str = "GET") -> None:
        if verb == "GET":
            action.read_tags(self.service, self.resources[name], self.context, object_id, None)
        else:
            action.write_tags(self.service, self.resources[name], self.context, object_id, verb, "mine", None)


def everything(asker: Asker) -> dict[str, Row]:
    """Make one object of each kind that a project makes for itself."""
    made: dict[str, Row] = {"network": asker.create("network", name="secret")}
    made["subnet"] = asker.create("subnet", network_id=made["network"]["id"], cidr="192.0.2.0/24", ip_version=4)
    made["port"] = asker.create("port", network_id=made["network"]["id"])
    made["subnetpool"] = asker.create("subnetpool", name="secret", prefixes=["198.51.100.0/24"])
    made["security_group"] = asker.create("security_group", name="secret")
    group_id = made["security_group"]["id"]
    made["security_group_rule"] = asker.create("security_group_rule", security_group_id=group_id, direction="ingress")
    policy = {"object_type": "network", "object_id": made["network"]["id"], "action": "access_as_shared"}
    made["rbac_policy"] = asker.create("rbac_policy", target_tenant="green", **policy)
    for name, body in (
        ("address_scope", {"name": "secret", "ip_version": 4}),
        ("address_group", {"name": "secret", "addresses": ["203.0.113.0/24"]}),
        ("router", {"name": "secret"}),
        ("trunk", {"name": "secret", "port_id": made["port"]["id"]}),
    ):
        if name in TABLE:
            made[name] = asker.create(name, **body)
    return {name: asker.show(name, row["id"]) for name, row in made.items()}


def page_after(asker: Asker, name: str, object_id: str) -> list[Row]:
    return asker.list(name, ("marker", object_id), ("limit", "1"))


def attempt(asker: Asker, name: str, object_id: str, body: Row) -> Row:
    return asker.update(name, object_id, **body) if object_id else asker.create(name, **body)


def renamed(body: Any, before: str, after: str) -> Any:
    """Return a body that names one id in place of another."""
    return msgspec.json.decode(msgspec.json.encode(body).replace(before.encode(), after.encode()))


def refusal(act: Callable[[], object], *ids: str) -> tuple[int, str, str]:
    """Return status, type and text of the error of a request, without the ids that it names."""
    with pytest.raises(PorticoError) as caught:
        act()
    text = caught.value.message
    for object_id in ids:
        text = text.replace(object_id, "ID")
    return caught.value.status, caught.value.type, text
