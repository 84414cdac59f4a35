# SPDX-License-Identifier: Apache-2.0
"""The DHCP server of all routed networks of this host: one dnsmasq in our namespace, where ports' links end.

Each network has a link, a bridge that nothing is joined to, with the server's addresses there (see `routed_dnsmasq`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from portico.agent import dnsmasq, owner, routed_dnsmasq
from portico.agent.delta import Delta, Trouble, Wanted
from portico.agent.drivers.dhcp import DhcpDriver, ServerItem, Wire
from portico.agent.drivers.link import LinkTable
from portico.agent.drivers.route import Side
from portico.agent.links import Link
from portico.agent.servers import OwnServers
from portico.hoststate import NEXT_HOPS, ROUTED, Dhcp, Lease, Vif

HOP = f"{NEXT_HOPS[6]}/64"


class RoutedDhcpDriver(DhcpDriver):
    """Keys `dhcp/...` of routed networks; under each of them stands the one server, with all of them."""

    def __init__(self, table: LinkTable, ours: Side, servers: OwnServers, *, only_look: bool = False) -> None:
        super().__init__(table, servers, only_look=only_look)
        self._ours = ours
        self._wanted = Wanted()

    def ended(self) -> list[str]:
        """Return the keys of networks whose server has ended since the last call."""
        return [f"dhcp/{item.network_id}" for item in _servers(self._wanted)] if self._servers.ended() else []

    def plan(self, wanted: Wanted, keys: Collection[str]) -> tuple[dict[str, Any], dict[str, Trouble]]:
        """See Driver."""
        self._wanted = wanted
        found = ((key, wanted.objects.get(key)) for key in keys)
        mine = {key: item for key, item in found if isinstance(item, Dhcp) and item.routed}
        if not mine:
            return {}, {}
        if ROUTED not in wanted.zones:
            return {}, dict.fromkeys(mine, Trouble("the routed space is not on this host yet", waiting=True))
        faults = {key: Trouble(f"DHCP server: {fault}") for key, item in mine.items() if (fault := dnsmasq.fault(item))}
        server = self._server()
        return dict.fromkeys(mine.keys() - faults.keys(), server), faults

    def read(self, keys: Collection[str] | None) -> dict[str, Any]:
        """See Driver."""
        if keys is not None and not any(key.startswith("dhcp/") for key in keys):
            return {}
        networks = self._networks()
        if keys is not None:
            self._table.refresh([owner.routed_dhcp_link(network_id) for network_id in networks])
        found = {f"dhcp/{network_id}": self._find(ROUTED) for network_id in networks}
        return {key: item for key, item in found.items() if keys is None or key in keys}

    def apply(self, delta: Delta) -> dict[str, Trouble]:
        """See Driver. Whatever has changed, the one server is made as all that is wanted asks."""
        try:
            if _servers(self._wanted) and ROUTED in self._wanted.zones:
                self._put(self._server(), self._find(ROUTED))
            else:
                self._remove(ROUTED)
        except OSError as error:
            return dict.fromkeys([*delta.put, *delta.gone], Trouble(f"DHCP server: {error.strerror}"))
        return {}

    def _networks(self) -> list[str]:
        """Return the networks that there is anything of."""
        running = self._servers.find(ROUTED)
        told = routed_dnsmasq.networks(running.config) if running else []
        links = [owner.words(link.alias)[0] for link in self._links()]
        return list(dict.fromkeys([*told, *links, *self._servers.read(ROUTED, dnsmasq.NETWORK).split()]))

    def _links(self) -> list[Link]:
        found = self._table.by_name.values()
        return [link for link in found if link.name.startswith("pq") and len(owner.words(link.alias)) == 3]

    def _server(self) -> ServerItem:
        servers = _servers(self._wanted)
        leases: dict[str, list[Lease]] = {server.network_id: [] for server in servers}
        for lease in sorted(self._wanted.of(Lease), key=lambda lease: lease.port_id):
            if lease.network_id in leases and not dnsmasq.fault(lease):
                leases[lease.network_id].append(lease)
        ports = {
            network_id: [owner.port_link(lease.port_id) for lease in found if self._is_tap(lease)]
            for network_id, found in leases.items()
        }
        run_dir, state_dir = self._servers.folders(ROUTED)
        head = dnsmasq.head(str(run_dir), str(state_dir), self._servers.user)
        files = {
            dnsmasq.HOSTS: "".join(dnsmasq.hosts(found) for found in leases.values()),
            dnsmasq.NAMES: "".join(dnsmasq.names(server, leases[server.network_id]) for server in servers),
            dnsmasq.OPTIONS: routed_dnsmasq.options(servers, leases),
        }
        return ServerItem(
            network_id=" ".join(leases),
            config=routed_dnsmasq.config(servers, leases, ports, head),
            files=tuple(sorted(files.items())),
            bridge="",
            wire=" ".join(
                sorted(f"{owner.routed_dhcp_link(item.network_id)}={_wire_of(item).digest}" for item in servers)
            ),
            mtu=0,
        )

    def _is_tap(self, lease: Lease) -> bool:
        vif = self._wanted.objects.get(f"vif/{lease.port_id}")
        return isinstance(vif, Vif) and vif.plug == "tap"

    def _short(self, _item: ServerItem) -> str:
        return ROUTED

    def _find(self, short: str) -> ServerItem:
        running = self._servers.find(short)
        informed = self._only_look or (running is not None and self._informed.get(short) == running.pid)
        return ServerItem(
            network_id=self._servers.read(short, dnsmasq.NETWORK),
            config=running.config if running else "",
            files=tuple((name, self._servers.read(short, name)) for name in sorted(dnsmasq.RELOADED)),
            bridge="",
            wire=" ".join(sorted(f"{link.name}={self._wire_at(link).digest}" for link in self._links() if link.up)),
            mtu=0,
            running=running is not None,
            informed=informed,
        )

    def _wire_at(self, link: Link) -> Wire:
        """Return a network's link as it is."""
        given = self._ours.routes.addresses(link.index).get(link.index, frozenset())
        return Wire(link.mac, link.mtu, tuple(sorted(given)))

    def _wire(self, _short: str, _item: ServerItem) -> None:
        """Make the links of networks, and remove those of others."""
        wanted = {owner.routed_dhcp_link(server.network_id): server for server in _servers(self._wanted)}
        for link in self._links():
            server = wanted.get(link.name)
            if server is None or self._wire_at(link) != _wire_of(server) or not link.up:
                self._table.remove(link.name)
        for name, server in wanted.items():
            if self._table.find(name) is None or name not in self._table.by_name:
                self._table.kernel.remove(name)
                wire = _wire_of(server)
                self._table.kernel.add_bridge(name, wire.mac, wire.mtu)
                self._ours.switches.write({f"ipv6/conf/{name}/disable_ipv6": "0"})
                for address in wire.addresses:
                    self._table.kernel.add_address(name, address, prefix_route=address == HOP)
                self._table.kernel.change(name, alias=owner.alias(server.network_id, "dhcp", wire.digest))
        self._table.refresh(wanted)

    def _remove(self, short: str) -> None:
        self._servers.end(short)
        for link in self._links():
            self._table.remove(link.name)
        self._servers.remove(short)
        self._informed.pop(short, None)


def _servers(wanted: Wanted) -> list[Dhcp]:
    found = (item for item in wanted.of(Dhcp) if item.routed and not dnsmasq.fault(item))
    return sorted(found, key=lambda item: item.network_id)


def _wire_of(server: Dhcp) -> Wire:
    lengths = (subnet.cidr.partition("/")[2] for subnet in server.subnets)
    addresses = [f"{subnet.server}/{length}" for subnet, length in zip(server.subnets, lengths, strict=True)]
    return Wire(server.mac.lower(), server.mtu, tuple(sorted([*addresses, HOP])))
