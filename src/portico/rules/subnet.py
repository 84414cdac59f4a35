# SPDX-License-Identifier: Apache-2.0
"""Subnets."""

from __future__ import annotations

import uuid
from ipaddress import ip_address, ip_network

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict
from portico.model.show import some
from portico.model.snapshot import DHCP_OWNER, IpAddress, IpNetwork
from portico.rules import address_scope, dhcp, fixed_ip, lookup, mtu, pools, quota, router_gateway, subnetpool
from portico.rules.context import Context, Row
from portico.rules.pools import invalid
from portico.store import allocate, blocks
from portico.store.transaction import Transaction

MAX_DNS_SERVERS = 5
MAX_HOST_ROUTES = 20
# RFC 4862 section 5.5.3: an interface identifier is 64 bits long, so is the prefix that goes with it.
SLAAC_PREFIX = 64


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a subnet; its CIDR is given or comes from a subnet pool."""
    parent = lookup.visible(tx, context, "network", body["network_id"])
    quota.check(tx, context, "subnet", body["project_id"])
    siblings = tx.find("subnet", network_id=parent["id"])
    cidr, pool_id = _choose_cidr(tx, context, body)
    address_scope.check_affinity(tx, cidr, pool_id, siblings)
    _check_overlap(cidr, siblings, parent["id"])
    check_space(tx, context, parent["portico:backend"] or "", cidr)
    row = {**body, "id": str(uuid.uuid4()), "cidr": str(cidr), "subnetpool_id": pool_id, "ip_version": cidr.version}
    for name in ("ipv6_ra_mode", "ipv6_address_mode"):
        row.setdefault(name, None)
    gateway = _gateway(body, cidr)
    row["gateway_ip"] = None if gateway is None else str(gateway)
    ranges = _pools(body, cidr, gateway)
    row["allocation_pools"] = pools.render(ranges)
    row["dns_nameservers"] = body.get("dns_nameservers") or []
    row["host_routes"] = body.get("host_routes") or []
    row["service_types"] = _each_once(body.get("service_types"))
    _check(row, cidr)
    mtu.check(parent, parent["mtu"], [row])
    context.broker.admit("subnet", None, row, parent)
    row = tx.insert("subnet", row)
    allocate.set_pools(tx, row["id"], ranges)
    parent = tx.update("network", parent, {"subnets": [*parent["subnets"], row["id"]]})
    router_gateway.serve_subnet(tx, context, parent, row)
    if fixed_ip.is_automatic(row):
        fixed_ip.add_automatic(tx, row)
    dhcp.settle(tx, context, parent)
    return row


def _each_once(types: list[str] | None) -> list[str]:
    return list(dict.fromkeys(types or []))


def _choose_cidr(tx: Transaction, context: Context, body: Row) -> tuple[IpNetwork, str | None]:
    prefixlen = body.pop("prefixlen", None)
    version = body.get("ip_version")
    given = ip_network(body["cidr"], strict=False) if body.get("cidr") else None
    if given is not None and prefixlen is not None:
        raise _bad_subnets(f"cidr {given} and prefixlen {prefixlen} must not be supplied together")
    if given is None and body.get("allocation_pools"):
        raise _bad_subnets("allocation_pools allowed only for specific subnet requests")
    pool_id = _choose_pool(tx, context, body, given.version if given else version)
    if pool_id is None:
        if given is None:
            raise _bad_subnets("a subnetpool must be specified in the absence of a cidr")
        if version is not None and given.version != version:
            raise invalid(f"cidr '{given}' does not match the ip_version '{version}'")
        return given, None
    pool = lookup.visible(tx, context, "subnetpool", pool_id)
    if version is not None and pool["ip_version"] != version:
        raise _bad_subnets(f"Cannot allocate IPv{version} subnet from IPv{pool['ip_version']} subnet pool {pool_id}")
    return subnetpool.allocate_cidr(tx, context, pool, prefixlen, given, project_id=body["project_id"]), pool_id


def _choose_pool(tx: Transaction, context: Context, body: Row, version: int | None) -> str | None:
    """Return the id of the subnet pool that a request names or, by asking for the default one, means."""
    pool_id: str | None = body.pop("subnetpool_id", None)
    if not body.pop("use_default_subnetpool", False):
        return pool_id
    if pool_id is not None:
        raise _bad_subnets(f"subnetpool_id {pool_id} and use_default_subnetpool cannot both be specified")
    defaults = tx.find("subnetpool", is_default=True, ip_version=version)
    found = [row for row in defaults if lookup.seen(tx, context, "subnetpool", row["id"])]
    if not found:
        raise _bad_subnets(f"No default subnetpool found for IPv{version}")
    return str(found[0]["id"])


def _bad_subnets(message: str) -> BadRequest:
    return BadRequest(f"Bad subnets request: {message}.", type="BadRequest")


def _check_overlap(cidr: IpNetwork, siblings: list[Row], network_id: str) -> None:
    for item in siblings:
        other = ip_network(item["cidr"])
        if cidr.version == other.version and cidr.overlaps(other):
            raise invalid(
                f"Requested subnet with cidr: {cidr} for network: {network_id} overlaps with another subnet: "
                f"{item['id']} ({other})"
            )


def check_space(tx: Transaction, context: Context, backend: str, cidr: IpNetwork) -> None:
    """Refuse addresses that another network of a backend has, where its networks share one space of addresses.

    Backends see what is committed a little later: two requests at a time are told apart here.
    """
    if not context.broker.capabilities(backend).one_space:
        return
    network, subnet = tx.tables.of["network"], tx.tables.of["subnet"]
    there = sa.select(subnet.c.id, subnet.c.cidr, subnet.c.network_id).where(
        subnet.c.network_id == network.c.id, network.c["portico:backend"] == backend
    )
    for item in tx.connection.execute(there):
        other = ip_network(item.cidr)
        if cidr.version == other.version and cidr.overlaps(other):
            theirs = lookup.named(tx, context, "subnet", item.id, f" ({other}) of network {item.network_id}")
            raise invalid(f"cidr {cidr} overlaps {theirs}: {backend} networks share one space of addresses")


def _gateway(body: Row, cidr: IpNetwork) -> IpAddress | None:
    if "gateway_ip" not in body:
        # A prefix of one address has no room for a gateway.
        return None if cidr.num_addresses == 1 else pools.default_gateway(cidr)
    if body["gateway_ip"] is None:
        return None
    gateway = ip_address(body["gateway_ip"])
    pools.check_gateway(cidr, gateway)
    return gateway


def _pools(body: Row, cidr: IpNetwork, gateway: IpAddress | None) -> list[pools.Pool]:
    if not body.get("allocation_pools"):
        return pools.default_pools(cidr, gateway)
    ranges = pools.check_pools(cidr, pools.parse(body["allocation_pools"]))
    pools.check_gateway_outside(gateway, ranges)
    return ranges


def _check(row: Row, cidr: IpNetwork) -> None:
    """Check what does not depend on other objects."""
    if cidr.prefixlen == 0:
        raise invalid("0 is not allowed as CIDR prefix length")
    if row["enable_dhcp"]:
        if cidr.is_multicast or cidr.is_loopback:
            kind = "Multicast" if cidr.is_multicast else "Loopback"
            raise invalid(f"{kind} IP subnet is not supported if enable_dhcp is True: cidr {cidr}")
        if cidr.version == 4 and int(cidr.network_address) == 0:
            raise invalid(f"First IP '0.0.0.0' of network is not supported if enable_dhcp is True: cidr {cidr}")
        if cidr.num_addresses <= 2:
            raise invalid(f"Subnet has a prefix length that is incompatible with DHCP service enabled: cidr {cidr}")
    _check_ipv6_modes(row, cidr)
    servers, routes = row["dns_nameservers"], row["host_routes"]
    if len(servers) > MAX_DNS_SERVERS:
        raise BadRequest(
            f"Unable to complete operation for {row['id']}. The number of DNS nameservers exceeds the limit "
            f"{MAX_DNS_SERVERS}.",
            type="DNSNameServersExhausted",
        )
    if len(routes) > MAX_HOST_ROUTES:
        raise BadRequest(
            f"Unable to complete operation for {row['id']}. The number of host routes exceeds the limit "
            f"{MAX_HOST_ROUTES}.",
            type="HostRoutesExhausted",
        )
    for name, value in [("dns_nameserver", item) for item in servers] + [
        (f"host route {key}", item[key]) for item in routes for key in ("destination", "nexthop")
    ]:
        if ip_network(value, strict=False).version != cidr.version:
            raise invalid(f"{name} '{value}' does not match the ip_version '{cidr.version}'")


def _check_ipv6_modes(row: Row, cidr: IpNetwork) -> None:
    router, address = row["ipv6_ra_mode"], row["ipv6_address_mode"]
    if not (router or address):
        return
    if cidr.version == 4:
        raise invalid("ipv6_ra_mode and ipv6_address_mode are only valid for a subnet of ip_version 6")
    if not row["enable_dhcp"]:
        raise invalid("ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False")
    if router and address and router != address:
        raise invalid(
            f"ipv6_ra_mode set to '{router}' with ipv6_address_mode set to '{address}' is not valid. If both "
            "attributes are set, they must be the same value"
        )
    if fixed_ip.is_automatic(row) and cidr.prefixlen != SLAAC_PREFIX:
        raise invalid(f"Invalid CIDR {cidr} for IPv6 address mode: EUI-64 addresses require the prefix to be /64")


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a subnet; ports keep their addresses, also outside new pools."""
    cidr = ip_network(row["cidr"])
    after = {**row, **changes}
    if "gateway_ip" in changes:
        _check_new_gateway(tx, row, ip_address(changes["gateway_ip"]) if changes["gateway_ip"] else None, cidr)
    ranges = pools.check_pools(cidr, pools.parse(after["allocation_pools"]))
    pools.check_gateway_outside(ip_address(after["gateway_ip"]) if after["gateway_ip"] else None, ranges)
    if "allocation_pools" in changes:
        changes["allocation_pools"] = pools.render(ranges)
    if "service_types" in changes:
        changes["service_types"] = _each_once(changes["service_types"])
    _check(after, cidr)
    context.broker.admit("subnet", row, after, lookup.get(tx, "network", row["network_id"]))
    updated = tx.update("subnet", row, changes)
    if "allocation_pools" in changes:
        allocate.set_pools(tx, row["id"], ranges)
    if "enable_dhcp" in changes:
        dhcp.settle(tx, context, lookup.get(tx, "network", row["network_id"]))
    return updated


def _check_new_gateway(tx: Transaction, row: Row, gateway: IpAddress | None, cidr: IpNetwork) -> None:
    """Refuse a gateway that is a workload's address, and another one or none while a router is at the present one."""
    if gateway is not None:
        pools.check_gateway(cidr, gateway)
    present = ip_address(row["gateway_ip"]) if row["gateway_ip"] else None
    if gateway == present:
        return
    for address, may_be_router in ((gateway, True), (present, False)):
        holder = allocate.holder(tx, row["id"], address) if address is not None else None
        if holder is None:
            continue
        is_router = lookup.get(tx, "port", holder)["device_owner"] in fixed_ip.ROUTER_OWNERS
        if is_router != may_be_router:
            raise Conflict(
                f"Current gateway ip {address} already in use by port {holder}. Unable to update subnet {row['id']}.",
                type="GatewayIpInUse",
            )


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a subnet; addresses that Portico gave by itself (DHCP server, SLAAC) go with it, others are in the way."""
    holders = fixed_ip.ports_in(tx, row["id"])
    automatic = fixed_ip.is_automatic(row)
    users = [
        port["id"]
        for port in holders
        if (port["device_owner"] in fixed_ip.ROUTER_OWNERS if automatic else port["device_owner"] != DHCP_OWNER)
    ]
    if users:
        raise Conflict(
            f"Unable to complete operation on subnet {row['id']}: One or more ports have an IP allocation from this "
            f"subnet: {some(users)}.",
            type="SubnetInUse",
        )
    for port in holders:
        rest = [item for item in port["fixed_ips"] if item["subnet_id"] != row["id"]]
        tx.update("port", port, {"fixed_ips": rest, "ip_allocation": fixed_ip.allocation(rest)})
    remove(tx, row)
    parent = lookup.get(tx, "network", row["network_id"])
    tx.update("network", parent, {"subnets": [item for item in parent["subnets"] if item != row["id"]]})
    dhcp.settle(tx, context, parent)


def remove(tx: Transaction, row: Row) -> None:
    """Drop a subnet's row and addresses without asking who uses them."""
    allocate.forget(tx, row["id"])
    blocks.forget(tx, row["id"])
    tx.delete("subnet", row)
