# SPDX-License-Identifier: Apache-2.0
"""Taps: the join between a hypervisor's tap in the host's namespace and the host's end of a port's veth pair.

The tap stays where its hypervisor made it, so nothing of the hypervisor has to know of our namespace, and the port
is filtered like any other. Offloads work across the join: mirred hands segments over whole.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from portico.agent import kernel, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import Link, Links
from portico.agent.redirect import Redirects
from portico.hoststate import Vif

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000

# dev_valid_name and dev_alloc_name (no percent sign) in the kernel's net/core/dev.c, and no byte that a terminal would
# act on.
LINK_NAME = re.compile(r"(?!\.{1,2}$)[!-$&-.0-9;-~]{1,15}")


@dataclass(frozen=True, slots=True)
class TapItem:
    """A tap joined to a port, both ends up; `made` by us or by a hypervisor. `mtu` counts for a tap of ours only."""

    tap_name: str
    made: bool
    mtu: int


class TapDriver:
    """Keys `vif/...` with plug "tap"."""

    def __init__(self, table: LinkTable, host: Links, redirects: Redirects, host_netns: int, netns: str) -> None:
        self._table = table
        self._host = host
        self._redirects = redirects
        self._host_netns = host_netns
        self._netns = netns
        self.joined: dict[int, str] = {}
        """The keys of the joins last seen, by the indexes of both links: where a lost redirection concerns us."""
        self._concerned: set[str] = set()
        """Keys that were planned or found here: at the links of all others there is nothing of ours to look for."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        vifs = {key: vif for key in keys if isinstance(vif := wanted.objects.get(key), Vif) and vif.plug == "tap"}
        vifs = {key: vif for key, vif in vifs.items() if not vif.vlan}
        wrong = {key: vif.tap_name for key, vif in vifs.items() if not LINK_NAME.fullmatch(vif.tap_name)}
        items = {
            key: TapItem(vif.tap_name, vif.make_tap, vif.mtu if vif.make_tap else 0)
            for key, vif in vifs.items()
            if key not in wrong
        }
        self._concerned |= items.keys()
        return items, {key: Trouble(f"tap {name!a}: no link can have that name") for key, name in wrong.items()}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, a redirection of ours to a link that is gone is removed."""
        if keys is None:
            self.joined = {}
            links = self._host.all()
            by_index = {link.index: link for link in links}
            for link in links:
                if link.kind == "tun" and (target := self._redirects.target(link.index)) and target not in by_index:
                    self._redirects.remove(link.index)
            ends = [link for link in links if link.kind == "veth" and self._port(link)]
        else:
            looked = self._concerned.intersection(keys)
            ends = [end for key in looked if (end := self._host_end(key)) is not None]
            by_index = {}
        found = {}
        for end in ends:
            item = self._item(end, by_index)
            if item is not None:
                found[f"vif/{self._port(end)}"] = item
        if keys is None:
            found |= self._made_alone(links, found)
            self._concerned |= found.keys()
        else:
            self._concerned -= looked - found.keys()
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver. What leaves a tap goes first, for another port may come to it."""
        troubles = {}
        for key, item in delta.before.items():
            try:
                self._remove(key, item)
            except OSError as error:
                troubles[key] = Trouble(f"tap {item.tap_name}: {error.strerror}")
        for key in delta.put.keys() - troubles.keys():
            item = delta.put[key]
            try:
                if trouble := self._put(key, item):
                    troubles[key] = trouble
            except OSError as error:
                troubles[key] = Trouble(f"tap {item.tap_name}: {error.strerror}")
        return troubles

    def _put(self, key: str, item: TapItem) -> Trouble | None:
        end = self._host_end(key)
        if end is None:
            return Trouble(f"tap {item.tap_name}: the port's link is not in the host's namespace")
        tap = self._host.find(item.tap_name)
        if tap is None:
            if not item.made:
                return Trouble(f"tap {item.tap_name} does not exist on this host yet", waiting=True)
            self._make(item, key)
            tap = self._host.find(item.tap_name)
        if tap is None or tap.kind != "tun":
            return Trouble(f"tap {item.tap_name}: the host has a link of that name that is no tap")
        if item.made and self._port(tap) != key.partition("/")[2]:
            return Trouble(f"tap {item.tap_name}: the host has a tap of that name that is not ours")
        if other := self._joined_to_other(tap, key):
            return Trouble(f"tap {item.tap_name} is joined to port {other}")
        if item.made:
            self._host.change(tap.name, mtu=item.mtu)
        self._host.mute_ipv6(end.name)
        self._redirects.put(end.index, tap.index)
        self._redirects.put(tap.index, end.index)
        self._host.change(tap.name, up=True)
        self._host.change(end.name, up=True)
        return None

    def _make(self, item: TapItem, key: str) -> None:
        with new_tap(self._host_netns, item.tap_name):
            self._host.change(item.tap_name, alias=owner.host_alias(self._netns, key.partition("/")[2]))
            self._host.mute_ipv6(item.tap_name)

    def _remove(self, key: str, item: TapItem) -> None:
        tap = self._host.find(item.tap_name)
        if tap is not None:
            if not self._joined_to_other(tap, key):
                self._redirects.remove(tap.index)
            if item.made and self._port(tap) == key.partition("/")[2]:
                self._host.remove(tap.name)
        end = self._host_end(key)
        if end is not None:
            self._redirects.remove(end.index)

    def _joined_to_other(self, tap: Link, key: str) -> str:
        """Return the other port that a tap is joined to; empty if it is joined to the port `key`, or to none."""
        target = self._redirects.target(tap.index)
        end = self._host.at(target) if target else None
        other = self._port(end) if end is not None else ""
        return "" if other == key.partition("/")[2] else other

    def _host_end(self, key: str) -> Link | None:
        """Return the host's end of a port's pair, if it is in the host's namespace."""
        port_id = key.partition("/")[2]
        near = self._table.by_name.get(owner.port_link(port_id))
        alias = owner.words(near.alias) if near else []
        end = self._host.find(alias[1]) if len(alias) == 3 else None
        return end if end is not None and self._port(end) == port_id else None

    def _item(self, end: Link, by_index: dict[int, Link]) -> TapItem | None:
        """Return the join at `end`, if it is whole."""
        target = self._redirects.target(end.index)
        if target == 0:
            return None
        tap = by_index.get(target) or self._host.at(target)
        if tap is None:
            return None
        self.joined |= dict.fromkeys((end.index, tap.index), f"vif/{self._port(end)}")
        made = self._port(tap) == self._port(end)
        whole = tap.up and end.up and self._redirects.target(tap.index) == end.index
        return TapItem(tap.name if whole else "", made, tap.mtu if made else 0)

    def _made_alone(self, links: Collection[Link], found: dict[str, Any]) -> dict[str, Any]:
        """Return the taps of ours that are joined to nothing."""
        alone = {}
        for link in links:
            port_id = self._port(link)
            if link.kind == "tun" and port_id and f"vif/{port_id}" not in found:
                alone[f"vif/{port_id}"] = TapItem(link.name, made=True, mtu=-1)
        return alone

    def _port(self, link: Link) -> str:
        return owner.port_of(self._netns, link.alias)


@contextmanager
def new_tap(netns: int, name: str) -> Iterator[None]:
    """Make a tap in the namespace that `netns` is a descriptor of; it stays once the context has ended well.

    Whoever dies before it is signed there leaves none: it would be nobody's.
    """
    # Whoever opens the device decides in which namespace its taps are.
    device = kernel.within(netns, lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    try:
        asked = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(device, _TUNSETIFF, asked)
        yield
        fcntl.ioctl(device, _TUNSETPERSIST, 1)
    finally:
        os.close(device)
