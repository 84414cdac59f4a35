# SPDX-License-Identifier: Apache-2.0
"""A network that exists in memory only: what the memory backend writes to, and what outlives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network

import msgspec
from msgspec import structs

from portico.errors import KernelError
from portico.hoststate import Qos, Router, Rule, Source
from portico.hoststate.l3 import Leg
from portico.model.snapshot import IpAddress

PORTED = frozenset({6, 17, 33, 132, 136})
ICMP = frozenset({1, 58})
_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


class Segment(msgspec.Struct, frozen=True):
    """The L2 segment of a network. `owner` says whose it is."""

    owner: str
    mtu: int


class Endpoint(msgspec.Struct, frozen=True):
    """The end of a port, which answers for `addresses`.

    `sources` None: port security is off. `rules` name no groups, only CIDRs of their members.
    """

    owner: str
    network_id: str
    host: str
    up: bool
    sources: tuple[Source, ...] | None
    rules: tuple[Rule, ...]
    addresses: tuple[IpAddress, ...] = ()
    qos: Qos | None = None


class Frame(msgspec.Struct, frozen=True):
    """A packet as an endpoint sends it. `low`, `high`: source and destination port, or ICMP type and code."""

    mac: str
    source: IpAddress
    destination: IpAddress
    protocol: int
    low: int
    high: int


class Junction(msgspec.Struct, frozen=True):
    """A router on a host. Not more than what its host would be told."""

    owner: str
    host: str
    router: Router


Piece = Segment | Endpoint | Junction


class Fabric:
    """Pieces by key: `segment/<network id>`, `endpoint/<port id>`, `router/<router id>/<host>`.

    An endpoint needs its segment.

    Args:
        gate: asked with the key before each write; it raises, or says whether the write has an effect.
    """

    def __init__(self, gate: Callable[[str], bool] = lambda _: True) -> None:
        self.pieces: dict[str, Piece] = {}
        self._gate = gate

    def put(self, key: str, piece: Piece) -> None:
        """Put a piece in place of whatever is under `key`.

        Raises:
            KernelError: an endpoint's segment is not there.
        """
        if isinstance(piece, Endpoint) and f"segment/{piece.network_id}" not in self.pieces:
            raise KernelError(key, "put", f"segment/{piece.network_id} is not there")
        if self._gate(key):
            self.pieces[key] = piece

    def remove(self, key: str) -> None:
        """Remove what is under `key`; nothing there is no error."""
        if key in self.pieces and self._gate(key):
            del self.pieces[key]

    def delivers(self, sender_id: str, receiver_id: str, frame: Frame) -> bool:
        """Return whether a frame that opens a connection gets from one port to another, or by a router to it."""
        sender = self.pieces.get(f"endpoint/{sender_id}")
        receiver = self.pieces.get(f"endpoint/{receiver_id}")
        if not isinstance(sender, Endpoint) or not isinstance(receiver, Endpoint) or not (sender.up and receiver.up):
            return False
        if sender.host != receiver.host or f"segment/{sender.network_id}" not in self.pieces:
            return False
        if sender.sources is not None:
            if not any(_is_from(source, frame) for source in sender.sources):
                return False
            if not any(_admits(rule, "egress", frame, frame.destination) for rule in sender.rules):
                return False
        arrived = [frame]
        if sender.network_id != receiver.network_id:
            arrived = list(self._routed(sender, receiver, frame))
        return any(
            receiver.sources is None or any(_admits(rule, "ingress", item, item.source) for rule in receiver.rules)
            for item in arrived
        )

    def _routed(self, sender: Endpoint, receiver: Endpoint, frame: Frame) -> Iterator[Frame]:
        """Yield what routers make of a frame that they send on to the receiver."""
        for left, sent in self._crossed(sender.host, sender.network_id, frame):
            ways = [(left, sent)]
            if left.outside:
                ways += self._crossed(sender.host, left.network_id, sent)
            for leg, arrived in ways:
                if leg.network_id == receiver.network_id and _has(receiver, arrived):
                    yield arrived

    def _crossed(self, host: str, network_id: str, frame: Frame) -> Iterator[tuple[Leg, Frame]]:
        """Yield by which legs the routers on a network send a frame on, and as what."""
        for piece in self.pieces.values():
            if isinstance(piece, Junction) and piece.host == host:
                for leg in piece.router.legs:
                    found = route(piece.router, leg, frame) if leg.network_id == network_id else None
                    if found is not None:
                        yield found


def _has(receiver: Endpoint, frame: Frame) -> bool:
    """Tell whether a port answers for the address that a frame is for."""
    return frame.destination in receiver.addresses


def route(router: Router, entered: Leg, frame: Frame) -> tuple[Leg, Frame] | None:
    """Return by which leg a router sends a frame on, and as what; None: it does not."""
    if frame.source.is_link_local or frame.destination.is_link_local:
        return None
    floating = {item.address: item.fixed for item in router.floating if item.fixed}
    sent = _led(router, floating, frame)
    final = sent.destination
    left = next((leg for leg in router.legs if any(final in ip_interface(it).network for it in leg.addresses)), None)
    if left is None or any(final == ip_interface(it).ip for it in left.addresses):
        return None
    if any(item.address == str(final) for item in router.floating):
        return None
    has_own = left.outside and str(frame.source) in floating.values()
    if final == frame.destination and not has_own and _are_apart(entered, left, frame):
        return None
    is_inward = final != frame.destination and not entered.outside
    source, version = str(frame.source), frame.source.version
    snat = left.snat if version == 4 else left.snat6
    if left.outside or is_inward:
        outside = {fixed: address for address, fixed in floating.items()}
        if source in outside:
            source = outside[source]
        elif is_inward and not left.outside:
            own = (ip_interface(text).ip for leg in router.legs if leg.outside for text in leg.addresses)
            source = next(str(address) for address in own if address.version == version)
        elif snat and not entered.outside and not _within(frame.source, left.known):
            source = snat
    return left, structs.replace(sent, source=ip_address(source))


def _led(router: Router, floating: Mapping[str, str], frame: Frame) -> Frame:
    """Return a frame with the destination that forwarded ports and floating addresses give it."""
    for item in router.forwards:
        (first, last), (start, end) = item.external, item.internal
        is_meant = item.address == str(frame.destination) and _NUMBERS[item.protocol] == frame.protocol
        if is_meant and first <= frame.high <= last:
            high = start + (frame.high - first if last - first == end - start else 0)
            return structs.replace(frame, destination=ip_address(item.fixed), high=high)
    fixed = floating.get(str(frame.destination))
    return structs.replace(frame, destination=ip_address(fixed)) if fixed else frame


def _are_apart(entered: Leg, left: Leg, frame: Frame) -> bool:
    """Tell whether the addresses of a frame are of different address scopes."""
    return _within(frame.source, left.apart) or (entered.outside and _within(frame.destination, entered.apart))


def _within(address: IpAddress, cidrs: Iterable[str]) -> bool:
    return any(address in ip_network(cidr) for cidr in cidrs)


def _is_from(source: Source, frame: Frame) -> bool:
    if source.mac.lower() != frame.mac.lower():
        return False
    return frame.source in ip_network(source.cidr) or frame.source == link_local(frame.mac)


def link_local(mac: str) -> IPv6Address:
    """Return the modified EUI-64 link-local address (RFC 4291 appendix A)."""
    high, low = (int(part.replace(":", ""), 16) for part in (mac[:8], mac[9:]))
    return IPv6Address((0xFE80 << 112) | ((high ^ 0x020000) << 40) | (0xFFFE << 24) | low)


def _admits(rule: Rule, direction: str, frame: Frame, remote: IpAddress) -> bool:
    if rule.direction != direction or rule.ethertype != f"IPv{remote.version}":
        return False
    if rule.remote_cidr is not None and remote not in ip_network(rule.remote_cidr):
        return False
    if rule.protocol is None:
        return True
    if rule.protocol != frame.protocol:
        return False
    if rule.protocol in PORTED and rule.port_min is not None and rule.port_max is not None:
        return rule.port_min <= frame.high <= rule.port_max
    if rule.protocol in ICMP:
        return rule.port_min in (None, frame.low) and rule.port_max in (None, frame.high)
    return True
