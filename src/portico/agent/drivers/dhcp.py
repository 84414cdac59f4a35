# SPDX-License-Identifier: Apache-2.0
"""The DHCP server of a network: a dnsmasq in a small namespace of its own, with a link into the network's bridge.

A dnsmasq outlives the agent; it is found again by its pid file and proved by its network namespace. Its leases
outlive it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portico.agent import dnsmasq, kernel, netlink, owner
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.link import LinkTable
from portico.agent.links import Links
from portico.agent.server import Server, check_options
from portico.hoststate import Dhcp, Lease

FOLDER = "dhcp"
_SYSCTLS = {
    "ipv6/conf/all/disable_ipv6": "0",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/default/accept_ra": "0",
    # the addresses are ours by the store's word; waiting for a proof would delay the first advertisement by a second
    "ipv6/conf/default/accept_dad": "0",
}


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

    `wire` is the digest of the link's `Wire`; `make` is that itself where it is known, and not compared.
    """

    network_id: str
    config: str
    files: tuple[tuple[str, str], ...]
    bridge: str
    wire: str
    running: bool = True
    make: Wire | None = field(default=None, compare=False)


class DhcpDriver:
    """Keys `dhcp/...`; leases are part of their server's item. With `only_look` servers get no signal when read."""

    def __init__(
        self, table: LinkTable, netns: str, *, run_dir: Path, state_dir: Path, only_look: bool = False
    ) -> None:
        self._only_look = only_look
        self._table = table
        self._netns = netns
        self._run_dir = run_dir / FOLDER / netns
        self._state_dir = state_dir / FOLDER / netns
        self._user = "nobody" if _is_open_to_all(run_dir) else "root"
        self._ends = select.epoll()
        self._watched: dict[int, tuple[str, Server]] = {}

    def fileno(self) -> int:
        """Return a descriptor that is readable when a server has ended."""
        return self._ends.fileno()

    def ended(self) -> list[str]:
        """Return the keys of servers that have ended since the last call."""
        keys = []
        for descriptor, _ in self._ends.poll(0):
            key, server = self._watched.pop(descriptor)
            self._ends.unregister(descriptor)
            server.close()
            keys.append(key)
        return keys

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver. A lease that cannot be written into a file is left out of its server's."""
        servers = {key: item for key in keys if isinstance(item := wanted.objects.get(key), Dhcp)}
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
            prefix = owner.dhcp_netns_prefix(self._netns)
            shorts = {name.removeprefix(prefix) for name in kernel.names(prefix)}
            for folder in (self._run_dir, self._state_dir):  # what was kept may be of a network that is gone since
                shorts |= {path.name for path in folder.iterdir()} if folder.is_dir() else set()
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
        folder, state = self._folders(dhcp.network_id)
        lengths = [subnet.cidr.partition("/")[2] for subnet in dhcp.subnets]
        addresses = [f"{subnet.server}/{length}" for subnet, length in zip(dhcp.subnets, lengths, strict=True)]
        wire = Wire(dhcp.mac.lower(), dhcp.mtu, tuple(addresses))
        files = {
            dnsmasq.HOSTS: dnsmasq.hosts(leases),
            dnsmasq.NAMES: dnsmasq.names(dhcp, leases),
            dnsmasq.OPTIONS: dnsmasq.options(dhcp, leases),
        }
        return ServerItem(
            network_id=dhcp.network_id,
            config=dnsmasq.config(dhcp, leases, run_dir=str(folder), state_dir=str(state), user=self._user),
            files=tuple(sorted(files.items())),
            bridge=owner.bridge_name(dhcp.network_id),
            wire=wire.digest,
            make=wire,
        )

    def _find(self, short: str) -> ServerItem:
        """Return what there is of a server; `network_id` is as much of it as is known."""
        folder, state = self._folders(short)
        server = self._server(short)
        config = server.config() if server else ""
        near = self._table.by_name.get(owner.dhcp_link(short))
        alias = owner.words(near.alias) if near and near.up else []
        network_id = dnsmasq.network_of(config) or (alias[0] if alias else _read(state / dnsmasq.NETWORK) or short)
        if server is not None:
            self._watch(f"dhcp/{network_id}", server)
        return ServerItem(
            network_id=network_id,
            config=config,
            files=tuple((name, _read(folder / name)) for name in sorted(dnsmasq.RELOADED)),
            bridge=self._table.name_of(near.master) if near else "",
            wire=alias[2] if len(alias) == 3 else "",
            running=server is not None,
        )

    def _put(self, item: ServerItem, before: ServerItem | None) -> None:
        short = owner.short(item.network_id)
        folder, state = self._folders(item.network_id)
        for path in (folder, state):
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
        _write(state / dnsmasq.NETWORK, item.network_id)
        wanted_options = dict(item.files)[dnsmasq.OPTIONS]
        if wanted_options != _read(folder / dnsmasq.OPTIONS):
            check_options(wanted_options)
        server = self._server(short)
        # Without a server nothing tells whether the link still ends in the namespace that has the name.
        rewire = before is None or not before.running or (before.bridge, before.wire) != (item.bridge, item.wire)
        stale = _leases(item, folder, state) != _read(state / dnsmasq.LEASES)
        if server is not None and (rewire or stale or server.config() != item.config):
            server.end()
            server = None
        if server is None:
            _end_all(folder)
        if stale:  # before the hosts file says so: after a crash in between it would be found no more
            _write(state / dnsmasq.LEASES, _leases(item, folder, state))
        changed = [(name, text) for name, text in item.files if text != _read(folder / name) or before is None]
        for name, text in changed:
            _write(folder / name, text)
        if rewire:
            self._wire(item)
        if server is not None:
            server.reload()
            server.close()
            return
        netns = kernel.open_named(owner.dhcp_netns(self._netns, item.network_id))
        try:
            Server.start(netns, folder, item.config)
        finally:
            os.close(netns)

    def _wire(self, item: ServerItem) -> None:
        """Make the namespace and its link anew."""
        make = item.make
        bridge = self._table.by_name.get(item.bridge)
        if make is None or bridge is None:
            raise OSError(errno.ENODEV, f"bridge {item.bridge} is missing")
        name = owner.dhcp_link(item.network_id)
        netns = kernel.ensure_named(owner.dhcp_netns(self._netns, item.network_id))
        try:
            with kernel.within(netns, _prepare) as route:
                self._join(item, make, bridge.index, Links(route), netns)
        finally:
            os.close(netns)
        self._table.kernel.change(name, up=True, alias=owner.alias(item.network_id, "dhcp", item.wire))

    def _join(self, item: ServerItem, make: Wire, master: int, inner: Links, netns: int) -> None:
        """Make the pair between the bridge `master` and the namespace `netns`, and set up its `inner` end."""
        name = owner.dhcp_link(item.network_id)
        self._table.kernel.remove(name)
        self._table.kernel.add_veth(
            name,
            master=master,
            mtu=make.mtu,
            peer=dnsmasq.LINK,
            peer_mac=make.mac,
            peer_netns=netns,
        )
        inner.change("lo", up=True)
        inner.change(dnsmasq.LINK, up=True)
        for address in make.addresses:
            inner.add_address(dnsmasq.LINK, address)

    def _remove(self, network_id: str) -> None:
        _end_all(self._folders(network_id)[0])
        self._table.kernel.remove(owner.dhcp_link(network_id))
        kernel.remove_named(owner.dhcp_netns(self._netns, network_id))
        for folder in self._folders(network_id):
            shutil.rmtree(folder, ignore_errors=True)

    def _folders(self, network_id: str) -> tuple[Path, Path]:
        short = owner.short(network_id)
        return self._run_dir / short, self._state_dir / short

    def _server(self, short: str) -> Server | None:
        return Server.find(
            kernel.NETNS_FOLDER / f"{owner.dhcp_netns_prefix(self._netns)}{short}", self._run_dir / short
        )

    def _watch(self, key: str, server: Server) -> None:
        """Watch for the end of a server; one that is new to us may have missed the signal of a former agent."""
        if self._only_look or any(known.pid == server.pid for _, known in self._watched.values()):
            server.close()
            return
        server.reload()
        self._watched[server.fileno()] = (key, server)
        self._ends.register(server.fileno(), select.EPOLLIN)


def _prepare() -> netlink.Socket:
    """Set the sysctls of the calling thread's namespace and open a socket in it."""
    for path, value in _SYSCTLS.items():
        kernel.sysctl(path, value)
    return netlink.Socket(netlink.ROUTE)


def _end_all(folder: Path) -> None:
    """End every server on a configuration in `folder`, also one in a namespace that lost its name."""
    for server in Server.all_of(folder):
        server.end()


def _leases(item: ServerItem, folder: Path, state: Path) -> str:
    """Return what the lease file has to be before the server gets the hosts file of `item`."""
    after = dict(item.files)[dnsmasq.HOSTS]
    return dnsmasq.without_leases_in_the_way(_read(state / dnsmasq.LEASES), _read(folder / dnsmasq.HOSTS), after)


def _is_open_to_all(folder: Path) -> bool:
    """Return whether any user may look into `folder`: dnsmasq reads its files again after it gave up being root."""
    folder.mkdir(parents=True, exist_ok=True)
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.resolve().parents))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, text: str) -> None:
    """Write a file at once or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.chmod(0o644)
    new.replace(path)
