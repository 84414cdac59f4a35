# SPDX-License-Identifier: Apache-2.0
"""Agents: written by their heartbeats, shown as alive while these come."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from portico.model.snapshot import HOST_ADDRESSES, INTERFACES
from portico.rules.availability_zone import DEFAULT_ZONE
from portico.rules.context import Context, Row
from portico.store import blocks
from portico.store.query import Filter
from portico.store.transaction import Transaction, timestamp

# An agent whose last heartbeat is older counts as down (Neutron's agent_down_time).
DOWN_AFTER_S = 75


def heartbeat(
    tx: Transaction,
    host: str,
    agent_type: str,
    binary: str,
    facts: Mapping[str, Any],
    moment: float,
    *,
    started: bool = False,
) -> str:
    """Note that the agent lives, and return its id; the first heartbeat makes the agent.

    A heartbeat that tells nothing new is no change: it is neither journalled nor told to watchers.

    Args:
        facts: what it tells of itself, all optional: `configurations` (a mapping), `availability_zone`, `topic`.
        moment: now, in seconds since the epoch.
        started: this is its first heartbeat since it started.
    """
    told = {
        "binary": binary,
        "configurations": dict(facts.get("configurations", {})),
        "availability_zone": facts.get("availability_zone", DEFAULT_ZONE),
        "topic": facts.get("topic", ""),
    }
    if started:
        told["started_at"] = timestamp(moment)
    found = tx.find("agent", host=host, agent_type=agent_type)
    if not found:
        row = {
            "id": str(uuid.uuid4()),
            "host": host,
            "agent_type": agent_type,
            "admin_state_up": True,
            "started_at": timestamp(moment),
            "heartbeat_timestamp": timestamp(moment),
            **told,
        }
        return str(tx.insert("agent", row)["id"])
    row = found[0]
    news = {name: value for name, value in told.items() if row[name] != value}
    if news:
        # Where hosts are is wanted state: others speak with them there, and gateways are meant for zones.
        moved = "availability_zone" in news or _has_moved(row["configurations"] or {}, told["configurations"])
        tx.update("agent", row, news, touch=moved)
    tx.write_quietly("agent", row, {"heartbeat_timestamp": timestamp(moment)})
    return str(row["id"])


def _has_moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return any(before.get(name) != after.get(name) for name in (*HOST_ADDRESSES, INTERFACES))


def interfaces(told: str) -> dict[str, str]:
    """Return what an agent tells of its host's physical networks, each with its interface; see `hoststate.Report`."""
    pairs = (pair.partition(":") for pair in told.split())
    return {name: interface for name, _, interface in pairs}


def physical_networks(tx: Transaction) -> dict[str, list[str]]:
    """Return the hosts that have each physical network."""
    found: dict[str, list[str]] = {}
    for row in tx.find("agent"):
        for name in _physical_networks(row):
            found.setdefault(name, []).append(row["host"])
    return found


def lacks_physical_network(tx: Transaction, host: str, name: str) -> str:
    """Return why no port of a network on a physical network can be bound to `host`, or ""."""
    here = tx.find("agent", host=host)
    if not here or any(name in _physical_networks(row) for row in here):
        return ""
    others = ", ".join(sorted(one for row in here for one in _physical_networks(row)))
    return f"host {host} has no physical network '{name}', but: {others or 'none'}"


def _physical_networks(row: Row) -> Mapping[str, str]:
    found: Mapping[str, str] = (row["configurations"] or {}).get(INTERFACES) or {}
    return found


def update(tx: Transaction, context: Context, row: Row, changes: Row) -> Row:
    """Change admin_state_up or description."""
    return tx.update("agent", row, changes)


def delete(tx: Transaction, context: Context, row: Row) -> None:
    """Forget an agent, and its host's blocks without ports; the next heartbeat brings the agent back."""
    blocks.forget_host(tx, row["host"])
    tx.delete("agent", row)


def tells(row: Row) -> bool:
    """Tell whether an agent says what its host can do; others may be able to do anything."""
    return "able" in (row["configurations"] or {})


def lacks(row: Row, needs: Sequence[str]) -> str:
    """Return why the host of an agent that `tells` cannot do what is needed, or ""."""
    told = row["configurations"]
    able = str(told["able"]).split()
    for need in needs:
        if need not in able:
            return str(told.get(f"lacks_{need}") or f"its agent, version {told.get('version', '?')}, has no '{need}'")
    return ""


def nowhere(tx: Transaction, needs: Sequence[str]) -> str:
    """Return why no host can do what is needed, or "": one can, or none is known."""
    told = [row for row in tx.find("agent") if tells(row)] if needs else []
    reasons = {str(row["host"]): lacks(row, needs) for row in told}
    if not all(reasons.values()):
        return ""
    shown = [f"host {host}: {reason}" for host, reason in sorted(reasons.items())]
    return "; ".join(shown[:5]) + (f"; and {len(shown) - 5} more" if len(shown) > 5 else "")


def unfit(tx: Transaction, host: str, needs: Sequence[str] = ()) -> str:
    """Return why no port that needs `needs` can be bound to `host` now, or "".

    An agent that is down is no reason: it may be back before the port's owner is, and traffic flows without it. Nor is
    one that never reported while no agent at all is alive: then it is the agents that are late, not the host wrong.
    """
    here = tx.find("agent", host=host)
    if here:
        is_on = any(row["admin_state_up"] for row in here)
        if not is_on:
            return f"the agent of host {host} is switched off: admin_state_up of {here[0]['id']} is false"
        lacking = [lacks(row, needs) for row in here if tells(row)]
        return f"host {host}: {lacking[0]}" if lacking and all(lacking) else ""
    agent = tx.tables.of["agent"]
    others = sa.select(agent.c.host).where(agent.c.heartbeat_timestamp >= _oldest_heartbeat()).limit(1)
    other = tx.connection.execute(others).scalar()
    return f"no agent ever reported from host {host}; one does from {other}" if other is not None else ""


def zones(tx: Transaction) -> list[str]:
    """Return the availability zones, in order, that have an agent which is alive and not switched off."""
    agent = tx.tables.of["agent"]
    usable = (agent.c.admin_state_up, agent.c.heartbeat_timestamp >= _oldest_heartbeat())
    found = tx.connection.execute(sa.select(agent.c.availability_zone).where(*usable).distinct()).scalars()
    return sorted(zone for zone in found if zone)


def present_zones(tx: Transaction, rows: Sequence[Row]) -> None:
    """Add availability_zones to objects that may have hints: the zones, of those if there are any."""
    usable = zones(tx)
    for row in rows:
        hints = row["availability_zone_hints"]
        row["availability_zones"] = [zone for zone in usable if not hints or zone in hints]


def present(tx: Transaction, context: Context, rows: list[Row]) -> list[Row]:
    """Add `alive`."""
    oldest = _oldest_heartbeat()
    for row in rows:
        row["alive"] = row["heartbeat_timestamp"] >= oldest
    return rows


def alive_filter(alive: bool) -> Filter:
    """Return the filter for agents that are, or are not, alive."""
    return Filter("heartbeat_timestamp", (_oldest_heartbeat(),), "after" if alive else "before")


def _oldest_heartbeat() -> str:
    """Return the time of the oldest heartbeat whose agent is alive."""
    return timestamp(time.time() - DOWN_AFTER_S)
