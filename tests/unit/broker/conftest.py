# SPDX-License-Identifier: Apache-2.0
"""A broker on a real store, a desk at which to ask for changes, and a host that follows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import Dirty, ObjectStatus
from portico.errors import Unavailable
from portico.hoststate import HostObject, Update, key_of
from portico.model import check
from portico.model.snapshot import Snapshot
from portico.rules import TABLE
from portico.rules.context import Context, Limits
from portico.store.store import Store

Row = dict[str, Any]
QUOTED = ("network", "subnet", "port", "router", "security_group", "security_group_rule")


class Frail(BridgeBackend):
    """A bridge backend that can be made to fail."""

    broken = False

    def sync(self, want: Snapshot, dirty: Dirty) -> Iterable[ObjectStatus]:
        if self.broken:
            raise Unavailable("the engine does not answer")
        return super().sync(want, dirty)


class Desk:
    """Takes requests as the API does, and makes the broker follow when asked to."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hosts = HostStates()
        self.backend = Frail(self.hosts)
        self.broker = Broker(store, self.hosts, [self.backend])
        limits = Limits(
            quotas=dict.fromkeys(QUOTED, -1),
            mtu=1500,
            mac_base="00:00:5e:00:53:00",
            dns_domain="example.org.",
            default_project="acme",
        )
        self.context = Context(project_id="acme", is_admin=True, limits=limits, broker=self.broker)

    def create(self, resource: str, **body: Any) -> Row:
        rule = TABLE[resource].create
        assert rule is not None
        with self.store.write() as tx:
            prepared = check.prepare_post(tx.registry.resources[resource], body)
            return rule(tx, self.context, {"project_id": "acme", **prepared})

    def update(self, resource: str, object_id: str, **body: Any) -> Row:
        rule = TABLE[resource].update
        assert rule is not None
        with self.store.write() as tx:
            row = tx.get(resource, object_id)
            assert row is not None
            return rule(tx, self.context, row, check.prepare_put(tx.registry.resources[resource], body))

    def delete(self, resource: str, object_id: str) -> None:
        rule = TABLE[resource].delete
        assert rule is not None
        with self.store.write() as tx:
            row = tx.get(resource, object_id)
            assert row is not None
            rule(tx, self.context, row)

    def follow(self, host: str) -> Followed:
        return Followed(self.hosts, host)


class Followed:
    """What an agent comes to hold of its host's wanted state, from the feed alone."""

    def __init__(self, hosts: HostStates, host: str) -> None:
        self.updates: list[Update] = []
        self.objects: dict[str, HostObject] = {}
        self.end = hosts.follow(host, self._take)

    def _take(self, update: Update) -> None:
        self.updates.append(update)
        if update.complete:
            self.objects.clear()
        self.objects.update({key_of(item): item for item in update.objects})
        for key in update.gone:
            del self.objects[key]


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)
