# SPDX-License-Identifier: Apache-2.0
"""From the wanted state to the pieces of a fabric. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from portico import planning
from portico.backends.memory.fabric import Endpoint, Junction, Piece, Segment, link_local
from portico.hoststate import Rule, Source
from portico.model.snapshot import DHCP_OWNER, Port, SecurityGroupRule, Snapshot


def pieces(want: Snapshot, owner: str) -> dict[str, Piece]:
    """Return every piece by key, segments first: a network's where a port is bound, a port's where it is bound."""
    ports = [port for port in want.ports.values() if port.host and port.device_owner != DHCP_OWNER]
    found: dict[str, Piece] = {}
    for port in ports:
        found[f"segment/{port.network_id}"] = Segment(owner, want.networks[port.network_id].mtu)
    for port in ports:
        found[f"endpoint/{port.id}"] = _endpoint(want, port, owner)
    for router_id in sorted(want.routers):
        for host in sorted(planning.routers.hosts_of_router(want, router_id)):
            router = planning.routers.router(want, host, router_id)
            found[f"router/{router_id}/{host}"] = Junction(owner, host, router)
    return found


def _endpoint(want: Snapshot, port: Port, owner: str) -> Endpoint:
    return Endpoint(
        owner=owner,
        network_id=port.network_id,
        host=port.host,
        up=port.admin_state_up and want.networks[port.network_id].admin_state_up,
        sources=tuple(_sources(want, port)) if port.port_security else None,
        rules=tuple(_rules(want, port)),
        addresses=tuple(item.address for item in port.fixed_ips),
        qos=planning.qos.qos(want, port),
    )


def _sources(want: Snapshot, port: Port) -> Iterator[Source]:
    yield Source(port.mac, f"{link_local(port.mac)}/128")
    for item in port.fixed_ips:
        yield Source(port.mac, f"{item.address}/{item.address.max_prefixlen}")
    if not (port.fixed_ips or want.subnets_of_network.get(port.network_id)):
        yield Source(port.mac, "0.0.0.0/0")
        yield Source(port.mac, "::/0")
    for pair in port.pairs:
        yield Source(pair.mac, str(pair.cidr))


def _rules(want: Snapshot, port: Port) -> Iterator[Rule]:
    for group_id in sorted(port.group_ids):
        for rule_id in sorted(want.rules_of_group.get(group_id, ())):
            rule = want.rules[rule_id]
            for cidr in _remotes(want, rule, port.network_id):
                yield Rule(
                    direction="ingress" if rule.direction == "ingress" else "egress",
                    ethertype="IPv4" if rule.ethertype == "IPv4" else "IPv6",
                    protocol=rule.protocol,
                    port_min=rule.port_min,
                    port_max=rule.port_max,
                    remote_cidr=cidr,
                )


def _remotes(want: Snapshot, rule: SecurityGroupRule, network_id: str) -> Iterator[str | None]:
    """Yield the CIDRs that a rule is about; None stands for any."""
    if rule.remote_address_group_id is not None:
        group = want.address_groups.get(rule.remote_address_group_id)
        yield from group.cidrs if group else ()
        return
    if rule.remote_group_id is None:
        yield str(rule.remote_cidr) if rule.remote_cidr else None
        return
    members = want.members_of_group.get(rule.remote_group_id, ())
    near = planning.routers.joined(want, network_id)
    yield from sorted({cidr for network, cidr in members if network in near})
