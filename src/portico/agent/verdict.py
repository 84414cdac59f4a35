# SPDX-License-Identifier: Apache-2.0
"""Which tracked connections the present rules would no longer let in. Pure.

The kernel lets every packet of a tracked connection pass. So when a rule, a member of a remote group or a port goes,
the connections that it alone had let in must be cut, and no others.

An address in the wanted state that is none is the trouble of its object (see `fragment`), for which nothing changes in
the rules. Here it belongs to nobody: connections of others are judged as ever, and those of its port left alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial

from portico.agent import addresses, rules
from portico.agent.addresses import Address, Net
from portico.agent.delta import Wanted
from portico.agent.fragment import Fragment, fragment, sources
from portico.agent.rules import Flow
from portico.hoststate import Group, Member, Rule, Vif


@dataclass(frozen=True, slots=True)
class Connection:
    """A tracked connection in its original direction.

    Addresses are packed, for most connections need nothing more than a look-up of them. `low` and `high` are source
    and destination port, or ICMP type and code.
    """

    zone: int
    source: bytes
    destination: bytes
    protocol: int
    low: int
    high: int


class Addresses:
    """Who has an address, by zone or other scope. Who has just that address goes before those who have a range with it.

    A port that may send from any address would else have a say in every connection of its network.
    """

    def __init__(self) -> None:
        self._single: dict[tuple[object, bytes], list[Vif | None]] = {}
        self._ranges: dict[object, list[tuple[bytes, bytes, Vif | None]]] = {}

    def add(self, scope: object, net: Net, who: Vif | None = None) -> None:
        """Note that `who` has `net`."""
        first, last = net.network_address.packed, net.broadcast_address.packed
        if first == last:
            self._single.setdefault((scope, first), []).append(who)
        else:
            self._ranges.setdefault(scope, []).append((first, last, who))

    def having(self, scope: object, address: bytes) -> list[Vif | None]:
        """Return who has `address`."""
        found = self._single.get((scope, address))
        if found is not None:
            return found
        ranges = self._ranges.get(scope, ())
        return [who for first, last, who in ranges if len(first) == len(address) and first <= address <= last]


class Judge:
    """Judges connections after a change of the rules.

    An end of a connection is looked at when a port that has its address has changed or is new, or one that had it has
    changed or gone. Then one of the ports that have the address now must let the connection in.

    Args:
        wanted: the state that is in force now.
        changed: keys whose fragments changed, came or went; None for all, when what was in force before is not known.
        before: the fragments that were in force under those keys.
    """

    def __init__(self, wanted: Wanted, changed: Collection[str] | None, before: Mapping[str, Fragment]) -> None:
        self._wanted = wanted
        self._changed = changed
        self._before = before
        self._concerned: dict[tuple[int, bytes], bool] = {}
        self._fitting: dict[tuple[object, ...], list[tuple[Vif, Rule]] | None] = {}
        self._refused: dict[tuple[object, ...], bool] = {}

    @cached_property
    def zones(self) -> frozenset[int] | None:
        """Where connections may have to be cut; None for everywhere."""
        if self._changed is None:
            return None
        left = {zone for piece in self._before.values() for zone, _ in piece.owned}
        changed = (vif.network_id for vif in self._wanted.of(Vif) if vif.port_id in self._affected and vif.guard)
        return frozenset(left.union(self._wanted.zones[name] for name in changed if name in self._wanted.zones))

    def concerns(self, zone: int, address: bytes) -> bool:
        """Return whether the change concerns connections that have `address` at one end."""
        key = (zone, address)
        if key not in self._concerned:
            owners = self._owners.having(zone, address)
            affected = any(vif is not None and vif.port_id in self._affected for vif in owners)
            self._concerned[key] = affected or bool(self._left.having(zone, address))
        return self._concerned[key]

    def is_unwanted(self, connection: Connection) -> bool:
        """Return whether `connection` has to be cut."""
        source, destination = connection.source, connection.destination
        return self._is_refused("egress", source, destination, connection) or self._is_refused(
            "ingress", destination, source, connection
        )

    def _is_refused(self, direction: str, address: bytes, remote: bytes, connection: Connection) -> bool:
        if not self.concerns(connection.zone, address):
            return False
        low = 0 if connection.protocol in rules.PORTED else connection.low
        key = (connection.zone, direction, address, len(remote), connection.protocol, low, connection.high)
        if key not in self._fitting:
            flow = Flow(direction, 4 if len(remote) == 4 else 6, connection.protocol, low, connection.high)
            self._fitting[key] = self._fit(self._owners.having(connection.zone, address), flow)
        fitting = self._fitting[key]
        if not fitting:
            return fitting is not None
        whole = (*key, remote)
        if whole not in self._refused:
            self._refused[whole] = not self._admits(fitting, ipaddress.ip_address(remote))
        return self._refused[whole]

    def _fit(self, owners: Collection[Vif | None], flow: Flow) -> list[tuple[Vif, Rule]] | None:
        """Return what lets connections like `flow` in, depending on their other end; None when anybody's are let in.

        Most of the many connections of a service differ in nothing else.
        """
        found = []
        for vif in owners:
            if vif is None or not vif.admin_up:
                continue
            if vif.guard is None:
                return None
            groups = (self._groups[group_id] for group_id in vif.guard.group_ids if group_id in self._groups)
            for rule in (rule for group in groups for rule in rules.fitting(group.rules, flow)):
                if rule.remote_group_id is None and rule.remote_cidr is None:
                    return None
                found.append((vif, rule))
        return found

    @cached_property
    def _groups(self) -> dict[str, Group]:
        return {group.group_id: group for group in self._wanted.of(Group)}

    @cached_property
    def _owners(self) -> Addresses:
        found = Addresses()
        for vif in self._wanted.of(Vif):
            with suppress(ValueError):
                for _, net in sources(vif):
                    found.add(self._wanted.zones.get(vif.network_id), net, vif)
        return found

    @cached_property
    def _members(self) -> Addresses:
        found = Addresses()
        for member in self._wanted.of(Member):
            with suppress(ValueError):
                found.add((member.group_id, member.network_id), addresses.network(member.cidr, "cidr"))
        return found

    @cached_property
    def _left(self) -> Addresses:
        """The addresses that changed and removed ports had."""
        found = Addresses()
        for zone, net in frozenset().union(*(piece.owned for piece in self._before.values())):
            found.add(zone, net)
        return found

    @cached_property
    def _affected(self) -> frozenset[str]:
        """Ids of the ports that may admit less than whoever had their addresses before."""
        if self._changed is None:
            return frozenset(vif.port_id for vif in self._wanted.of(Vif))
        kinds: dict[str, set[str]] = {"vif": set(), "group": set(), "member": set()}
        for key in self._changed:
            kind, _, rest = key.partition("/")
            if kind == "vif" or self._takes_away(key):
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

    def _takes_away(self, key: str) -> bool:
        """Return whether a group or member may admit less than before: most changes only add a rule or a member."""
        before = self._before.get(key)
        item = self._wanted.objects.get(key)
        now = fragment(item, self._wanted) if item is not None else None
        if before is None or now is None:
            return before is not None
        if before.elements != now.elements or before.stateful != now.stateful:
            return True
        return any(not set(lines) <= set(now.chains.get(name, ())) for name, lines in before.chains.items())

    def _admits(self, fitting: Collection[tuple[Vif, Rule]], remote: Address) -> bool:
        def is_member(network_id: str, group_id: str, address: Address) -> bool:
            return bool(self._members.having((group_id, network_id), address.packed))

        return any(rules.admits_remote(rule, remote, partial(is_member, vif.network_id)) for vif, rule in fitting)
