# SPDX-License-Identifier: Apache-2.0
"""Network segment ranges: which VLAN IDs the networks of a project get that name none.

Ranges of the project come first. Of shared ones a network gets what is in no range of another project. Default ranges
are shared, and say what the setting `network.vlan_ranges` does.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from portico.errors import BadRequest, Conflict, Unsupported
from portico.rules import provider
from portico.rules.context import Context, Row
from portico.store.query import Query
from portico.store.store import Store
from portico.store.transaction import Transaction

NAME = "network_segment_range"

# A physical network with its first and last ID.
Place = tuple[str, int, int]


def create(tx: Transaction, context: Context, body: Row) -> Row:
    """Make a range.

    Raises:
        BadRequest: no network type has such IDs, or they are none.
        Conflict: it overlaps with another range that is no default one.
    """
    settle(tx, context)
    row = {
        **body,
        "id": str(uuid.uuid4()),
        "default": False,
        "project_id": None if body["shared"] else body["project_id"],
    }
    _check_type(context, row.get("network_type"))
    if not row.get("physical_network"):
        raise BadRequest(
            "Bad network_segment_range request: Network type vlan requires 'physical_network' to be specified while "
            "creating new range.",
            type="BadRequest",
        )
    _check_ends(tx, row)
    return tx.insert(NAME, row)


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change name, description or ends of a range.

    Raises:
        BadRequest: it is a default one, or its ends are none.
        Conflict: a network has an ID that would be outside, or it would overlap.
    """
    _refuse_default(row)
    after = {**row, **changes}
    left = [vlan for vlan in _used(tx, row) if vlan not in _ids(after)]
    if left:
        raise _referenced(row, sorted(left))
    _check_ends(tx, after)
    return tx.update(NAME, row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Remove a range.

    Raises:
        BadRequest: it is a default one.
        Conflict: networks have IDs of it.
    """
    _refuse_default(row)
    if used := _used(tx, row):
        raise _referenced(row, sorted(used))
    tx.delete(NAME, row)


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `used` and `available`."""
    for row in rows:
        used = _used(tx, row)
        row["used"] = {str(vlan): used[vlan] for vlan in sorted(used)}
        row["available"] = [vlan for vlan in _ids(row) if vlan not in used]
    return rows


def before_list(store: Store, context: Context, query: Query) -> None:
    """Have the default ranges say what the setting says."""
    with store.read() as tx:
        if not _differences(tx, context):
            return
    with store.write() as tx:
        settle(tx, context)


def settle(tx: Transaction, context: Context) -> None:
    """Have the default ranges say what the setting says."""
    for (physical, first, last), row in _differences(tx, context):
        if row is not None:
            tx.delete(NAME, row)
            continue
        made = {"id": str(uuid.uuid4()), "name": "", "description": "", "default": True, "shared": True}
        where = {"network_type": provider.VLAN, "physical_network": physical, "minimum": first, "maximum": last}
        tx.insert(NAME, {**made, "project_id": None, **where})


def offered(tx: Transaction, context: Context, project_id: str) -> Iterator[tuple[str, list[int]]]:
    """Yield physical networks, each with VLAN IDs that a network of a project may get: the best first."""
    settle(tx, context)
    rows = sorted(tx.find(NAME, network_type=provider.VLAN), key=_order)
    for row in (one for one in rows if one["project_id"] == project_id):
        yield row["physical_network"], list(_ids(row))
    for row in (one for one in rows if one["shared"]):
        others = [
            other
            for other in rows
            if other["project_id"] not in (None, project_id) and other["physical_network"] == row["physical_network"]
        ]
        yield row["physical_network"], [vlan for vlan in _ids(row) if not any(vlan in _ids(one) for one in others)]


def _order(row: Row) -> tuple[bool, str, int]:
    return row["default"], row["physical_network"], row["minimum"]


def _differences(tx: Transaction, context: Context) -> list[tuple[Place, Row | None]]:
    """Return default ranges to remove, with their rows, and those to make, with None."""
    there = {(row["physical_network"], row["minimum"], row["maximum"]): row for row in tx.find(NAME, default=True)}
    wanted = dict.fromkeys((name, first, last) for name, first, last in context.limits.vlan_ranges)
    gone = [(place, row) for place, row in there.items() if place not in wanted]
    return [*gone, *((place, None) for place in wanted if place not in there)]


def _ids(row: Row) -> range:
    return range(row["minimum"], row["maximum"] + 1)


def _used(tx: Transaction, row: Row) -> dict[int, str]:
    """Return the IDs of a range that networks have, each with the network's project."""
    found = tx.find("network", **{provider.TYPE: row["network_type"], provider.PHYSICAL: row["physical_network"]})
    ids = _ids(row)
    return {one[provider.SEGMENT]: one["project_id"] for one in found if one[provider.SEGMENT] in ids}


def _check_type(context: Context, network_type: str | None) -> None:
    """Refuse a type whose networks get no ID from a range here."""
    why = f"of the types that there are only {provider.VLAN} does"
    try:
        if network_type == provider.VLAN:
            backend, _ = context.broker.choose(context.project_id, None, network_type)
            if network_type in context.broker.capabilities(backend).physical_types:
                return
    except Unsupported as error:
        why = error.message
    raise BadRequest(
        f"Network type {network_type} does not support network segment ranges: {why}.",
        type="NetworkSegmentRangeNetTypeNotSupported",
    )


def _check_ends(tx: Transaction, row: Row) -> None:
    first, last = row["minimum"], row["maximum"]
    if not provider.VLAN_MIN <= first <= last <= provider.VLAN_MAX:
        raise BadRequest(
            f"Invalid network VLAN range: '{first}:{last}' - minimum and maximum must be VLAN IDs, "
            f"{provider.VLAN_MIN} to {provider.VLAN_MAX}, and not the wrong way round.",
            type="NetworkVlanRangeError",
        )
    others = tx.find(NAME, default=False, network_type=row["network_type"], physical_network=row["physical_network"])
    met = [one["id"] for one in others if one["id"] != row["id"] and first <= one["maximum"] and last >= one["minimum"]]
    if met:
        raise Conflict(
            f"Network segment range overlaps with range(s) with id {', '.join(met)}: {first} to {last} of physical "
            f"network {row['physical_network']}.",
            type="NetworkSegmentRangeOverlaps",
        )


def _refuse_default(row: Row) -> None:
    if row["default"]:
        raise BadRequest(
            f"Network Segment Range {row['id']} is a default segment range which could not be updated or deleted: the "
            "setting network.vlan_ranges says what it is.",
            type="NetworkSegmentRangeDefaultReadOnly",
        )


def _referenced(row: Row, vlans: list[int]) -> Conflict:
    named = ", ".join(str(vlan) for vlan in vlans[:5]) + (f" and {len(vlans) - 5} more" if len(vlans) > 5 else "")
    return Conflict(
        f"Network Segment Range {row['id']} is referenced by one or more project networks: they have {named}.",
        type="NetworkSegmentRangeReferencedByProject",
    )
