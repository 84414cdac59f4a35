# SPDX-License-Identifier: Apache-2.0
"""A network for who asks for just any: subnets of the default pools, and a router to the default external network.

Errors are those of Neutron's service auto-allocated-topology. All is made in one transaction, or nothing.
"""

from __future__ import annotations

from typing import Any

from portico.errors import BadRequest, Conflict, NotFound
from portico.model import check
from portico.model.l3 import INTERFACE_OWNER
from portico.rules import lookup, network, router, router_interface, router_port, subnet
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

NAME = "auto_allocated_topology"


def find(tx: Transaction, project_id: str) -> Row | None:
    """Return what a project has, or None."""
    return next(iter(tx.find(NAME, project_id=project_id)), None)


def get(tx: Transaction, context: Context, project_id: str) -> Row:
    """Return what a project has; it is made if there is none.

    Raises:
        Conflict: there is no default external network or no default subnet pool, or they do not fit.
        OverQuota: the project may not have so much.
    """
    return find(tx, project_id) or _build(tx, context, project_id)


def check_requirements(tx: Transaction, context: Context, project_id: str) -> Row:
    """Return the answer for what could be made.

    Raises:
        Conflict: there is no default external network or no default subnet pool.
    """
    _outside(tx)
    if not _pools(tx, context):
        raise _failure("No default subnetpools defined")
    return {"id": "dry-run=pass", "project_id": project_id}


def delete(tx: Transaction, context: Context, project_id: str) -> None:
    """Remove what a project has, if there is something.

    Raises:
        Conflict: the network or the router is in use.
    """
    row = find(tx, project_id)
    if row is None:
        return
    if made := tx.get("router", row["router_id"]):
        for port in router_port.of_router(tx, made["id"], INTERFACE_OWNER):
            router_interface.remove(tx, context, made, {"port_id": port["id"]})
        router.delete(tx, context, lookup.get(tx, "router", made["id"]))
    if inside := tx.get("network", row["id"]):
        network.delete(tx, context, inside)


def _build(tx: Transaction, context: Context, project_id: str) -> Row:
    outside, pools = _outside(tx), _pools(tx, context)
    if not pools:
        raise _failure("Unable to provide project private network")
    made = network.create(tx, context, _body(tx, "network", project_id, name="auto_allocated_network"))
    try:
        subnets = [_subnet(tx, context, made, pool) for pool in pools]
    except (BadRequest, NotFound) as error:
        raise _failure(f"Unable to provide project private network: {error.message}") from error
    info = {"network_id": outside["id"]}
    way = _body(tx, "router", project_id, name="auto_allocated_router", external_gateway_info=info)
    try:
        joined = router.create(tx, context, way)
        for item in subnets:
            router_interface.add(tx, context, lookup.get(tx, "router", joined["id"]), {"subnet_id": item["id"]})
    except (BadRequest, NotFound) as error:
        raise _failure(f"Unable to provide external connectivity: {error.message}") from error
    return tx.insert(NAME, {"id": made["id"], "project_id": project_id, "router_id": joined["id"]})


def _subnet(tx: Transaction, context: Context, parent: Row, pool: Row) -> Row:
    version = pool["ip_version"]
    about = {"network_id": parent["id"], "ip_version": version, "subnetpool_id": pool["id"]}
    body = _body(tx, "subnet", parent["project_id"], name=f"auto_allocated_subnet_v{version}", **about)
    return subnet.create(tx, context, body)


def _body(tx: Transaction, resource: str, project_id: str, **given: Any) -> Row:
    return {**check.prepare_post(tx.registry.resources[resource], given), "project_id": project_id}


def _outside(tx: Transaction) -> Row:
    found = [row for row in tx.find("network", is_default=True) if row["router:external"]]
    if not found:
        raise _failure("No default router:external network")
    return found[0]


def _pools(tx: Transaction, context: Context) -> list[Row]:
    """Return the default subnet pools that who asks may use, of IPv4 and IPv6."""
    found = [row for version in (4, 6) for row in tx.find("subnetpool", is_default=True, ip_version=version)]
    return [row for row in found if lookup.seen(tx, context, "subnetpool", row["id"])]


def _failure(reason: str) -> Conflict:
    return Conflict(f"Deployment error: {reason}.", type="AutoAllocationFailure")
