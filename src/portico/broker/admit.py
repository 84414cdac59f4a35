# SPDX-License-Identifier: Apache-2.0
"""Which backends have a say in a request: the one of its network, and of a security group those that filter by it.

So a backend that cannot do all that groups may ask for takes nothing from networks of the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from portico.admission import NEEDS
from portico.broker.lane import Lane
from portico.contract import Change
from portico.errors import Unsupported
from portico.model.snapshot import SecurityGroupRule, Snapshot

Row = Mapping[str, Any]

_OF_GROUPS = frozenset(feature for resource, _, feature, _ in NEEDS if resource.startswith("security_group"))


def on_network(lane: Lane, change: Change) -> None:
    """Ask the backend of a network about what is on it, with the groups that are to filter a port.

    Raises:
        Unsupported: it cannot realise that.
    """
    lane.backend.admit(lane.want, change)
    if change.resource != "port" or lane.backend.describe().features >= _OF_GROUPS:
        return
    for part in _groups(lane.want, change.after["security_groups"]):
        lane.backend.admit(lane.want, part)


def on_none(lanes: Collection[Lane], change: Change) -> None:
    """Ask about what is on no network: refused if a backend that has it in use cannot realise it, or none can.

    Raises:
        Unsupported: what that backend, or the first one, says.
    """
    refusals: dict[str, Unsupported] = {}
    for lane in lanes:
        try:
            lane.backend.admit(lane.want, change)
        except Unsupported as error:
            refusals[lane.name] = error
    for lane in lanes:
        if lane.name in refusals and (len(refusals) == len(lanes) or _is_used(lane.want, change)):
            raise refusals[lane.name]


def _is_used(want: Snapshot, change: Change) -> bool:
    """Tell whether the group that a change is about filters one of a backend's ports."""
    group_id = change.after["id"] if change.resource == "security_group" else change.after.get("security_group_id")
    return group_id in want.hosts_of_group or group_id in want.members_of_group


def _groups(want: Snapshot, group_ids: Collection[str]) -> Iterator[Change]:
    """Yield groups and their rules as if they were new."""
    for group_id in group_ids:
        if group := want.groups.get(group_id):
            yield Change("security_group", None, {"id": group_id, "stateful": group.stateful})
        for rule_id in sorted(want.rules_of_group.get(group_id, ())):
            if rule := want.rules.get(rule_id):  # the lane's thread may be taking it out
                yield Change("security_group_rule", None, _row(rule))


def _row(rule: SecurityGroupRule) -> Row:
    return {
        "id": rule.id,
        "security_group_id": rule.group_id,
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": None if rule.protocol is None else str(rule.protocol),
        "port_range_min": rule.port_min,
        "port_range_max": rule.port_max,
        "remote_ip_prefix": None if rule.remote_cidr is None else str(rule.remote_cidr),
        "remote_group_id": rule.remote_group_id,
        "remote_address_group_id": rule.remote_address_group_id,
    }
