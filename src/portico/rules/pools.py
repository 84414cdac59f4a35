# SPDX-License-Identifier: Apache-2.0
"""Gateway and allocation pools of a subnet: chosen, checked."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from itertools import pairwise

from portico.errors import BadRequest, Conflict
from portico.model.snapshot import IpAddress, IpNetwork
from portico.rules.context import Row

Pool = tuple[IpAddress, IpAddress]


def invalid(message: str) -> BadRequest:
    """Return Neutron's InvalidInput with `message`."""
    return BadRequest(f"Invalid input for operation: {message}.", type="InvalidInput")


def bounds(cidr: IpNetwork) -> tuple[int, int]:
    """Return the first and last number that a host may have in `cidr`.

    IPv4 leaves out network and broadcast address, IPv6 the subnet-router anycast address (RFC 4291 section 2.6.1);
    /31, /32, /127 and /128 have none of these.
    """
    first, last = int(cidr.network_address), int(cidr.broadcast_address)
    if cidr.num_addresses <= 2:
        return first, last
    return first + 1, last - 1 if cidr.version == 4 else last


def default_gateway(cidr: IpNetwork) -> IpAddress:
    """Return the first address of `cidr` that a host may have."""
    return cidr.network_address + (bounds(cidr)[0] - int(cidr.network_address))


def check_gateway(cidr: IpNetwork, gateway: IpAddress) -> None:
    """Refuse a gateway that hosts of the subnet could not reach.

    Raises:
        BadRequest: outside the subnet (IPv6 link-local is allowed), or its network or broadcast address.
    """
    if gateway.version != cidr.version:
        raise invalid(f"gateway_ip '{gateway}' does not match the ip_version '{cidr.version}'")
    if cidr.version == 6 and gateway.is_link_local:
        return
    first, last = bounds(cidr)
    if not first <= int(gateway) <= last:
        raise invalid(f"Gateway is not valid on subnet: gateway_ip {gateway} is no host address in {cidr}")


def default_pools(cidr: IpNetwork, gateway: IpAddress | None) -> list[Pool]:
    """Return all host addresses of `cidr` but the gateway."""
    first, last = bounds(cidr)
    base = cidr.network_address
    ends = [(first, last)]
    if gateway is not None and first <= int(gateway) <= last:
        ends = [(first, int(gateway) - 1), (int(gateway) + 1, last)]
    return [(base + (a - int(base)), base + (b - int(base))) for a, b in ends if a <= b]


def parse(pools: Iterable[Row]) -> list[Pool]:
    """Return the pools of a subnet's row."""
    return [(ip_address(pool["start"]), ip_address(pool["end"])) for pool in pools]


def render(pools: Iterable[Pool]) -> list[Row]:
    """Return pools as a subnet's row holds them."""
    return [{"start": str(start), "end": str(end)} for start, end in pools]


def check_pools(cidr: IpNetwork, pools: list[Pool]) -> list[Pool]:
    """Return the pools in order.

    Raises:
        BadRequest: a pool is no range of `cidr`.
        Conflict: two pools overlap.
    """
    first, last = bounds(cidr)
    for start, end in pools:
        text = f"{start}-{end}"
        if start.version != cidr.version or end.version != cidr.version or int(start) > int(end):
            raise BadRequest(
                f"The allocation pool {text} is not valid: it must go up, within version {cidr.version} of IP.",
                type="InvalidAllocationPool",
            )
        if int(start) < first or int(end) > last:
            raise BadRequest(
                f"The allocation pool {text} spans beyond the subnet cidr {cidr}.", type="OutOfBoundsAllocationPool"
            )
    ordered = sorted(pools, key=lambda pool: int(pool[0]))
    for one, two in pairwise(ordered):
        if int(two[0]) <= int(one[1]):
            raise Conflict(
                f"Found overlapping allocation pools: {one[0]}-{one[1]} {two[0]}-{two[1]} for subnet {cidr}.",
                type="OverlappingAllocationPools",
            )
    return ordered


def check_gateway_outside(gateway: IpAddress | None, pools: Iterable[Pool]) -> None:
    """Refuse a gateway inside an allocation pool.

    Raises:
        Conflict: it lies in one.
    """
    for start, end in pools:
        if gateway is not None and start.version == gateway.version and int(start) <= int(gateway) <= int(end):
            raise Conflict(
                f"Gateway ip {gateway} conflicts with allocation pool {start}-{end}.",
                type="GatewayConflictWithAllocationPools",
            )
