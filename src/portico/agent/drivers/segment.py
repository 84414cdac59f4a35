# SPDX-License-Identifier: Apache-2.0
"""Networks that are on a physical one: a link from the bridge to the host, joined there with the interface.

The interface stays where it is, and keeps its addresses and all frames that are no network's: a network takes only
what has its VLAN's tag, or a flat one what has none. The join is that of subports (`agent.tagging`), which all kernels
have. The interface has to be up and to take frames for any address; the name of each of its filters tells which of
that it was not before, and with the last one it is so again.
"""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.drivers.route import Side
from portico.agent.links import Link, Links
from portico.agent.tagging import Tags
from portico.hoststate import Bridge

_UP, _PROMISCUOUS, _NOTHING = "up", "promiscuous", "nothing"
"""What an interface's filters say of how it was made to be, joined by "+"."""
_LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class SegmentItem:
    """A network's join as wanted or found: with an `interface` of the host, all of it up, if it is `whole`.

    Without an interface there is to be none, for the reason `lacking`.
    """

    bridge: str
    mtu: int
    interface: str
    vlan: int
    whole: bool = True
    lacking: str = field(default="", compare=False, repr=False)


class SegmentDriver:
    """Keys `bridge/...` with a physical network. Comes after the filter, by which the link's end is trusted.

    Args:
        physical_networks: interfaces of the host, by the physical networks that they are on.
    """

    def __init__(
        self,
        table: LinkTable,
        host: Side,
        tags: Tags,
        host_netns: int,
        netns: str,
        physical_networks: Mapping[str, str],
    ) -> None:
        self._table = table
        self._host = host
        self._tags = tags
        self._host_netns = host_netns
        self._netns = netns
        self._interfaces = physical_networks
        self.joined: dict[int, set[str]] = {}
        """The keys of the joins last seen, by the indexes of their links: whom a lost filter concerns."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items = {}
        for key in keys:
            item = wanted.objects.get(key)
            if isinstance(item, Bridge) and item.physical_network:
                interface = self._interfaces.get(item.physical_network, "")
                known = ", ".join(sorted(self._interfaces)) or "nothing"
                items[key] = SegmentItem(
                    owner.bridge_name(item.network_id),
                    item.mtu,
                    interface,
                    item.vlan,
                    lacking=f"no physical network '{item.physical_network}': agent.physical_networks has {known}",
                )
        return items, {}

    def beside(self, wanted: Wanted) -> dict[str, set[str]]:
        """Return the keys of networks on physical ones, each with the names of the host's links that it depends on."""
        return {
            f"bridge/{item.network_id}": {
                owner.segment_host_link(item.network_id),
                self._interfaces.get(item.physical_network, ""),
            }
            for item in (wanted.of(Bridge) if self._interfaces else ())
            if item.physical_network
        }

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. When everything is read, what leads from an interface to a link that is gone is removed."""
        if keys is None:
            self.joined = {}
            self._sweep()
            for link in [*self._table.by_name.values()]:
                if not link.alias and link.name.startswith("ps"):  # left by a crash
                    self._table.remove(link.name)
        found = self._table.to_host("bridge", "segment", owner.segment_link, keys)
        return {key: self._find(key, link) for key, link in found.items()}

    def _sweep(self) -> None:
        for name in self._interfaces.values():
            interface = self._host.links.find(name)
            if interface is None:
                continue
            for vlan, target in self._tags.untagged(interface.index).items():
                if self._host.links.at(target) is None:
                    let_go(self._host.links, self._tags, interface, vlan)

    def _find(self, key: str, near: Link) -> SegmentItem:
        far = self._far(key.partition("/")[2])
        vlan, target = self._tags.tagged(far.index) if far else (0, 0)
        interface = self._host.links.at(target) if target else None
        whole = False
        if far is not None and interface is not None:
            for index in (far.index, interface.index):
                self.joined.setdefault(index, set()).add(key)
            is_up = near.up and far.up and interface.up and interface.promiscuous
            whole = is_up and near.mtu == far.mtu and self._tags.untagged(interface.index).get(vlan) == far.index
        name = interface.name if interface else ""
        return SegmentItem(self._table.name_of(near.master), near.mtu, name, vlan, whole)

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._remove(key)
            except OSError as error:
                troubles[key] = Trouble(f"physical network: {error.strerror}")
        for key, item in delta.put.items():
            try:
                if trouble := self._put(key, item, delta.before.get(key)):
                    troubles[key] = trouble
            except OSError as error:
                troubles[key] = Trouble(f"physical network: interface {item.interface}: {error.strerror}")
        return troubles

    def _put(self, key: str, item: SegmentItem, before: SegmentItem | None) -> Trouble | None:
        if before is not None and (before.interface, before.vlan) != (item.interface, item.vlan):
            self._remove(key)
        interface = self._host.links.find(item.interface) if item.interface else None
        if interface is None:
            missing = f"interface {item.interface} does not exist on this host yet"
            return Trouble(missing, waiting=True) if item.interface else Trouble(item.lacking)
        if reason := self._refusal(item, interface):
            return Trouble(f"interface {item.interface} {reason}")
        network_id = key.partition("/")[2]
        far = self._pair(network_id, item)
        other = self._tags.untagged(interface.index).get(item.vlan, far.index)
        if other != far.index and (taker := self._host.links.at(other)) is not None:
            return Trouble(f"interface {item.interface}: VLAN {item.vlan} is led to {taker.name} already")
        note = self._note(interface, far)
        self._tags.untag(interface.index, item.vlan, far.index, note)
        self._tags.tag(far.index, item.vlan, interface.index, note)
        self._host.links.change(item.interface, up=True, promiscuous=True)
        self._table.refresh([owner.segment_link(network_id)])
        return None

    def _refusal(self, item: SegmentItem, interface: Link) -> str:
        """Return why a network cannot have an interface, or ""."""
        if interface.name == _LOOPBACK or owner.words(interface.alias):
            return "is no link to a physical network"
        if interface.mtu < item.mtu:
            return f"has mtu {interface.mtu}, and the network's is {item.mtu}"
        if item.vlan:
            return ""
        if interface.master:
            return "is part of another link, which a flat network would take all frames without a tag from"
        given = self._host.routes.addresses(interface.index).get(interface.index, frozenset())
        own = sorted(text for text in given if not ipaddress.ip_interface(text).ip.is_link_local)
        return f"has address {own[0]}, and a flat network would take all frames without a tag" if own else ""

    def _note(self, interface: Link, far: Link) -> str:
        """Return what an interface has to be made to be, as filters say if there are any; strangers may take some."""
        is_joined = self._tags.tagged(far.index)[1] == interface.index
        if note := self._tags.note(interface.index) or (self._tags.note(far.index) if is_joined else ""):
            return note
        lacking = {_UP: not interface.up, _PROMISCUOUS: not interface.promiscuous}
        return "+".join(word for word, lacks in lacking.items() if lacks) or _NOTHING

    def _pair(self, network_id: str, item: SegmentItem) -> Link:
        """Make the link to the host as it is to be, and return its end there."""
        near, name = owner.segment_link(network_id), owner.segment_host_link(network_id)
        bridge = self._table.find(item.bridge)
        if bridge is None:
            raise OSError(errno.ENODEV, f"bridge {item.bridge} is missing")
        there = self._table.find(near)
        if there is None or not there.alias or self._far(network_id) is None:
            self._table.remove(near)
            if self._host.links.find(name) is not None:
                raise OSError(errno.EEXIST, f"the host has a link {name} that is not ours")
            self._table.kernel.add_veth(
                near, master=bridge.index, mtu=item.mtu, peer=name, peer_mac="", peer_netns=self._host_netns
            )
            self._table.kernel.change(near, alias=owner.alias(network_id, "segment", name))
            self._host.links.mute_ipv6(name)
            self._host.links.change(name, alias=owner.alias(network_id, "segment", self._netns))
        self._table.kernel.change(near, mtu=item.mtu, up=True, master=bridge.index)
        self._table.kernel.isolate(near)
        self._host.links.change(name, mtu=item.mtu, up=True)
        far = self._far(network_id)
        if far is None:
            raise OSError(errno.ENODEV, f"link {name} is missing")
        return far

    def _remove(self, key: str) -> None:
        network_id = key.partition("/")[2]
        far = self._far(network_id)
        vlan, target = self._tags.tagged(far.index) if far else (0, 0)
        interface = self._host.links.at(target) if target else None
        if far is not None and interface is not None and self._tags.untagged(target).get(vlan) == far.index:
            let_go(self._host.links, self._tags, interface, vlan)
        self._table.remove(owner.segment_link(network_id))

    def _far(self, network_id: str) -> Link | None:
        """Return the host's end, if it is there and ours."""
        found = self._host.links.find(owner.segment_host_link(network_id))
        return found if found is not None and is_segment(self._netns, found.alias) else None


def is_segment(netns: str, alias: str) -> bool:
    """Tell whether a link of the host is the end of a network's link to it, of the agent of `netns`."""
    return owner.words(alias)[1:] == ["segment", netns]


def let_go(links: Links, tags: Tags, interface: Link, vlan: int) -> None:
    """Take a VLAN from a network, but before the last one make the interface what it was: the filter tells that."""
    words = tags.note(interface.index).split("+")
    is_last = not tags.untagged(interface.index).keys() - {vlan}
    if is_last and {*words} & {_UP, _PROMISCUOUS}:
        links.change(
            interface.name,
            up=False if _UP in words else None,
            promiscuous=False if _PROMISCUOUS in words else None,
        )
    tags.end_untag(interface.index, vlan)
