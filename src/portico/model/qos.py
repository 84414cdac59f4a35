# SPDX-License-Identifier: Apache-2.0
"""QoS policies as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from portico.model.address import Row


class QosRule(msgspec.Struct, frozen=True):
    """A rule. `value` is its limit, minimum or code point in the API's unit, `burst` 0 where it has none."""

    type: str
    direction: str
    value: int
    burst: int = 0


class QosPolicy(msgspec.Struct, frozen=True):
    """A policy with its rules: of each type one for each direction at most."""

    id: str
    rules: tuple[QosRule, ...]


Value = QosPolicy

_VALUES = {
    "bandwidth_limit": ("max_kbps", "max_burst_kbps"),
    "packet_rate_limit": ("max_kpps", "max_burst_kpps"),
    "minimum_bandwidth": ("min_kbps", ""),
    "minimum_packet_rate": ("min_kpps", ""),
    "dscp_marking": ("dscp_mark", ""),
}


def _policy(row: Row) -> QosPolicy:
    rules = []
    for rule in row["rules"] or ():
        value, burst = _VALUES[rule["type"]]
        rules.append(QosRule(rule["type"], rule.get("direction") or "", rule[value], rule.get(burst) or 0))
    return QosPolicy(row["id"], tuple(rules))


# Ports of such owners serve networks: what networks give their ports is not for them.
_SERVING = ("network:", "neutron:")


def in_force(own: str | None, device_owner: str, of_network: str | None) -> str:
    """Return the id of the policy in force for a port, "" without one: its own, or that of its network."""
    return own or ("" if device_owner.startswith(_SERVING) else of_network) or ""


RULE_TYPES = tuple(sorted(_VALUES))
"""What rules are about: a resource `TYPE_rule` each, and a feature of backends."""

READERS: Mapping[str, Callable[[Row], Value]] = {"policy": _policy}
