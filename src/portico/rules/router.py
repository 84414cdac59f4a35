# SPDX-License-Identifier: Apache-2.0
"""Routers. Errors are those of Neutron's L3 service."""

from __future__ import annotations

import uuid

from portico.errors import Conflict
from portico.model.l3 import INTERFACE_OWNER
from portico.model.show import some
from portico.rules import (
    agent,
    availability_zone,
    conntrack_helper,
    extra_route,
    ndp_proxy,
    quota,
    router_gateway,
    router_place,
    router_port,
)
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

_DEFAULT_ROUTE = ("enable_default_route_ecmp", "enable_default_route_bfd")
_NO_GATEWAY = (
    "The router has no external gateway or the external gateway port has no IPv6 address or IPv6 address scope"
)


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a router without interfaces, and its gateway if it is to have one.

    Raises:
        BadRequest: its flavor is none of routers, or does not go with `distributed`.
        NotFound: a zone of availability_zone_hints is not there, or its flavor, or what the flavor names.
        OverQuota: the project has as many routers as it may.
        PorticoError: the gateway cannot be had, or no NDP proxies; see `router_gateway.set_first`, `ndp_proxy.enable`.
        Unavailable: its flavor is disabled.
    """
    quota.check(tx, context, "router", body["project_id"])
    hints = body.get("availability_zone_hints") or []
    availability_zone.check_hints(tx, context, hints)
    router_place.follow_flavor(tx, context, body)
    info = body.pop("external_gateway_info", None)
    row = {**body, "id": str(uuid.uuid4()), "status": "ACTIVE", "external_gateways": [], "routes": []}
    default = {name: bool(body.get(name)) for name in _DEFAULT_ROUTE}
    off = {ndp_proxy.ENABLED: False}
    made = tx.insert("router", {**row, **default, **off, "availability_zone_hints": hints})
    made = router_gateway.set_first(tx, context, made, info) if info else made
    return _answer(tx, context, made, info) if body.get(ndp_proxy.ENABLED) else made


def _answer(tx: Transaction, context: Context, made: Row, info: Row | None) -> Row:
    """Have the NDP proxies of a new router at work."""
    reason = "The request body not contain external gateway information"
    if info:
        reason = (
            f"The external network {info['network_id']} don't support IPv6 ndp proxy, the network has no IPv6 subnets "
            "or has no IPv6 address scope"
        )
    ndp_proxy.enable(tx, context, made, reason)
    return tx.update("router", made, {ndp_proxy.ENABLED: True})


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a router; see `router_gateway.set_first` and `extra_route.replace` for what is refused.

    Raises:
        BadRequest: it cannot be where it is to be; see `router_place.change`.
        Conflict: no gateway is fit for NDP proxies.
        Unsupported: the backend of its networks does not spread what leaves, watch next hops, or have NDP proxies.
    """
    answers = changes.pop(ndp_proxy.ENABLED, None)
    if answers and not changes.get("external_gateway_info", True):
        raise ndp_proxy.gateway_unfit(row["id"], "The router's external gateway will be unset")
    router_place.change(tx, context, row, changes)
    had = row["external_gateways"]
    if "external_gateway_info" in changes:
        row = router_gateway.set_first(tx, context, row, changes.pop("external_gateway_info"))
    if "routes" in changes:
        row = extra_route.replace(tx, context, row, changes.pop("routes"))
    elif row["external_gateways"] != had:
        extra_route.check(tx, row, row["routes"])
    if asked := {name: bool(changes[name]) for name in _DEFAULT_ROUTE if name in changes}:
        changes.update(asked)
        networks = {port["network_id"] for port in router_port.of_router(tx, row["id"])}
        for network in tx.get_many("network", sorted(networks)):
            context.broker.admit("router", row, {**row, **asked}, network)
    if answers:
        ndp_proxy.enable(tx, context, row, _NO_GATEWAY)
    if answers is not None:
        changes[ndp_proxy.ENABLED] = answers
    return tx.update("router", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a router, its gateways and its conntrack helpers.

    Raises:
        Conflict: it has interfaces, or a gateway is in use.
    """
    if ports := router_port.of_router(tx, row["id"], INTERFACE_OWNER):
        named = some([item["id"] for item in ports])
        raise Conflict(f"Router {row['id']} has ports still attached: {named}", type="RouterInUse")
    for item in tx.find("auto_allocated_topology", router_id=row["id"]):
        tx.delete("auto_allocated_topology", item)
    conntrack_helper.delete_all(tx, row)
    tx.delete("router", router_gateway.remove_all(tx, row))


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add what clients see of gateways and helpers, availability_zones, and `distributed` where networks decide."""
    router_gateway.present(tx, rows)
    agent.present_zones(tx, rows)
    conntrack_helper.present(tx, rows)
    router_place.present(tx, context, rows)
    return rows
