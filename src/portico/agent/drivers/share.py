# SPDX-License-Identifier: Apache-2.0
"""How much addresses outside may use of a router's gateways, and of the routed space's link to the host.

All is done where a packet has its outside address whichever way it goes. One way waits at that link itself, as it sends
it; what comes in there is led through a link of kind ifb and waits at that. A router's leg is seen from its end in the
bridge, so what it sends is what comes in from outside; with the routed space's end it is the other way round. Links
without shares have nothing of this.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from portico.agent import addresses, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import Link
from portico.agent.redirect import Redirects
from portico.agent.shaper import Shape, shape
from portico.agent.shares import Division, Shares, division
from portico.hoststate import ROUTED, HostObject, Limit, Router, Share, Space

WORD = "share"
_SPACE = f"space/{ROUTED}"


@dataclass(frozen=True, slots=True)
class Side:
    """How one way of a link is divided; `queues` are how many bytes wait in each class."""

    division: Division
    queues: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A link that is divided, and the one where waits what comes in at it, with its alias."""

    name: str
    middle: str
    alias: str


@dataclass(frozen=True, slots=True)
class LinkShares:
    """What is wanted or found at a link; without `whole` there is half of what is led to the other one."""

    place: Place
    egress: Side | None
    ingress: Side | None
    whole: bool = True

    def __str__(self) -> str:
        """Return it for people to read."""
        sides = (("egress", self.egress), ("ingress", self.ingress))
        words = [f"{way} {side.division}" for way, side in sides if side is not None]
        led = "ingress" if self.place.name == owner.SPACE_LINK else "egress"
        return f"{self.place.name} {' '.join(words)}{'' if self.whole else f' ({led} is not led there)'}"

    @property
    def sent(self) -> Side | None:
        """What waits at the link itself."""
        return self.egress if self.place.name == owner.SPACE_LINK else self.ingress

    @property
    def led(self) -> Side | None:
        """What comes in at the link."""
        return self.ingress if self.place.name == owner.SPACE_LINK else self.egress


@dataclass(frozen=True, slots=True)
class SharedLinks:
    """What is wanted or found of a router, or of the routed space, in the order of the links' names."""

    links: tuple[LinkShares, ...]


class ShareDriver:
    """Keys `router/...` of routers that have shares, and `space/routed`. Comes after their links."""

    def __init__(self, table: LinkTable, shares: Shares, redirects: Redirects) -> None:
        self._table = table
        self._shares = shares
        self._redirects = redirects

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items, troubles = {}, {}
        for key in keys:
            try:
                if found := list(_wanted(wanted.objects.get(key))):
                    items[key] = SharedLinks(tuple(sorted(found, key=lambda link: link.place.name)))
            except ValueError as error:
                troubles[key] = Trouble(f"shares: {error}")
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. An ifb that nobody has named yet is removed."""
        places: dict[str, tuple[str, Place]] = {}
        for link in [link for link in self._table.by_name.values() if _may_share(link.name)]:
            found = _place_of(link)
            if found is not None and (keys is None or found[0] in keys):
                places[found[1].name] = found
                if keys is not None and link.kind == "ifb":
                    self._table.refresh([link.name])
            elif link.kind == "ifb" and not owner.words(link.alias):  # nobody has named it yet
                self._table.remove(link.name)
        divided = self._shares.indexes() if keys is None else None
        items: dict[str, tuple[LinkShares, ...]] = {}
        for _, (key, place) in sorted(places.items()):
            if (item := self._find(place, divided)) is not None:
                items[key] = (*items.get(key, ()), item)
        return {key: SharedLinks(links) for key, links in items.items()}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            for link in delta.before[key].links:
                self._end(link.place)
        for key, item in delta.put.items():
            before = delta.before.get(key)
            kept = {link.place: link for link in before.links} if before else {}
            try:
                for place in kept.keys() - {link.place for link in item.links}:
                    self._end(place)
                for link in item.links:
                    if kept.get(link.place) != link:
                        self._put(link, kept.get(link.place))
            except OSError as error:
                troubles[key] = Trouble(f"shares: {error.strerror}")
        return troubles

    def _find(self, place: Place, divided: Collection[int] | None) -> LinkShares | None:
        """Return what there is at a link, None if that is nothing; `divided` are the links that are, if known."""
        near, middle = self._links(place)
        sent = self._at(near, divided)
        if middle is None:
            return _shares(place, sent, None) if sent is not None else None
        led = self._at(middle, divided)
        is_led = near is not None and middle.up and self._redirects.target(near.index) == middle.index
        return _shares(place, sent, led, whole=is_led and led is not None)

    def _at(self, link: Link | None, divided: Collection[int] | None) -> Side | None:
        if link is None or (divided is not None and link.index not in divided):
            return None
        found = self._shares.at(link.index)
        return None if found is None else Side(found)

    def _links(self, place: Place) -> tuple[Link | None, Link | None]:
        return self._table.by_name.get(place.name), self._table.by_name.get(place.middle)

    def _put(self, wanted: LinkShares, before: LinkShares | None) -> None:
        """Divide a link as it is to be; a side that is as it must be keeps what waits."""
        place = wanted.place
        near, middle = self._links(place)
        if near is None:
            raise OSError(errno.ENODEV, f"link {place.name} is missing")
        if wanted.sent is None:
            self._shares.remove(near.index)
        elif before is None or before.sent != wanted.sent:
            self._shares.put(near.index, wanted.sent.division, wanted.sent.queues)
        if wanted.led is None:
            self._end_led(place)
            return
        if middle is None or middle.kind != "ifb" or not owner.words(middle.alias):
            self._table.remove(place.middle)
            self._table.kernel.add_ifb(place.middle, place.alias)
            middle = self._table.kernel.find(place.middle)
        if middle is None:
            raise OSError(errno.ENODEV, f"link {place.middle} is missing")
        if before is None or before.led != wanted.led:
            self._shares.put(middle.index, wanted.led.division, wanted.led.queues)
        self._table.kernel.change(place.middle, up=True)
        if self._redirects.target(near.index) != middle.index:
            self._redirects.put(near.index, middle.index)
        self._table.refresh([place.middle])

    def _end(self, place: Place) -> None:
        near, _ = self._links(place)
        if near is not None:
            self._shares.remove(near.index)
        self._end_led(place)

    def _end_led(self, place: Place) -> None:
        near, middle = self._links(place)
        if near is not None:
            self._redirects.remove(near.index)
        if middle is not None:
            self._table.retire(middle.name)


def _leg(router_id: str, port_id: str) -> Place:
    return Place(owner.leg_link(port_id), owner.share_link(port_id), owner.alias(router_id, WORD, port_id))


_JOINT = Place(owner.SPACE_LINK, owner.SPACE_SHARE_LINK, owner.alias(ROUTED, WORD))


def _may_share(name: str) -> bool:
    return name[:2] in ("pl", "pm") or name in (_JOINT.name, _JOINT.middle)


def _place_of(link: Link) -> tuple[str, Place] | None:
    """Return whose link it is, by key, and which; None while nobody has named it."""
    words = owner.words(link.alias)
    if words[:1] == [ROUTED]:
        return _SPACE, _JOINT
    return (f"router/{words[0]}", _leg(words[0], words[2])) if len(words) == 3 else None


def _shares(place: Place, sent: Side | None, led: Side | None, *, whole: bool = True) -> LinkShares:
    egress, ingress = (sent, led) if place == _JOINT else (led, sent)
    return LinkShares(place, egress, ingress, whole)


def _wanted(item: HostObject | None) -> Iterator[LinkShares]:
    """Yield what is wanted at the links of a router, or of the routed space.

    Raises:
        ValueError: an address is none of IPv4, or there are too many.
    """
    match item:
        case Router():
            for leg in item.legs:
                if leg.shares:
                    yield _of(_leg(item.router_id, leg.port_id), leg.shares, leg.mtu)
        case Space() if item.shares:
            yield _of(_JOINT, item.shares, item.mtu)


def _of(place: Place, shares: Sequence[Share], mtu: int) -> LinkShares:
    parsed = [(_address(share.address), share) for share in shares]
    sent = _side(((address, share.egress) for address, share in parsed), mtu, sends=True)
    return LinkShares(place, sent, _side(((address, share.ingress) for address, share in parsed), mtu))


def _address(text: str) -> IPv4Address | None:
    if not text:
        return None
    found = addresses.address(text, "address")
    if not isinstance(found, IPv4Address):
        raise ValueError(f"address {text!a} is not of IPv4")
    return found


def _side(limits: Iterable[tuple[IPv4Address | None, Limit | None]], mtu: int, *, sends: bool = False) -> Side | None:
    """Return how one way is divided; None if nothing is limited."""
    found: list[tuple[IPv4Address | None, Shape | None]] = [
        (address, shape(limit, mtu) if limit else None) for address, limit in limits
    ]
    queues = tuple(one.queue for _, one in found if one is not None)
    return Side(division(found, sends=sends), queues) if queues else None
