# SPDX-License-Identifier: Apache-2.0
"""What ports may use, from the policies in force for them. Pure.

May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Collection

from portico.hoststate import Limit, Qos
from portico.model.qos import QosRule, in_force
from portico.model.snapshot import Port, Snapshot


def policy_of(want: Snapshot, port: Port) -> str:
    """Return the id of the policy that is in force for a port, "" without one."""
    return in_force(port.qos_policy_id, port.device_owner, want.networks[port.network_id].qos_policy_id)


def qos(want: Snapshot, port: Port) -> Qos | None:
    """Return what a port may use; None without limits."""
    policy = want.policies.get(policy_of(want, port))
    rules = {(rule.type, rule.direction): rule for rule in policy.rules} if policy else {}
    mark = rules.get(("dscp_marking", ""))
    found = Qos(
        egress=_limit(rules.get(("bandwidth_limit", "egress")), 1),
        ingress=_limit(rules.get(("bandwidth_limit", "ingress")), 1),
        egress_packets=_limit(rules.get(("packet_rate_limit", "egress")), 1000),
        ingress_packets=_limit(rules.get(("packet_rate_limit", "ingress")), 1000),
        dscp=mark.value if mark else None,
    )
    return found if found != Qos() else None


def _limit(rule: QosRule | None, unit: int) -> Limit | None:
    return Limit(rule.value * unit, rule.burst * unit) if rule and rule.value else None


def hosts_of(want: Snapshot, policy_ids: Collection[str]) -> set[str]:
    """Return the hosts of ports for which some policies are in force."""
    if not policy_ids:
        return set()
    ports = (port for port in want.ports.values() if policy_of(want, port) in policy_ids)
    return {host for port in ports for host in port.hosts}
