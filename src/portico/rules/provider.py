# SPDX-License-Identifier: Apache-2.0
"""Where a network is on a physical network: provider:physical_network and, with VLANs, provider:segmentation_id.

Of other types the backend that realises them judges these attributes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from portico.contract import Capabilities
from portico.errors import BadRequest, Conflict, Unavailable
from portico.rules import agent
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

TYPE, PHYSICAL, SEGMENT = "provider:network_type", "provider:physical_network", "provider:segmentation_id"
VLAN = "vlan"
# IEEE 802.1Q section 9.6: 0 and 4095 have a meaning of their own.
VLAN_MIN, VLAN_MAX = 1, 4094


def host_needs(able: Capabilities, network_type: str) -> tuple[str, ...]:
    """Return what a host must be able to do to have networks of a type; it takes bpf(2) to join a physical network."""
    return (*able.host_needs, "bpf") if network_type in able.physical_types else able.host_needs


def place(
    tx: Transaction,
    context: Context,
    row: Row,
    offered: Iterable[tuple[str, Sequence[int]]],
    before: Row | None = None,
) -> Row:
    """Return physical network and VLAN ID of a network whose backend and type are chosen.

    A VLAN ID that it does not name is chosen: one that nothing has, of those offered.

    Args:
        row: the network as it would be.
        offered: physical networks with VLAN IDs that it may get; see segment_range.offered.
        before: the network as it is, None if it is new. Of where it was, what does not go with another type is dropped.

    Raises:
        BadRequest: they do not go with its type, or no host has the physical network.
        Conflict: another network has the place.
        Unavailable: no VLAN ID is free.
    """
    types = context.broker.capabilities(row["portico:backend"] or "").physical_types
    if before is not None and before[TYPE] in types and before[TYPE] != row[TYPE]:
        told = {SEGMENT} if row[TYPE] in types else {PHYSICAL, SEGMENT}
        row = {**row, **{name: None for name in told if row[name] == before[name]}}
    if row[TYPE] not in types:
        return {name: row[name] for name in (PHYSICAL, SEGMENT) if name in row}
    physical, vlan = row.get(PHYSICAL) or None, row.get(SEGMENT)
    _check(tx, row[TYPE], physical, vlan)
    if row[TYPE] == VLAN and vlan is None:
        physical, vlan = _free(tx, row["project_id"], physical, offered)
    elif vlan in _taken(tx, physical, row.get("id")):
        raise _in_use(physical, vlan)
    return {PHYSICAL: physical, SEGMENT: vlan}


def _check(tx: Transaction, network_type: str, physical: str | None, vlan: int | None) -> None:
    """Refuse what does not go with a type, in Neutron's words."""
    word = network_type.upper() if network_type == VLAN else network_type
    if network_type != VLAN and vlan is not None:
        raise _invalid(f"provider:segmentation_id prohibited for {word} provider network")
    if physical is None and network_type != VLAN:
        raise _invalid(f"provider:physical_network required for {word} provider network")
    if physical is None and vlan is not None:
        raise _invalid(f"provider:segmentation_id requires provider:physical_network for {word} provider network")
    if vlan is not None and not VLAN_MIN <= vlan <= VLAN_MAX:
        raise _invalid(f"provider:segmentation_id out of range ({VLAN_MIN} through {VLAN_MAX})")
    known = agent.physical_networks(tx) if physical is not None else {}
    if physical is not None and physical not in known:
        there = "; ".join(f"{name} (on {', '.join(sorted(hosts)[:5])})" for name, hosts in sorted(known.items()))
        raise _invalid(
            f"provider:physical_network '{physical}' unknown for {word} provider network: no host has it. "
            f"Hosts have: {there or 'none'}"
        )


def _free(
    tx: Transaction, project_id: str, physical: str | None, offered: Iterable[tuple[str, Sequence[int]]]
) -> tuple[str, int]:
    """Return the first VLAN ID that is free on a physical network, None for any that a host has."""
    known = agent.physical_networks(tx)
    for name, vlans in offered:
        if name in known and physical in (None, name):
            taken = set(_taken(tx, name))
            free = next((vlan for vlan in vlans if vlan not in taken), None)
            if free is not None:
                return name, free
    where = f" of physical network {physical}" if physical else ""
    raise Unavailable(
        "Unable to create the network. No project network is available for allocation. "
        f"No VLAN ID{where} is free in network segment ranges of project {project_id} and in shared ones.",
        type="NoNetworkAvailable",
    )


def _taken(tx: Transaction, physical: str | None, but: str | None = None) -> Iterator[int | None]:
    """Yield the VLAN IDs that networks have on a physical network; None is that of a flat one."""
    for row in tx.find("network", **{PHYSICAL: physical}):
        if row["id"] != but:
            yield row[SEGMENT]


def _in_use(physical: str | None, vlan: int | None) -> Conflict:
    if vlan is None:
        return Conflict(
            f"Unable to create the flat network. Physical network {physical} is in use.", type="FlatNetworkInUse"
        )
    return Conflict(
        f"Unable to create the network. The VLAN {vlan} on physical network {physical} is in use.", type="VlanIdInUse"
    )


def _invalid(text: str) -> BadRequest:
    return BadRequest(f"Invalid input for operation: {text}.", type="InvalidInput")
