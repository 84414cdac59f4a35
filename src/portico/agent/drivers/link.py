# SPDX-License-Identifier: Apache-2.0
"""Bridges, the veth pairs of ports, and whether those are up.

Three drivers over one reading of the links, because filters come between the making of a link and its going up: a
port is never connected before its rules are in force. A pair is judged by our end alone; the other may be in a
container's namespace.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.conntrack import Conntrack
from portico.agent.links import BRIDGE_SETTINGS, UNTRACKED_SETTINGS, Link, Links, unless_taken
from portico.agent.netlink import NetlinkError
from portico.agent.removal import Removal
from portico.hoststate import ROUTED, Bridge, Vif


@dataclass(frozen=True, slots=True)
class BridgeItem:
    """A bridge as wanted or found. `settings` as in `links.BRIDGE_SETTINGS`."""

    name: str
    network_id: str
    zone: int
    mac: str
    mtu: int
    up: bool = True
    settings: tuple[int, ...] = BRIDGE_SETTINGS


@dataclass(frozen=True, slots=True)
class PairItem:
    """A port's veth pair as wanted or found; `far_mac` is the MAC address of the far end, the port's own.

    The link of a routed port has no bridge, but a `near_mac`: that of the next hop, the same on every link and host, so
    that what a port has learnt of it holds wherever the port comes to be.
    """

    name: str
    port_id: str
    far_name: str
    far_mac: str
    bridge: str
    mtu: int
    near_mac: str = ""


NEXT_HOP_MAC = "02:70:6f:72:74:01"


class LinkTable:
    """The links of our namespace as last read, without those on their way out.

    `removal` takes links that need not be gone at once; without one they are.
    """

    def __init__(self, links: Links, removal: Removal | None = None) -> None:
        self.kernel = links
        self.by_name: dict[str, Link] = {}
        self._removal = removal

    def refresh(self, names: Collection[str] | None = None) -> None:
        """Read links again: those called `names`, or all."""
        if names is None:
            self.by_name = {link.name: link for link in self.kernel.all() if not self._is_going(link)}
            return
        for name in names:
            found = self.find(name)
            if found is None:
                self.by_name.pop(name, None)
            else:
                self.by_name[name] = found

    def read(self, names: Collection[str]) -> list[Link]:
        """Read the links called `names` again, and return those that there are."""
        self.refresh(names)
        return [self.by_name[name] for name in names if name in self.by_name]

    def of(self, kind: str, name_of: Callable[[str], str], keys: Collection[str] | None) -> list[Link]:
        """Return all links or, with `keys`, those of the objects of a kind among them, whose names `name_of` makes."""
        if keys is None:
            return list(self.by_name.values())
        ids = [object_id for key in keys for one, _, object_id in [key.partition("/")] if one == kind]
        return self.read([name_of(object_id) for object_id in ids])

    def to_host(
        self, kind: str, word: str, name_of: Callable[[str], str], keys: Collection[str] | None
    ) -> dict[str, Link]:
        """Return, as `of` does, links from networks to the host, by key: aliases are network, `word` and far end."""
        found = {}
        for link in self.of(kind, name_of, keys):
            alias = owner.words(link.alias)
            key = f"{kind}/{alias[0]}" if len(alias) == 3 and alias[1] == word else ""
            if key and (keys is None or key in keys):
                found[key] = link
        return found

    def find(self, name: str) -> Link | None:
        """Return the link called `name`, as the kernel has it now."""
        found = self.kernel.find(name)
        return None if found is None or self._is_going(found) else found

    def _is_going(self, link: Link) -> bool:
        return self._removal is not None and link.index in self._removal

    def remove(self, name: str) -> None:
        """Remove a link; no error if there is none."""
        self.kernel.remove(name)
        self.by_name.pop(name, None)

    def retire(self, name: str) -> None:
        """Have a link removed that nobody waits for; its name is free for those who `remove` it first."""
        known = self.by_name.get(name)
        if known is None or self._removal is None:
            self.remove(name)
        else:
            self._removal.add(known.index)
            del self.by_name[name]

    def name_of(self, index: int) -> str:
        """Return the name of the link with `index`, or an empty string."""
        return next((link.name for link in self.by_name.values() if link.index == index), "") if index else ""


class BridgeDriver:
    """Keys `bridge/...`. Also reads the whole link table when asked for everything: it is the first in the order."""

    def __init__(self, table: LinkTable, conntrack: Conntrack) -> None:
        self._table = table
        self._conntrack = conntrack

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items = {}
        for key in keys:
            item = wanted.objects.get(key)
            if isinstance(item, Bridge):
                name = owner.bridge_name(item.network_id)
                zone = wanted.zones[item.network_id]
                settings = UNTRACKED_SETTINGS if wanted.only_passes(item.network_id) else BRIDGE_SETTINGS
                mac = pinned_mac(item.network_id)
                items[key] = BridgeItem(name, item.network_id, zone, mac, item.mtu, settings=settings)
        return items, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is None:
            self._table.refresh()
        found = {}
        for link in self._table.of("bridge", owner.bridge_name, keys):
            alias = owner.words(link.alias)
            if link.kind == "bridge" and len(alias) == 2 and alias[1].isdecimal():
                key = f"bridge/{alias[0]}"
                if keys is None or key in keys:
                    zone = int(alias[1])
                    found[key] = BridgeItem(link.name, alias[0], zone, link.mac, link.mtu, link.up, link.bridge)
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            item = delta.before[key]
            try:
                self._table.retire(item.name)
                self._conntrack.clear_zone(item.zone)
            except OSError as error:
                troubles[key] = Trouble(f"bridge {item.name}: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(item)
            except OSError as error:
                troubles[key] = Trouble(f"bridge {item.name}: {error.strerror}")
        return troubles

    def _put(self, item: BridgeItem) -> None:
        kernel = self._table.kernel
        alias = owner.alias(item.network_id, str(item.zone))
        there = self._table.find(item.name)
        if there is None or there.kind != "bridge":
            kernel.remove(item.name)
            there = None
        if there is None:
            kernel.add_bridge(item.name, item.mac, item.mtu, item.settings)
        else:
            other = owner.words(there.alias)
            if other and other[0] != item.network_id:
                raise OSError(errno.EEXIST, f"the name is taken by network {other[0]}")
            kernel.reset_bridge(item.name, item.settings)
        kernel.change(item.name, alias=alias, mac=item.mac, mtu=item.mtu, up=True)


class PairDriver:
    """Keys `vif/...`: the veth pair, down. Going up is `CarrierDriver`'s."""

    def __init__(self, table: LinkTable, host: Links, host_netns: int, netns: str) -> None:
        self._table = table
        self._host = host
        self._host_netns = host_netns
        self._netns = netns

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items = {}
        troubles = {}
        for key in keys:
            vif = wanted.objects.get(key)
            if not isinstance(vif, Vif):
                continue
            if vif.network_id not in wanted.zones:
                troubles[key] = Trouble(f"network {vif.network_id} is not on this host yet", waiting=True)
                continue
            is_routed = vif.network_id == ROUTED
            items[key] = PairItem(
                name=owner.port_link(vif.port_id),
                port_id=vif.port_id,
                far_name=vif.link_name,
                far_mac=vif.mac.lower(),
                bridge="" if is_routed else owner.bridge_name(vif.network_id),
                mtu=vif.mtu,
                near_mac=NEXT_HOP_MAC if is_routed else "",
            )
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. Links of ours without an alias, left by a crash, are removed when everything is read."""
        links = self._table.of("vif", owner.port_link, keys)
        bridges = {link.index: link.name for link in self._table.by_name.values() if link.kind == "bridge"}
        found = {}
        for link in links:
            alias = owner.words(link.alias)
            if link.kind == "veth" and link.name.startswith("pb") and len(alias) == 3:
                key = f"vif/{alias[0]}"
                if keys is None or key in keys:
                    bridge = bridges.get(link.master, "")
                    near_mac = "" if bridge else link.mac
                    found[key] = PairItem(link.name, alias[0], alias[1], alias[2], bridge, link.mtu, near_mac)
            elif keys is None and link.kind == "veth" and link.name.startswith("pb"):
                self._table.kernel.remove(link.name)
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._table.retire(delta.before[key].name)
            except OSError as error:
                troubles[key] = Trouble(f"link {delta.before[key].name}: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(item, delta.before.get(key))
            except OSError as error:
                troubles[key] = Trouble(f"link {item.name}: {error.strerror}")
            except ValueError as error:
                troubles[key] = Trouble(f"link {item.name}: MAC address {item.far_mac}: {error}")
        return troubles

    def _put(self, item: PairItem, before: PairItem | None) -> None:
        kernel = self._table.kernel
        bridge = self._table.by_name.get(item.bridge)
        if bridge is None and item.bridge:
            raise OSError(errno.ENODEV, f"bridge {item.bridge} is missing")
        master = bridge.index if bridge is not None else 0
        if before is not None and (before.far_name, before.far_mac) == (item.far_name, item.far_mac):
            if before.mtu != item.mtu:  # first, for a pair is judged by our end: who dies in between does both again
                with unless_taken():
                    self._host.change(item.far_name, mtu=item.mtu)
            kernel.change(item.name, mtu=item.mtu, master=master, mac=item.near_mac or None)
            return
        try:
            self._add(item, master)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            self._clear(item)
            self._add(item, master)
        with unless_taken():
            self._host.change(item.far_name, alias=owner.host_alias(self._netns, item.port_id))
        kernel.change(item.name, alias=owner.alias(item.port_id, item.far_name, item.far_mac))

    def _add(self, item: PairItem, master: int) -> None:
        self._table.kernel.add_veth(
            item.name,
            master=master,
            mtu=item.mtu,
            peer=item.far_name,
            peer_mac=item.far_mac,
            peer_netns=self._host_netns,
            mac=item.near_mac,
        )

    def _clear(self, item: PairItem) -> None:
        """Make room for a new pair: remove an old one of this port, refuse when the name is another's."""
        there = self._table.kernel.find(item.name)
        if there is not None:
            other = owner.words(there.alias)
            if other and other[0] != item.port_id:
                raise OSError(errno.EEXIST, f"the name is taken by port {other[0]}")
            self._table.kernel.remove(item.name)
        if self._host.find(item.far_name) is not None:
            raise OSError(errno.EEXIST, f"the host has a link {item.far_name} that is not ours")


class CarrierDriver:
    """Keys `vif/...`: whether our end is up. Comes after the filter, so that nothing passes before its rules do.

    A port with admin_up False stays down: its consumer sees no carrier and nothing passes either way. A steady one goes
    up all the same: it has no rules then, and the filter drops what comes from a port without, or is for it.
    """

    def __init__(self, table: LinkTable) -> None:
        self._table = table
        self._wanted = Wanted()

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        self._wanted = wanted
        vifs = {key: wanted.objects.get(key) for key in keys}
        return {key: True for key, vif in vifs.items() if isinstance(vif, Vif) and (vif.admin_up or vif.steady)}, {}

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver. A link that is down is read as absent; `PairDriver` has just read the links."""
        found = {}
        for link in self._links(keys):
            alias = owner.words(link.alias)
            if link.up and link.name.startswith("pb") and len(alias) == 3:
                found[f"vif/{alias[0]}"] = True
        return found

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver.

        The link of a port that is no longer wanted is left to `PairDriver`: without rules nothing passes anyway, and
        each step down costs a grace period of the kernel.
        """
        troubles = {}
        shut = [key for key in delta.gone if key in self._wanted.objects]
        for key in [*shut, *delta.put]:
            name = owner.port_link(key.partition("/")[2])
            try:
                self._table.kernel.change(name, up=key in delta.put)
            except NetlinkError as error:
                if key in delta.put or error.errno != errno.ENODEV:
                    troubles[key] = Trouble(f"link {name}: {error.strerror}")
        self._table.refresh([owner.port_link(key.partition("/")[2]) for key in [*shut, *delta.put]])
        return troubles

    def _links(self, keys: Collection[str] | None) -> Collection[Link]:
        if keys is None:
            return self._table.by_name.values()
        names: Mapping[str, Link] = self._table.by_name
        wanted = [owner.port_link(key.partition("/")[2]) for key in keys]
        return [names[name] for name in wanted if name in names]


def pinned_mac(network_id: str) -> str:
    """Return a bridge's MAC address: locally administered, made from the network's id, so that it never changes.

    A bridge without a pinned address takes its lowest port's, and flushes neighbours whenever that changes.
    """
    digest = hashlib.sha256(network_id.encode()).digest()
    return bytes([0x02, *digest[:5]]).hex(":")
