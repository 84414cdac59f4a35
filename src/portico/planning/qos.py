# SPDX-License-Identifier: Apache-2.0
"""What ports may use, from the policies in force for them. Pure.

May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from portico.hoststate import Limit, Qos
from portico.hoststate.limit import Share
from portico.model.l3 import GATEWAY_OWNER, FloatingIp
from portico.model.qos import QosRule, in_force
from portico.model.snapshot import Port, Snapshot


def policy_of(want: Snapshot, port: Port) -> str:
    """Return the id of the policy that is in force for a port, "" without one."""
    return in_force(port.qos_policy_id, port.device_owner, want.networks[port.network_id].qos_policy_id)


def qos(want: Snapshot, port: Port) -> Qos | None:
    """Return what a port may use; None without limits."""
    rules = _rules(want, policy_of(want, port))
    mark = rules.get(("dscp_marking", ""))
    found = Qos(
        egress=_limit(rules.get(("bandwidth_limit", "egress")), 1),
        ingress=_limit(rules.get(("bandwidth_limit", "ingress")), 1),
        egress_packets=_limit(rules.get(("packet_rate_limit", "egress")), 1000),
        ingress_packets=_limit(rules.get(("packet_rate_limit", "ingress")), 1000),
        dscp=mark.value if mark else None,
    )
    return found if found != Qos() else None


def shares(want: Snapshot, gateway: Port, floating: Iterable[FloatingIp]) -> tuple[Share, ...]:
    """Return what floating IPs, and all else that passes a gateway, may use of it; none where nothing is limited.

    Each has its own policy, or that of the external network.
    """
    of_network = want.networks[gateway.network_id].qos_policy_id
    found = [("", gateway.qos_policy_id), *sorted((str(item.address), item.qos_policy_id) for item in floating)]
    made = tuple(_share(want, address, own or of_network) for address, own in found)
    return made if any(share.egress or share.ingress for share in made) else ()


def share(want: Snapshot, floating: FloatingIp) -> Share | None:
    """Return what a floating IP may use by its own policy, or that of its network if it is known; None if all."""
    found = _share(want, str(floating.address), policy_of_floating(want, floating))
    return found if found.egress or found.ingress else None


def policy_of_floating(want: Snapshot, floating: FloatingIp) -> str:
    """Return the id of the policy that is in force for a floating IP, "" without one."""
    network = want.networks.get(floating.network_id)
    return floating.qos_policy_id or (network.qos_policy_id if network else "")


def _share(want: Snapshot, address: str, policy_id: str) -> Share:
    rules = _rules(want, policy_id)
    egress, ingress = (_limit(rules.get(("bandwidth_limit", way)), 1) for way in ("egress", "ingress"))
    return Share(address, egress, ingress)


def _rules(want: Snapshot, policy_id: str) -> dict[tuple[str, str], QosRule]:
    policy = want.policies.get(policy_id)
    return {(rule.type, rule.direction): rule for rule in policy.rules} if policy else {}


def _limit(rule: QosRule | None, unit: int) -> Limit | None:
    return Limit(rule.value * unit, rule.burst * unit) if rule and rule.value else None


def hosts_of(want: Snapshot, policy_ids: Collection[str]) -> set[str]:
    """Return the hosts of ports for which some policies are in force, and of gateways and floating IPs."""
    if not policy_ids:
        return set()
    ports = [port for port in want.ports.values() if policy_of(want, port) in policy_ids]
    external = {item.id for item in want.networks.values() if item.qos_policy_id in policy_ids}
    routers = {item.router_id for item in want.floating_ips.values() if item.qos_policy_id in policy_ids}
    routers |= {port.device_id for port in ports if port.device_owner == GATEWAY_OWNER}
    routers |= {router_id for network_id in external for router_id in want.routers_of_network.get(network_id, ())}
    near = {want.ports[port_id].network_id for item in routers for port_id in want.ports_of_router.get(item, ())}
    hosts = {host for network_id in near for host in want.hosts_of_network.get(network_id, ())}
    return hosts | {host for port in ports for host in port.hosts}
