# SPDX-License-Identifier: Apache-2.0
"""Bindings of one port to several hosts: /v2.0/ports/{id}/bindings.

One is active: it is what the port's own binding attributes say. The others make their hosts ready for the port, and no
packet passes there until a request makes one of them active, as Nova does in the middle of a live migration.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any

from portico.errors import BadRequest, Conflict, Forbidden, NotFound
from portico.model import check
from portico.model.resource import Attribute, Registry, Resource
from portico.model.snapshot import BINDING_FAILED, UNBOUND
from portico.rules import binding, lookup, port, qos_minimum
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

ACTIVE, INACTIVE = "ACTIVE", "INACTIVE"
EXTENSION = "binding-extended"
# The names of a binding's attributes -> those of its port.
_PORT_NAMES = {
    "host": "binding:host_id",
    "vnic_type": "binding:vnic_type",
    "profile": "binding:profile",
    "vif_type": "binding:vif_type",
    "vif_details": "binding:vif_details",
}


@cache
def resource(registry: Registry) -> Resource:
    """Return what a request may say of a binding: what it may say of its port's own."""
    known = registry.resources["port"].attributes
    host = Attribute(
        "host",
        EXTENSION,
        allow_post=True,
        allow_put=True,
        required=True,
        validate=(("type:not_empty_string", 255),),
    )
    given = {
        name: replace(known[_PORT_NAMES[name]], name=name, extension=EXTENSION) for name in ("vnic_type", "profile")
    }
    owner = Attribute("project_id", EXTENSION, allow_post=True, validate=(("type:string", 255),))
    return Resource(
        name="binding",
        plural="bindings",
        collection="ports/{port_id}/bindings",
        attributes=MappingProxyType({"host": host, **given, "project_id": owner}),
        doc="A binding tells on which host a port is, and how it is plugged there.",
        key="host",
        extension=EXTENSION,
    )


def list_all(tx: Transaction, context: Context, port_id: str) -> list[Row]:
    """Return the port's bindings that who asks may see, the active one first."""
    row = _port(tx, context, port_id)
    return [_active(row), *_inactive(row)] if context.policy.allows(context, "get_port_binding") else []


def show(tx: Transaction, context: Context, port_id: str, host: str) -> Row:
    """Return the port's binding to `host`.

    Raises:
        NotFound: it has none that who asks may see.
    """
    row = _port(tx, context, port_id)
    if not context.policy.allows(context, "get_port_binding"):
        raise _missing(row, host)
    return _find(row, host)


def create(tx: Transaction, context: Context, port_id: str, body: object) -> Row:
    """Make `host` ready for a port.

    Raises:
        Conflict: the port has a binding to that host, or the host cannot have it.
    """
    row = _port(tx, context, port_id, "create_port_binding")
    wanted = check.prepare_post(resource(tx.registry), body)
    _refuse_second(row, wanted["host"])
    made = _bound(tx, context, row, wanted)
    tx.update("port", row, {"inactive_bindings": [*_kept(row), made]})
    return {**made, "status": INACTIVE}


def update(tx: Transaction, context: Context, port_id: str, host: str, body: object) -> Row:
    """Change a binding; of the active one, it is a change of the port."""
    row = _port(tx, context, port_id, "update_port_binding")
    before = _find(row, host)
    changes = check.prepare_put(resource(tx.registry), body)
    if changes.get("host", host) != host:
        _refuse_second(row, changes["host"])
    if before["status"] == ACTIVE:
        named = {_PORT_NAMES[name]: value for name, value in changes.items()}
        updated = port.update(tx, context, row, named)
        if updated["binding:vif_type"] == BINDING_FAILED:
            raise _failed(row, updated["binding:host_id"])
        return _active(updated)
    made = _bound(tx, context, row, {**before, **changes})
    tx.update("port", row, {"inactive_bindings": [made if item["host"] == host else item for item in _kept(row)]})
    return {**made, "status": INACTIVE}


def delete(tx: Transaction, context: Context, port_id: str, host: str) -> None:
    """Take a port from `host`; without its active binding it is unbound."""
    row = _port(tx, context, port_id, "delete_port_binding")
    if _find(row, host)["status"] == ACTIVE:
        port.update(tx, context, row, {"binding:host_id": ""})
    else:
        tx.update("port", row, {"inactive_bindings": [item for item in _kept(row) if item["host"] != host]})


def activate(tx: Transaction, context: Context, port_id: str, host: str) -> Row:
    """Make the binding to `host` the active one; the one that was active is kept, unbound.

    Raises:
        Conflict: it is active already, or the host cannot have the port any more.
        NotFound: there is no such binding.
    """
    row = _port(tx, context, port_id, "activate")
    chosen = _find(row, host)
    if chosen["status"] == ACTIVE:
        raise Conflict(f"Binding for port {port_id} on host {host} is already active.", type="PortBindingAlreadyActive")
    if chosen["vif_type"] == UNBOUND:
        chosen |= _bound(tx, context, row, chosen)
    left = {**_active(row), "vif_type": UNBOUND, "vif_details": {}}
    del left["status"]
    after = {_PORT_NAMES[name]: chosen[name] for name in _PORT_NAMES}
    after["inactive_bindings"] = binding.others({**row, **after}) + ([left] if left["host"] else [])
    qos_minimum.check_port(tx, context, row, {**row, **after}, lookup.get(tx, "network", row["network_id"]))
    tx.forget_reason("port", port_id)
    updated = tx.update("port", row, {**after, "status": "DOWN"})
    binding.settle_dhcp(tx, context, row, updated)
    return _active(updated)


def _port(tx: Transaction, context: Context, port_id: str, rule: str = "") -> Row:
    """Return the port whose bindings a request is about, which must be allowed by the policy's `rule` if one is named.

    Raises:
        Forbidden: the policy leaves bindings to others: to administrators and services, as a rule.
        NotFound: there is no such port.
        BadRequest: it is none that can move.
    """
    row = lookup.visible(tx, context, "port", port_id)
    if rule and not context.policy.allows(context, rule):
        raise Forbidden(f"rule:{rule} is disallowed by policy", type="PolicyNotAuthorized")
    if not row["device_owner"].startswith(binding.MOVABLE):
        raise BadRequest(
            f"Bad port request: Invalid port {port_id}. Operation only valid on compute and shared filesystem ports: "
            f"its device_owner '{row['device_owner']}' begins with neither of {', '.join(binding.MOVABLE)}.",
            type="BadRequest",
        )
    return row


def _active(row: Row) -> Row:
    return {**{name: row[of_port] for name, of_port in _PORT_NAMES.items()}, "status": ACTIVE}


def _inactive(row: Row) -> list[Row]:
    return [{**item, "status": INACTIVE} for item in _kept(row)]


def _kept(row: Row) -> list[Row]:
    kept: list[Row] = row["inactive_bindings"] or []
    return kept


def _find(row: Row, host: str) -> Row:
    for item in (_active(row), *_inactive(row)):
        if item["host"] == host:
            return item
    raise _missing(row, host)


def _missing(row: Row, host: str) -> NotFound:
    return NotFound(f"Binding for port {row['id']} for host {host} could not be found.", type="PortBindingNotFound")


def _refuse_second(row: Row, host: str) -> None:
    if host in (row["binding:host_id"], *(item["host"] for item in _kept(row))):
        raise Conflict(f"Binding for port {row['id']} on host {host} already exists.", type="PortBindingAlreadyExists")


def _bound(tx: Transaction, context: Context, row: Row, wanted: Row) -> Row:
    """Return the binding that `wanted` (host, vnic_type, profile) describes, with how the port is reached there."""
    profile = wanted.get("profile") or {}
    binding.check_profile(profile)
    asked: dict[str, Any] = {
        "host": wanted["host"], "vnic_type": wanted.get("vnic_type") or "normal", "profile": profile,
    }  # fmt: skip
    there = {**row, **{_PORT_NAMES[name]: value for name, value in asked.items()}}
    network = lookup.get(tx, "network", row["network_id"])
    context.broker.admit("port", row, there, network)
    bound, reason = binding.result(tx, context, None, there)
    if reason:
        raise _failed(row, wanted["host"], reason)
    binding.refuse_taken_tap(tx, {**there, **bound})
    qos_minimum.check_binding(tx, context, row, wanted["host"], network)
    return {**asked, "vif_type": bound["binding:vif_type"], "vif_details": bound["binding:vif_details"]}


def _failed(row: Row, host: str, reason: str = "") -> Conflict:
    text = f"Binding for port {row['id']} on host {host} could not be created or updated"
    return Conflict(f"{text}: {reason}." if reason else f"{text}.", type="PortBindingError")
