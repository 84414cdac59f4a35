# SPDX-License-Identifier: Apache-2.0
"""Outlets: where ports that another network service realises are plugged into its data plane, in the host's namespace.

The service's own agent looks for a device by its name, in a bridge as a rule. For a container that device is one end of
a pair, for a virtual machine the hypervisor's tap. What we make, or put into a bridge, has an ifalias of ours.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from portico.agent import owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.tap import LINK_NAME, new_tap
from portico.agent.links import Link, Links, unless_taken
from portico.agent.open_vswitch import OpenVswitch, SwitchPort
from portico.hoststate import Outlet


@dataclass(frozen=True, slots=True)
class OutletItem:
    """A device in its place. `far` and `mac` are those of the pair's other end, `made` says that the device is ours.

    `watched`: it is the service's, and there is nothing to do but see whether it is there.
    """

    device: str
    made: bool
    bridge: str = ""
    far: str = ""
    mac: str = ""
    mtu: int = 0
    switched: SwitchPort | None = None
    watched: bool = False
    up: bool = True

    def is_link_of(self, other: OutletItem) -> bool:
        """Tell whether `other` is the same link, if perhaps in another place: a new one would cut its user off."""
        mine, its = (
            (item.device, item.made, item.far, item.mac, item.watched, item.switched is None) for item in (self, other)
        )
        return mine == its


class OutletDriver:
    """Keys `outlet/...`."""

    def __init__(self, host: Links, host_netns: int, netns: str, switch: OpenVswitch) -> None:
        self._host = host
        self._host_netns = host_netns
        self._netns = netns
        self._switch = switch
        self._devices: dict[str, OutletItem] = {}
        """What was planned last: which names to look at."""

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items, troubles = {}, {}
        for key in keys:
            outlet = wanted.objects.get(key)
            if not isinstance(outlet, Outlet):
                self._devices.pop(key, None)
                continue
            wrong = [name for name in (outlet.device, outlet.link_name) if name and not LINK_NAME.fullmatch(name)]
            if wrong:
                troubles[key] = Trouble(f"link {wrong[0]!a}: no link can have that name")
            elif outlet.way == "ovs" and not self._switch.is_here():
                troubles[key] = Trouble("vif_type ovs: Open vSwitch is not on this host: there is no ovs-vsctl")
            else:
                items[key] = self._devices[key] = _item(outlet)
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and not any(key.startswith("outlet/") for key in keys):
            return {}
        if keys is None:
            links = self._host.all()
        else:
            names = {self._devices[key].device for key in keys if key in self._devices}
            links = [link for name in names if (link := self._host.find(name)) is not None]
        switched = self._switch.ports()
        found = {}
        for link in links:
            if port_id := owner.outlet_of(self._netns, link.alias):
                found[f"outlet/{port_id}"] = self._found(link, switched.get(link.name))
        there = {link.name for link in links}
        looked = self._devices.items() if keys is None else ((key, self._devices.get(key)) for key in keys)
        return found | {key: item for key, item in looked if item is not None and item.watched and item.device in there}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key, item in delta.before.items():
            if key in delta.put and item.is_link_of(delta.put[key]):
                continue
            try:
                self._remove(key, item)
            except OSError as error:
                troubles[key] = Trouble(f"link {item.device}: {error.strerror}")
        for key in delta.put.keys() - troubles.keys():
            item = delta.put[key]
            try:
                if trouble := self._put(key.partition("/")[2], item):
                    troubles[key] = trouble
            except OSError as error:
                troubles[key] = Trouble(f"link {item.device}: {error.strerror}")
        return troubles

    def _found(self, link: Link, switched: SwitchPort | None) -> OutletItem:
        words = owner.words(link.alias)
        far, mac = words[3:] if len(words) == 5 else ("", "")
        master = self._host.at(link.master) if link.master and switched is None else None
        made = words[1] == owner.MADE
        return OutletItem(
            device=link.name,
            made=made,
            bridge=switched.bridge if switched else master.name if master else "",
            far=far,
            mac=mac,
            mtu=link.mtu if made else 0,
            switched=switched,
            up=link.up or not made,
        )

    def _put(self, port_id: str, item: OutletItem) -> Trouble | None:
        bridge = self._host.find(item.bridge) if item.bridge and item.switched is None else None
        if item.bridge and item.switched is None and (bridge is None or bridge.kind != "bridge"):
            return Trouble(f"bridge {item.bridge} does not exist on this host yet", waiting=True)
        link = self._host.find(item.device)
        if link is None and not item.made:
            return Trouble(f"link {item.device} does not exist on this host yet", waiting=True)
        if item.watched:
            return None
        if link is not None and self._is_half_made(link, item):
            self._host.remove(link.name)
            link = None
        if link is None:
            with self._new(item):
                self._sign(port_id, item)
        elif self._port(link) != port_id and (item.made or link.alias):
            return Trouble(f"link {item.device}: the host has one of that name that is not ours")
        else:
            self._sign(port_id, item)
        if bridge is not None:
            self._host.change(item.device, master=bridge.index)
        if item.switched is not None:
            self._switch.add(item.device, item.switched)
        self._host.change(item.device, up=True)
        return None

    def _sign(self, port_id: str, item: OutletItem) -> None:
        """Write on the links whose they are."""
        ends = (item.far, item.mac) if item.far else ()
        kind = owner.MADE if item.made else owner.TAKEN
        self._host.change(item.device, alias=owner.alias(port_id, kind, self._netns, *ends))
        if item.made:
            self._host.mute_ipv6(item.device)
            self._host.change(item.device, mtu=item.mtu)
        if item.far:
            with unless_taken():
                self._host.change(item.far, alias=owner.host_alias(self._netns, port_id))

    def _new(self, item: OutletItem) -> AbstractContextManager[None]:
        """Make a link, which is to be signed in the context."""
        if not item.far:
            return new_tap(self._host_netns, item.device)
        if self._host.find(item.far) is not None:
            raise OSError(errno.EEXIST, f"the host has a link {item.far} already")
        self._host.add_veth(
            item.device, master=0, mtu=item.mtu, peer=item.far, peer_mac=item.mac, peer_netns=self._host_netns
        )
        return nullcontext()

    def _is_half_made(self, link: Link, item: OutletItem) -> bool:
        """Tell whether an agent died when it had made a pair, and signed neither end: both have names of the port's."""
        far = self._host.find(item.far) if item.far and not link.alias else None
        return far is not None and link.kind == far.kind == "veth" and not far.alias

    def _remove(self, key: str, item: OutletItem) -> None:
        """Remove what is ours, and let go of what is a hypervisor's."""
        port_id = key.partition("/")[2]
        for link in self._host.all():
            if self._port(link) != port_id:
                continue
            if item.switched is not None:
                self._switch.remove(link.name)
            if item.made:
                self._host.remove(link.name)
            else:
                self._host.change(link.name, master=0, alias="")

    def _port(self, link: Link) -> str:
        return owner.outlet_of(self._netns, link.alias)


def _item(outlet: Outlet) -> OutletItem:
    pair = outlet.plug == "veth" and outlet.way != "link"
    made = pair or outlet.make_tap
    if outlet.way == "link" or (outlet.way == "tap" and not made):
        return OutletItem(outlet.device, made=False, watched=True)
    ids = SwitchPort(outlet.bridge, outlet.interface_id, outlet.mac.lower()) if outlet.way == "ovs" else None
    return OutletItem(
        outlet.device,
        made=made,
        bridge=outlet.bridge,
        far=outlet.link_name if pair else "",
        mac=outlet.mac.lower() if pair else "",
        mtu=outlet.mtu if made else 0,
        switched=ids,
    )
