# SPDX-License-Identifier: Apache-2.0
"""What people see of a backend that fails: status and reason of its networks, and of its ports that wait for it.

A port that is ACTIVE stays so: what was realised goes on working without the backend.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

import sqlalchemy as sa

from portico.broker.lane import Lane
from portico.broker.status import write_statuses
from portico.contract import ObjectStatus
from portico.model.snapshot import BINDING_FAILED
from portico.store.store import Store
from portico.store.transaction import Transaction

# A failure that the next try mends is not worth telling.
SHOW_AFTER_S = 1.0
NOT_INSTALLED = "it is not among the setting backends"


class Marks:
    """Writes status and reason of what failing backends cannot realise, and takes them back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # Those without marks; of others a former process may have left some.
        self._clean: set[str] = set()

    def look(self, lanes: Collection[Lane], elsewhere: Collection[str]) -> None:
        """Bring the marks up to date; `elsewhere` are backends that networks name and that are not installed."""
        for name in elsewhere:
            self._mark(name, NOT_INSTALLED)
        for lane in lanes:
            health = lane.health()
            if health.failing:
                if time.time() - health.since >= SHOW_AFTER_S:
                    self._mark(lane.name, health.failing)
            elif health.synced_at is not None and lane.name not in self._clean:
                lane.ask(self._clear(lane.name))

    def _mark(self, name: str, failing: str) -> None:
        self._clean.discard(name)
        reason = f"{_prefix(name)}{failing}"
        with self._store.read() as tx:
            found = list(_unmarked(tx, name, reason))
        if found:
            write_statuses(self._store, found)

    def _clear(self, name: str) -> list[str]:
        """Take back the marks of a backend, and return the ports that had one: their hosts can say more."""
        with self._store.read() as tx:
            table = tx.tables.status
            marked = table.c.reason.startswith(_prefix(name), autoescape=True)
            found = tx.connection.execute(sa.select(table.c.resource, table.c.id).where(marked)).all()
        states = {"network": "ACTIVE", "port": "DOWN"}
        if found:
            write_statuses(self._store, [ObjectStatus(item.resource, item.id, states[item.resource]) for item in found])
        self._clean.add(name)
        return [item.id for item in found if item.resource == "port"]


def _prefix(name: str) -> str:
    return f"backend {name}: "


def _unmarked(tx: Transaction, name: str, reason: str) -> Iterator[ObjectStatus]:
    """Yield the status that what `name` realises should have and has not; other reasons stay, for they say more."""
    status, network, port = tx.tables.status, tx.tables.of["network"], tx.tables.of["port"]
    own = sa.and_(status.c.reason.startswith(_prefix(name), autoescape=True), status.c.reason != reason)
    replaceable = sa.or_(status.c.reason.is_(None), own)
    of_network = sa.and_(status.c.resource == "network", status.c.id == network.c.id)
    of_port = sa.and_(status.c.resource == "port", status.c.id == port.c.id)
    its = network.c["portico:backend"] == name
    failed = port.c["binding:vif_type"] == BINDING_FAILED
    networks = sa.select(network.c.id).outerjoin(status, of_network).where(its, replaceable)
    ports = (
        sa.select(port.c.id)
        .join(network, port.c.network_id == network.c.id)
        .outerjoin(status, of_port)
        .where(its, replaceable, port.c["binding:host_id"] != "", port.c.status != "ACTIVE", sa.not_(failed))
    )
    for resource, statement in (("network", networks), ("port", ports)):
        for object_id in tx.connection.execute(statement).scalars():
            yield ObjectStatus(resource, object_id, "ERROR", reason)
