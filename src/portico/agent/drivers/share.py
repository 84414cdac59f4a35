# SPDX-License-Identifier: Apache-2.0
"""How much addresses outside may use of a router's gateways.

All is done at the leg's end in the bridge, where a packet has its outside address whichever way it goes: what comes in
waits there, and what goes out is led, as it comes from the router, through a link of kind ifb and waits at that. Legs
without shares have nothing of this.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable
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
from portico.hoststate import Limit, Router
from portico.hoststate.l3 import Leg

WORD = "share"


@dataclass(frozen=True, slots=True)
class Side:
    """How one way of a leg is divided; `queues` are how many bytes wait in each class."""

    division: Division
    queues: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class LegShares:
    """What is wanted or found at a leg; without `whole` there is half of what sends out."""

    port_id: str
    egress: Side | None
    ingress: Side | None
    whole: bool = True

    def __str__(self) -> str:
        """Return it for people to read."""
        sides = (("egress", self.egress), ("ingress", self.ingress))
        words = [f"{way} {side.division}" for way, side in sides if side is not None]
        return f"{owner.leg_link(self.port_id)} {' '.join(words)}{'' if self.whole else ' (egress is not led there)'}"


@dataclass(frozen=True, slots=True)
class RouterShares:
    """What is wanted or found of a router, by the ids of its legs' ports."""

    legs: tuple[LegShares, ...]


class ShareDriver:
    """Keys `router/...` of routers that have shares. Comes after the routers' legs."""

    def __init__(self, table: LinkTable, shares: Shares, redirects: Redirects) -> None:
        self._table = table
        self._shares = shares
        self._redirects = redirects

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items, troubles = {}, {}
        for key in keys:
            router = wanted.objects.get(key)
            try:
                if isinstance(router, Router) and (found := [_wanted(leg) for leg in router.legs if leg.shares]):
                    items[key] = RouterShares(tuple(sorted(found, key=lambda leg: leg.port_id)))
            except ValueError as error:
                troubles[key] = Trouble(f"shares: {error}")
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. An ifb that nobody has named yet is removed."""
        ports: set[tuple[str, str]] = set()
        for link in [link for link in self._table.by_name.values() if link.name[:2] in ("pl", "pm")]:
            words = owner.words(link.alias)
            if len(words) == 3 and (keys is None or f"router/{words[0]}" in keys):
                ports.add((f"router/{words[0]}", words[2]))
                if keys is not None and link.kind == "ifb":
                    self._table.refresh([link.name])
            elif link.kind == "ifb" and not words:  # nobody has named it yet
                self._table.remove(link.name)
        divided = self._shares.indexes() if keys is None else None
        found: dict[str, tuple[LegShares, ...]] = {}
        for key, port_id in sorted(ports):
            if (item := self._find(port_id, divided)) is not None:
                found[key] = (*found.get(key, ()), item)
        return {key: RouterShares(legs) for key, legs in found.items()}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            for leg in delta.before[key].legs:
                self._end(leg.port_id)
        for key, item in delta.put.items():
            before = delta.before.get(key)
            kept = {leg.port_id: leg for leg in before.legs} if before else {}
            try:
                for port_id in kept.keys() - {leg.port_id for leg in item.legs}:
                    self._end(port_id)
                for leg in item.legs:
                    if kept.get(leg.port_id) != leg:
                        self._put(key.partition("/")[2], leg, kept.get(leg.port_id))
            except OSError as error:
                troubles[key] = Trouble(f"shares: {error.strerror}")
        return troubles

    def _find(self, port_id: str, divided: Collection[int] | None) -> LegShares | None:
        """Return what there is at a leg, None if that is nothing; `divided` are the links that are, if known."""
        near, middle = self._links(port_id)
        ingress = self._at(near, divided)
        if middle is None:
            return LegShares(port_id, None, ingress) if ingress is not None else None
        egress = self._at(middle, divided)
        is_led = near is not None and middle.up and self._redirects.target(near.index) == middle.index
        return LegShares(port_id, egress, ingress, whole=is_led and egress is not None)

    def _at(self, link: Link | None, divided: Collection[int] | None) -> Side | None:
        if link is None or (divided is not None and link.index not in divided):
            return None
        found = self._shares.at(link.index)
        return None if found is None else Side(found)

    def _links(self, port_id: str) -> tuple[Link | None, Link | None]:
        return self._table.by_name.get(owner.leg_link(port_id)), self._table.by_name.get(owner.share_link(port_id))

    def _put(self, router_id: str, leg: LegShares, before: LegShares | None) -> None:
        """Divide a leg as it is to be; a side that is as it must be keeps what waits."""
        near, middle = self._links(leg.port_id)
        if near is None:
            raise OSError(errno.ENODEV, f"link {owner.leg_link(leg.port_id)} is missing")
        if leg.ingress is None:
            self._shares.remove(near.index)
        elif before is None or before.ingress != leg.ingress:
            self._shares.put(near.index, leg.ingress.division, leg.ingress.queues)
        if leg.egress is None:
            self._end_egress(leg.port_id)
            return
        name = owner.share_link(leg.port_id)
        if middle is None or middle.kind != "ifb" or not owner.words(middle.alias):
            self._table.remove(name)
            self._table.kernel.add_ifb(name, owner.alias(router_id, WORD, leg.port_id))
            middle = self._table.kernel.find(name)
        if middle is None:
            raise OSError(errno.ENODEV, f"link {name} is missing")
        if before is None or before.egress != leg.egress:
            self._shares.put(middle.index, leg.egress.division, leg.egress.queues)
        self._table.kernel.change(name, up=True)
        if self._redirects.target(near.index) != middle.index:
            self._redirects.put(near.index, middle.index)
        self._table.refresh([name])

    def _end(self, port_id: str) -> None:
        near, _ = self._links(port_id)
        if near is not None:
            self._shares.remove(near.index)
        self._end_egress(port_id)

    def _end_egress(self, port_id: str) -> None:
        near, middle = self._links(port_id)
        if near is not None:
            self._redirects.remove(near.index)
        if middle is not None:
            self._table.retire(middle.name)


def _wanted(leg: Leg) -> LegShares:
    """Return what is wanted at a leg.

    Raises:
        ValueError: an address is none of IPv4.
    """
    parsed = [(_address(share.address), share) for share in leg.shares]
    sent = _side(((address, share.egress) for address, share in parsed), leg.mtu, sends=True)
    return LegShares(leg.port_id, sent, _side(((address, share.ingress) for address, share in parsed), leg.mtu))


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
