# SPDX-License-Identifier: Apache-2.0
"""dnsmasq's configuration for all routed networks of a host: one process for all of them. Pure. Source: dnsmasq(8).

A port there has a link of its own, and no network's link carries what clients broadcast. So each network has a link of
ours that nothing is joined to, with the server's addresses, and what arrives on ports' links is taken as if it had come
on their network's (`bridge-interface`, which is in dnsmasq for OpenStack hosts of Calico's). Clients are told an
address without neighbours, and the next hop.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from itertools import chain

from portico.agent import dnsmasq, owner
from portico.hoststate import NEXT_HOPS, Dhcp, DhcpSubnet, Lease

ROUTER_LIFETIME_S = 1800
_ALONE = "255.255.255.255"


def config(
    servers: Sequence[Dhcp],
    leases: Mapping[str, Sequence[Lease]],
    ports: Mapping[str, Sequence[str]],
    head: Sequence[str],
) -> str:
    """Return the configuration file.

    Args:
        leases: by network.
        ports: the names of our ends of the links of those who may ask, by network.
        head: the lines that any server has.
    """
    lines = [f"{dnsmasq.TITLE}{' '.join(server.network_id for server in servers)}", *head]
    for server in servers:
        link = owner.routed_dhcp_link(server.network_id)
        lines.append(f"interface={link}")
        if ports[server.network_id]:
            lines.append(f"bridge-interface={','.join((link, *ports[server.network_id]))}")
            lines += [f"interface={name}" for name in ports[server.network_id]]
        if server.domain:
            lines += [f"domain={server.domain},{subnet.cidr}" for subnet in server.subnets]
            lines.append(f"local=/{server.domain}/")
        for subnet in server.subnets:
            lines += _range(subnet)
        if any(subnet.advertise for subnet in server.subnets):
            lines.append(f"ra-param={link},mtu:{server.mtu},{dnsmasq.ADVERTISE_EVERY_S},{ROUTER_LIFETIME_S}")
    lines += chain.from_iterable(dnsmasq.tags(leases[server.network_id]) for server in servers)
    if any(subnet.advertise and subnet.mode == "dhcpv6-stateful" for server in servers for subnet in server.subnets):
        lines.append("enable-ra")
    return "\n".join(lines) + "\n"


def options(servers: Sequence[Dhcp], leases: Mapping[str, Sequence[Lease]]) -> str:
    """Return the options of subnets and of single ports."""
    lines = []
    for server in servers:
        for subnet in server.subnets:
            lines += _subnet_options(subnet, server.mtu)
        lines += dnsmasq.port_options(leases[server.network_id])
    return "".join(f"{line}\n" for line in lines)


def networks(text: str) -> list[str]:
    """Return the ids of the networks that a configuration file is for."""
    return dnsmasq.network_of(text).split()


def _range(subnet: DhcpSubnet) -> list[str]:
    """Return the range of a subnet; its prefix is on nobody's link (`off-link`)."""
    lines = dnsmasq.ranges(subnet)
    net = ipaddress.ip_network(subnet.cidr)
    if subnet.mode == "dhcpv4" or not subnet.advertise:
        return lines
    return [line.replace(f",{net.prefixlen}", f",off-link,{net.prefixlen}", 1) for line in lines]


def _subnet_options(subnet: DhcpSubnet, mtu: int) -> list[str]:
    tag = f"tag:{dnsmasq.tag_of(subnet.subnet_id)}"
    if subnet.mode != "dhcpv4":
        servers = ",".join(f"[{address}]" for address in subnet.dns_servers)
        return [f"{tag},option6:dns-server,{servers}"] if servers else []
    hop = NEXT_HOPS[4]
    lines = [f"{tag},option:netmask,{_ALONE}", f"{tag},option:mtu,{mtu}", f"{tag},option:router,{hop}"]
    lines.append(f"{tag},option:classless-static-route,{hop}/32,0.0.0.0,0.0.0.0/0,{hop}")
    if subnet.dns_servers:
        lines.append(f"{tag},option:dns-server,{','.join(subnet.dns_servers)}")
    return lines
