# SPDX-License-Identifier: Apache-2.0
"""The routed backend on hosts with fake kernels; host states, the agent's loop and its drivers are the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from ipaddress import ip_address

from portico.agent import owner
from portico.agent.routes import Route
from portico.backends.routed import RoutedBackend
from portico.broker.hosts import HostStates
from portico.contract import Backend
from portico.testing import nft_eval
from portico.testing.bridge_medium import FakeHostsMedium
from portico.testing.fakekernel import HOST, OURS, FakeKernel, FakeLinks, tables
from portico.testing.fakeroutes import led_over
from portico.testing.world import HOSTS
from portico.trace.packet import PORTED, Packet

DNAT = 0x20
"""The bit of connection tracking for what has another destination (IPS_DST_NAT)."""


class FakeRoutedMedium(FakeHostsMedium):
    """Two hosts and what the broker holds for them."""

    def backend(self, states: HostStates) -> Backend:
        """Return a new backend that puts what it wants into `states`."""
        return RoutedBackend(states)

    def delivers(self, packet: Packet) -> bool:
        """See Medium."""
        return any(delivers(host.kernel, packet) for host in self.hosts.values())

    def peek(self) -> Mapping[str, object]:
        """See Medium."""
        found = dict(super().peek())
        for name, host in self.hosts.items():
            for place, routes in host.kernel.routes.items():
                found |= {f"{name}/{place}/{cidr}": _by_name(host.kernel, route) for cidr, route in routes.items()}
        return found

    def plant(self) -> Set[str]:
        """See Medium. A stranger's route leads to the address that a port of ours has."""
        planted = super().plant()
        kernel = self.hosts[HOSTS[0]].kernel
        index = kernel.namespaces[HOST]["docker0"].index
        kernel.routes[HOST]["192.0.2.10/32"] = Route("192.0.2.10/32", index)
        return {f"{HOSTS[0]}/{HOST}/192.0.2.10/32", *planted}

    def spoil(self, kernel: FakeKernel, number: int) -> None:
        """Change one thing of the agent's: links, rules, routes, addresses, sysctls."""
        names = sorted(kernel.namespaces[OURS])
        name = names[number // 7 % len(names)]
        link = kernel.namespaces[OURS][name]
        match number % 7:
            case 0:
                FakeLinks(kernel, OURS).lose(name)
            case 1:
                kernel.namespaces[OURS][name] = replace(link, mtu=link.mtu - 1)
            case 2:
                del kernel.nft.tables["inet", "portico"]
                kernel.nft.generation += 1
            case 3:
                kernel.routes[OURS].popitem()
            case 4:
                kernel.routes[HOST].clear()
                FakeLinks(kernel, OURS).change(name, up=False)
            case 5:
                for addresses in kernel.addresses.values():
                    addresses.clear()
            case 6:
                for chain in tables(kernel, "inet").chains.values():
                    chain.rows = ["accept"]
                kernel.nft.generation += 1


def _by_name(kernel: FakeKernel, route: Route) -> tuple[str, str]:
    found = kernel.by_index(route.index)
    return (found[1].name if found else "", route.gateway)


def _translated(kernel: FakeKernel, packet: Packet) -> Packet:
    """Return a packet as the chain `arriving` makes it, if the rules have one."""
    table = tables(kernel, "inet")
    if "arriving" not in table.chains or packet.source.version == 6:
        return packet
    key = (packet.destination, packet.protocol, packet.high)
    if (found := table.containers["ports"].find(key)) is not None and packet.protocol in PORTED:
        address, _, port = found.partition(" . ")
        return replace(packet, destination=ip_address(address), high=int(port))
    whole = table.containers["ranges"].find(key) if packet.protocol in PORTED else None
    address = whole or table.containers["floating"].find((packet.destination,)) or ""
    return replace(packet, destination=ip_address(address)) if address else packet


def delivers(kernel: FakeKernel, packet: Packet) -> bool:
    """Return whether the routes and rules of one host deliver a packet."""
    asked, packet, ours = packet, _translated(kernel, packet), kernel.namespaces[OURS]
    near, far = (ours.get(owner.port_link(port_id)) for port_id in (packet.sender, packet.receiver))
    if near is None or far is None or not (near.up and far.up) or near.master or far.master:
        return False
    if packet.source.is_link_local or packet.destination.is_link_local:
        return False
    if led_over(kernel, OURS, packet.destination) != far.index or kernel.switches[OURS].get("ipv4/ip_forward") != "1":
        return False
    if packet.source.version == 6 and kernel.switches[OURS].get(f"ipv6/conf/{near.name}/disable_ipv6") != "0":
        return False
    seen = nft_eval.Seen(near.name, far.name, packet, status=0 if packet == asked else DNAT)
    table = tables(kernel, "inet")
    return bool(table.chains) and nft_eval.passes(table, "prerouting", seen) and nft_eval.passes(table, "forward", seen)
