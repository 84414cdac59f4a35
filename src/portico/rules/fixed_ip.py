# SPDX-License-Identifier: Apache-2.0
"""Addresses of ports: chosen, checked, taken and given back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict, NotFound
from portico.model.bgp import ROUTED
from portico.model.snapshot import DHCP_OWNER, IpAddress
from portico.rules import pools
from portico.rules.context import Context, Row
from portico.store import allocate, blocks
from portico.store.blocks import Home
from portico.store.transaction import Transaction

SLAAC_MODES = ("slaac", "dhcpv6-stateless")
ROUTER_OWNERS = (
    "network:router_interface",
    "network:router_interface_distributed",
    "network:ha_router_replicated_interface",
)

Chosen = list[tuple[Row, IpAddress]]  # (subnet row, address), taken out of the pools
_NOT_ASKED: Mapping[str, Row] = {}


def eui64(prefix: IPv6Network, mac: str) -> IPv6Address:
    """Return the SLAAC address of `mac` in `prefix` (RFC 4291 appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return prefix.network_address + int.from_bytes(identifier, "big")


def home_of(context: Context, network: Row, port: Row) -> Home | None:
    """Return whose blocks a port has its addresses of, or None: only bound ports of routed networks have any."""
    host = port["binding:host_id"]
    is_routed = bool(host) and network["portico:backend"] == ROUTED
    return Home(host, {4: context.limits.block_v4, 6: context.limits.block_v6}) if is_routed else None


def choose(
    tx: Transaction, port: Row, subnets: Sequence[Row], wanted: Sequence[Row] | None, home: Home | None = None
) -> Chosen:
    """Take addresses for a new port out of the pools.

    Args:
        port: its row so far: mac_address, network_id, device_owner.
        subnets: those of its network, of which some may be for other kinds of ports.
        wanted: the request's fixed_ips, or None when it left them to us: then one IPv4 and one IPv6 address where there
            are subnets, and one from each subnet with automatic addresses. An empty list means no address at all.
        home: whose blocks they are taken from.

    Raises:
        BadRequest, Conflict, NotFound: as the Networking API has them.
    """
    if wanted == []:
        return []
    subnets = candidates(port, subnets)
    if wanted is not None:
        chosen = choose_wanted(tx, port, subnets, wanted, home)
    else:
        groups = [[item for item in subnets if item["ip_version"] == version and not is_automatic(item)]
                  for version in (4, 6)]  # fmt: skip
        free = _free(tx, port["network_id"]) if home is None and any(groups) else {}
        chosen = [_next_of(tx, port, group, home, free) for group in groups if group]
    return chosen + choose_automatic(tx, port, subnets, {subnet["id"] for subnet, _ in chosen})


def subnets_of(tx: Transaction, network: Row) -> list[Row]:
    """Return the network's subnets, oldest first: a database gives rows in any order."""
    return sorted(tx.find("subnet", network_id=network["id"]), key=lambda item: network["subnets"].index(item["id"]))


def serves(subnet: Row, port: Row) -> bool:
    """Tell whether the port may have addresses from the subnet: of any with DHCP if it is the DHCP server's."""
    types, owner = subnet["service_types"], port["device_owner"]
    return not types or owner in types or (owner == DHCP_OWNER and bool(subnet["enable_dhcp"]))


def candidates(port: Row, subnets: Sequence[Row]) -> list[Row]:
    """Return the subnets that serve the port, those that are there for its kind first.

    Raises:
        Conflict: there are subnets, but none for it.
    """
    found = [subnet for subnet in subnets if serves(subnet, port)]
    if subnets and not found:
        raise Conflict(
            f"No valid service subnet for the given device owner, network {port['network_id']}, service type "
            f"{port['device_owner']}.",
            type="IpAddressGenerationFailureNoMatchingSubnet",
        )
    return sorted(found, key=lambda subnet: not subnet["service_types"])


def is_automatic(subnet: Row) -> bool:
    """Tell whether ports make their addresses in the subnet of their MAC addresses.

    Either mode says so: with ipv6_ra_mode alone a router outside Portico's care announces the prefix, and hosts form
    the same addresses.
    """
    return subnet["ipv6_address_mode"] in SLAAC_MODES or subnet["ipv6_ra_mode"] in SLAAC_MODES


def choose_wanted(
    tx: Transaction, port: Row, subnets: Sequence[Row], wanted: Sequence[Row], home: Home | None = None
) -> Chosen:
    """Take the addresses that a request asks for, by address, by subnet or by both.

    Addresses that are named come first: one of them may be the next to be given out.
    """
    ordered = sorted(wanted, key=lambda item: item.get("ip_address") is None)
    return [_wanted(tx, port, subnets, item, home) for item in ordered]


def choose_automatic(tx: Transaction, port: Row, subnets: Sequence[Row], present: Collection[str]) -> Chosen:
    """Take the port's address in each subnet with automatic addresses but those whose ids are `present`."""
    if port["device_owner"] in ROUTER_OWNERS:
        return []
    missing = [subnet for subnet in subnets if is_automatic(subnet) and subnet["id"] not in present]
    return [(subnet, _automatic(tx, port, subnet)) for subnet in missing]


def _free(tx: Transaction, network_id: str) -> Mapping[str, Row]:
    """Return the ranges of next addresses by their subnets: asked for before any is taken, they come together."""
    return {row["subnet_id"]: row for row in tx.ask(*allocate.next_ranges(tx, network_id))}


def _next_of(
    tx: Transaction, port: Row, subnets: Iterable[Row], home: Home | None, free: Mapping[str, Row] = _NOT_ASKED
) -> tuple[Row, IpAddress]:
    for subnet in subnets:
        if home is not None:
            address = blocks.take_next(tx, subnet, home)
        else:
            address = allocate.take_next(tx, subnet["id"], subnet["ip_version"], free.get(subnet["id"]))
        if address is not None:
            return subnet, address
    raise Conflict(
        f"No more IP addresses available on network {port['network_id']}.", type="IpAddressGenerationFailure"
    )


def _wanted(tx: Transaction, port: Row, subnets: Sequence[Row], item: Row, home: Home | None) -> tuple[Row, IpAddress]:
    subnet = _subnet_of(tx, port, subnets, item)
    if item.get("ip_address") is None:
        if is_automatic(subnet) and port["device_owner"] not in ROUTER_OWNERS:
            return subnet, _automatic(tx, port, subnet)
        return _next_of(tx, port, [subnet], home)
    address = ip_address(item["ip_address"])
    if not _is_host_of(subnet, address):
        raise BadRequest(
            f"IP address {address} is not a valid IP for the specified subnet {subnet['id']} ({subnet['cidr']}).",
            type="InvalidIpForSubnet",
        )
    automatic = is_automatic(subnet) and port["device_owner"] not in ROUTER_OWNERS
    if automatic and address != _slaac_address(subnet, port):
        raise BadRequest(
            f"IPv6 address {address} can not be directly assigned to a port on subnet {subnet['id']} since the "
            "subnet is configured for automatic addresses.",
            type="AllocationOnAutoAddressSubnet",
        )
    _take_exactly(tx, subnet, address)
    return subnet, address


def _subnet_of(tx: Transaction, port: Row, subnets: Sequence[Row], item: Row) -> Row:
    if item.get("subnet_id") is not None:
        for subnet in subnets:
            if subnet["id"] == item["subnet_id"]:
                return subnet
        if tx.get("subnet", item["subnet_id"]) is None:
            raise NotFound(f"Subnet {item['subnet_id']} could not be found.", type="SubnetNotFound")
        raise BadRequest(
            f"Invalid input for operation: Failed to create port on network {port['network_id']}, because fixed_ips "
            f"included invalid subnet {item['subnet_id']}.",
            type="InvalidInput",
        )
    if item.get("ip_address") is None:
        raise BadRequest(
            "Invalid input for operation: IP allocation requires subnet_id or ip_address.", type="InvalidInput"
        )
    if not subnets:
        raise BadRequest(
            f"Invalid input for operation: IP allocation requires subnets for network {port['network_id']}.",
            type="InvalidInput",
        )
    address = ip_address(item["ip_address"])
    for subnet in subnets:
        if _is_host_of(subnet, address):
            return subnet
    raise BadRequest(
        f"IP address {address} is not a valid IP for any of the subnets on the specified network {port['network_id']}.",
        type="InvalidIpForNetwork",
    )


def _is_host_of(subnet: Row, address: IpAddress) -> bool:
    cidr = ip_network(subnet["cidr"])
    first, last = pools.bounds(cidr)
    return address.version == cidr.version and first <= int(address) <= last


def _slaac_address(subnet: Row, port: Row) -> IPv6Address:
    return eui64(IPv6Network(subnet["cidr"]), port["mac_address"])


def _automatic(tx: Transaction, port: Row, subnet: Row) -> IpAddress:
    address = _slaac_address(subnet, port)
    _take_exactly(tx, subnet, address)
    return address


def _take_exactly(tx: Transaction, subnet: Row, address: IpAddress) -> None:
    holder = allocate.holder(tx, subnet["id"], address)
    if holder is not None:
        raise Conflict(
            f"IP address {address} already allocated in subnet {subnet['id']} (to port {holder}).",
            type="IpAddressAlreadyAllocated",
        )
    allocate.take(tx, subnet["id"], address)


def record(tx: Transaction, port_id: str, chosen: Chosen) -> list[Row]:
    """Write down that the port holds the addresses; return them as fixed_ips."""
    for subnet, address in chosen:
        allocate.record(tx, subnet["id"], address, port_id)
    return [{"subnet_id": subnet["id"], "ip_address": str(address)} for subnet, address in chosen]


def release(tx: Transaction, port: Row, fixed_ips: Iterable[Row]) -> None:
    """Give addresses of a port back."""
    network = tx.get("network", port["network_id"])
    is_routed = network is not None and network["portico:backend"] == ROUTED
    for item in fixed_ips:
        subnet = tx.get("subnet", item["subnet_id"])
        ranges = pools.parse(subnet["allocation_pools"]) if subnet else []
        address = ip_address(item["ip_address"])
        allocate.release(tx, item["subnet_id"], address, ranges)
        if is_routed:
            blocks.give_back(tx, item["subnet_id"], address)


def allocation(fixed_ips: Sequence[Row]) -> str:
    """Return the ip_allocation of a port with these addresses."""
    return "immediate" if fixed_ips else "none"


def ports_in(tx: Transaction, subnet_id: str) -> list[Row]:
    """Return the ports that have an address in the subnet."""
    table = tx.tables.address
    ids = tx.connection.execute(sa.select(table.c.port_id).where(table.c.subnet_id == subnet_id).distinct())
    return tx.get_many("port", [row.port_id for row in ids])


def add_automatic(tx: Transaction, subnet: Row) -> None:
    """Give every port of the network its address in a new subnet with automatic addresses."""
    for port in tx.find("port", network_id=subnet["network_id"]):
        if port["device_owner"] in ROUTER_OWNERS or not port["fixed_ips"] or not serves(subnet, port):
            continue
        added = record(tx, port["id"], [(subnet, _automatic(tx, port, subnet))])
        tx.update("port", port, {"fixed_ips": port["fixed_ips"] + added})
