# SPDX-License-Identifier: Apache-2.0
"""A router on a host, whole: see `portico.hoststate` for how such values are used."""

from __future__ import annotations

from typing import Literal

import msgspec

from portico.hoststate.limit import Share
from portico.hoststate.metering import Meter

Advertised = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]
"""How hosts come to their addresses in an advertised prefix, in Neutron's words."""


class Prefix(msgspec.Struct, frozen=True):
    """A prefix that a router announces on a leg, as where its hosts send what is for others (RFC 4861)."""

    cidr: str
    mode: Advertised


class Leg(msgspec.Struct, frozen=True):
    """A router's interface or gateway on one network: `mac` and `addresses` (with prefix lengths) are its port's.

    `outside` tells a gateway. What is sent out there gets `snat` for its source, over IPv6 `snat6`, if that is set and
    what it comes from has no floating IP; what comes from `known` keeps its own, for it means the same out there.
    Nothing passes between this leg and `apart`, whose addresses mean something else here. Both are CIDRs. Where there
    are `shares`, addresses outside may use no more of a gateway than theirs. One gateway of several has `beyond`, the
    address of IPv4 out there that it sends to: what has come or gone by it, or has a floating address there, goes by it
    again. It answers for `proxied`, IPv6 addresses of others inside; nothing else of `guarded`, CIDRs inside, is
    reached by it. An interface that `floats` has floating addresses, too: those alone are translated there.
    """

    port_id: str
    network_id: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    outside: bool = False
    snat: str = ""
    snat6: str = ""
    prefixes: tuple[Prefix, ...] = ()
    known: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    shares: tuple[Share, ...] = ()
    beyond: str = ""
    guarded: tuple[str, ...] = ()
    proxied: tuple[str, ...] = ()
    floats: bool = False


class Way(msgspec.Struct, frozen=True):
    """A route: what is for `destination` (a CIDR) is sent to `nexthop`, which is on the leg of the port `port_id`.

    Without `nexthop`, whoever is asked for is there. Of several to one destination, each connection takes one.
    """

    destination: str
    nexthop: str
    port_id: str


class Floating(msgspec.Struct, frozen=True):
    """An address outside, on the leg of the port `port_id`, that stands for `fixed`; "" for none as a whole."""

    address: str
    port_id: str
    fixed: str = ""


class Standing(msgspec.Struct, frozen=True):
    """A floating address that stands for `fixed`, an address of a routed port.

    If it is `known` outside, what the port sends there has it for its source.
    """

    address: str
    fixed: str
    known: bool = True


class Forward(msgspec.Struct, frozen=True):
    """Ports of a floating address that lead to those of `fixed`; ranges name their first and last port.

    Ranges of the same length lead port by port; else all lead to the first.
    """

    address: str
    protocol: str
    external: tuple[int, int]
    fixed: str
    internal: tuple[int, int]


class Reader(msgspec.Struct, frozen=True):
    """Has what is agreed on in connections to a port let in: `helper` is the kernel's name for what is spoken there."""

    protocol: str
    port: int
    helper: str


class Router(msgspec.Struct, frozen=True, tag="router", tag_field="kind"):
    """A router as this host has it: a network namespace that forwards between `legs`.

    The same on every host but for the gateway, which may be whole on one of them alone, and floating addresses, which
    are where their ports are. What `ways` send by gateways goes by those next hops of `watched` that live, as long as
    one does: by the first, or with `spreads` by all, each connection by one. Of several `helpers` for one port the
    first counts.
    """

    router_id: str
    legs: tuple[Leg, ...]
    ways: tuple[Way, ...] = ()
    floating: tuple[Floating, ...] = ()
    forwards: tuple[Forward, ...] = ()
    meters: tuple[Meter, ...] = ()
    watched: tuple[Way, ...] = ()
    spreads: bool = False
    helpers: tuple[Reader, ...] = ()

    @property
    def key(self) -> str:
        """See `key_of`."""
        return f"router/{self.router_id}"
