# SPDX-License-Identifier: Apache-2.0
"""The routed space: the link that joins it to the host's namespace, and the routes that lead to its ports.

Our end of a port's link needs no IPv4 address: the kernel answers for any address of its own on whatever link it is
asked, and the next hop is one, at the link to the host. Next hops of IPv6 are link-local, so each port's link has that.
docs/design/routed.md tells the way of a packet.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from portico.agent import addresses, led, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import SCOPE_LINK, Link, Links
from portico.agent.routes import Route, Routes
from portico.agent.switches import Switches
from portico.hoststate import NEXT_HOPS, ROUTED, SECOND_NEXT_HOPS, Space, Vif

NEAR = (f"{NEXT_HOPS[4]}/32", f"{NEXT_HOPS[6]}/64")
FAR = ("169.254.1.2/32", "fe80::2/64")
"""The addresses of the link between our namespace and the host's: at our end, and at the host's."""
SECOND = f"{SECOND_NEXT_HOPS[4]}/32"
"""Another one at our end, which nothing is sent from."""
HOPS6 = (f"{SECOND_NEXT_HOPS[6]}/64", NEAR[1])
"""Those of each port's link; of several the kernel sends from the one that came last (`ipv6_link_dev_addr`)."""

OURS = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    # no address but those that are given
    "ipv6/conf/default/addr_gen_mode": "1",
    # the filter judges senders; these, which a namespace takes over from the host, could refuse what it lets pass
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/arp_ignore": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
}
ASK_AGAIN_MS = "50"
"""When a port is asked again for its MAC address: one that just moved here may have been asked before it listened."""

HOST = {"ipv4/ip_forward": "1"}
HOST_IPV6 = {"ipv6/conf/all/forwarding": "1"}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two namespaces: ours or the host's."""

    links: Links
    routes: Routes
    switches: Switches


@dataclass(frozen=True, slots=True)
class SpaceItem:
    """The joint of the routed space as wanted or found.

    `near` and `far` are the addresses at our end and at the host's, `gateways` where our namespace sends what is no
    port's. `forwards`: IPv4 passes both namespaces, and with `ipv6` that passes the host's. With a `way_out` the host
    may send to ports what it has from 127.0.0.1: ports that it publishes.
    """

    link_name: str
    mtu: int
    ipv6: bool
    way_out: bool = False
    forwards: bool = True
    up: bool = True
    near: frozenset[str] = frozenset((*NEAR, SECOND))
    far: frozenset[str] = frozenset(FAR)
    gateways: frozenset[str] = frozenset(address.partition("/")[0] for address in FAR)


@dataclass(frozen=True, slots=True)
class RouteItem:
    """What is led to a port, as wanted or found: in our namespace, and in the host's; and which of HOPS6 answer."""

    ours: frozenset[str]
    host: frozenset[str]
    hops6: frozenset[str]


class SpaceDriver:
    """Key `space/routed`. Forwarding is switched on and never off: who else needs it is not known."""

    def __init__(self, table: LinkTable, ours: Side, host: Side, host_netns: int, netns: str) -> None:
        self._table = table
        self._ours = ours
        self._host = host
        self._host_netns = host_netns
        self._netns = netns
        self._forwards_ipv6 = False

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver. The host may forward IPv6 for others."""
        spaces = {key: item for key in keys if isinstance(item := wanted.objects.get(key), Space)}
        name = owner.space_link(self._netns)
        return {
            key: SpaceItem(name, item.mtu, item.ipv6 or self._forwards_ipv6, item.way_out)
            for key, item in spaces.items()
        }, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        key = f"space/{ROUTED}"
        if keys is not None and key not in keys:
            return {}
        if keys is not None:
            self._table.refresh([owner.SPACE_LINK])
        near = self._table.by_name.get(owner.SPACE_LINK)
        if near is None:
            return {}
        alias = owner.words(near.alias)
        far = _far(self._host, self._netns)
        if far is None or alias != [ROUTED, far.name]:
            return {key: SpaceItem("", near.mtu, ipv6=False, up=near.up)}
        self._forwards_ipv6 = self._host.switches.read(HOST_IPV6) == HOST_IPV6
        return {
            key: SpaceItem(
                link_name=far.name,
                mtu=near.mtu if near.mtu == far.mtu else 0,
                ipv6=self._forwards_ipv6,
                way_out=self._host.switches.read(_localnet(far.name)) == _localnet(far.name),
                forwards=self._ours.switches.read(OURS) == OURS and self._host.switches.read(HOST) == HOST,
                up=near.up and far.up,
                near=self._ours.routes.addresses(near.index).get(near.index, frozenset()) & {*NEAR, SECOND},
                far=self._host.routes.addresses(far.index).get(far.index, frozenset()) & {*FAR},
                gateways=frozenset(
                    route.gateway for route in map(self._ours.routes.find, _EVERYWHERE) if route and route.gateway
                ),
            )
        }

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._table.retire(owner.SPACE_LINK)
            except OSError as error:
                troubles[key] = Trouble(f"link {owner.SPACE_LINK}: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(item)
            except OSError as error:
                troubles[key] = Trouble(f"routed space: {error.strerror} {error.filename or ''}".rstrip())
        return troubles

    def _put(self, item: SpaceItem) -> None:
        near = self._table.find(owner.SPACE_LINK)
        far = _far(self._host, self._netns)
        if near is None or far is None or owner.words(near.alias) != [ROUTED, item.link_name]:
            self._make(item)
        for side, name, switches in (
            (self._ours, owner.SPACE_LINK, OURS),
            (
                self._host,
                item.link_name,
                HOST | (HOST_IPV6 if item.ipv6 else {}) | _localnet(item.link_name, on=item.way_out),
            ),
        ):
            if item.ipv6 and side is self._host:
                side.switches.accept_advertisements()
            side.switches.write({**switches, f"ipv6/conf/{name}/disable_ipv6": "0"})
            side.links.change(name, mtu=item.mtu, up=True)
            self._address(side, name, item.near if side is self._ours else item.far)
        index = self._index(self._ours.links, owner.SPACE_LINK)
        for cidr, address in zip(_EVERYWHERE, FAR, strict=True):
            self._ours.routes.put(Route(cidr, index, address.partition("/")[0]), instead=True)
        self._table.refresh([owner.SPACE_LINK])

    def _make(self, item: SpaceItem) -> None:
        self._ours.links.remove(owner.SPACE_LINK)
        if self._host.links.find(item.link_name) is not None:
            raise OSError(errno.EEXIST, f"the host has a link {item.link_name} that is not ours")
        self._ours.links.add_veth(
            owner.SPACE_LINK,
            master=0,
            mtu=item.mtu,
            peer=item.link_name,
            peer_mac="",
            peer_netns=self._host_netns,
        )
        self._host.links.mute_ipv6(item.link_name)
        self._ours.links.mute_ipv6(owner.SPACE_LINK)
        self._host.links.change(item.link_name, alias=owner.alias(ROUTED, "host", self._netns))
        self._ours.links.change(owner.SPACE_LINK, alias=owner.alias(ROUTED, item.link_name))

    def _address(self, side: Side, name: str, wanted: frozenset[str]) -> None:
        index = self._index(side.links, name)
        missing = wanted - side.routes.addresses(index).get(index, frozenset())
        peers = dict(zip((*NEAR, *FAR), (*FAR, *NEAR), strict=True))
        for address in sorted(missing):
            # The host chooses none of these for what it sends to ports: its own addresses are known to them.
            is_link = address in (FAR[0], SECOND)
            peer = "" if ":" in address or address == SECOND else peers[address].partition("/")[0]
            side.links.add_address(name, address, peer=peer, scope=SCOPE_LINK if is_link else 0)

    def _index(self, links: Links, name: str) -> int:
        found = links.find(name)
        if found is None:
            raise OSError(errno.ENODEV, f"link {name} is missing")
        return found.index


_EVERYWHERE = ("0.0.0.0/0", "::/0")


def _localnet(name: str, *, on: bool = True) -> dict[str, str]:
    """Return the sysctl by which a link carries 127.0.0.1; what ports send with it ends in our namespace."""
    return {f"ipv4/conf/{name}/route_localnet": "1" if on else "0"}


class RouteDriver:
    """Keys `vif/...` of routed ports: what leads to them, and the next hop that they find at our end.

    A port that is not to get packets is led none: its addresses are not announced either.
    """

    def __init__(self, table: LinkTable, ours: Side, host: Side, netns: str) -> None:
        self._table = table
        self._ours = ours
        self._host = host
        self._netns = netns
        self._known: dict[str, frozenset[str]] = {}
        """What was last seen, planned or put, by key: where to look when only some keys are read."""
        self._answering: set[str] = set()
        """Keys of those whose link was last seen, or is, to answer for the next hop of IPv6."""
        self._joint: tuple[int, Link] | None = None
        """The index of the link that joins our namespace to the host's, and its other end, which stays the same."""
        self._wanted = Wanted()

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        self._wanted = wanted
        items = {}
        troubles = {}
        vifs = {key: vif for key in keys if isinstance(vif := wanted.objects.get(key), Vif) and led.is_led(vif)}
        shared = led.shared(wanted, {cidr for vif in vifs.values() for cidr in vif.shared_routes})
        for key, vif in vifs.items():
            try:
                own = [str(addresses.network(cidr, f"routes[{number}]")) for number, cidr in enumerate(vif.routes)]
            except ValueError as error:
                troubles[key] = Trouble(f"routes: {error}")
                continue
            cidrs = frozenset((*own, *shared.get(vif.port_id, ())))
            hops6 = frozenset(HOPS6 if led.may_send_ipv6(vif) else ())
            if not (cidrs or hops6):
                continue
            items[key] = RouteItem(cidrs, cidrs, hops6)
            self._known[key] = self._known.get(key, frozenset()) | cidrs
            if hops6:
                self._answering.add(key)
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, routes of ours in the host's namespace that lead nowhere are removed."""
        if keys is None:
            return self._read_all()
        found = {}
        for key in keys:
            if key not in self._known:
                continue
            far, near, known = self._far(), self._near(key), self._known[key]
            ours = frozenset(cidr for cidr in known if near and self._ours.routes.find(cidr) == Route(cidr, near.index))
            host = frozenset(cidr for cidr in known if far and self._host.routes.find(cidr) == _from_host(cidr, far))
            hops6 = self._given(near) & {*HOPS6} if near is not None and key in self._answering else frozenset[str]()
            if ours or host or hops6:
                found[key] = RouteItem(ours, host, hops6)
        return found

    def _read_all(self) -> dict[str, Any]:
        self._joint = None
        far = self._far()
        host = {route.cidr: route for route in self._host.routes.all() if far and route.index == far.index}
        keys = {link.index: key for link in self._table.by_name.values() if (key := _key(link))}
        ours: dict[str, set[str]] = {}
        for route in self._ours.routes.all():
            if route.index in keys:
                ours.setdefault(keys[route.index], set()).add(route.cidr)
        routed = {cidr for cidrs in ours.values() for cidr in cidrs}
        for cidr, route in host.items():
            if cidr not in routed:
                self._host.routes.remove(route)
        given = self._ours.routes.addresses()
        hops6 = {key: found for index, key in keys.items() if (found := given.get(index, frozenset()) & {*HOPS6})}
        self._answering = set(hops6)
        self._known = {key: frozenset(cidrs) for key, cidrs in ours.items()}
        self._known |= {key: self._known.get(key, frozenset()) for key in self._answering}
        return {
            key: RouteItem(
                ours=cidrs,
                host=frozenset(cidr for cidr in cidrs if far and host.get(cidr) == _from_host(cidr, far)),
                hops6=hops6.get(key, frozenset()),
            )
            for key, cidrs in self._known.items()
        }

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver. What leaves a port goes first, for another may get it; what its link takes along stays."""
        troubles = {}
        for key, item in delta.before.items():
            kept = delta.put[key].ours if key in delta.put else frozenset()
            try:
                self._remove(key, (item.ours | item.host) - kept)
                near = self._near(key)
                if near is not None and item.hops6 and key in delta.gone and key in self._wanted.objects:
                    self._answer(near, next_hop6=False)
            except OSError as error:
                troubles[key] = Trouble(f"routes: {error.strerror}")
        for key in set(delta.gone) - troubles.keys():
            self._known.pop(key, None)
            self._answering.discard(key)
        for key in delta.put.keys() - troubles.keys():
            try:
                self._put(key, delta.put[key], delta.before.get(key))
            except OSError as error:
                troubles[key] = Trouble(f"routes: {error.strerror}")
        return troubles

    def _remove(self, key: str, cidrs: Collection[str]) -> None:
        far = self._far()
        near = self._near(key)
        for cidr in sorted(cidrs):
            if far is not None:
                self._host.routes.remove(_from_host(cidr, far))
            if near is not None:
                self._ours.routes.remove(Route(cidr, near.index))

    def _put(self, key: str, item: RouteItem, before: RouteItem | None) -> None:
        near = self._near(key)
        far = self._far()
        if near is None or far is None:
            name = owner.port_link(key.partition("/")[2]) if near is None else owner.space_link(self._netns)
            raise OSError(errno.ENODEV, f"link {name} is missing")
        self._known[key] = item.ours
        if item.hops6 or (before is not None and before.hops6):
            self._answer(near, next_hop6=bool(item.hops6))
        versions = (4, 6) if item.hops6 else (4,)
        self._ours.switches.write({f"ipv{it}/neigh/{near.name}/retrans_time_ms": ASK_AGAIN_MS for it in versions})
        for cidr in sorted(item.ours):
            self._ours.routes.put(Route(cidr, near.index), instead=True)
            self._host.routes.put(_from_host(cidr, far), instead=False)

    def _answer(self, near: Link, *, next_hop6: bool) -> None:
        """Have our end answer for the next hop of IPv6, or take no part in it."""
        given = self._given(near)
        missing = [address for address in HOPS6 if address not in given]
        if missing == ([] if next_hop6 else [*HOPS6]):
            return
        self._ours.switches.write({f"ipv6/conf/{near.name}/disable_ipv6": "0" if next_hop6 else "1"})
        for address in missing if next_hop6 else ():
            self._ours.links.add_address(near.name, address)

    def _given(self, near: Link) -> frozenset[str]:
        return self._ours.routes.addresses(near.index).get(near.index, frozenset())

    def _near(self, key: str) -> Link | None:
        return self._table.by_name.get(owner.port_link(key.partition("/")[2]))

    def _far(self) -> Link | None:
        """Return the host's end of the link to the routed space, if it is there and ours."""
        near = self._table.by_name.get(owner.SPACE_LINK)
        if near is None:
            return None
        if self._joint is None or self._joint[0] != near.index:
            far = _far(self._host, self._netns)
            self._joint = None if far is None else (near.index, far)
        return self._joint[1] if self._joint else None


def _far(host: Side, netns: str) -> Link | None:
    """Return the host's end of the link to the routed space, if it is there and ours."""
    found = host.links.find(owner.space_link(netns))
    is_ours = found is not None and owner.words(found.alias) == [ROUTED, "host", netns]
    return found if is_ours else None


def _key(link: Link) -> str:
    """Return the key of a port's link; empty if it is none."""
    alias = owner.words(link.alias)
    return f"vif/{alias[0]}" if link.name.startswith("pb") and len(alias) == 3 else ""


def _from_host(cidr: str, far: Link) -> Route:
    return Route(cidr, far.index, NEXT_HOPS[6 if ":" in cidr else 4])
