# SPDX-License-Identifier: Apache-2.0
"""External networks of type `host`: what a host must have of them, what they can be, and published ports. Pure.

Such a network is behind the host itself: each host that has a router with a gateway there, or a port, has a network of
its own, with the same addresses everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

from portico import planning
from portico.contract import Change, Dirty
from portico.errors import Unsupported
from portico.hoststate import HostObject, Publish, Target, Uplink
from portico.model.l3 import FLOATING_OWNER
from portico.model.snapshot import IpNetwork, Network, PortForwarding, Snapshot

TYPE = planning.gateways.BEHIND_HOST
MOST = 8
"""How many networks of this type there may be: each is a link, addresses and rules of every host that needs it."""

_OTHERS = tuple(ip_network(text) for text in ("127.0.0.0/8", "169.254.0.0/16", "fe80::/10"))


def host_objects(want: Snapshot, host: str) -> Iterator[HostObject]:
    """Yield the uplinks that a host must have, and the ports that it publishes."""
    for network_id in sorted(planning.routers.networks_of_host(want, host)):
        if want.networks[network_id].network_type == TYPE:
            yield _uplink(want, want.networks[network_id])
    for port_id in want.ports_of_host.get(host, ()):
        for forwarding_id in sorted(want.forwardings_of_port.get(port_id, ())):
            if (found := publish(want, host, want.forwardings[forwarding_id])) is not None:
                yield found


def publish(want: Snapshot, host: str, item: PortForwarding) -> Publish | None:
    """Return the ports of `host` that a forwarding publishes; None if it has nothing to do with the host."""
    floating, port = want.floating_ips.get(item.floatingip_id), want.ports.get(item.port_id)
    if not item.host_addresses or floating is None or port is None or port.host != host:
        return None
    if not planning.routers.is_led(want, floating.router_id, port.id, host):
        return None
    network = want.networks.get(floating.network_id)
    if network is None or network.network_type != TYPE:
        return None
    by_ipv6 = planning.floating.by_ipv6(want, item)
    outside = [floating.address, *(by_ipv6[:1] if by_ipv6 else ())]
    return Publish(
        forwarding_id=item.id,
        network_id=network.id,
        protocol=item.protocol,  # type: ignore[arg-type]  # the API has no other
        addresses=tuple(sorted(set(item.host_addresses))),
        ports=item.external_ports,
        targets=tuple(Target(str(address), item.external_ports) for address in outside),
    )


def changes(want: Snapshot, dirty: Dirty, memory: planning.ports.Memory) -> Iterator[tuple[str, planning.ports.Part]]:
    """Yield what changes of published ports, by host."""
    ids = set(dirty.ids.get("port_forwarding", ()))
    ports = set(dirty.ids.get("port", ()))
    own = (want.ports[port_id] for port_id in ports if port_id in want.ports)
    for floating_id in (
        *dirty.ids.get("floatingip", ()),
        *(port.device_id for port in own if port.device_owner == FLOATING_OWNER),
    ):
        ids |= set(want.forwardings_of_floating_ip.get(floating_id, ()))
    for port_id in ports:
        ids |= set(want.forwardings_of_port.get(port_id, ()))
    for forwarding_id in sorted(ids):
        yield from _change(want, memory, forwarding_id)


def _change(
    want: Snapshot, memory: planning.ports.Memory, forwarding_id: str
) -> Iterator[tuple[str, planning.ports.Part]]:
    now = want.forwardings.get(forwarding_id)
    versions = [item for item in (now, memory.forwardings.get(forwarding_id)) if item is not None]
    ports = [known[item.port_id] for item in versions for known in (want.ports, memory.ports) if item.port_id in known]
    for host in sorted({host for port in ports for host in port.hosts}):
        found = publish(want, host, now) if now is not None else None
        if found is not None:
            yield host, planning.ports.Part((found,), ())
        else:
            yield host, planning.ports.Part((), (f"publish/{forwarding_id}",))


def admit(want: Snapshot, change: Change) -> None:
    """Refuse a network of this type that is not external, one too many, and a subnet that hosts cannot have.

    Raises:
        Unsupported: says which.
    """
    after = change.after
    if change.resource == "network" and after.get("provider:network_type") == TYPE:
        _admit_network(want, after)
    network = want.networks.get(after["network_id"]) if change.resource == "subnet" else None
    if network is not None and network.network_type == TYPE:
        _admit_subnet(want, after)


def _admit_network(want: Snapshot, after: Mapping[str, Any]) -> None:
    known = want.networks.get(after["id"])
    if not after.get("router:external", known is not None and known.external):
        raise _refused(f"network {after['id']}: provider:network_type 'host' is for networks with router:external true")
    others = [item for item in want.networks.values() if item.network_type == TYPE and item.id != after["id"]]
    if len(others) >= MOST:
        raise _refused(
            f"network {after['id']}: there are {len(others)} networks of provider:network_type 'host', and there may "
            f"be {MOST}"
        )


def _admit_subnet(want: Snapshot, subnet: Mapping[str, Any]) -> None:
    net = ip_network(subnet["cidr"])
    if not subnet.get("gateway_ip"):
        raise _refused(
            f"subnet {subnet['id']}: gateway_ip is null, and on a network of provider:network_type 'host' the host has "
            "that address"
        )
    if (other := next((item for item in _OTHERS if _overlap(net, item)), None)) is not None:
        raise _refused(f"subnet {subnet['id']}: cidr {net} overlaps {other}, which every host has for itself")
    for item in want.subnets.values():
        beside = want.networks.get(item.network_id)
        if beside is not None and beside.network_type == TYPE and item.id != subnet["id"] and _overlap(net, item.cidr):
            raise _refused(
                f"subnet {subnet['id']}: cidr {net} overlaps subnet {item.id} ({item.cidr}) of network {beside.id}, "
                "which hosts have at the same time"
            )


def _uplink(want: Snapshot, network: Network) -> Uplink:
    subnets = [want.subnets[item] for item in sorted(want.subnets_of_network.get(network.id, ()))]
    return Uplink(
        network_id=network.id,
        mtu=network.mtu,
        addresses=tuple(f"{subnet.gateway}/{subnet.cidr.prefixlen}" for subnet in subnets if subnet.gateway),
        masquerade=tuple(sorted({str(subnet.cidr) for subnet in subnets if not subnet.cidr.is_global})),
    )


def _overlap(one: IpNetwork, other: IpNetwork) -> bool:
    return one.version == other.version and one.overlaps(other)


def _refused(text: str) -> Unsupported:
    return Unsupported(f"Invalid input for operation: {text}.", type="InvalidInput")
