# SPDX-License-Identifier: Apache-2.0
"""Routers: a namespace each, a veth pair from it to each bridge, addresses, routes, translation.

The pair's end in the bridge and the one in the router's namespace have the same name. What a router translates is not
read back rule by rule: the alias of its namespace's loopback link tells a digest of it, and the generation of the rules
then, which anybody's change makes another.
"""

from __future__ import annotations

import errno
import hashlib
import ipaddress
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.agent import addresses, meter_rules, owner, router_rules
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.libnftables import NftError
from portico.agent.drivers.link import LinkTable
from portico.agent.gateways import numbers
from portico.agent.links import Link
from portico.agent.meter_rules import Metering
from portico.agent.router_rules import Translation
from portico.agent.router_space import RouterSpace, RouterSpaces
from portico.agent.routes import spread
from portico.hoststate import Router
from portico.hoststate.l3 import Leg, Way


@dataclass(frozen=True, slots=True)
class LegItem:
    """A leg as wanted or found; `bridge` "" when it is in none, `up` if both of its ends are."""

    name: str
    port_id: str
    bridge: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    up: bool = True

    def __str__(self) -> str:
        """Return it for people to read."""
        words = (self.name, f"in {self.bridge or 'no bridge'}", self.mac, f"mtu {self.mtu}", *self.addresses)
        return " ".join((*words, "up" if self.up else "down"))


@dataclass(frozen=True, slots=True)
class RouterItem:
    """A router as wanted or found. `ways` are destination, next hop and link; `set_up`: its namespace forwards.

    `kept` are numbers of gateways, where they send, and their links: what is marked so goes by them alone.
    `proxied` are addresses of others, and the links that answer for them.
    `digest` stands for what it translates, which is `translation` where it is known, and `metered` for what it counts,
    `metering`; "" for nothing.
    """

    router_id: str
    legs: tuple[LegItem, ...]
    ways: tuple[tuple[str, str, str], ...]
    digest: str
    set_up: bool = True
    kept: tuple[tuple[int, str, str], ...] = ()
    proxied: tuple[tuple[str, str], ...] = ()
    metered: str = ""
    translation: Translation = field(default=Translation(), compare=False)
    metering: Metering = field(default=Metering(), compare=False)


PASSES_WITHIN_S = 0.2
"""How long a new leg may take to pass frames before its addresses are announced anyway."""


Keep = Callable[[str, Mapping[str, tuple[int, int]]], None]
"""Takes what the counters of a router say that is about to go."""


class RouterDriver:
    """Keys `router/...`. Comes after the filter: a leg is trusted, and joins a bridge whose ports are not."""

    def __init__(self, table: LinkTable, spaces: RouterSpaces, keep: Keep | None = None) -> None:
        self._table = table
        self._spaces = spaces
        self._keep = keep
        self._translations: dict[str, Translation] = {}
        """What was put in force, by key."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items, troubles = {}, {}
        for key in keys:
            router = wanted.objects.get(key)
            if not isinstance(router, Router):
                continue
            absent = [leg.network_id for leg in router.legs if leg.network_id not in wanted.zones]
            if absent:
                troubles[key] = Trouble(f"network {absent[0]} is not on this host yet", waiting=True)
                continue
            try:
                items[key] = _item(router)
            except ValueError as error:
                troubles[key] = Trouble(f"router: {error}")
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is None:
            shorts = self._spaces.known()
        else:
            shorts = [owner.short(key.partition("/")[2]) for key in keys if key.startswith("router/")]
        found = {}
        bridges = {link.index: link.name for link in self._table.by_name.values() if link.kind == "bridge"}
        for short in shorts:
            with self._spaces.inside(short) as space:
                item = None if space is None else self._find(short, space, bridges, fresh=keys is None)
            if item is None and keys is None:  # a name without a namespace, as a crash may leave it
                self._spaces.remove(short)
            if item is not None:
                found[f"router/{item.router_id}"] = item
        return {key: item for key, item in found.items() if keys is None or key in keys}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._remove(key, delta.before[key])
            except OSError as error:
                troubles[key] = Trouble(f"router: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(key, item, delta.before.get(key))
            except OSError as error:
                troubles[key] = Trouble(f"router: {error.strerror} {error.filename or ''}".rstrip())
            except NftError as error:
                troubles[key] = Trouble(f"router: nft: {error}")
        return troubles

    def _find(self, short: str, space: RouterSpace, bridges: Mapping[int, str], *, fresh: bool) -> RouterItem:
        """Return what there is of a router; one that was not finished tells its id only in short.

        `bridges` are the names of bridges by index; `fresh`: the links of our namespace have just been read.
        """
        links = {link.name: link for link in space.links.all()}
        given = space.routes.addresses()
        lo = links.get("lo")
        alias = owner.words(lo.alias) if lo else []
        names = {link.index: link.name for link in links.values()}
        far = [link for link in links.values() if _is_leg(link)]
        if not fresh:
            self._table.refresh([link.name for link in far])
        legs = [self._leg(link, given.get(link.index, frozenset()), bridges) for link in far]
        is_whole = len(alias) == 3 and alias[2] == str(space.generation())
        digest, _, metered = alias[1].partition("+") if is_whole else ("", "", "")
        routes = space.routes.all()
        set_up = space.is_set_up() and (space.spreads() or not any(route.beside for route in routes))
        proxied = sorted((address, names.get(index, "")) for index, address in space.proxies.all())
        set_up = set_up and (not proxied or space.answers())
        return RouterItem(
            router_id=alias[0] if alias else short,
            legs=_in_order(legs),
            ways=tuple(sorted((it.cidr, hop, names.get(index, "")) for it in routes for index, hop in it.hops)),
            digest=digest,
            set_up=set_up,
            kept=tuple(sorted((mark, hop, names.get(index, "")) for mark, index, hop in space.gateways.all())),
            proxied=tuple(proxied),
            metered=metered,
        )

    def _leg(self, far: Link, given: frozenset[str], bridges: Mapping[int, str]) -> LegItem:
        near = self._table.by_name.get(far.name)
        alias = owner.words(near.alias) if near else []
        return LegItem(
            name=far.name,
            port_id=alias[2] if len(alias) == 3 else "",
            bridge=bridges.get(near.master, "") if near else "",
            mac=far.mac,
            mtu=far.mtu if near and near.mtu == far.mtu else 0,
            addresses=tuple(sorted(text for text in given if not _is_link_local(text))),
            up=far.up and near is not None and near.up,
        )

    def _put(self, key: str, item: RouterItem, before: RouterItem | None) -> None:
        short = owner.short(item.router_id)
        old = {leg.name: leg for leg in before.legs} if before else {}
        for name in old.keys() - {leg.name for leg in item.legs}:
            self._table.remove(name)  # not in its own time: what is there is read back
        with self._spaces.inside(short, make=True) as space:
            if space is None:
                raise OSError(errno.ENOENT, "its namespace is missing")
            if before is None or not before.set_up:
                space.set_up()
            fresh: dict[LegItem, set[str]] = {}
            for leg in sorted(item.legs, key=lambda leg: leg.name):
                if old.get(leg.name) != leg:
                    fresh[leg] = self._put_leg(space, item.router_id, leg)
            links = {link.name: link for link in space.links.all()}
            _put_ways(space, item, links)
            is_other = before is None or before.digest != item.digest or before.router_id != item.router_id
            if is_other:
                self._translate(space, key, item)
            if (before.metered if before else "") != item.metered:
                space.meter(item.metering)
                is_other = True
            if is_other:
                told = f"{item.digest}+{item.metered}" if item.metered else item.digest
                space.links.change("lo", alias=owner.alias(item.router_id, told, str(space.generation())))
            self._wait(space, [leg.name for leg, new in fresh.items() if new])
            _announce(space, item, fresh, _put_proxies(space, item, links))
        self._table.refresh([leg.name for leg in item.legs])

    def _wait(self, space: RouterSpace, names: Collection[str]) -> None:
        """Wait a little until links pass frames: what is announced before reaches nobody."""
        until_s = time.monotonic() + PASSES_WITHIN_S
        ends = [(links, name) for links in (self._table.kernel, space.links) for name in names]
        while not all(links.passes(name) for links, name in ends) and time.monotonic() < until_s:
            time.sleep(0.001)

    def _put_leg(self, space: RouterSpace, router_id: str, leg: LegItem) -> set[str]:
        """Make a leg as it is to be; return the addresses that are new on it."""
        ours = self._table.kernel
        bridge = self._table.find(leg.bridge)
        if bridge is None:
            raise OSError(errno.ENODEV, f"bridge {leg.bridge} is missing")
        far = space.links.find(leg.name)
        if far is None or self._table.find(leg.name) is None:
            ours.remove(leg.name)
            space.links.remove(leg.name)
            ours.add_veth(
                leg.name, master=bridge.index, mtu=leg.mtu, peer=leg.name, peer_mac=leg.mac, peer_netns=space.netns
            )
        else:
            space.links.change(leg.name, mac=leg.mac, mtu=leg.mtu)
        far = space.links.find(leg.name)
        if far is None:
            raise OSError(errno.ENODEV, f"link {leg.name} is missing")
        space.links.change(leg.name, up=True)
        space.be_quick(leg.name)
        there = space.routes.addresses(far.index).get(far.index, frozenset())
        for address in sorted(there - {*leg.addresses}):
            if not _is_link_local(address):
                space.routes.remove_address(far.index, address)
        new = {*leg.addresses} - there
        for address in sorted(new):
            space.links.add_address(leg.name, address)
        ours.change(
            leg.name, up=True, mtu=leg.mtu, master=bridge.index, alias=owner.alias(router_id, "leg", leg.port_id)
        )
        return new

    def _translate(self, space: RouterSpace, key: str, item: RouterItem) -> None:
        """Put what a router translates in force; connections that are somebody else's now are forgotten."""
        space.translate(item.translation)
        known = self._translations.get(key)
        gone = known.affected(item.translation) if known else None
        if gone is None or gone:
            space.forget_connections(gone)
        self._translations[key] = item.translation

    def _remove(self, key: str, item: RouterItem) -> None:
        short = owner.short(item.router_id)
        if item.metered and self._keep:
            with self._spaces.inside(short) as space:
                self._keep(item.router_id, space.counters() if space else {})
        for leg in item.legs:
            self._table.retire(leg.name)
        self._spaces.remove(short)
        self._translations.pop(key, None)


def _item(router: Router) -> RouterItem:
    """Return what is wanted of a router.

    Raises:
        ValueError: an address in it is none.
    """
    names = {leg.port_id: owner.leg_link(leg.port_id) for leg in router.legs}
    floating: dict[str, list[str]] = {}
    for item in router.floating:
        address = addresses.address(item.address, "floating")
        floating.setdefault(item.port_id, []).append(f"{address}/{address.max_prefixlen}")
    translation = router_rules.translation(router, names)
    metering = meter_rules.metering(router, names)
    return RouterItem(
        router_id=router.router_id,
        legs=_in_order(_leg_item(leg, floating.get(leg.port_id, ())) for leg in router.legs),
        ways=tuple(sorted(_way(way, names) for way in router.ways)),
        digest=_digest(translation),
        kept=tuple(sorted(_kept(router.legs, names))),
        proxied=tuple(sorted(_proxied(router.legs, names))),
        metered=_digest(metering) if metering.labels else "",
        translation=translation,
        metering=metering,
    )


def _kept(legs: Iterable[Leg], names: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    beyond = {leg.port_id: leg.beyond for leg in legs if leg.beyond}
    for port_id, number in numbers(beyond).items():
        yield number, router_rules.ipv4(beyond[port_id]), names[port_id]


def _proxied(legs: Iterable[Leg], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from ((str(addresses.address(text, "proxied")), names[leg.port_id]) for leg in legs for text in leg.proxied)


def _digest(wanted: Translation | Metering) -> str:
    return hashlib.sha256(repr(wanted).encode()).hexdigest()[:16]


def _way(way: Way, names: Mapping[str, str]) -> tuple[str, str, str]:
    destination = str(addresses.network(way.destination, "destination"))
    nexthop = str(addresses.address(way.nexthop, "nexthop")) if way.nexthop else ""
    return destination, nexthop, names.get(way.port_id, "")


def _in_order(legs: Iterable[LegItem]) -> tuple[LegItem, ...]:
    return tuple(sorted(legs, key=lambda leg: leg.name))


def _leg_item(leg: Leg, floating: Collection[str]) -> LegItem:
    for number, text in enumerate(leg.addresses):
        addresses.network(text, f"addresses[{number}]")
    return LegItem(
        name=owner.leg_link(leg.port_id),
        port_id=leg.port_id,
        bridge=owner.bridge_name(leg.network_id),
        mac=addresses.mac(leg.mac, "mac"),
        mtu=leg.mtu,
        addresses=tuple(sorted((*leg.addresses, *floating))),
    )


def _put_ways(space: RouterSpace, item: RouterItem, links: Mapping[str, Link]) -> None:
    """Give a router its routes, and take from it what others of ours there are."""
    hops: dict[str, list[tuple[int, str]]] = {}
    for cidr, gateway, name in item.ways:
        if name in links:
            hops.setdefault(cidr, []).append((links[name].index, gateway))
    wanted = {spread(cidr, found) for cidr, found in hops.items()}
    if any(route.beside for route in wanted):
        space.spread()
    there = set(space.routes.all())
    for route in there - wanted:
        if not any(route.cidr == other.cidr for other in wanted):
            space.routes.remove(route)
    # What is on a link comes first: the kernel takes no other route before it knows where the next hop is.
    for route in sorted(wanted - there, key=lambda route: (bool(route.gateway), route.cidr)):
        space.routes.put(route, instead=True)
    space.gateways.put([(mark, links[name].index, gateway) for mark, gateway, name in item.kept if name in links])


def _put_proxies(space: RouterSpace, item: RouterItem, links: Mapping[str, Link]) -> dict[str, set[str]]:
    """Have links answer for what a router is to answer for; return the addresses that are new, by link."""
    wanted = {(links[name].index, address) for address, name in item.proxied if name in links}
    if wanted:
        space.answer({name for _, name in item.proxied if name in links})
    names = {link.index: link.name for link in links.values()}
    found: dict[str, set[str]] = {}
    for index, address in space.proxies.put(wanted):
        found.setdefault(names[index], set()).add(address)
    return found


def _announce(
    space: RouterSpace, item: RouterItem, fresh: Mapping[LegItem, set[str]], proxied: Mapping[str, set[str]]
) -> None:
    """Tell neighbours of the addresses that are new on legs, or that these answer for now."""
    for leg in item.legs:
        new = proxied.get(leg.name, set()) | {address.partition("/")[0] for address in fresh.get(leg, ())}
        if new:
            space.announce(leg.name, leg.mac, sorted(new))


def _is_leg(link: Link) -> bool:
    return link.kind == "veth" and link.name.startswith("pl")


def _is_link_local(text: str) -> bool:
    return ipaddress.ip_interface(text).ip.is_link_local
