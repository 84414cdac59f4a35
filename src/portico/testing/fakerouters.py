# SPDX-License-Identifier: Apache-2.0
"""The namespaces of routers on a `FakeKernel`, and what they do with packets."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from portico.agent import owner
from portico.agent.gateways import Gateways, Kept
from portico.agent.links import Link
from portico.agent.meter_rules import Metering
from portico.agent.proxies import Proxies, Proxy
from portico.agent.router_rules import Translation
from portico.agent.router_space import RouterSpace, RouterSpaces
from portico.model.snapshot import IpAddress
from portico.testing import nft_eval
from portico.testing.fakekernel import OURS, FakeKernel, FakeLinks, tables
from portico.testing.fakeroutes import FakeRoutes
from portico.trace.packet import Packet

PREFIX = owner.router_netns_prefix(OURS)
_FORWARDING = "ipv4/ip_forward"


class FakeGateways(Gateways):
    """What is kept in one namespace."""

    def __init__(self, kernel: FakeKernel, place: str) -> None:
        self._kernel = kernel
        self._place = place

    def all(self) -> set[Kept]:
        """See Gateways."""
        return set(self._kernel.kept.get(self._place, ()))

    def put(self, wanted: Collection[Kept]) -> None:
        """See Gateways."""
        if self.all() != set(wanted) and self._kernel.write("keep", self._place):
            self._kernel.kept[self._place] = frozenset(wanted)


class FakeProxies(Proxies):
    """Addresses that links of one namespace answer for."""

    def __init__(self, kernel: FakeKernel, place: str) -> None:
        self._kernel = kernel
        self._place = place

    def all(self) -> set[Proxy]:
        """See Proxies."""
        return set(self._kernel.proxied.get(self._place, ()))

    def put(self, wanted: Collection[Proxy]) -> set[Proxy]:
        """See Proxies."""
        there = self.all()
        if there != set(wanted) and self._kernel.write("proxy", self._place):
            self._kernel.proxied[self._place] = frozenset(wanted)
        return {*wanted} - there


class FakeRouterSpace(RouterSpace):
    """A router's namespace."""

    def __init__(self, kernel: FakeKernel, place: str, netns: int) -> None:
        self.netns = netns
        self._kernel = kernel
        self._place = place
        self.links = FakeLinks(kernel, place)
        self.routes = FakeRoutes(kernel, place)
        self.gateways = FakeGateways(kernel, place)
        self.proxies = FakeProxies(kernel, place)

    def is_set_up(self) -> bool:
        """See RouterSpace."""
        return self._kernel.switches[self._place].get(_FORWARDING) == "1"

    def set_up(self) -> None:
        """See RouterSpace."""
        if self._kernel.write("sysctl", self._place):
            self._kernel.switches[self._place][_FORWARDING] = "1"
        self.links.change("lo", up=True)

    def spread(self) -> None:
        """See RouterSpace; no flow is told from another here."""

    def spreads(self) -> bool:
        """See RouterSpace."""
        return True

    def answer(self, links: Collection[str]) -> None:
        """See RouterSpace; who is asked for is known here."""

    def answers(self) -> bool:
        """See RouterSpace."""
        return True

    def be_quick(self, link: str) -> None:
        """See RouterSpace; everybody answers here."""

    def generation(self) -> int:
        """See RouterSpace."""
        return self._kernel.translations.get(self._place, (Translation(), 1))[1]

    def translate(self, wanted: Translation) -> None:
        """See RouterSpace."""
        if self._kernel.write("translate", self._place):
            self._kernel.translations[self._place] = (wanted, self.generation() + 1)

    def meter(self, wanted: Metering) -> None:
        """See RouterSpace; nobody reads what would be counted."""

    def counters(self) -> dict[str, tuple[int, int]]:
        """See RouterSpace; nothing is counted here."""
        return {}

    def forget_connections(self, addresses: Collection[str] | None) -> None:
        """See RouterSpace; nothing is tracked here."""

    def announce(self, link: str, mac: str, addresses: Collection[str]) -> None:
        """See RouterSpace; nobody has anything else in mind."""


class FakeRouterSpaces(RouterSpaces):
    """The namespaces of all routers."""

    def __init__(self, kernel: FakeKernel) -> None:
        self._kernel = kernel

    def known(self) -> list[str]:
        """See RouterSpaces."""
        return [name.removeprefix(PREFIX) for name in self._kernel.namespaces if name.startswith(PREFIX)]

    @contextmanager
    def inside(self, short: str, *, make: bool = False) -> Iterator[RouterSpace | None]:
        """See RouterSpaces."""
        place, kernel = PREFIX + short, self._kernel
        if make and place not in kernel.namespaces and kernel.write("add namespace", place):
            kernel.namespaces[place] = {
                "lo": Link(next(kernel.indexes), "lo", "", "", "00:00:00:00:00:00", 65536, 0, up=False)
            }
            kernel.routes[place] = {}
        if place not in kernel.namespaces:
            if make:
                raise FileNotFoundError(errno.ENOENT, "no such namespace", place)
            yield None
            return
        descriptor = next(kernel.numbers)
        kernel.descriptors[descriptor] = place
        try:
            yield FakeRouterSpace(kernel, place, descriptor)
        finally:
            del kernel.descriptors[descriptor]

    def remove(self, short: str) -> None:
        """See RouterSpaces."""
        place, kernel = PREFIX + short, self._kernel
        if place in kernel.namespaces and kernel.write("remove namespace", place):
            for name in list(kernel.namespaces[place]):
                FakeLinks(kernel, place).lose(name)
            del kernel.namespaces[place], kernel.routes[place]
            kernel.switches.pop(place, None)
            kernel.translations.pop(place, None)
            kernel.kept.pop(place, None)
            kernel.proxied.pop(place, None)


def dump(kernel: FakeKernel) -> dict[str, object]:
    """Return what routers have besides links and their addresses."""
    found: dict[str, object] = {}
    for place in (name for name in kernel.namespaces if name.startswith(PREFIX)):
        names = {link.index: link.name for link in kernel.namespaces[place].values()}
        routes = {(cidr, route.gateway, names.get(route.index)) for cidr, route in kernel.routes[place].items()}
        translation = kernel.translations.get(place, (Translation(), 0))[0]
        found[f"{place}/router"] = (routes, translation, kernel.switches[place].get(_FORWARDING))
    return found


def delivers(kernel: FakeKernel, packet: Packet) -> bool:
    """Return whether one of a host's routers delivers a packet that is addressed to it, or two of them do."""
    ours = kernel.namespaces[OURS]
    near, far = (ours.get(owner.port_link(port_id)) for port_id in (packet.sender, packet.receiver))
    if near is None or far is None or not (near.up and far.up and near.master and far.master):
        return False
    for leg in _legs(kernel, near.master):
        arrived = _routed(kernel, leg, packet) if _passes(kernel, near, leg, packet) else None
        if arrived is None:
            continue
        ways = [arrived]
        for other in _legs(kernel, arrived[0].master):
            on = _routed(kernel, other, arrived[1]) if _passes(kernel, arrived[0], other, arrived[1]) else None
            ways += [on] if other is not arrived[0] and on is not None else []
        if any(last.master == far.master and _passes(kernel, last, far, sent) for last, sent in ways):
            return True
    return False


def _legs(kernel: FakeKernel, bridge: int) -> list[Link]:
    """Return our ends of the links of routers that are on a bridge."""
    ours = kernel.namespaces[OURS].values()
    return [link for link in ours if link.name.startswith("pl") and link.up and link.master == bridge]


def _passes(kernel: FakeKernel, one: Link, other: Link, packet: Packet) -> bool:
    """Return whether the rules let a packet pass from one link of a bridge to another."""
    seen, table = nft_eval.Seen(one.name, other.name, packet), tables(kernel)
    return bool(table.chains) and nft_eval.passes(table, "prerouting", seen) and nft_eval.passes(table, "forward", seen)


def _routed(kernel: FakeKernel, leg: Link, packet: Packet) -> tuple[Link, Packet] | None:
    """Return by which of our ends a router sends a packet on that has come to `leg`, and as what."""
    far = kernel.by_index(kernel.peers.get(leg.index, 0))
    if far is None or kernel.switches[far[0]].get(_FORWARDING) != "1" or packet.source.is_link_local:
        return None
    place = far[0]
    rules = kernel.translations.get(place, (Translation(), 0))[0]
    outside = {name for name, _ in rules.outside}
    sent = _led(rules, packet)
    destination = sent.destination
    out = _connected(kernel, place, destination)
    own = {address for link in kernel.namespaces[place].values() for address in _own(kernel, link)}
    if out is None or not out.up or destination in own:
        return None
    if destination == packet.destination and _are_apart(rules, leg.name, out.name, packet.source, destination):
        return None
    if _is_kept_out(rules, leg.name, destination):
        return None
    is_inward = leg.name not in outside and destination != packet.destination
    source = packet.source
    if (source.version == 4 or rules.outside6) and (out.name in outside or is_inward):
        asked = packet.destination if is_inward else None
        source = _source(rules, out.name, source, from_outside=leg.name in outside, asked=asked)
    near = kernel.by_index(kernel.peers.get(out.index, 0))
    if near is None or near[0] != OURS or not near[1].up:
        return None
    return near[1], replace(sent, mac=out.mac, source=source)


def _led(rules: Translation, packet: Packet) -> Packet:
    """Return a packet with the destination that the rules give it."""
    key = str(packet.destination), packet.protocol
    for address, protocol, port, fixed, to in rules.ports:
        if (address, protocol) == key and port == packet.high:
            return replace(packet, destination=ip_address(fixed), high=to)
    for address, protocol, first, last, fixed in rules.ranges:
        if (address, protocol) == key and first <= packet.high <= last:
            return replace(packet, destination=ip_address(fixed))
    fixed = dict(rules.fixed).get(key[0], "")
    return replace(packet, destination=ip_address(fixed)) if fixed else packet


def _are_apart(rules: Translation, entered: str, out: str, source: IpAddress, destination: IpAddress) -> bool:
    if out in {name for name, _ in rules.outside} and str(source) in {fixed for _, fixed in rules.fixed}:
        return False
    if any(
        (name, str(source)) == (out, it) or (name, str(destination)) == (entered, it)
        for name, them, _ in rules.guarded
        for it in them
    ):
        return False
    return any(
        (name == out and source in ip_network(cidr))
        or (outside and name == entered and destination in ip_network(cidr))
        for name, outside, ranges in rules.apart
        for cidr in ranges
    )


def _is_kept_out(rules: Translation, entered: str, destination: IpAddress) -> bool:
    return any(
        name == entered and str(destination) not in proxied and any(destination in ip_network(cidr) for cidr in ranges)
        for name, proxied, ranges in rules.guarded
    )


def _source(
    rules: Translation, out: str, source: IpAddress, *, from_outside: bool, asked: IpAddress | None
) -> IpAddress:
    floating = {fixed: address for address, fixed in rules.fixed}
    if str(source) in floating:
        return ip_address(floating[str(source)])
    translated = rules.outside if source.version == 4 else rules.outside6
    if asked is not None:
        own = rules.own if source.version == 4 else next((address for _, address in translated if address), "")
        return ip_address(own) if own else asked
    if any(name == out and source in ip_network(cidr) for name, ranges in rules.known for cidr in ranges):
        return source
    snat = dict(translated).get(out, "")
    return ip_address(snat) if snat and not from_outside else source


def _connected(kernel: FakeKernel, place: str, destination: IpAddress) -> Link | None:
    for link in kernel.namespaces[place].values():
        nets = (ip_interface(text).network for text in kernel.addresses.get(link.index, ()))
        if any(destination in net and net.prefixlen < net.max_prefixlen for net in nets):
            return link
    return None


def _own(kernel: FakeKernel, link: Link) -> set[IpAddress]:
    return {ip_interface(text).ip for text in kernel.addresses.get(link.index, ())}
