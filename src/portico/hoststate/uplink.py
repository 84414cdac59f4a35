# SPDX-License-Identifier: Apache-2.0
"""The host's own part in external networks of type `host`: the way out, and ports that it publishes."""

from __future__ import annotations

from typing import Literal

import msgspec


class Uplink(msgspec.Struct, frozen=True, tag="uplink", tag_field="kind"):
    """A link from a network's bridge to the host's namespace, which forwards what comes from it to its other links.

    The host has `addresses` (with prefix lengths) at its end: those of the network's gateways. What comes from
    `masquerade` (CIDRs) leaves with the address of the link by which it leaves.
    """

    network_id: str
    mtu: int
    addresses: tuple[str, ...]
    masquerade: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """See `key_of`."""
        return f"uplink/{self.network_id}"


class Target(msgspec.Struct, frozen=True):
    """Where published ports lead: `ports` (first and last) of `address`."""

    address: str
    ports: tuple[int, int]


class Publish(msgspec.Struct, frozen=True, tag="publish", tag_field="kind"):
    """Ports of the host, first and last, that lead by the uplink of a network, or into the routed space, to others.

    `addresses` are those of the host; "0.0.0.0" and "::" stand for all of their IP version. There is at most one target
    of each version, as many ports in it as here or one; an address whose version has no target is not published.
    """

    forwarding_id: str
    network_id: str
    protocol: Literal["tcp", "udp", "sctp", "dccp"]
    addresses: tuple[str, ...]
    ports: tuple[int, int]
    targets: tuple[Target, ...]

    @property
    def key(self) -> str:
        """See `key_of`."""
        return f"publish/{self.forwarding_id}"
