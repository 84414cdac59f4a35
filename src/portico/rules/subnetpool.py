# SPDX-License-Identifier: Apache-2.0
"""Subnet pools, and the prefixes that subnets take out of them."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

import sqlalchemy as sa

from portico.errors import BadRequest, Conflict, Forbidden, OverQuota
from portico.model.snapshot import IpNetwork
from portico.rules import address_scope, lookup, quota, sharing
from portico.rules.context import Context, Row
from portico.rules.pools import invalid
from portico.store.transaction import Transaction

BITS = {4: 32, 6: 128}
DEFAULT_MIN_PREFIXLEN = {4: 8, 6: 64}
# default_quota counts prefixes of this length: single IPv4 addresses, IPv6 /64s.
QUOTA_PREFIXLEN = {4: 32, 6: 64}

Block = tuple[int, int]  # first and last address of a prefix


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a pool; bounds that are not given are chosen."""
    quota.check(tx, context, "subnetpool", body["project_id"])
    prefixes, version = _read_prefixes(body["prefixes"])
    row = {
        "default_quota": None,
        "is_default": False,
        "address_scope_id": None,
        "min_prefixlen": DEFAULT_MIN_PREFIXLEN[version],
        "max_prefixlen": BITS[version],
        **body,
        "id": str(uuid.uuid4()),
        "prefixes": [str(prefix) for prefix in prefixes],
        "ip_version": version,
    }
    row.setdefault("default_prefixlen", row["min_prefixlen"])
    _check_bounds(row)
    if row["is_default"]:
        _refuse_second_default(tx, row)
    address_scope.check_member(tx, context, row)
    made = tx.insert("subnetpool", row)
    if body.get("shared"):
        sharing.share(tx, "subnetpool", made)
    return made


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change a pool; its prefixes can only grow."""
    if "prefixes" in changes:
        prefixes, version = _read_prefixes(changes["prefixes"])
        for old in row["prefixes"]:
            if version != row["ip_version"] or not _inside(prefixes, ip_network(old)):
                raise BadRequest(
                    f"Illegal update to prefixes: subnet pool {row['id']} has {old}, and existing prefixes must be a "
                    f"subset of the new prefixes.",
                    type="IllegalSubnetPoolPrefixUpdate",
                )
        if version != row["ip_version"]:
            # All that it had were removed; what has been made of them is still of the pool's version.
            raise _mixed([f"IPv{row['ip_version']} pool {row['id']}", *changes["prefixes"]])
        changes["prefixes"] = [str(prefix) for prefix in prefixes]
    after = {**row, **changes}
    _check_bounds(after)
    if after["is_default"] and not row["is_default"]:
        _refuse_second_default(tx, row)
    address_scope.check_change(tx, context, row)
    address_scope.check_member(tx, context, after)
    return tx.update("subnetpool", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a pool that no subnet is from."""
    subnet = tx.tables.of["subnet"]
    used_by = tx.connection.execute(sa.select(subnet.c.id).where(subnet.c.subnetpool_id == row["id"]).limit(1)).scalar()
    if used_by is not None:
        one = lookup.named(tx, context, "subnet", used_by)
        raise BadRequest(
            f"Unable to delete subnet pool: Subnet pool {row['id']} has existing allocations, one is {one}.",
            type="SubnetPoolDeleteError",
        )
    sharing.forget(tx, "subnetpool", row["id"])
    tx.delete("subnetpool", row)


def add_prefixes(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Add prefixes.

    Raises:
        BadRequest, Conflict: as an update of `prefixes` has them.
    """
    _check_named(body)
    return {"prefixes": update(tx, context, row, {"prefixes": [*row["prefixes"], *body["prefixes"]]})["prefixes"]}


def remove_prefixes(tx: Transaction, context: Context, row: Row, body: Row) -> Row:
    """Remove prefixes or parts of them, all or nothing; what the pool has not got is passed over.

    Raises:
        BadRequest: a subnet from the pool lies there.
    """
    _check_named(body)
    gone = [ip_network(text) for text in body["prefixes"]]
    for subnet in tx.find("subnet", subnetpool_id=row["id"]):
        taken = ip_network(subnet["cidr"])
        if any(_overlap(taken, prefix) for prefix in gone):
            one = lookup.named(tx, context, "subnet", subnet["id"], f" ({taken})")
            raise BadRequest(
                "Illegal update to prefixes: One or more the prefixes to be removed is in use by a subnet: "
                f"{one} is from subnet pool {row['id']}.",
                type="IllegalSubnetPoolPrefixUpdate",
            )
    left = [ip_network(text) for text in row["prefixes"]]
    for prefix in gone:
        left = [rest for one in left for rest in _without(one, prefix)]
    prefixes = [str(prefix) for prefix in _merged(left)]
    if prefixes != row["prefixes"]:
        tx.update("subnetpool", row, {"prefixes": prefixes})
    return {"prefixes": prefixes}


def onboard_network_subnets(tx: Transaction, context: Context, row: Row, body: Row) -> list[Row]:
    """Take a network's subnets of the pool's IP version into the pool; return what they are.

    Raises:
        NotFound: there is no such network for who asks.
        Forbidden: it belongs to another project.
        BadRequest: subnets from the pool have some of the addresses.
    """
    parent = lookup.visible(tx, context, "network", body["network_id"])
    if not context.is_admin and parent["project_id"] != context.project_id:
        raise Forbidden(
            f"Not authorized: network {parent['id']} belongs to another project, and so do its subnets.",
            type="NotAuthorized",
        )
    subnets = tx.find("subnet", network_id=parent["id"], ip_version=row["ip_version"])
    present = [ip_network(item["cidr"]) for item in tx.find("subnet", subnetpool_id=row["id"])]
    for item in subnets:
        if any(_overlap(ip_network(item["cidr"]), taken) for taken in present):
            raise BadRequest(
                f"Illegal subnetpool update : Onboarding subnet {item['id']}: {item['cidr']} conflicts with allocated "
                f"prefixes in subnet pool {row['id']}.",
                type="IllegalSubnetPoolUpdate",
            )
    update(tx, context, row, {"prefixes": [*row["prefixes"], *(item["cidr"] for item in subnets)]})
    for item in subnets:
        tx.update("subnet", item, {"subnetpool_id": row["id"]})
    return [{"id": item["id"], "cidr": item["cidr"]} for item in subnets]


def _check_named(body: Row) -> None:
    if not body["prefixes"]:
        raise BadRequest("Request body contains invalid data: prefixes must name one prefix.", type="HTTPBadRequest")


def _overlap(one: IpNetwork, two: IpNetwork) -> bool:
    return one.version == two.version and one.overlaps(two)


def _without(prefix: IpNetwork, gone: IpNetwork) -> Iterable[IpNetwork]:
    """Return what is left of `prefix` without `gone`."""
    if not _overlap(prefix, gone):
        return [prefix]
    return prefix.address_exclude(gone) if gone.prefixlen > prefix.prefixlen else []  # type: ignore[arg-type]


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `shared`."""
    sharing.present(tx, context, "subnetpool", rows)
    return rows


def allocate_cidr(
    tx: Transaction,
    context: Context,
    pool: Row,
    prefixlen: int | None,
    cidr: IpNetwork | None,
    *,
    project_id: str | None = None,
) -> IpNetwork:
    """Return the prefix that a new subnet gets: `cidr` if it is free, else the first free one of `prefixlen`.

    Args:
        pool: the row of the subnet pool.
        prefixlen: the wanted length; None means the pool's default_prefixlen. Not looked at when `cidr` is given.
        project_id: whose quota counts; None means that of the context.
    Raises:
        BadRequest: the length is outside the pool's bounds.
        OverQuota: the project would have more of the pool than default_quota.
        Conflict: `cidr` is not free, or nothing of this length is.
    """
    version = pool["ip_version"]
    if cidr is not None and cidr.version != version:
        raise invalid(f"cidr {cidr} is not of IPv{version} as subnet pool {pool['id']} is")
    length = cidr.prefixlen if cidr is not None else pool["default_prefixlen"] if prefixlen is None else prefixlen
    _check_length(pool, length)
    subnet = tx.tables.of["subnet"]
    statement = sa.select(subnet.c.cidr, subnet.c.project_id).where(subnet.c.subnetpool_id == pool["id"])
    taken = [(_block(row.cidr), row.project_id) for row in tx.connection.execute(statement)]
    _check_quota(pool, length, [block for block, owner in taken if owner == (project_id or context.project_id)])
    blocks = sorted(block for block, _ in taken)
    prefixes = [ip_network(prefix) for prefix in pool["prefixes"]]
    if cidr is not None:
        _check_free(pool, cidr, prefixes, blocks)
        return cidr
    first = _first_free([_block(prefix) for prefix in pool["prefixes"]], blocks, 1 << (BITS[version] - length))
    if first is None:
        raise _cannot_allocate(
            f"Insufficient prefix space to allocate subnet size /{length} in subnet pool {pool['id']}"
        )
    return IPv4Network((first, length)) if version == 4 else IPv6Network((first, length))


def _first_free(prefixes: Iterable[Block], taken: list[Block], size: int) -> int | None:
    """Return the lowest multiple of `size` inside a prefix from which `size` addresses are free.

    Both arguments are sorted; prefixes are disjoint, and so are taken blocks among each other.
    """
    position = 0
    for first, last in prefixes:
        start = -(-first // size) * size
        while position < len(taken) and taken[position][0] <= last:
            if taken[position][0] >= start + size:
                break
            start = max(start, -(-(taken[position][1] + 1) // size) * size)
            position += 1
        if start + size - 1 <= last:
            return start
    return None


def _check_free(pool: Row, cidr: IpNetwork, prefixes: list[IpNetwork], taken: list[Block]) -> None:
    if not _inside(prefixes, cidr):
        raise _cannot_allocate(
            f"Cannot allocate requested subnet {cidr} from the available set of prefixes: it lies outside of subnet "
            f"pool {pool['id']} ({', '.join(pool['prefixes'])})"
        )
    wanted = _block(str(cidr))
    for first, last in taken:
        if first <= wanted[1] and wanted[0] <= last:
            raise _cannot_allocate(
                f"Cannot allocate requested subnet {cidr} from the available set of prefixes: subnet pool {pool['id']} "
                "has a subnet there already"
            )


def _cannot_allocate(reason: str) -> Conflict:
    return Conflict(f"Failed to allocate subnet: {reason}.", type="SubnetAllocationError")


def _check_length(pool: Row, length: int) -> None:
    for name, word, broken in (
        ("min", "minimum", length < pool["min_prefixlen"]),
        ("max", "maximum", length > pool["max_prefixlen"]),
    ):
        if broken:
            raise BadRequest(
                f"Unable to allocate subnet with prefix length {length}, {word} allowed prefix is "
                f"{pool[f'{name}_prefixlen']} (subnet pool {pool['id']}).",
                type=f"{word[:3].title()}PrefixSubnetAllocationError",
            )


def _check_quota(pool: Row, length: int, own: list[Block]) -> None:
    if not pool["default_quota"]:
        return
    version = pool["ip_version"]
    # In addresses, because an IPv6 subnet may be less than one unit.
    limit = pool["default_quota"] << (BITS[version] - QUOTA_PREFIXLEN[version])
    used = sum(last - first + 1 for first, last in own)
    if used + (1 << (BITS[version] - length)) > limit:
        raise OverQuota(
            f"Per-project subnet pool prefix quota exceeded: subnet pool {pool['id']} allows {pool['default_quota']} "
            f"/{QUOTA_PREFIXLEN[version]} per project, a /{length} more does not fit.",
            type="SubnetPoolQuotaExceeded",
        )


def _block(cidr: str) -> Block:
    """Return the first and last address of a network in its usual form (ipaddress takes eight times as long)."""
    address, _, length = cidr.partition("/")
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    first = int.from_bytes(packed, "big")
    return first, first + (1 << (len(packed) * 8 - int(length))) - 1


def _read_prefixes(texts: list[str]) -> tuple[list[IpNetwork], int]:
    """Return the prefixes as few as possible and in order, and their IP version."""
    if not texts:
        raise BadRequest(
            "Empty subnet pool prefix list: prefixes must name one prefix.", type="EmptySubnetPoolPrefixList"
        )
    networks = [ip_network(text, strict=False) for text in texts]
    if len({network.version for network in networks}) > 1:
        raise _mixed(texts)
    return _merged(networks), networks[0].version


def _mixed(texts: Iterable[str]) -> BadRequest:
    return BadRequest(
        f"Cannot mix IPv4 and IPv6 prefixes in a subnet pool: prefixes {', '.join(texts)}.",
        type="PrefixVersionMismatch",
    )


def _merged(networks: Iterable[IpNetwork]) -> list[IpNetwork]:
    """Return the same addresses in as few prefixes as possible, in order."""
    every = list(networks)
    four = [network for network in every if isinstance(network, IPv4Network)]
    six = [network for network in every if isinstance(network, IPv6Network)]
    return [*collapse_addresses(four), *collapse_addresses(six)]


def _inside(prefixes: Iterable[IpNetwork], network: IpNetwork) -> bool:
    first, last = network.network_address, network.broadcast_address
    return any(first in prefix and last in prefix for prefix in prefixes)


def _check_bounds(row: Row) -> None:
    low, high, chosen = row["min_prefixlen"], row["max_prefixlen"], row["default_prefixlen"]
    longest = BITS[row["ip_version"]]
    for broken, name, other, bound in (
        (low > high, "min_prefixlen", "max_prefixlen", high),
        (high > longest, "max_prefixlen", "ip_version_max", longest),
        (chosen < low, "default_prefixlen", "min_prefixlen", low),
        (chosen > high, "default_prefixlen", "max_prefixlen", high),
    ):
        if broken:
            raise BadRequest(
                f"Illegal prefix bounds: {name}={row[name]}, {other}={bound}.", type="IllegalSubnetPoolPrefixBounds"
            )


def _refuse_second_default(tx: Transaction, row: Row) -> None:
    others = tx.find("subnetpool", is_default=True, ip_version=row["ip_version"])
    if others:
        raise invalid(
            f"A default subnetpool for this IP family has already been set: is_default of {others[0]['id']}. Only one "
            "default may exist per IP family"
        )
