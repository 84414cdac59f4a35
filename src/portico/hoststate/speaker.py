# SPDX-License-Identifier: Apache-2.0
"""A host's BGP speaker, as a value: part of what a host must have."""

from __future__ import annotations

from typing import Literal

import msgspec

SPEAKER_KEY = "speaker/routed"


class Peer(msgspec.Struct, frozen=True, tag="peer", tag_field="kind"):
    """Whom a host's speaker talks to, at `address`, in AS `asn`.

    `role` says who that is: another host ("mesh"), one that passes the hosts' routes on to us ("reflector") or that we
    pass them on to ("client"), or somebody else's speaker ("outside"). Hosts are told of everything that is ours; one
    outside of host routes and blocks in `announce` (CIDRs) alone, with `communities` added ("65000:100", or
    "65000:1:2"). `accept_default` and `accept_own` let it tell us of a default route, and of addresses of our own
    networks. A `direct` one is on a link of the host's; routers may be on the way to any other. `local_asn` 0 stands
    for the speaker's own. With `graceful_restart` it keeps what we told it while our BIRD starts anew, as far as BFD
    lets it.
    """

    address: str
    asn: int
    role: Literal["mesh", "reflector", "client", "outside"] = "mesh"
    local_asn: int = 0
    password: str = ""
    bfd: bool = True
    graceful_restart: bool = True
    direct: bool = False
    announce: tuple[str, ...] = ()
    communities: tuple[str, ...] = ()
    accept_default: bool = False
    accept_own: bool = False

    @property
    def key(self) -> str:
        """The key under which it stands in a host's wanted state."""
        return f"peer/{self.address}"


class Behind(msgspec.Struct, frozen=True, tag="behind", tag_field="kind"):
    """What the speaker outside whose address is `peer` is told of beside the host's own routes.

    `routes` are CIDRs behind routers, in order, each with the address of its next hop: the gateway of a router, which
    is on a network that the peer is on, too. The host itself does not send there.
    """

    peer: str
    routes: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """The key under which it stands in a host's wanted state."""
        return f"behind/{self.peer}"


class Speaker(msgspec.Struct, frozen=True, tag="speaker", tag_field="kind"):
    """The BGP speaker of this host; the peers that it has are objects of their own.

    It has an address of each IP version in `addresses` that the host has in the underlay, and talks to a peer from the
    one of the same version. It tells of the routes to ports that the agent made in the host's namespace and of
    `blocks`, CIDRs whose addresses are all this host's: a route within one is not told of itself. `prefixes` are those
    of all routed networks. A peer is given up `bfd_interval_ms` x 3 after its last sign of life.
    """

    asn: int
    router_id: str
    addresses: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    bfd_interval_ms: int = 100

    @property
    def key(self) -> str:
        """The key under which it stands in a host's wanted state; there is one at most."""
        return SPEAKER_KEY
