# SPDX-License-Identifier: Apache-2.0
"""From BGP speakers that name external networks to what each host's peers outside are told of their routers. Pure.

Speakers and peers themselves are the backend `routed`'s; only this one knows the ports of routers on its networks.
"""

from __future__ import annotations

from collections import defaultdict

from portico.hoststate import Behind, HostObject
from portico.model import bgp
from portico.model.bgp_routers import routes_behind
from portico.model.snapshot import Snapshot
from portico.planning.bgp import Memory, Objects

_CONCERNED = frozenset(
    {"agent", "bgp_peer", "bgp_speaker", "floatingip", "network", "port", "router", "subnet", "subnetpool"}
)


def memory() -> Memory:
    """Return a memory of what hosts were given, which is nothing yet."""
    return Memory(objects, _CONCERNED)


def objects(want: Snapshot) -> Objects:
    """Return for each host that speaks with peers outside what they are told, by key; nothing where that is nothing."""
    routes = {speaker.id: _routes(want, speaker.id) for speaker in want.speakers.values()}
    found: defaultdict[str, dict[str, HostObject]] = defaultdict(dict)
    for host, peer, speaker in bgp.outside(want) if any(routes.values()) else ():
        if routes[speaker.id]:
            item = Behind(str(peer.address), routes[speaker.id])
            found[host][item.key] = item
    return found


def _routes(want: Snapshot, speaker_id: str) -> tuple[tuple[str, str], ...]:
    behind = routes_behind(want, want.speakers[speaker_id])
    return tuple(sorted((str(net), str(hop)) for net, hop in behind.items()))
