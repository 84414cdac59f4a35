# SPDX-License-Identifier: Apache-2.0
"""What ports are to have at least: no host is given more of them than it carries.

Agents tell what their hosts carry, by the settings `agent.bandwidth_kbps` and `agent.packet_rate_kpps`. A port counts
on the host that it is bound to; on one that only another binding names it must have had room when that was made.

Sources of what `resource_request` says: placement's resource classes and traits in neutron_lib.placement and os-traits;
the Networking API reference, "Port resource request groups".
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from portico.errors import Conflict
from portico.model.qos import in_force
from portico.model.snapshot import BINDING_FAILED, UNBOUND
from portico.rules import lookup
from portico.rules.context import Context, Row
from portico.rules.discretion import discreet
from portico.store.transaction import Transaction

# How many kilobits or thousand packets a second, by the type and the direction of the rule.
Demand = Mapping[tuple[str, str], int]

_VALUES = {"minimum_bandwidth": "min_kbps", "minimum_packet_rate": "min_kpps"}
TYPES = frozenset(_VALUES)
"""The types of rules that this is about."""

# The names of placement's resource classes.
_CLASSES = {
    ("minimum_bandwidth", "egress"): "NET_BW_EGR_KILOBIT_PER_SEC",
    ("minimum_bandwidth", "ingress"): "NET_BW_IGR_KILOBIT_PER_SEC",
    ("minimum_packet_rate", "egress"): "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    ("minimum_packet_rate", "ingress"): "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
    ("minimum_packet_rate", "any"): "NET_PACKET_RATE_KILOPACKET_PER_SEC",
}
# Neutron's trait for networks without a physical one.
_NO_PHYSICAL_NETWORK = "CUSTOM_NETWORK_TUNNEL_PROVIDER"
_SHOWN = 5


class Capacity(NamedTuple):
    """Something that a host carries so much of: by the agent's setting `name`, for what `demands` add up to."""

    name: str
    what: str
    demands: frozenset[tuple[str, str]]


_CAPACITIES = (
    Capacity("bandwidth_kbps", "kbit/s egress", frozenset({("minimum_bandwidth", "egress")})),
    Capacity("bandwidth_kbps", "kbit/s ingress", frozenset({("minimum_bandwidth", "ingress")})),
    # A packet costs the host the same, whichever way it goes.
    Capacity(
        "packet_rate_kpps",
        "thousand packets a second",
        frozenset(("minimum_packet_rate", way) for way in ("egress", "ingress", "any")),
    ),
)


def check_port(tx: Transaction, context: Context, before: Row | None, after: Row, network: Row) -> None:
    """Refuse a bound port, as it would be, that is to have more than is left on its host.

    Args:
        before: the port as it was; None for a new one.
        network: its network.

    Raises:
        Conflict: tells what the host carries and which ports have how much of it, as far as who asks may see them.
    """
    if not _is_bound(after) or not (policy_id := _in_force(after, network["qos_policy_id"])):
        return
    now = demand_of(lookup.get(tx, "policy", policy_id)["rules"])
    had: Demand = {}
    if before is not None and _is_bound(before) and before["binding:host_id"] == after["binding:host_id"]:
        old_id = _in_force(before, network["qos_policy_id"])
        had = demand_of(lookup.get(tx, "policy", old_id)["rules"]) if old_id else {}
    if _grows(had, now):
        _check_host(tx, context, after["binding:host_id"], f"port {after['id']}", {after["id"]: now})


def check_network(tx: Transaction, context: Context, before: Row, after: Row) -> None:
    """Refuse a network, which has been changed, for what the policy that is new for its ports lets them have."""
    if after["qos_policy_id"] == before["qos_policy_id"] or not after["qos_policy_id"]:
        return
    now = demand_of(lookup.get(tx, "policy", after["qos_policy_id"])["rules"])
    had_id = before["qos_policy_id"]
    had = demand_of(lookup.get(tx, "policy", had_id)["rules"]) if had_id else {}
    if _grows(had, now):
        port = tx.tables.of["port"]
        _check_hosts(tx, context, f"network {after['id']}", port.c.network_id == after["id"])


def check_policy(tx: Transaction, context: Context, before: Row, after: Row) -> None:
    """Refuse a policy, which has been changed, for what ports that have it are to have now."""
    if _grows(demand_of(before["rules"]), demand_of(after["rules"])):
        port, network = tx.tables.of["port"], tx.tables.of["network"]
        _check_hosts(
            tx,
            context,
            f"policy {after['id']}",
            sa.or_(port.c.qos_policy_id == after["id"], network.c.qos_policy_id == after["id"]),
        )


def check_binding(tx: Transaction, context: Context, row: Row, host: str, network: Row) -> None:
    """Refuse a binding of a port besides its own; raises what `check_port` does."""
    if policy_id := _in_force(row, network["qos_policy_id"]):
        now = demand_of(lookup.get(tx, "policy", policy_id)["rules"])
        if any(now.values()):
            _check_host(tx, context, host, f"port {row['id']}", {row["id"]: now})


def demand_of(rules: Iterable[Row]) -> Demand:
    """Return what ports with a policy's rules are to have at least."""
    return {(rule["type"], rule["direction"]): rule[_VALUES[rule["type"]]] for rule in rules if rule["type"] in TYPES}


def _in_force(port: sa.RowMapping | Row, of_network: str | None) -> str:
    return in_force(port["qos_policy_id"], port["device_owner"], of_network)


def _grows(had: Demand, now: Demand) -> bool:
    return any(value > had.get(key, 0) for key, value in now.items())


def _is_bound(row: Row) -> bool:
    return bool(row["binding:host_id"]) and row["binding:vif_type"] not in (UNBOUND, BINDING_FAILED)


def _check_hosts(tx: Transaction, context: Context, word: str, condition: sa.ColumnElement[bool]) -> None:
    port, network = tx.tables.of["port"], tx.tables.of["network"]
    joined = port.join(network, network.c.id == port.c.network_id)
    found = sa.select(port.c["binding:host_id"]).select_from(joined).where(condition, *_bound(tx)).distinct()
    for host in sorted(tx.connection.execute(found).scalars()):
        _check_host(tx, context, host, word, {})


def _check_host(tx: Transaction, context: Context, host: str, word: str, added: Mapping[str, Demand]) -> None:
    """Refuse it if ports on a host, `added` ones besides, are to have more than it carries.

    Args:
        word: what asks for that.
        added: what ports are to have, by their ids, whatever is known of them.
    """
    demands = {**_demands(tx, host), **added}
    told = _told(tx, host)
    for capacity in _CAPACITIES:
        shares = {
            port_id: share
            for port_id, demand in demands.items()
            if (share := sum(value for key, value in demand.items() if key in capacity.demands))
        }
        carried = told.get(capacity.name, 0)
        if (total := sum(shares.values())) > carried:
            others = {port_id: share for port_id, share in shares.items() if port_id not in added}
            limit = f"it carries {carried}" if carried else "its agent does not tell how much it carries"
            text = (
                f"Allocation for consumer {word} is not possible on resource provider {host}, the requested amount of "
                f"bandwidth would exceed the capacity available: {total} {capacity.what}"
                f"{_already(tx, context, others)}; {limit} (agent.{capacity.name})."
            )
            raise Conflict(discreet(tx, context, [text], host)[0], type="QosPlacementAllocationConflict")


def _already(tx: Transaction, context: Context, others: Mapping[str, int]) -> str:
    """Return which ports have how much, those of which who asks knows nothing in one."""
    if not others:
        return ""
    known = [port_id for port_id in sorted(others) if lookup.seen(tx, context, "port", port_id) is not None]
    shown = [f"port {port_id} {others[port_id]}" for port_id in known[:_SHOWN]]
    if len(known) < len(others):
        shown.append(f"ports of other projects {sum(others.values()) - sum(others[port_id] for port_id in known)}")
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f", of which there are already {', '.join(shown)}{more}"


def _told(tx: Transaction, host: str) -> Mapping[str, int]:
    """Return what a host carries by the word of its agents."""
    found: Counter[str] = Counter()
    for row in tx.find("agent", host=host):
        told = row["configurations"] or {}
        for name in {item.name for item in _CAPACITIES}:
            found[name] = max(found[name], int(told.get(name) or 0))
    return found


def _bound(tx: Transaction) -> tuple[sa.ColumnElement[bool], ...]:
    port = tx.tables.of["port"]
    return port.c["binding:host_id"] != "", port.c["binding:vif_type"].not_in((UNBOUND, BINDING_FAILED))


def _demands(tx: Transaction, host: str) -> dict[str, Demand]:
    """Return what the ports of a host that have a policy are to have, by their ids."""
    port, network = tx.tables.of["port"], tx.tables.of["network"]
    statement = (
        sa.select(port.c.id, port.c.device_owner, port.c.qos_policy_id, network.c.qos_policy_id.label("of_network"))
        .join(network, network.c.id == port.c.network_id)
        .where(port.c["binding:host_id"] == host, *_bound(tx))
        .where(sa.or_(port.c.qos_policy_id.is_not(None), network.c.qos_policy_id.is_not(None)))
    )
    rows = tx.connection.execute(statement).mappings().all()
    policies = {row["id"]: _in_force(row, row["of_network"]) for row in rows}
    known = _policies(tx, policies.values())
    return {port_id: known[policy_id] for port_id, policy_id in policies.items() if policy_id in known}


def _policies(tx: Transaction, ids: Iterable[str]) -> dict[str, Demand]:
    found = tx.get_many("policy", sorted({policy_id for policy_id in ids if policy_id}))
    return {row["id"]: demand for row in found if (demand := demand_of(row["rules"]))}


def present(tx: Transaction, rows: Sequence[Row], networks: Mapping[str, Row]) -> None:
    """Add `resource_request` to ports; `networks` are theirs, by id."""
    policies = {row["id"]: _in_force(row, networks[row["network_id"]]["qos_policy_id"]) for row in rows}
    ids = sorted({policy_id for policy_id in policies.values() if policy_id})
    known = {item["id"]: item["rules"] for item in tx.get_many("policy", ids)} if ids else {}
    for row in rows:
        physical = networks[row["network_id"]]["provider:physical_network"]
        groups = _request_groups(row, known.get(policies[row["id"]], ()), physical)
        row["resource_request"] = (
            {"request_groups": groups, "same_subtree": [group["id"] for group in groups]} if groups else None
        )


def _request_groups(row: Row, rules: Sequence[Row], physical: str | None) -> list[Row]:
    """Return what is asked of placement for a port: a group for each type of rules, with Neutron's id for it."""
    card = _trait(f"VNIC_TYPE_{row['binding:vnic_type']}")
    wire = _trait(f"PHYSNET_{physical}") if physical else _NO_PHYSICAL_NETWORK
    groups = []
    for kind in _VALUES:
        mine = [rule for rule in rules if rule["type"] == kind]
        if mine:
            groups.append(
                {
                    "id": str(uuid.uuid5(uuid.UUID(row["id"]), ":".join(rule["id"] for rule in mine))),
                    "required": [wire, card] if kind == "minimum_bandwidth" else [card],
                    "resources": {_CLASSES[key]: value for key, value in demand_of(mine).items()},
                }
            )
    return groups


def _trait(name: str) -> str:
    """Return a trait's name as os-traits writes it."""
    return f"CUSTOM_{re.sub('[^A-Z0-9_]+', '_', name.upper())}"
