# SPDX-License-Identifier: Apache-2.0
"""Gateways of routers: ports on external networks. The first is what external_gateway_info tells; there may be more.

A router's row keeps of each `port_id`, `network_id` and `enable_snat` in external_gateways; the port has the addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from portico.errors import BadRequest
from portico.model.l3 import GATEWAY_OWNER
from portico.rules import (
    extra_route,
    fixed_ip,
    floating_use,
    lookup,
    ndp_proxy,
    port,
    qos_policy,
    router_port,
    service_port,
)
from portico.rules.context import Context, Row
from portico.rules.router_port import bad_router
from portico.store.transaction import Transaction


def set_first(tx: Transaction, context: Context, router: Row, info: Row | None) -> Row:
    """Make a router's first gateway what external_gateway_info says; if that is empty, the router has none at all.

    Raises:
        BadRequest: the network is not external, or an address is its subnet's gateway.
        Conflict: addresses are in use, or the present gateway is.
        NotFound: there is no such network.
    """
    if not info:
        return remove_all(tx, router)
    first, *others = router["external_gateways"] or [None]
    if first is not None and first["network_id"] == info["network_id"]:
        return _store(tx, router, [_change(tx, context, router, first, info), *others])
    if first is not None:
        # Its policy is the router's own: it stays when the network alone is another one.
        info = {"qos_policy_id": lookup.get(tx, "port", first["port_id"])["qos_policy_id"], **info}
        router = _detach(tx, router, first)
    return _store(tx, router, [attach(tx, context, router, info), *others])


def add(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Give a router gateways besides those it has; see `set_first` for what is refused."""
    for info in body["external_gateways"] or ():
        made = attach(tx, context, row, info)
        row = _store(tx, row, [*row["external_gateways"], made])
    return row


def update(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Make these a router's gateways, in this order; one that is told by network or address stays the same port."""
    infos = body["external_gateways"] or []
    meant = _meant(tx, row, infos)
    for gateway in [item for item in row["external_gateways"] if item not in meant]:
        row = _detach(tx, row, gateway)
    gateways: list[Row] = []
    for info, present in zip(infos, meant, strict=True):
        made = _change(tx, context, row, present, info) if present else attach(tx, context, row, info)
        gateways.append(made)
        rest = [
            item for item in row["external_gateways"] if item["port_id"] not in {one["port_id"] for one in gateways}
        ]
        row = _store(tx, row, [*gateways, *rest])
    extra_route.check(tx, row, row["routes"])
    return row


def remove(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Take gateways away from a router.

    Raises:
        BadRequest: it has no such gateway, or several and the addresses do not tell which.
        Conflict: it is in use.
    """
    infos = body["external_gateways"] or []
    for info, present in zip(infos, _meant(tx, row, infos), strict=True):
        if present is None:
            raise _unmatched(row, info, "it has no such gateway")
        row = _detach(tx, row, present)
    extra_route.check(tx, row, row["routes"])
    return row


def remove_all(tx: Transaction, router: Row) -> Row:
    """Take all gateways away from a router."""
    for gateway in router["external_gateways"]:
        router = _detach(tx, router, gateway)
    return router


def attach(tx: Transaction, context: Context, router: Row, info: Row) -> Row:
    """Make the port of a new gateway, and return what the router's row is to keep of it."""
    network = lookup.visible(tx, context, "network", info["network_id"])
    subnets = fixed_ip.subnets_of(tx, network)
    wanted = info.get("external_fixed_ips") or None
    _check(network, subnets, wanted or [])
    twins = {item["id"] for item in subnets} if _has_gateway_on(router, network) else set()
    present = [item for item in router_port.reach(tx, router["id"]) if item["id"] not in twins]
    router_port.check_apart(present, subnets)
    router_port.check_backend(tx, context, router, network)
    made = service_port.row_of(context, network["id"], GATEWAY_OWNER, router["id"], "")
    made["fixed_ips"] = fixed_ip.record(tx, made["id"], fixed_ip.choose(tx, made, subnets, wanted))
    made["ip_allocation"] = fixed_ip.allocation(made["fixed_ips"])
    made["qos_policy_id"] = info.get("qos_policy_id")
    qos_policy.check_gateway(tx, context, None, made, network)
    tx.insert("port", made)
    return {"port_id": made["id"], "network_id": network["id"], "enable_snat": info.get("enable_snat", True)}


def serve_subnet(tx: Transaction, context: Context, network: Row, subnet: Row) -> None:
    """Give gateways that have no address of its IP version one of a new subnet of their network."""
    if not network["router:external"] or fixed_ip.is_automatic(subnet):
        return
    for row in router_port.gateways_on(tx, network["id"]):
        versions = {ip_address(item["ip_address"]).version for item in row["fixed_ips"]}
        if subnet["ip_version"] not in versions:
            port.change(tx, context, row, {"fixed_ips": [*row["fixed_ips"], {"subnet_id": subnet["id"]}]})
            if router := tx.get("router", row["device_id"]):
                tx.update("router", router, {})


def present(tx: Transaction, rows: list[Row]) -> None:
    """Put into routers what clients see of their gateways."""
    ids = [item["port_id"] for row in rows for item in row["external_gateways"] or ()]
    ports = {item["id"]: item for item in tx.get_many("port", ids)}
    for row in rows:
        row["external_gateways"] = [
            {
                "network_id": item["network_id"],
                "enable_snat": item["enable_snat"],
                "external_fixed_ips": ports[item["port_id"]]["fixed_ips"],
                # As in Neutron, told where there is one.
                **({"qos_policy_id": policy_id} if (policy_id := ports[item["port_id"]]["qos_policy_id"]) else {}),
            }
            for item in row["external_gateways"] or ()
            if item["port_id"] in ports
        ]
        row["external_gateway_info"] = next(iter(row["external_gateways"]), None)


def _check(network: Row, subnets: Sequence[Row], wanted: Sequence[Row]) -> None:
    if not network["router:external"]:
        raise bad_router(f"Network {network['id']} is not an external network")
    gateways = {ip_address(item["gateway_ip"]) for item in subnets if item["gateway_ip"]}
    for item in wanted:
        if item.get("ip_address") is not None and ip_address(item["ip_address"]) in gateways:
            raise bad_router(f"External IP {item['ip_address']} is the same as the gateway IP")


def _change(tx: Transaction, context: Context, router: Row, gateway: Row, info: Row) -> Row:
    """Change a gateway on the network that it is on, and return what the router's row is to keep of it."""
    wanted = info.get("external_fixed_ips") or []
    network = lookup.visible(tx, context, "network", gateway["network_id"])
    _check(network, fixed_ip.subnets_of(tx, network), wanted)
    row = lookup.get(tx, "port", gateway["port_id"])
    if wanted and not _fits(row, wanted):
        port.change(tx, context, row, {"fixed_ips": wanted})
        ndp_proxy.refuse_ipv6_loss(tx, router)
        extra_route.check(tx, router, router["routes"])
    if "qos_policy_id" in info and info["qos_policy_id"] != row["qos_policy_id"]:
        row = lookup.get(tx, "port", row["id"])
        changes = {"qos_policy_id": info["qos_policy_id"]}
        qos_policy.check_gateway(tx, context, row, {**row, **changes}, network)
        tx.update("port", row, changes)
    return {**gateway, "enable_snat": info.get("enable_snat", True)}


def _fits(row: Row, wanted: Sequence[Row]) -> bool:
    """Tell whether a port has the addresses that are asked for, and no others."""
    return len(wanted) == len(row["fixed_ips"]) and all(
        any(all(item.get(key) in (None, have[key]) for key in have) for have in row["fixed_ips"]) for item in wanted
    )


def _detach(tx: Transaction, router: Row, gateway: Row) -> Row:
    """Remove a gateway's port and forget it in the router's row."""
    if [item["network_id"] for item in router["external_gateways"]].count(gateway["network_id"]) == 1:
        floating_use.refuse_gateway_loss(tx, router, gateway["network_id"])
    ndp_proxy.refuse_gateway_loss(tx, router)
    if row := tx.get("port", gateway["port_id"]):
        port.remove(tx, row)
    if router[ndp_proxy.ENABLED] and not ndp_proxy.is_possible(tx, router["id"]):
        router = tx.update("router", router, {ndp_proxy.ENABLED: False})
    return _store(tx, router, [item for item in router["external_gateways"] if item["port_id"] != gateway["port_id"]])


def _store(tx: Transaction, router: Row, gateways: list[Row]) -> Row:
    return tx.update("router", router, {"external_gateways": gateways})


def _has_gateway_on(router: Row, network: Row) -> bool:
    return any(item["network_id"] == network["id"] for item in router["external_gateways"] or ())


def _meant(tx: Transaction, router: Row, infos: Sequence[Row]) -> list[Row | None]:
    """Return which gateway of a router each of `infos` means: the one on the network that has one of the addresses.

    Raises:
        BadRequest: there are several, and no address tells which.
    """
    left = list(router["external_gateways"])
    found: list[Row | None] = []
    for info in infos:
        there = [item for item in left if item["network_id"] == info["network_id"]]
        named = {
            str(ip_address(item["ip_address"]))
            for item in info.get("external_fixed_ips") or ()
            if item.get("ip_address")
        }
        if named:
            own = {row["id"]: {item["ip_address"] for item in row["fixed_ips"]}
                   for row in tx.get_many("port", [item["port_id"] for item in there])}  # fmt: skip
            there = [item for item in there if own.get(item["port_id"], set()) & named]
        if len(there) > 1:
            raise _unmatched(router, info, "several gateways are on this network: external_fixed_ips must tell which")
        found += there or [None]
        left = [item for item in left if item not in there]
    return found


def _unmatched(router: Row, info: Row, reason: str) -> BadRequest:
    return BadRequest(
        f"Unable to match a requested gateway port to existing gateway ports for router {router['id']}: network_id "
        f"{info['network_id']} external_fixed_ips {info.get('external_fixed_ips') or []}: {reason}.",
        type="UnableToMatchGateways",
    )
