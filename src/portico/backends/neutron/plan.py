# SPDX-License-Identifier: Apache-2.0
"""From the wanted state to what the remote is to have, in values that can be compared with what it has. Pure.

Objects refer to each other by our ids here; `repair` turns them into the remote's. Values that the remote may write in
several ways (orders, letters, prefix lengths) stand in one way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import msgspec

from portico.model.converters import PROTOCOLS
from portico.model.snapshot import (
    DHCP_OWNER,
    ICMP,
    ICMPV6,
    IpNetwork,
    Network,
    Port,
    SecurityGroupRule,
    Snapshot,
    Subnet,
)

Row = Mapping[str, Any]
Key = tuple[str, str]
"""Resource and our id."""

COLLECTIONS = {
    "security_group": "security-groups",
    "network": "networks",
    "subnet": "subnets",
    "port": "ports",
}
"""Collections of the API, in the order in which their objects need each other."""

_AUTOMATIC = ("slaac", "dhcpv6-stateless")
"""Address modes whose addresses follow from prefix and MAC address and cannot be asked for."""


class Rule(msgspec.Struct, frozen=True):
    """A security group rule; `protocol` is a number, `group` one of our ids."""

    direction: str
    ethertype: str
    protocol: int | None
    port_min: int | None
    port_max: int | None
    cidr: str | None
    group: str | None


class Wanted(msgspec.Struct, frozen=True):
    """An object that the remote is to have. What differs in `fixed` cannot be changed: it is made anew."""

    key: Key
    fixed: Mapping[str, Any]
    values: Mapping[str, Any]
    needs: tuple[Key, ...] = ()
    rules: frozenset[Rule] = frozenset()
    automatic: frozenset[tuple[str, str]] = frozenset()
    """Of `fixed_ips`, those that the remote finds by itself as we did."""


class Signs(msgspec.Struct, frozen=True):
    """How an object of ours is known there: `TAG:ID` is its description from the start, and soon one of its tags."""

    tag: str

    def of(self, object_id: str) -> str:
        """Return the sign of one of our ids."""
        return f"{self.tag}:{object_id}"

    def read(self, row: Row) -> str:
        """Return which of our ids an object there stands for; empty if it is none of ours."""
        prefix = f"{self.tag}:"
        for text in (row.get("description") or "", *(row.get("tags") or ())):
            if text.startswith(prefix):
                return str(text[len(prefix) :])
        return ""


def wanted(want: Snapshot, signs: Signs, *, send_profile: bool) -> dict[Key, Wanted]:
    """Return all that the remote is to have, in the order in which it can be made."""
    ports = [port for port in want.ports.values() if port.device_owner != DHCP_OWNER]
    found = [
        *(_group(want, group_id, signs) for group_id in sorted(_groups(want, ports))),
        *(_network(item, signs) for item in want.networks.values()),
        *(_subnet(item, signs) for item in want.subnets.values()),
        *(_port(want, item, signs, send_profile=send_profile) for item in ports),
    ]
    return {item.key: item for item in found}


def _groups(want: Snapshot, ports: Iterable[Port]) -> set[str]:
    """Return the groups that ports have, and those that rules of these name."""
    found: set[str] = set()
    left = {group_id for port in ports for group_id in port.group_ids}
    while left:
        group_id = left.pop()
        if group_id in want.groups and group_id not in found:
            found.add(group_id)
            rules = (want.rules[rule_id] for rule_id in want.rules_of_group.get(group_id, ()))
            left |= {rule.remote_group_id for rule in rules if rule.remote_group_id}
    return found


def _group(want: Snapshot, group_id: str, signs: Signs) -> Wanted:
    rules = [want.rules[rule_id] for rule_id in want.rules_of_group.get(group_id, ())]
    values = {
        "name": signs.of(group_id),
        "description": signs.of(group_id),
        "stateful": want.groups[group_id].stateful,
    }
    return Wanted(
        ("security_group", group_id), {}, values, rules=frozenset(item for rule in rules for item in _rules(want, rule))
    )


def _rules(want: Snapshot, rule: SecurityGroupRule) -> Iterator[Rule]:
    """Yield what a rule is there: one that names an address group is a rule for each address of its IP version."""
    cidrs = [rule.remote_cidr]
    if rule.remote_address_group_id:
        group = want.address_groups.get(rule.remote_address_group_id)
        version = 4 if rule.ethertype == "IPv4" else 6
        networks = [ip_network(text, strict=False) for text in (group.cidrs if group else ())]
        cidrs = [network for network in networks if network.version == version]
    for cidr in cidrs:
        yield Rule(
            direction=rule.direction,
            ethertype=rule.ethertype,
            protocol=rule.protocol,
            port_min=rule.port_min,
            port_max=rule.port_max,
            cidr=_prefix(cidr),
            group=rule.remote_group_id,
        )


def _prefix(network: IpNetwork | None) -> str | None:
    """Return a rule's prefix; one of all addresses is none, for Neutron takes a rule with either for the same."""
    return str(network) if network is not None and network.prefixlen else None


def _network(network: Network, signs: Signs) -> Wanted:
    values = {
        "name": network.name,
        "description": signs.of(network.id),
        "admin_state_up": network.admin_state_up,
        "mtu": network.mtu,
    }
    return Wanted(("network", network.id), {}, values)


def _subnet(subnet: Subnet, signs: Signs) -> Wanted:
    fixed = {
        "network_id": subnet.network_id,
        "cidr": str(subnet.cidr),
        "ipv6_ra_mode": subnet.ra_mode,
        "ipv6_address_mode": subnet.address_mode,
    }
    values = {
        "description": signs.of(subnet.id),
        "gateway_ip": str(subnet.gateway) if subnet.gateway is not None else None,
        "enable_dhcp": subnet.enable_dhcp,
        "dns_nameservers": tuple(str(server) for server in subnet.dns_servers),
        "host_routes": frozenset((str(cidr), str(hop)) for cidr, hop in subnet.routes),
    }
    if subnet.pools:
        values["allocation_pools"] = frozenset((str(first), str(last)) for first, last in subnet.pools)
    return Wanted(("subnet", subnet.id), fixed, values, needs=(("network", subnet.network_id),))


def _port(want: Snapshot, port: Port, signs: Signs, *, send_profile: bool) -> Wanted:
    values = {
        "name": port.name,
        "description": signs.of(port.id),
        "admin_state_up": port.admin_state_up,
        "port_security_enabled": port.port_security,
        "fixed_ips": frozenset((item.subnet_id, str(item.address)) for item in port.fixed_ips),
        "security_groups": frozenset(port.group_ids),
        "allowed_address_pairs": frozenset((str(pair.cidr), pair.mac.lower()) for pair in port.pairs),
        "extra_dhcp_opts": frozenset(port.dhcp_options),
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "binding:host_id": port.host,
        "binding:vnic_type": port.vnic_type,
    }
    if send_profile:
        values["binding:profile"] = dict(port.profile)
    needs = (
        ("network", port.network_id),
        *(("subnet", item.subnet_id) for item in port.fixed_ips),
        *(("security_group", group_id) for group_id in port.group_ids),
    )
    return Wanted(
        ("port", port.id), {"network_id": port.network_id, "mac_address": port.mac.lower()}, values, needs,
        automatic=frozenset(
            (item.subnet_id, str(item.address)) for item in port.fixed_ips
            if _is_automatic(want.subnets.get(item.subnet_id), port.mac, item.address)
        ),
    )  # fmt: skip


def _is_automatic(subnet: Subnet | None, mac: str, address: object) -> bool:
    """Tell whether an address cannot be asked for, because SLAAC makes it of the MAC address (RFC 4291 appendix A)."""
    if subnet is None or subnet.address_mode not in _AUTOMATIC or not isinstance(subnet.cidr, IPv6Network):
        return False
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return address == IPv6Address(int(subnet.cidr.network_address) | int.from_bytes(interface, "big"))


def seen(row: Row, names: Iterable[str], ours: Mapping[str, str]) -> dict[str, Any]:
    """Return those attributes of a remote object in the form in which they are wanted; `ours` are our ids by theirs."""
    return {name: _READERS[name](row, ours) if name in _READERS else row.get(name) for name in names}


def seen_rules(row: Row, ours: Mapping[str, str]) -> dict[str, Rule]:
    """Return the rules of a remote security group by their ids there."""
    return {item["id"]: _seen_rule(item, ours) for item in row.get("security_group_rules") or ()}


def _seen_rule(row: Row, ours: Mapping[str, str]) -> Rule:
    group, prefix = row.get("remote_group_id"), row.get("remote_ip_prefix")
    other = row.get("remote_address_group_id")
    return Rule(
        direction=row["direction"],
        ethertype=row["ethertype"],
        protocol=_protocol(row.get("protocol"), row["ethertype"]),
        port_min=row.get("port_range_min"),
        port_max=row.get("port_range_max"),
        cidr=_prefix(ip_network(prefix, strict=False)) if prefix else None,
        group=ours.get(group, group) if group else other,
    )


def _protocol(name: object, ethertype: str) -> int | None:
    if name is None:
        return None
    text = str(name).lower()
    number = PROTOCOLS[text] if text in PROTOCOLS else int(text)
    if number == 0:
        return None
    return ICMPV6 if number == ICMP and ethertype == "IPv6" else number


def _our(name: str) -> Any:
    return lambda row, ours: ours.get(row.get(name), row.get(name))


def _text(name: str) -> Any:
    return lambda row, _ours: row.get(name) or ""


def _fixed_ips(row: Row, ours: Mapping[str, str]) -> object:
    return frozenset((ours.get(ip["subnet_id"], ip["subnet_id"]), _plain(ip["ip_address"])) for ip in row["fixed_ips"])


def _pairs(row: Row, _ours: Mapping[str, str]) -> object:
    pairs = row.get("allowed_address_pairs") or ()
    mac = row["mac_address"]
    return frozenset(
        (str(ip_network(pair["ip_address"], strict=False)), (pair.get("mac_address") or mac).lower()) for pair in pairs
    )


def _options(row: Row, _ours: Mapping[str, str]) -> object:
    options = row.get("extra_dhcp_opts") or ()
    return frozenset((item["opt_name"], str(item["opt_value"]), int(item.get("ip_version") or 4)) for item in options)


def _plain(address: str) -> str:
    return str(ip_address(address))


_READERS: Mapping[str, Any] = {
    "network_id": _our("network_id"),
    "name": _text("name"),
    "description": _text("description"),
    "device_id": _text("device_id"),
    "device_owner": _text("device_owner"),
    "binding:host_id": _text("binding:host_id"),
    "binding:profile": lambda row, _ours: row.get("binding:profile") or {},
    "stateful": lambda row, _ours: row.get("stateful", True),
    "port_security_enabled": lambda row, _ours: row.get("port_security_enabled", True),
    "mac_address": lambda row, _ours: row["mac_address"].lower(),
    "cidr": lambda row, _ours: str(ip_network(row["cidr"])),
    "gateway_ip": lambda row, _ours: _plain(row["gateway_ip"]) if row.get("gateway_ip") else None,
    "dns_nameservers": lambda row, _ours: tuple(_plain(item) for item in row.get("dns_nameservers") or ()),
    "host_routes": lambda row, _ours: frozenset(
        (str(ip_network(item["destination"])), _plain(item["nexthop"])) for item in row.get("host_routes") or ()
    ),
    "allocation_pools": lambda row, _ours: frozenset(
        (_plain(item["start"]), _plain(item["end"])) for item in row.get("allocation_pools") or ()
    ),
    "fixed_ips": _fixed_ips,
    "security_groups": lambda row, ours: frozenset(ours.get(item, item) for item in row.get("security_groups") or ()),
    "allowed_address_pairs": _pairs,
    "extra_dhcp_opts": _options,
}
