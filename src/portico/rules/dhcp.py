# SPDX-License-Identifier: Apache-2.0
"""The port of a network's DHCP server.

One port serves the network on every host that has a need: each host's server answers for the VIFs of that host only,
from the same address, so that no server is a single point of failure. The port exists while some port of the network
is plugged by tap (a container's engine configures its interface itself and needs no DHCP).
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import sqlalchemy as sa

from portico.errors import Conflict
from portico.model.snapshot import DHCP_OWNER
from portico.rules import fixed_ip, log, service_port
from portico.rules.context import Context, Row
from portico.store import allocate
from portico.store.tables import Tables
from portico.store.transaction import Transaction

# The binding:vif_type of ports whose consumers ask for their addresses by DHCP.
TAP = "tap"


def role(port: Row | None) -> Literal["", "served", "server"]:
    """Return what a port is to its network's DHCP: a server, plugged where one is needed, or nothing."""
    if port is None:
        return ""
    if port["device_owner"] == DHCP_OWNER:
        return "server"
    return "served" if port["binding:vif_type"] == TAP else ""


def needs_server(subnet: Row) -> bool:
    """Tell whether a subnet wants a DHCP server or router advertisements."""
    return bool(subnet["enable_dhcp"]) and (
        subnet["ip_version"] == 4 or bool(subnet["ipv6_address_mode"] or subnet["ipv6_ra_mode"])
    )


def find(tx: Transaction, network_id: str) -> Row | None:
    """Return the port of the network's DHCP server, or None."""
    return min(
        tx.find("port", network_id=network_id, device_owner=DHCP_OWNER), key=lambda port: port["id"], default=None
    )


def settle(tx: Transaction, context: Context, network: Row) -> None:
    """Make the DHCP server's port what the network's ports and subnets ask for.

    What this costs does not depend on how many ports the network has.
    """
    server = find(tx, network["id"])
    wanted: list[Row] = []
    if tx.connection.execute(_any_served(tx.tables), {"network": network["id"]}).first() is not None:
        wanted = [item for item in tx.find("subnet", network_id=network["id"]) if needs_server(item)]
    if server is not None and wanted:
        _update(tx, server, wanted)
    elif server is not None and server["device_id"] == _device(network["id"]):  # else somebody else made it
        _remove(tx, server)
    elif server is None and wanted:
        _create(tx, context, network, wanted)


@cache
def _any_served(tables: Tables) -> sa.Select[str]:
    """Return the statement that finds one port of `network` whose role is "served"."""
    port = tables.of["port"]
    mine = (port.c.network_id == sa.bindparam("network"), port.c["binding:vif_type"] == TAP)
    return sa.select(port.c.id).where(*mine, port.c.device_owner != DHCP_OWNER).limit(1)


def _device(network_id: str) -> str:
    return f"dhcp-{network_id}"


def _remove(tx: Transaction, server: Row) -> None:
    fixed_ip.release(tx, server, server["fixed_ips"])
    links = tx.tables.port_group  # somebody may have given it a group
    tx.connection.execute(sa.delete(links).where(links.c.port_id == server["id"]))
    log.forget_port(tx, server["id"])
    tx.delete("port", server)


def _create(tx: Transaction, context: Context, network: Row, subnets: list[Row]) -> None:
    device_id, project_id = _device(network["id"]), network["project_id"]
    row = service_port.row_of(context, network["id"], DHCP_OWNER, device_id, project_id)
    row["fixed_ips"] = fixed_ip.record(tx, row["id"], _addresses(tx, row, subnets))
    row["ip_allocation"] = fixed_ip.allocation(row["fixed_ips"])
    tx.insert("port", row)


def _addresses(tx: Transaction, server: Row, subnets: list[Row]) -> fixed_ip.Chosen:
    chosen: fixed_ip.Chosen = []
    for subnet in subnets:
        if fixed_ip.is_automatic(subnet):
            chosen += fixed_ip.choose(tx, server, [subnet], [{"subnet_id": subnet["id"]}])
            continue
        # The top of the pool: people and engines count addresses from the bottom.
        address = allocate.take_last(tx, subnet["id"], subnet["ip_version"])
        if address is None:
            raise Conflict(
                f"No more IP addresses available on network {server['network_id']}: its DHCP server needs one in "
                f"subnet {subnet['id']}.",
                type="IpAddressGenerationFailure",
            )
        chosen.append((subnet, address))
    return chosen


def _update(tx: Transaction, server: Row, subnets: list[Row]) -> None:
    wanted = {subnet["id"] for subnet in subnets}
    kept = [item for item in server["fixed_ips"] if item["subnet_id"] in wanted]
    gone = [item for item in server["fixed_ips"] if item["subnet_id"] not in wanted]
    present = {item["subnet_id"] for item in kept}
    missing = [subnet for subnet in subnets if subnet["id"] not in present]
    if not gone and not missing:
        return
    fixed_ip.release(tx, server, gone)
    added = fixed_ip.record(tx, server["id"], _addresses(tx, server, missing))
    tx.update("port", server, {"fixed_ips": kept + added})
