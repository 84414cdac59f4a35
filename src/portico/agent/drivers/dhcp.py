# SPDX-License-Identifier: Apache-2.0
"""The DHCP server of a network: a dnsmasq in a small namespace of its own, with a link into the network's bridge.

A dnsmasq outlives the agent; it is found again by its pid file and proved by its network namespace. Its leases
outlive it.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from portico.agent import dnsmasq, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import Links
from portico.agent.servers import Servers
from portico.hoststate import Dhcp, Lease


@dataclass(frozen=True, slots=True)
class Wire:
    """The server's own link end: its MAC address, MTU in bytes, and addresses with prefix lengths."""

    mac: str
    mtu: int
    addresses: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Return a short text that differs when any of it does; the alias of the other end carries it."""
        return hashlib.sha256(repr((self.mac, self.mtu, self.addresses)).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ServerItem:
    """A server as wanted or found: its configuration, the files it reads again on SIGHUP, its link.

    `wire` is the digest of the link's `Wire`; `make` is that itself where it is known, and not compared. `mtu` is that
    of our end. `informed`: the process is known to have read the files as they are.
    """

    network_id: str
    config: str
    files: tuple[tuple[str, str], ...]
    bridge: str
    wire: str
    mtu: int
    running: bool = True
    informed: bool = True
    make: Wire | None = field(default=None, compare=False)


class DhcpDriver:
    """Keys `dhcp/...`; leases are part of their server's item. With `only_look` every server counts as informed."""

    def __init__(self, table: LinkTable, servers: Servers, *, only_look: bool = False) -> None:
        self._table = table
        self._servers = servers
        self._only_look = only_look
        self._informed: dict[str, int] = {}
        """The processes that have read their files since those were last written, by server."""
        self._keys: dict[str, str] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when a server has ended."""
        return self._servers.fileno()

    def ended(self) -> list[str]:
        """Return the keys of servers that have ended since the last call."""
        return [self._keys[short] for short in self._servers.ended()]

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver. A lease that cannot be written into a file is left out of its server's."""
        found = ((key, wanted.objects.get(key)) for key in keys)
        servers = {key: item for key, item in found if isinstance(item, Dhcp) and not item.routed}
        leases: dict[str, list[Lease]] = {item.network_id: [] for item in servers.values()}
        for lease in wanted.of(Lease) if servers else ():
            if lease.network_id in leases and not dnsmasq.fault(lease):
                leases[lease.network_id].append(lease)
        items = {}
        troubles = {
            key: Trouble(f"DHCP server: {fault}")
            for key in keys
            if isinstance(item := wanted.objects.get(key), Dhcp | Lease) and (fault := dnsmasq.fault(item))
        }
        for key, item in servers.items():
            if key in troubles:
                continue
            if item.network_id not in wanted.zones:
                troubles[key] = Trouble(f"network {item.network_id} is not on this host yet", waiting=True)
                continue
            try:
                items[key] = self._item(item, sorted(leases[item.network_id], key=lambda lease: lease.port_id))
            except ValueError as error:
                troubles[key] = Trouble(f"DHCP server: {error}")
        return items, troubles

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is None:
            shorts = self._servers.known()
        else:
            ids = [key.partition("/")[2] for key in keys if key.startswith("dhcp/")]
            shorts = {owner.short(network_id) for network_id in ids}
            self._table.refresh([owner.dhcp_link(network_id) for network_id in ids])
        found = {f"dhcp/{item.network_id}": item for item in map(self._find, sorted(shorts))}
        return {key: item for key, item in found.items() if keys is None or key in keys}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver."""
        troubles = {}
        for key in delta.gone:
            try:
                self._remove(delta.before[key].network_id)
            except OSError as error:
                troubles[key] = Trouble(f"DHCP server: {error.strerror}")
        for key, item in delta.put.items():
            try:
                self._put(item, delta.before.get(key))
            except OSError as error:
                troubles[key] = Trouble(f"DHCP server: {error.strerror}")
        return troubles

    def _item(self, dhcp: Dhcp, leases: Sequence[Lease]) -> ServerItem:
        folder, state = self._servers.folders(owner.short(dhcp.network_id))
        lengths = [subnet.cidr.partition("/")[2] for subnet in dhcp.subnets]
        addresses = [f"{subnet.server}/{length}" for subnet, length in zip(dhcp.subnets, lengths, strict=True)]
        wire = Wire(dhcp.mac.lower(), dhcp.mtu, tuple(addresses))
        files = {
            dnsmasq.HOSTS: dnsmasq.hosts(leases),
            dnsmasq.NAMES: dnsmasq.names(dhcp, leases),
            dnsmasq.OPTIONS: dnsmasq.options(dhcp, leases),
        }
        user = self._servers.user
        return ServerItem(
            network_id=dhcp.network_id,
            config=dnsmasq.config(dhcp, leases, run_dir=str(folder), state_dir=str(state), user=user),
            files=tuple(sorted(files.items())),
            bridge=owner.bridge_name(dhcp.network_id),
            wire=wire.digest,
            mtu=dhcp.mtu,
            make=wire,
        )

    def _find(self, short: str) -> ServerItem:
        """Return what there is of a server; `network_id` is as much of it as is known."""
        running = self._servers.find(short)
        config = running.config if running else ""
        near = self._table.by_name.get(owner.dhcp_link(short))
        alias = owner.words(near.alias) if near and near.up else []
        kept = self._servers.read(short, dnsmasq.NETWORK)
        network_id = dnsmasq.network_of(config) or (alias[0] if alias else kept or short)
        self._keys[short] = f"dhcp/{network_id}"
        # One that is new to us may have missed the signal of a former agent.
        informed = self._only_look or (running is not None and self._informed.get(short) == running.pid)
        return ServerItem(
            network_id=network_id,
            config=config,
            files=tuple((name, self._servers.read(short, name)) for name in sorted(dnsmasq.RELOADED)),
            bridge=self._table.name_of(near.master) if near else "",
            wire=alias[2] if len(alias) == 3 else "",
            mtu=near.mtu if near else 0,
            running=running is not None,
            informed=informed,
        )

    def _short(self, item: ServerItem) -> str:
        """Return what the server goes by."""
        return owner.short(item.network_id)

    def _put(self, item: ServerItem, before: ServerItem | None) -> None:
        short = self._short(item)
        self._informed.pop(short, None)
        self._keys[short] = f"dhcp/{item.network_id}"
        if self._servers.read(short, dnsmasq.NETWORK) != item.network_id:
            self._servers.write(short, dnsmasq.NETWORK, item.network_id)
        wanted_options = dict(item.files)[dnsmasq.OPTIONS]
        if wanted_options != self._servers.read(short, dnsmasq.OPTIONS):
            self._servers.check(wanted_options)
        running = self._servers.find(short)
        # Without a server nothing tells whether the link still ends in the namespace that has the name.
        rewire = before is None or not before.running or _link_of(before) != _link_of(item)
        stale = self._leases(short, item) != self._servers.read(short, dnsmasq.LEASES)
        if running is None or rewire or stale or running.config != item.config:
            self._servers.end(short)
            running = None
        if stale:  # before the hosts file says so: after a crash in between it would be found no more
            self._servers.write(short, dnsmasq.LEASES, self._leases(short, item))
        for name, text in item.files:
            if before is None or not before.running or text != self._servers.read(short, name):
                self._servers.write(short, name, text)
        if rewire:
            self._wire(short, item)
        if running is None:
            self._servers.start(short, item.config)
            running = self._servers.find(short)
        else:
            self._servers.reload(short)
        if running is not None:
            self._informed[short] = running.pid

    def _wire(self, short: str, item: ServerItem) -> None:
        """Make the namespace and its link anew."""
        make = item.make
        bridge = self._table.by_name.get(item.bridge)
        if make is None or bridge is None:
            raise OSError(errno.ENODEV, f"bridge {item.bridge} is missing")
        name = owner.dhcp_link(item.network_id)
        with self._servers.inside(short) as (netns, inner):
            self._join(name, make, bridge.index, inner, netns)
        self._table.kernel.change(name, up=True, alias=owner.alias(item.network_id, "dhcp", item.wire))

    def _join(self, name: str, make: Wire, master: int, inner: Links, netns: int) -> None:
        """Make the pair between the bridge `master` and the namespace `netns`, and set up its `inner` end."""
        self._table.kernel.remove(name)
        self._table.kernel.add_veth(
            name,
            master=master,
            mtu=make.mtu,
            peer=dnsmasq.LINK,
            peer_mac=make.mac,
            peer_netns=netns,
        )
        self._table.kernel.isolate(name)  # each host has such a server: none is to be met by a physical network
        inner.change("lo", up=True)
        inner.change(dnsmasq.LINK, up=True)
        for address in make.addresses:
            inner.add_address(dnsmasq.LINK, address)

    def _remove(self, network_id: str) -> None:
        short = owner.short(network_id)
        self._servers.end(short)
        self._table.remove(owner.dhcp_link(network_id))
        self._servers.remove(short)
        self._informed.pop(short, None)

    def _leases(self, short: str, item: ServerItem) -> str:
        """Return what the lease file has to be before the server gets the hosts file of `item`."""
        now, before = (self._servers.read(short, name) for name in (dnsmasq.LEASES, dnsmasq.HOSTS))
        return dnsmasq.without_leases_in_the_way(now, before, dict(item.files)[dnsmasq.HOSTS])


def _link_of(item: ServerItem) -> tuple[str, str, int]:
    return item.bridge, item.wire, item.mtu
