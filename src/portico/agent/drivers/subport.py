# SPDX-License-Identifier: Apache-2.0
"""Subports of a trunk: the join, by a VLAN's tag, of the trunk's tap with the host's end of another port's pair.

So one tap of a virtual machine has ports on several networks, each filtered like any other.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.drivers.tap import LINK_NAME
from portico.agent.links import Link, Links
from portico.agent.tagging import Tags
from portico.hoststate import Vif


@dataclass(frozen=True, slots=True)
class SubportItem:
    """A port joined to a tap by a VLAN's tag, both ends up; without a tap's name the join is not whole."""

    tap_name: str
    vlan: int


class SubportDriver:
    """Keys `vif/...` with a `vlan`. A trunk's own port is joined to the tap by another driver."""

    def __init__(self, table: LinkTable, host: Links, tags: Tags, netns: str) -> None:
        self._table = table
        self._host = host
        self._tags = tags
        self._netns = netns
        self.joined: dict[int, set[str]] = {}
        """The keys of the joins last seen, by the indexes of their links: whom a lost filter concerns."""
        self._concerned: set[str] = set()
        """Keys that were planned or found here: at the links of all others there is nothing of ours to look for."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        vifs = {key: vif for key in keys if isinstance(vif := wanted.objects.get(key), Vif) and vif.vlan}
        wrong = {key: vif.tap_name for key, vif in vifs.items() if not LINK_NAME.fullmatch(vif.tap_name)}
        items = {key: SubportItem(vif.tap_name, vif.vlan) for key, vif in vifs.items() if key not in wrong}
        self._concerned |= items.keys()
        return items, {key: Trouble(f"tap {name!a}: no link can have that name") for key, name in wrong.items()}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, what leads from a tap to a link that is gone is removed."""
        if keys is None:
            self.joined = {}
            links = self._host.all()
            there = {link.index for link in links}
            for link in links:
                for vlan, target in self._tags.untagged(link.index).items() if link.kind == "tun" else ():
                    if target not in there:
                        self._tags.end_untag(link.index, vlan)
            ends = [link for link in links if link.kind == "veth" and self._port(link)]
            looked = set()
        else:
            looked = self._concerned.intersection(keys)
            ends = [end for key in looked if (end := self._host_end(key)) is not None]
        found = {f"vif/{self._port(end)}": item for end in ends if (item := self._item(end)) is not None}
        self._concerned = self._concerned - looked | found.keys()
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver. What leaves a tap goes first, for another port may come to its VLAN."""
        troubles = {}
        for key, item in delta.before.items():
            try:
                self._remove(key)
            except OSError as error:
                troubles[key] = Trouble(f"VLAN {item.vlan}: {error.strerror}")
        for key in delta.put.keys() - troubles.keys():
            item = delta.put[key]
            try:
                if trouble := self._put(key, item):
                    troubles[key] = trouble
            except OSError as error:
                troubles[key] = Trouble(f"VLAN {item.vlan} of tap {item.tap_name}: {error.strerror}")
        return troubles

    def _put(self, key: str, item: SubportItem) -> Trouble | None:
        end, tap = self._host_end(key), self._host.find(item.tap_name)
        if end is None:
            return Trouble(f"VLAN {item.vlan}: the port's link is not in the host's namespace")
        if tap is None:
            return Trouble(f"tap {item.tap_name} does not exist on this host yet", waiting=True)
        if tap.kind != "tun":
            return Trouble(f"tap {item.tap_name}: the host has a link of that name that is no tap")
        other = self._host.at(target) if (target := self._tags.untagged(tap.index).get(item.vlan, 0)) else None
        if other is not None and other.index != end.index:
            return Trouble(f"VLAN {item.vlan} of tap {item.tap_name} is port {self._port(other) or other.name}'s")
        self._host.mute_ipv6(end.name)
        self._tags.tag(end.index, item.vlan, tap.index)
        self._tags.untag(tap.index, item.vlan, end.index)
        self._host.change(tap.name, up=True)
        self._host.change(end.name, up=True)
        return None

    def _remove(self, key: str) -> None:
        end = self._host_end(key)
        if end is None:
            return
        vlan, target = self._tags.tagged(end.index)
        if target and self._tags.untagged(target).get(vlan) == end.index:
            self._tags.end_untag(target, vlan)
        self._tags.end_tags(end.index)

    def _host_end(self, key: str) -> Link | None:
        """Return the host's end of a port's pair, if it is in the host's namespace."""
        port_id = key.partition("/")[2]
        near = self._table.by_name.get(owner.port_link(port_id))
        alias = owner.words(near.alias) if near else []
        end = self._host.find(alias[1]) if len(alias) == 3 else None
        return end if end is not None and self._port(end) == port_id else None

    def _item(self, end: Link) -> SubportItem | None:
        vlan, target = self._tags.tagged(end.index)
        tap = self._host.at(target) if target else None
        if not vlan:
            return None
        for index in (end.index, target):
            self.joined.setdefault(index, set()).add(f"vif/{self._port(end)}")
        whole = tap is not None and tap.up and end.up and self._tags.untagged(tap.index).get(vlan) == end.index
        return SubportItem(tap.name if tap is not None and whole else "", vlan)

    def _port(self, link: Link) -> str:
        return owner.port_of(self._netns, link.alias)
