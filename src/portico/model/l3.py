# SPDX-License-Identifier: Apache-2.0
"""Routers and what is theirs as typed values, and how they are read from rows in the API's shape.

A router's interfaces and gateways are ports (`device_owner`) that have its id for `device_id`. No host has those: a
router is realised wherever its networks are, the same on every host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network

import msgspec

from portico.model.address import IpAddress, IpNetwork, Row

# The words for the device owners of ports that are a router's (neutron_lib.constants).
INTERFACE_OWNER = "network:router_interface"
GATEWAY_OWNER = "network:router_gateway"
FLOATING_OWNER = "network:floatingip"
ROUTER_OWNERS = frozenset({INTERFACE_OWNER, GATEWAY_OWNER})
# The protocols of each conntrack helper: of those that Neutron allows, what kernels have by that name, and translate.
HELPERS = {"ftp": ("tcp",), "irc": ("tcp",), "sip": ("tcp", "udp"), "tftp": ("udp",)}
# Under this name the table of reasons keeps which hosts do not reach a router's gateways, or a floating IP's.
REACH = "reach"


class Gateway(msgspec.Struct, frozen=True):
    """A router's way out by an external network; `port_id` "" where the row does not tell."""

    port_id: str
    network_id: str
    enable_snat: bool


class Router(msgspec.Struct, frozen=True):
    """A router. `routes` are its extra routes: destination and next hop; `zones` are for its gateway.

    With `spreads`, connections that no route says more of are spread over all gateways; with `watches`, those whose
    next hop lives.
    """

    id: str
    name: str
    project_id: str
    admin_state_up: bool
    gateways: tuple[Gateway, ...] = ()
    routes: tuple[tuple[IpNetwork, IpAddress], ...] = ()
    zones: tuple[str, ...] = ()
    spreads: bool = False
    watches: bool = False
    answers: bool = False
    """Whether its NDP proxies are at work."""


class SubnetPool(msgspec.Struct, frozen=True):
    """What subnets are from; "" for no address scope. Addresses of one scope mean the same in all networks."""

    id: str
    scope_id: str


class FloatingIp(msgspec.Struct, frozen=True):
    """An address of an external network that stands for `fixed_address` of a port; `port_id` "" while for none."""

    id: str
    address: IpAddress
    network_id: str
    router_id: str
    port_id: str
    fixed_address: IpAddress | None
    qos_policy_id: str = ""


class PortForwarding(msgspec.Struct, frozen=True):
    """Ports of a floating IP that lead to those of a port; ranges name their first and last.

    `host_addresses` are those of the host on which the external ports are published, too.
    """

    id: str
    floatingip_id: str
    protocol: str
    external_ports: tuple[int, int]
    internal_ports: tuple[int, int]
    port_id: str
    internal_address: IpAddress
    host_addresses: tuple[str, ...] = ()


class NdpProxy(msgspec.Struct, frozen=True):
    """An IPv6 address of a port for which a router answers on its gateways' networks."""

    id: str
    router_id: str
    port_id: str
    address: IpAddress


class ConnectionReader(msgspec.Struct, frozen=True):
    """What reads along in connections to a port that go through a router."""

    id: str
    router_id: str
    protocol: str
    port: int
    helper: str


Value = Router | SubnetPool | FloatingIp | PortForwarding | NdpProxy | ConnectionReader


def _router(row: Row) -> Router:
    return Router(
        id=row["id"],
        name=row["name"] or "",
        project_id=row["project_id"] or "",
        admin_state_up=row["admin_state_up"],
        gateways=tuple(
            Gateway(item.get("port_id") or "", item["network_id"], item.get("enable_snat", True))
            for item in _gateways(row)
        ),
        routes=tuple((ip_network(item["destination"]), ip_address(item["nexthop"])) for item in row["routes"] or ()),
        zones=tuple(row.get("availability_zone_hints") or ()),
        spreads=bool(row.get("enable_default_route_ecmp")),
        watches=bool(row.get("enable_default_route_bfd")),
        answers=bool(row.get("enable_ndp_proxy")),
    )


def _gateways(row: Row) -> Iterator[Row]:
    """Yield a router's gateways: all of them, or the one that those who know of one alone are told."""
    if found := row.get("external_gateways"):
        yield from found
    elif first := row.get("external_gateway_info"):
        yield first


def _subnet_pool(row: Row) -> SubnetPool:
    return SubnetPool(id=row["id"], scope_id=row["address_scope_id"] or "")


def _floating_ip(row: Row) -> FloatingIp:
    fixed = row["fixed_ip_address"]
    return FloatingIp(
        id=row["id"],
        address=ip_address(row["floating_ip_address"]),
        network_id=row["floating_network_id"],
        router_id=row["router_id"] or "",
        port_id=row["port_id"] or "",
        fixed_address=ip_address(fixed) if fixed else None,
        qos_policy_id=row.get("qos_policy_id") or "",
    )


def _port_forwarding(row: Row) -> PortForwarding:
    return PortForwarding(
        id=row["id"],
        floatingip_id=row["floatingip_id"],
        protocol=row["protocol"],
        external_ports=_ports(row, "external_port"),
        internal_ports=_ports(row, "internal_port"),
        port_id=row["internal_port_id"],
        internal_address=ip_address(row["internal_ip_address"]),
        host_addresses=tuple(row.get("portico:host_addresses") or ()),
    )


def _ndp_proxy(row: Row) -> NdpProxy:
    return NdpProxy(row["id"], row["router_id"], row["port_id"], ip_address(row["ip_address"]))


def _conntrack_helper(row: Row) -> ConnectionReader:
    return ConnectionReader(row["id"], row["router_id"], row["protocol"], int(row["port"]), row["helper"])


def _ports(row: Row, name: str) -> tuple[int, int]:
    """Return the first and last port of a range such as "80:89", or those of the attribute for a single one."""
    first, _, last = str(row.get(f"{name}_range") or row[name]).partition(":")
    return int(first), int(last or first)


READERS: Mapping[str, Callable[[Row], Value]] = {
    "router": _router,
    "subnetpool": _subnet_pool,
    "floatingip": _floating_ip,
    "port_forwarding": _port_forwarding,
    "ndp_proxy": _ndp_proxy,
    "conntrack_helper": _conntrack_helper,
}
