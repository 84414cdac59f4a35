# SPDX-License-Identifier: Apache-2.0
"""Which tracked connections the present rules would no longer let in. Pure.

The kernel lets every packet of a tracked connection pass. So when a rule, a member of a remote group or a port goes,
the connections that it alone had let in must be cut, and no others.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from portico.agent import rules
from portico.agent.delta import Wanted
from portico.agent.fragment import Fragment
from portico.agent.rules import Address, Flow
from portico.hoststate import Group, Member, Vif

Net = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Connection:
    """A tracked connection in its original direction.

    `low` and `high` are source and destination port, or ICMP type and code.
    """

    zone: int
    source: Address
    destination: Address
    protocol: int
    low: int
    high: int


class Addresses:
    """Who has an address, by zone or other scope: single addresses by lookup, ranges by search."""

    def __init__(self) -> None:
        self._single: dict[tuple[object, str], list[Vif | None]] = {}
        self._ranges: dict[object, list[tuple[Net, Vif | None]]] = {}

    def add(self, scope: object, cidr: str, who: Vif | None = None) -> None:
        """Note that `who` has `cidr`."""
        address, _, length = cidr.partition("/")
        if length in ("", "32" if "." in address else "128"):
            self._single.setdefault((scope, address), []).append(who)
        else:
            self._ranges.setdefault(scope, []).append((ipaddress.ip_network(cidr, strict=False), who))

    def having(self, scope: object, address: Address) -> list[Vif | None]:
        """Return who has `address`."""
        found = self._single.get((scope, str(address)), [])
        ranges = self._ranges.get(scope)
        return found + [who for net, who in ranges if address in net] if ranges else found


class Judge:
    """Judges connections after a change of the rules.

    Args:
        wanted: the state that is in force now.
        changed: keys whose fragments changed or went; None for all, when what was in force before is not known.
        before: the fragments that were in force under those keys.
    """

    def __init__(self, wanted: Wanted, changed: Collection[str] | None, before: Collection[Fragment]) -> None:
        self._wanted = wanted
        self._changed = changed
        self._before = before

    def is_unwanted(self, connection: Connection) -> bool:
        """Return whether `connection` has to be cut."""
        ends = (("egress", connection.source), ("ingress", connection.destination))
        for _, address in ends:
            if self._left.having(connection.zone, address):
                return True
        for (direction, address), (_, remote) in zip(ends, reversed(ends), strict=True):
            owners = self._owners.having(connection.zone, address)
            if any(vif is not None and vif.port_id in self._affected for vif in owners):
                flow = Flow(direction, remote, connection.protocol, connection.low, connection.high)
                if not any(vif is not None and self._admits(vif, flow) for vif in owners):
                    return True
        return False

    @cached_property
    def _groups(self) -> dict[str, Group]:
        return {group.group_id: group for group in self._wanted.of(Group)}

    @cached_property
    def _owners(self) -> Addresses:
        found = Addresses()
        for vif in self._wanted.of(Vif):
            for source in vif.guard.sources if vif.guard else ():
                found.add(self._wanted.zones.get(vif.network_id), source.cidr, vif)
        return found

    @cached_property
    def _members(self) -> Addresses:
        found = Addresses()
        for member in self._wanted.of(Member):
            found.add((member.group_id, member.network_id), member.cidr)
        return found

    @cached_property
    def _left(self) -> Addresses:
        """Addresses that a changed or removed port had and no port has now."""
        now = {
            (self._wanted.zones.get(vif.network_id), source.cidr)
            for vif in self._wanted.of(Vif)
            for source in (vif.guard.sources if vif.guard else ())
        }
        found = Addresses()
        for piece in self._before:
            for zone, cidr in piece.owned - now:
                found.add(zone, cidr)
        return found

    @cached_property
    def _affected(self) -> frozenset[str]:
        """Ids of the ports whose rules may admit less than before."""
        if self._changed is None:
            return frozenset(vif.port_id for vif in self._wanted.of(Vif))
        kinds: dict[str, set[str]] = {"vif": set(), "group": set(), "member": set()}
        for key in self._changed:
            kind, _, rest = key.partition("/")
            kinds.setdefault(kind, set()).add(rest.partition("/")[0])
        groups = kinds["group"] | {
            group_id
            for group_id, group in self._groups.items()
            if any(rule.remote_group_id in kinds["member"] for rule in group.rules)
        }
        return frozenset(
            vif.port_id
            for vif in self._wanted.of(Vif)
            if vif.port_id in kinds["vif"] or (vif.guard and groups.intersection(vif.guard.group_ids))
        )

    def _admits(self, vif: Vif, flow: Flow) -> bool:
        if not vif.admin_up:
            return False
        if vif.guard is None:
            return True

        def is_member(group_id: str, address: Address) -> bool:
            return bool(self._members.having((group_id, vif.network_id), address))

        groups = (self._groups[group_id] for group_id in vif.guard.group_ids if group_id in self._groups)
        return any(rules.admits(group.rules, flow, is_member) for group in groups)
