# SPDX-License-Identifier: Apache-2.0
"""From BGP speakers and peers to what each host's own speaker must have. Pure.

Hosts tell each other of every port they have, whatever networks a speaker announces: else a port would be reached from
some hosts only. A peer outside is told of the speaker's networks.
"""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address

from portico.hoststate import HostObject, Peer, Speaker
from portico.hoststate.speaker import SPEAKER_KEY
from portico.model import bgp
from portico.model.snapshot import Snapshot
from portico.planning.bgp import Memory

_CONCERNED = frozenset({"agent", "bgp_peer", "bgp_speaker", "block", "network", "subnet"})


def host_objects(want: Snapshot, host: str) -> dict[str, HostObject]:
    """Return a host's speaker and its peers by key; nothing where it has nobody to talk to."""
    said = [one for one in bgp.spoken(want, host) if one.neighbors]
    if not said:
        return {}
    addresses = tuple(dict.fromkeys(str(one.address) for one in said))
    speaker = Speaker(
        asn=said[0].local_as,
        router_id=_router_id(host, addresses),
        addresses=addresses,
        blocks=tuple(sorted({str(block) for one in said for block in one.blocks})),
        prefixes=tuple(sorted({str(subnet.cidr) for subnet in want.subnets.values()})),
    )
    peers = (_peer(one, neighbor) for one in said for neighbor in one.neighbors)
    return {SPEAKER_KEY: speaker, **{peer.key: peer for peer in peers}}


def memory() -> Memory:
    """Return a memory of what hosts were given, which is nothing yet."""
    return Memory(lambda want: {one.name: host_objects(want, one.name) for one in want.hosts.values()}, _CONCERNED)


def _peer(one: bgp.Spoken, neighbor: bgp.Neighbor) -> Peer:
    is_outside = neighbor.role == "outside"
    return Peer(
        address=str(neighbor.address),
        asn=neighbor.remote_as,
        role=neighbor.role,
        local_asn=one.local_as,
        password=neighbor.password,
        bfd=neighbor.bfd,
        graceful_restart=one.graceful_restart,
        # As RFC 4271 has it (section 5.1.3): one in another AS is on a link of ours.
        direct=is_outside and neighbor.remote_as != one.local_as,
        announce=tuple(map(str, one.ranges)) if is_outside else (),
        communities=one.communities if is_outside else (),
    )


def _router_id(host: str, addresses: tuple[str, ...]) -> str:
    """Return a host's BGP identifier: four octets that differ from each other host's (RFC 6286)."""
    for text in addresses:
        if ":" not in text:
            return text
    return str(IPv4Address(int.from_bytes(hashlib.sha256(host.encode()).digest()[:4]) | 1))
