# SPDX-License-Identifier: Apache-2.0
"""What BGP speakers amount to: which networks are announced, which routes, and what each host says to whom. Pure.

Routed networks share one space of addresses, so a speaker announces by ranges: those of the subnets of its networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Literal

import msgspec

from portico.model import standing
from portico.model.address import IpAddress, IpNetwork
from portico.model.snapshot import DHCP_OWNER, Snapshot
from portico.model.speaker import BgpPeer, BgpSpeaker
from portico.model.values import Port

ROUTED = "routed"
"""The backend whose networks are announced."""

FULL_MESH, ROUTE_REFLECTOR = "full-mesh", "route-reflector"


class Neighbor(msgspec.Struct, frozen=True):
    """With whom a host speaks, at `address`.

    `role` says who that is: another host ("mesh"), one that reflects routes to this one ("reflector") or that this one
    reflects routes to ("client", RFC 4456), or a peer ("outside"), whose id is `peer_id`. No `password`: segments carry
    no MD5 signature (RFC 2385).
    """

    address: IpAddress
    remote_as: int
    role: Literal["mesh", "reflector", "client", "outside"]
    peer_id: str = ""
    password: str = ""
    bfd: bool = False


class Spoken(msgspec.Struct, frozen=True):
    """What one host says for one speaker.

    It says so from its own `address`. Of its own routes it tells `blocks` and those inside `ranges` that are in none
    of them, marked with `communities` (A:B of RFC 1997, or A:B:C of RFC 8092).
    """

    speaker_id: str
    local_as: int
    ip_version: int
    address: IpAddress
    ranges: tuple[IpNetwork, ...]
    neighbors: tuple[Neighbor, ...]
    blocks: tuple[IpNetwork, ...] = ()
    communities: tuple[str, ...] = ()
    graceful_restart: bool = True


class Announced(msgspec.Struct, frozen=True, order=True):
    """A route as peers see it."""

    destination: IpNetwork
    next_hop: IpAddress


def spoken(want: Snapshot, host: str) -> tuple[Spoken, ...]:
    """Return what a host says, in the order of the speakers' ids; nothing for an IP version that it has no address of.

    Where several speakers would have it speak with the same address, the first one does.
    """
    taken: set[IpAddress] = set()
    found = []
    for _, speaker in sorted(want.speakers.items()):
        addresses = _addresses(want, speaker)
        if host not in addresses:
            continue
        neighbors = tuple(one for one in _neighbors(want, speaker, host, addresses) if one.address not in taken)
        taken.update(one.address for one in neighbors)
        found.append(
            Spoken(
                speaker_id=speaker.id,
                local_as=speaker.local_as,
                ip_version=speaker.ip_version,
                address=addresses[host],
                ranges=ranges_of(want, speaker),
                neighbors=neighbors,
                blocks=tuple(blocks_of(want, speaker, host)),
                communities=speaker.communities,
                graceful_restart=speaker.graceful_restart,
            )
        )
    return tuple(found)


def outside(want: Snapshot) -> Iterator[tuple[str, BgpPeer, BgpSpeaker]]:
    """Yield the peers that each host speaks with, and for which speaker, as `spoken` has it."""
    taken: set[tuple[str, IpAddress]] = set()
    for _, speaker in sorted(want.speakers.items()):
        peers = [want.peers[peer_id] for peer_id in speaker.peer_ids if peer_id in want.peers]
        for host in _addresses(want, speaker):
            for peer in peers:
                if (not peer.hosts or host in peer.hosts) and (host, peer.address) not in taken:
                    taken.add((host, peer.address))
                    yield host, peer, speaker


def networks_of(want: Snapshot, speaker: BgpSpeaker) -> list[str]:
    """Return the ids of the networks that a speaker announces: its own that are routed, or all that are."""
    routed = (one.id for one in want.networks.values() if one.backend == ROUTED)
    if speaker.network_ids:
        return sorted(one for one in routed if one in speaker.network_ids)
    return sorted(routed) if speaker.announces_tenants else []


def ranges_of(want: Snapshot, speaker: BgpSpeaker) -> tuple[IpNetwork, ...]:
    """Return the ranges of addresses that a speaker announces."""
    subnets = (
        want.subnets[subnet_id]
        for network_id in networks_of(want, speaker)
        for subnet_id in want.subnets_of_network.get(network_id, ())
    )
    return tuple(sorted(one.cidr for one in subnets if one.cidr.version == speaker.ip_version))


def blocks_of(want: Snapshot, speaker: BgpSpeaker, host: str) -> list[IpNetwork]:
    """Return the blocks of a host that a speaker announces, in order."""
    announced = set(networks_of(want, speaker))
    found = []
    for block in want.blocks.values():
        subnet = want.subnets.get(block.subnet_id) if block.host == host else None
        if subnet is not None and subnet.network_id in announced and block.cidr.version == speaker.ip_version:
            found.append(block.cidr)
    return sorted(found)


def routes_of(want: Snapshot, speaker: BgpSpeaker) -> list[Announced]:
    """Return the routes that a speaker announces of routed networks, in order, by way of hosts with addresses.

    They are the hosts' blocks, and what is in no block of its host: addresses of bound ports, and floating IPs of
    announced networks.
    """
    next_hops = _addresses(want, speaker)
    blocks = {host: blocks_of(want, speaker, host) for host in next_hops}
    found = {Announced(net, hop) for host, hop in next_hops.items() for net in blocks[host]}
    for network_id in networks_of(want, speaker):
        for port_id in want.ports_of_network.get(network_id, ()):
            port = want.ports[port_id]
            if port.host not in next_hops or not _is_routed(port):
                continue
            for net in _ranges(want, port):
                if net.version == speaker.ip_version and not _is_inside(net, blocks[port.host]):
                    found.add(Announced(net, next_hops[port.host]))
    for net, host in _floating(want, speaker):
        if host in next_hops and not _is_inside(net, blocks[host]):
            found.add(Announced(net, next_hops[host]))
    return sorted(found, key=lambda one: (one.destination.network_address, one.destination.prefixlen, one.next_hop))


def _floating(want: Snapshot, speaker: BgpSpeaker) -> Iterator[tuple[IpNetwork, str]]:
    """Yield the floating IPs of announced networks that are led to ports, with these ports' hosts."""
    announced = networks_of(want, speaker) if speaker.ip_version == 4 else ()
    for floating in want.floating_ips.values():
        port = standing.holder(want, floating) if floating.network_id in announced else None
        if port is not None and want.networks[port.network_id].backend == ROUTED:
            yield ip_network(floating.address), port.host


def _is_inside(net: IpNetwork, nets: Sequence[IpNetwork]) -> bool:
    return any(net.version == one.version and net.subnet_of(one) for one in nets)  # type: ignore[arg-type]


def _is_routed(port: Port) -> bool:
    return port.admin_state_up and port.device_owner != DHCP_OWNER


def _ranges(want: Snapshot, port: Port) -> Iterator[IpNetwork]:
    """Yield what the host leads to a port: its addresses, and address pairs inside its network's subnets."""
    for item in port.fixed_ips:
        yield ip_network(item.address)
    nets = [want.subnets[subnet_id].cidr for subnet_id in want.subnets_of_network.get(port.network_id, ())]
    for pair in port.pairs:
        if _is_inside(pair.cidr, nets):
            yield pair.cidr


def _neighbors(
    want: Snapshot, speaker: BgpSpeaker, host: str, addresses: Mapping[str, IpAddress]
) -> Iterator[Neighbor]:
    """Yield the peers of a host, then the other hosts that it speaks with."""
    for peer_id in speaker.peer_ids:
        peer = want.peers.get(peer_id)
        if peer is not None and (not peer.hosts or host in peer.hosts):
            yield _outside(peer)
    for other, address in addresses.items():
        role = _role(speaker, host, other)
        if role is not None:
            yield Neighbor(address, speaker.local_as, role, bfd=speaker.bfd)


def _outside(peer: BgpPeer) -> Neighbor:
    return Neighbor(peer.address, peer.remote_as, "outside", peer_id=peer.id, password=peer.password, bfd=peer.bfd)


def _role(speaker: BgpSpeaker, host: str, other: str) -> Literal["mesh", "reflector", "client"] | None:
    """Return what another host is to `host`; None: they do not speak. Reflectors tell each other as in a mesh."""
    if host == other:
        return None
    if speaker.mode == FULL_MESH:
        return "mesh"
    match host in speaker.reflectors, other in speaker.reflectors:
        case True, True:
            return "mesh"
        case True, False:
            return "client"
        case False, True:
            return "reflector"
    return None


def _addresses(want: Snapshot, speaker: BgpSpeaker) -> dict[str, IpAddress]:
    """Return the hosts that speak, in order, with the addresses that they do it at."""
    found: dict[str, IpAddress] = {}
    for host in sorted(want.hosts.values(), key=lambda one: (one.name, one.id)):
        for address in host.addresses:
            if address.version == speaker.ip_version and host.name not in speaker.excluded_hosts:
                found.setdefault(host.name, address)
    return found
