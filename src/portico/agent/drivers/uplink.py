# SPDX-License-Identifier: Apache-2.0
"""The link from an external network's bridge to the host, with the gateways' addresses at the host's end.

The host forwards what comes from it, as the rules of `publish` let it. Forwarding is switched on and never off: who
else needs it is not known.
"""

from __future__ import annotations

import errno
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from portico.agent import addresses, owner
from portico.agent.addresses import link_local
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable, pinned_mac
from portico.agent.drivers.route import HOST, HOST_IPV6, Side
from portico.agent.links import Link
from portico.hoststate import Uplink


@dataclass(frozen=True, slots=True)
class UplinkItem:
    """An uplink as wanted or found.

    `forwards`: the host passes on what comes from it.
    """

    network_id: str
    bridge: str
    mtu: int
    mac: str
    addresses: frozenset[str]
    forwards: bool = True
    up: bool = True


class UplinkDriver:
    """Keys `uplink/...`."""

    def __init__(self, table: LinkTable, host: Side, host_netns: int, netns: str) -> None:
        self._table = table
        self._host = host
        self._host_netns = host_netns
        self._netns = netns

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        items, troubles = {}, {}
        for key in keys:
            item = wanted.objects.get(key)
            if not isinstance(item, Uplink):
                continue
            if item.network_id not in wanted.zones:
                troubles[key] = Trouble(f"network {item.network_id} is not on this host yet", waiting=True)
                continue
            try:
                items[key] = _item(item)
            except ValueError as error:
                troubles[key] = Trouble(str(error))
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        found = self._table.to_host("uplink", "uplink", owner.uplink_link, keys)
        return {key: self._find(key.partition("/")[2], link) for key, link in found.items()}

    def _find(self, network_id: str, near: Link) -> UplinkItem:
        far = self._far(network_id)
        bridge = self._table.name_of(near.master)
        if far is None:
            return UplinkItem(network_id, bridge, near.mtu, "", frozenset(), up=False)
        given = self._host.routes.addresses(far.index).get(far.index, frozenset())
        settings = _settings(far.name, ipv6=any(":" in address for address in given))
        return UplinkItem(
            network_id,
            bridge,
            near.mtu if near.mtu == far.mtu else 0,
            far.mac,
            frozenset(given),
            forwards=self._host.switches.read(settings) == settings,
            up=near.up and far.up,
        )

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            name = owner.uplink_link(key.partition("/")[2])
            try:
                self._table.retire(name)
            except OSError as error:
                troubles[key] = Trouble(f"link {name}: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(item, delta.before.get(key))
            except OSError as error:
                troubles[key] = Trouble(f"uplink: {error.strerror} {error.filename or ''}".rstrip())
        return troubles

    def _put(self, item: UplinkItem, before: UplinkItem | None) -> None:
        near, far = owner.uplink_link(item.network_id), owner.uplink_host_link(item.network_id)
        self._refuse_taken(item.addresses - (before.addresses if before else frozenset()))
        is_other = before is not None and (before.mac != item.mac or not before.addresses <= item.addresses)
        if before is None or is_other or self._far(item.network_id) is None:
            self._make(item)
        bridge = self._table.find(item.bridge)
        if bridge is None:
            raise OSError(errno.ENODEV, f"bridge {item.bridge} is missing")
        self._table.kernel.change(near, mtu=item.mtu, up=True, master=bridge.index)
        ipv6 = any(":" in address for address in item.addresses)
        if ipv6:
            self._host.switches.accept_advertisements()
        self._host.switches.write(_settings(far, ipv6=ipv6))
        self._host.links.change(far, mtu=item.mtu, up=True)
        link = self._far(item.network_id)
        index = link.index if link else 0
        for address in sorted(item.addresses - self._host.routes.addresses(index).get(index, frozenset())):
            self._host.links.add_address(far, address)
        self._table.refresh([near])

    def _refuse_taken(self, given: Collection[str]) -> None:
        """Refuse addresses in a network that the host is on by a link of others: it would lose its neighbours there.

        Raises:
            OSError: names both.
        """
        nets = {address: ip_interface(address).network for address in given}
        nets = {address: net for address, net in nets.items() if not net.is_link_local}
        theirs = (
            {link.index: link.name for link in self._host.links.all() if not owner.words(link.alias)} if nets else {}
        )
        for index, texts in self._host.routes.addresses().items() if theirs else ():
            for text in texts if index in theirs else ():
                for address, net in nets.items():
                    if net.overlaps(ip_interface(text).network):
                        raise OSError(
                            errno.EADDRINUSE, f"the host has {text} on link {theirs[index]}, beside {address}"
                        )

    def _make(self, item: UplinkItem) -> None:
        near, far = owner.uplink_link(item.network_id), owner.uplink_host_link(item.network_id)
        self._table.remove(near)
        if self._host.links.find(far) is not None:
            raise OSError(errno.EEXIST, f"the host has a link {far} that is not ours")
        self._table.kernel.add_veth(
            near, master=0, mtu=item.mtu, peer=far, peer_mac=item.mac, peer_netns=self._host_netns
        )
        self._host.links.mute_ipv6(far)
        self._host.links.change(far, alias=owner.alias(item.network_id, "uplink", self._netns))
        self._table.kernel.change(near, alias=owner.alias(item.network_id, "uplink", far))

    def _far(self, network_id: str) -> Link | None:
        """Return the host's end, if it is there and ours."""
        found = self._host.links.find(owner.uplink_host_link(network_id))
        is_ours = found is not None and owner.words(found.alias) == [network_id, "uplink", self._netns]
        return found if is_ours else None


def _item(item: Uplink) -> UplinkItem:
    """Return an uplink as it is to be.

    Raises:
        ValueError: an address in it is not one.
    """
    for number, address in enumerate(item.addresses):
        addresses.network(address, f"addresses[{number}]")
    mac, given = pinned_mac(f"uplink {item.network_id}"), {str(ip_interface(address)) for address in item.addresses}
    if any(":" in address for address in given):  # routers ask for a neighbour from their link-local address
        given.add(f"{link_local(mac)}/64")
    return UplinkItem(item.network_id, owner.bridge_name(item.network_id), item.mtu, mac, frozenset(given))


def _settings(name: str, *, ipv6: bool) -> dict[str, str]:
    """Return the sysctls of the host that an uplink needs; 127.0.0.1 may be published (see `host_rules.of_uplink`)."""
    settings = {**HOST, f"ipv4/conf/{name}/route_localnet": "1"}
    if ipv6:
        settings |= {**HOST_IPV6, f"ipv6/conf/{name}/disable_ipv6": "0", f"ipv6/conf/{name}/accept_ra": "0"}
    return settings
