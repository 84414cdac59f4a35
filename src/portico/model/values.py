# SPDX-License-Identifier: Apache-2.0
"""What is wanted as typed values, and how they are read from rows in the API's shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from portico.model import l3, log, metering, qos, speaker, trunk
from portico.model.address import IpAddress, IpNetwork, Row
from portico.model.converters import PROTOCOLS

ICMP, ICMPV6 = 1, 58

# The snapshot's words for the device owner that the store gives to DHCP server ports.
DHCP_OWNER = "network:dhcp"
# The binding:vif_type of a port, or of one of its bindings, that no host has.
UNBOUND = "unbound"
# The binding:vif_type of a port that names a host which cannot have it: it is wanted nowhere.
BINDING_FAILED = "binding_failed"
# No link carries less (RFC 791 section 3.2; ETH_MIN_MTU in the kernel's if_ether.h), whatever a network wishes for.
MIN_MTU = 68
# The facts by which an agent tells at which addresses other hosts reach its host.
HOST_ADDRESSES = ("address_v4", "address_v6")
# What it tells of its host's physical networks: their interfaces by name (the word of Neutron's Linux bridge agent).
INTERFACES = "interface_mappings"


class Network(msgspec.Struct, frozen=True):
    """A network; `mtu` in bytes, at least MIN_MTU. `backend` is the name of the one that realises it.

    `external`: it is a way out for routers (router:external).
    """

    id: str
    project_id: str
    name: str
    mtu: int
    admin_state_up: bool
    network_type: str
    physical_network: str | None
    segmentation_id: int | None
    dns_domain: str
    backend: str = ""
    external: bool = False
    qos_policy_id: str = ""


class Subnet(msgspec.Struct, frozen=True):
    """A subnet. `ra_mode`, `address_mode`, `pools`: Neutron's ipv6_ra_mode, ipv6_address_mode, allocation_pools.

    `pool_id` names the subnet pool that it is from, "" for none.
    """

    id: str
    network_id: str
    cidr: IpNetwork
    gateway: IpAddress | None
    enable_dhcp: bool
    dns_servers: tuple[IpAddress, ...]
    routes: tuple[tuple[IpNetwork, IpAddress], ...]
    ra_mode: str | None
    address_mode: str | None
    pools: tuple[tuple[IpAddress, IpAddress], ...] = ()
    pool_id: str = ""


class FixedIp(msgspec.Struct, frozen=True):
    """An address of a port."""

    subnet_id: str
    address: IpAddress


class AddressPair(msgspec.Struct, frozen=True):
    """What a port may send from besides its own addresses."""

    mac: str
    cidr: IpNetwork


class Standby(msgspec.Struct, frozen=True):
    """A host that is ready for a port which another one has, until the port's binding there is made active."""

    host: str
    profile: Mapping[str, Any]


class Port(msgspec.Struct, frozen=True):
    """A port. `host` is "" while unbound; `profile` is binding:profile; `steady` is no propagate_uplink_status."""

    id: str
    project_id: str
    network_id: str
    name: str
    mac: str
    fixed_ips: tuple[FixedIp, ...]
    admin_state_up: bool
    port_security: bool
    group_ids: tuple[str, ...]
    pairs: tuple[AddressPair, ...]
    host: str
    profile: Mapping[str, Any]
    vnic_type: str
    device_owner: str
    device_id: str
    dns_name: str
    dns_domain: str
    dhcp_options: tuple[tuple[str, str, int], ...]
    standbys: tuple[Standby, ...] = ()
    steady: bool = False
    qos_policy_id: str = ""
    trunk_id: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that must have the port: the one that it is bound to, and those ready for it."""
        return tuple(host for host in (self.host, *(item.host for item in self.standbys)) if host)

    def on(self, host: str) -> Port:
        """Return the port as one of its `hosts` has it; where it is not active, no packet passes."""
        for item in self.standbys:
            if item.host == host:
                return msgspec.structs.replace(self, host=host, profile=item.profile, admin_state_up=False, standbys=())
        return self

    @property
    def plug(self) -> str:
        """How the port's consumer takes it: by tap (a hypervisor) or by veth (a container engine)."""
        return str(self.profile.get("plug", "tap"))

    @property
    def cidrs(self) -> tuple[str, ...]:
        """What the port adds to a group as members: its addresses and those of its address pairs."""
        addresses = (f"{item.address}/{item.address.max_prefixlen}" for item in self.fixed_ips)
        return tuple(dict.fromkeys((*addresses, *(str(pair.cidr) for pair in self.pairs))))


class SecurityGroup(msgspec.Struct, frozen=True):
    """A security group."""

    id: str
    project_id: str
    stateful: bool


class SecurityGroupRule(msgspec.Struct, frozen=True):
    """A rule of a security group; `protocol` is a number (ICMPv6 is 58 however it was given), None for any."""

    id: str
    group_id: str
    direction: str
    ethertype: str
    protocol: int | None
    port_min: int | None
    port_max: int | None
    remote_cidr: IpNetwork | None
    remote_group_id: str | None
    remote_address_group_id: str | None


class AddressGroup(msgspec.Struct, frozen=True):
    """An address group; `cidrs` as text: they go to the filter as they are."""

    id: str
    cidrs: tuple[str, ...]


class Host(msgspec.Struct, frozen=True):
    """A host as its agent tells of it, whose id it has: `addresses` are those that other hosts reach it at.

    `zone` is the availability zone that it is in.
    """

    id: str
    name: str
    addresses: tuple[IpAddress, ...]
    physical_networks: frozenset[str] = frozenset()
    zone: str = ""


class Block(msgspec.Struct, frozen=True):
    """A range of a routed subnet that a host's ports have their addresses of."""

    id: str
    subnet_id: str
    host: str
    cidr: IpNetwork


class ServiceObject(msgspec.Struct, frozen=True):
    """An object of another package's resource; `attributes` are those that its model stores and somebody wrote."""

    resource: str
    id: str
    attributes: Row


Value = (
    Network
    | Subnet
    | Port
    | SecurityGroup
    | SecurityGroupRule
    | AddressGroup
    | speaker.BgpSpeaker
    | speaker.BgpPeer
    | Host
    | Block
    | l3.Value
    | qos.Value
    | trunk.Value
    | metering.Value
    | log.Value
    | ServiceObject
)


# What changes without anybody wanting something else.
_BOOKKEEPING = frozenset({"id", "status", "revision_number", "created_at", "updated_at"})


def _network(row: Row) -> Network:
    return Network(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"] or "",
        mtu=max(row["mtu"], MIN_MTU),
        admin_state_up=row["admin_state_up"],
        network_type=row["provider:network_type"] or "",
        physical_network=row["provider:physical_network"],
        segmentation_id=row["provider:segmentation_id"],
        dns_domain=row.get("dns_domain") or "",
        backend=row.get("portico:backend") or "",
        external=bool(row.get("router:external")),
        qos_policy_id=row.get("qos_policy_id") or "",
    )


def _subnet(row: Row) -> Subnet:
    return Subnet(
        id=row["id"],
        network_id=row["network_id"],
        cidr=ip_network(row["cidr"]),
        gateway=ip_address(row["gateway_ip"]) if row["gateway_ip"] else None,
        enable_dhcp=row["enable_dhcp"],
        dns_servers=tuple(ip_address(server) for server in row["dns_nameservers"]),
        routes=tuple((ip_network(r["destination"]), ip_address(r["nexthop"])) for r in row["host_routes"]),
        ra_mode=row["ipv6_ra_mode"],
        address_mode=row["ipv6_address_mode"],
        pools=tuple((ip_address(p["start"]), ip_address(p["end"])) for p in row.get("allocation_pools") or ()),
        pool_id=row.get("subnetpool_id") or "",
    )


def _port(row: Row) -> Port:
    mac = row["mac_address"]
    return Port(
        id=row["id"],
        project_id=row["project_id"],
        network_id=row["network_id"],
        name=row["name"] or "",
        mac=mac,
        fixed_ips=tuple(FixedIp(ip["subnet_id"], ip_address(ip["ip_address"])) for ip in row["fixed_ips"]),
        admin_state_up=row["admin_state_up"],
        port_security=row["port_security_enabled"],
        group_ids=tuple(row["security_groups"]),
        pairs=tuple(
            AddressPair(pair.get("mac_address") or mac, ip_network(pair["ip_address"], strict=False))
            for pair in row["allowed_address_pairs"]
        ),
        host=(row["binding:host_id"] or "") if row.get("binding:vif_type") != BINDING_FAILED else "",
        profile=row["binding:profile"] or {},
        vnic_type=row["binding:vnic_type"],
        device_owner=row["device_owner"] or "",
        device_id=row["device_id"] or "",
        dns_name=row.get("dns_name") or "",
        dns_domain=row.get("dns_domain") or "",
        dhcp_options=tuple(
            (option["opt_name"], str(option["opt_value"]), int(option.get("ip_version") or 4))
            for option in row["extra_dhcp_opts"]
        ),
        standbys=tuple(
            Standby(item["host"], item["profile"])
            for item in row.get("inactive_bindings") or ()
            if item["vif_type"] != UNBOUND
        ),
        steady=row.get("propagate_uplink_status") is False,
        qos_policy_id=row.get("qos_policy_id") or "",
        trunk_id=row.get("trunk_id") or "",
    )


def _security_group(row: Row) -> SecurityGroup:
    return SecurityGroup(id=row["id"], project_id=row["project_id"], stateful=row["stateful"])


def _security_group_rule(row: Row) -> SecurityGroupRule:
    prefix = row["remote_ip_prefix"]
    return SecurityGroupRule(
        id=row["id"],
        group_id=row["security_group_id"],
        direction=row["direction"],
        ethertype=row["ethertype"],
        protocol=_protocol(row),
        port_min=row["port_range_min"],
        port_max=row["port_range_max"],
        remote_cidr=ip_network(prefix, strict=False) if prefix else None,
        remote_group_id=row["remote_group_id"],
        remote_address_group_id=row["remote_address_group_id"],
    )


def _address_group(row: Row) -> AddressGroup:
    return AddressGroup(id=row["id"], cidrs=tuple(row["addresses"]))


def _host(row: Row) -> Host:
    told = row["configurations"] or {}
    return Host(
        id=row["id"],
        name=row["host"],
        addresses=tuple(_addresses(told.get(name) for name in HOST_ADDRESSES)),
        physical_networks=frozenset(told.get(INTERFACES) or ()),
        zone=row.get("availability_zone") or "",
    )


def _block(row: Row) -> Block:
    return Block(id=row["id"], subnet_id=row["subnet_id"], host=row["host"], cidr=ip_network(row["cidr"]))


def _addresses(texts: Iterable[str | None]) -> Iterator[IpAddress]:
    """Yield those of what an agent tells that are addresses."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield ip_address(text or "")


def _protocol(row: Row) -> int | None:
    name = row["protocol"]
    if name is None:
        return None
    number = PROTOCOLS[name] if name in PROTOCOLS else int(name)
    if number == 0:
        # As Neutron's drivers read it; an IPv6 header of that number (hop-by-hop options) is no transport to match.
        return None
    return ICMPV6 if number == ICMP and row["ethertype"] == "IPv6" else number


READERS: Mapping[str, Callable[[Row], Value]] = {
    "network": _network,
    "subnet": _subnet,
    "port": _port,
    "security_group": _security_group,
    "security_group_rule": _security_group_rule,
    "address_group": _address_group,
    **speaker.READERS,
    "agent": _host,
    "block": _block,
    **l3.READERS,
    **qos.READERS,
    **trunk.READERS,
    **metering.READERS,
    **log.READERS,
}
RESOURCES = tuple(READERS)


def read(resource: str, row: Row) -> Value:
    """Return the object that `row` (in the API's shape) describes."""
    if resource in READERS:
        return READERS[resource](row)
    return ServiceObject(resource, row["id"], {name: row[name] for name in row if name not in _BOOKKEEPING})
