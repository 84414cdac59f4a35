# SPDX-License-Identifier: Apache-2.0
"""Whether a router is on every host that needs it or on one: its networks decide, and `distributed` holds them to it.

On a network that each host has for itself, or that hosts route, a router is on each host; on one that is one on all
hosts, on one. A router that says which it is to be, or whose flavor does, joins no network where it would be the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from portico.errors import BadRequest
from portico.model.l3 import INTERFACE_OWNER
from portico.rules import flavor, router_port
from portico.rules.context import Context, Row
from portico.rules.router_port import bad_router
from portico.rules.service_profile import PROVIDERS
from portico.store import select
from portico.store.transaction import Transaction


def follow_flavor(tx: Transaction, context: Context, body: Row) -> None:
    """Give a new router with a flavor what the flavor's service provider makes of `distributed`.

    Raises:
        BadRequest: the request itself says otherwise, or the flavor is none of routers.
        NotFound: there is no such flavor, or no service provider by it.
        Unavailable: the flavor is disabled.
    """
    if body.get("flavor_id") is None:
        return
    provider = flavor.provider_for_router(tx, context, body["flavor_id"])
    asked = body.get("distributed")
    if asked is not None and asked != PROVIDERS[provider]:
        raise _invalid(f"Provider {provider} does not support distributed={asked}")
    body["distributed"] = PROVIDERS[provider]


def change(tx: Transaction, context: Context, row: Row, changes: Row) -> None:
    """Refuse to change `distributed` of a router that forwards, or to what its networks do not let it be.

    Raises:
        BadRequest: names the router and what is in the way, such as its flavor.
    """
    if "distributed" not in changes:
        return
    if row["flavor_id"] is not None and changes["distributed"] != row["distributed"]:
        raise _invalid(
            "Changing the 'ha' and 'distributed' attributes on a router associated with a flavor is not supported: "
            f"router {row['id']}, flavor {row['flavor_id']}"
        )
    wanted, ports = changes["distributed"], router_port.of_router(tx, row["id"], INTERFACE_OWNER)
    networks = tx.get_many("network", sorted({port["network_id"] for port in ports}))
    is_now = row["distributed"] if row["distributed"] is not None else not _on_one(context, networks)
    if wanted is not None and wanted != is_now and (row["admin_state_up"] or changes.get("admin_state_up")):
        raise bad_router(
            "Cannot change the 'distributed' attribute of active routers. Please set router admin_state_up to False "
            "prior to upgrade"
        )
    for network in networks:
        check(context, {**row, "distributed": wanted}, network)


def check(context: Context, router: Row, network: Row) -> None:
    """Refuse an interface on a network where a router cannot be as its `distributed` says.

    Raises:
        BadRequest: names the router and the network.
    """
    wanted = router["distributed"]
    if wanted is not None and wanted == bool(_on_one(context, [network])):
        where = "one host alone has a router there" if wanted else "each host that needs a router there has it"
        raise bad_router(
            f"distributed {wanted} of router {router['id']} cannot be on network {network['id']} of type "
            f"{network['provider:network_type']}: {where}"
        )


def present(tx: Transaction, context: Context, rows: Sequence[Row]) -> None:
    """Tell of routers that say nothing of it whether their networks let them be on every host."""
    open_ones = {row["id"]: row for row in rows if row["distributed"] is None}
    for row in open_ones.values():
        row["distributed"] = True
    port = tx.tables.of["port"]
    statement = sa.select(port.c.device_id, port.c.network_id).where(port.c.device_owner == INTERFACE_OWNER)
    for part in select.parts(list(open_ones)):
        found = tx.connection.execute(statement.where(port.c.device_id.in_(part))).all()
        networks = tx.get_many("network", sorted({network_id for _, network_id in found}))
        spanning = {network["id"] for network in _on_one(context, networks)}
        for router_id, network_id in found:
            if network_id in spanning:
                open_ones[router_id]["distributed"] = False


def _invalid(rule: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {rule}.", type="InvalidInput")


def _on_one(context: Context, networks: Iterable[Row]) -> list[Row]:
    """Return the networks that are one on all hosts."""
    return [
        network
        for network in networks
        if network["provider:network_type"] in context.broker.capabilities(network["portico:backend"]).physical_types
    ]
