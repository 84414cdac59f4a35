# SPDX-License-Identifier: Apache-2.0
"""Bindings of a port, which are parts of it and no collection of their own. Synchronous."""

from __future__ import annotations

from portico.api import query
from portico.api.action import Listing, only
from portico.api.collection import Service, one_of
from portico.rules import port_binding
from portico.rules.context import Context, Row

_BINDINGS = Listing("bindings", "host", ("host", "status", "vif_type", "vnic_type"))


def list_all(service: Service, context: Context, port_id: str, pairs: query.Pairs, url: str) -> Row:
    """Return the bindings of a port."""
    with service.store.read() as tx:
        rows = port_binding.list_all(tx, context, port_id)
    return _BINDINGS.answer(rows, service, pairs, url)


def show(service: Service, context: Context, port_id: str, host: str, pairs: query.Pairs) -> Row:
    """Return one binding."""
    with service.store.read() as tx:
        return {"binding": only(port_binding.show(tx, context, port_id, host), pairs)}


def create(service: Service, context: Context, port_id: str, body: object) -> Row:
    """Make a binding."""
    with service.store.write() as tx:
        return {"binding": port_binding.create(tx, context, port_id, one_of("binding", body))}


def update(service: Service, context: Context, port_id: str, host: str, body: object) -> Row:
    """Change a binding."""
    with service.store.write() as tx:
        return {"binding": port_binding.update(tx, context, port_id, host, one_of("binding", body))}


def delete(service: Service, context: Context, port_id: str, host: str) -> None:
    """Remove a binding."""
    with service.store.write() as tx:
        port_binding.delete(tx, context, port_id, host)


def activate(service: Service, context: Context, port_id: str, host: str) -> Row:
    """Make a binding the active one; the answer has, as Neutron's, no name around it."""
    with service.store.write() as tx:
        return port_binding.activate(tx, context, port_id, host)
