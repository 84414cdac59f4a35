# SPDX-License-Identifier: Apache-2.0
"""From wanted values to bodies of the remote's API. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import ip_network
from typing import Any

from portico.backends.neutron.plan import Key, Rule, Wanted, seen

Ids = Mapping[Key, str]
"""The remote's ids by ours."""


def of_new(item: Wanted, ids: Ids) -> dict[str, Any]:
    """Return the body that makes an object; what it needs is there."""
    given = {**item.fixed, **item.values}
    if not given.get("binding:host_id", True):
        del given["binding:host_id"]
    body = {name: _value(item, name, value, ids) for name, value in given.items()}
    if item.key[0] == "subnet":
        body["ip_version"] = ip_network(item.fixed["cidr"]).version
        # Which IPv4 subnets must not even have.
        body = {name: value for name, value in body.items() if value is not None or not name.startswith("ipv6_")}
    return body


def of_changes(
    item: Wanted, row: Mapping[str, Any], names: Collection[str], ids: Ids, ours: Mapping[str, str]
) -> dict[str, Any]:
    """Return the body that gives the remote object `row` the wanted values of `names`."""
    body = {name: _value(item, name, item.values[name], ids) for name in names}
    if "extra_dhcp_opts" in body:
        # Options that are not named stay; a value of null takes one away.
        there = seen(row, ["extra_dhcp_opts"], ours)["extra_dhcp_opts"]
        kept = {(name, version) for name, _, version in item.values["extra_dhcp_opts"]}
        body["extra_dhcp_opts"] += [
            {"opt_name": name, "opt_value": None, "ip_version": version}
            for name, _, version in sorted(there)
            if (name, version) not in kept
        ]
    return body


def of_rules(group_id: str, rules: Collection[Rule], ids: Ids) -> list[dict[str, Any]]:
    """Return bodies of rules of the remote group `group_id`."""
    return [
        {
            "security_group_id": group_id,
            "direction": rule.direction,
            "ethertype": rule.ethertype,
            "protocol": None if rule.protocol is None else str(rule.protocol),
            "port_range_min": rule.port_min,
            "port_range_max": rule.port_max,
            "remote_ip_prefix": rule.cidr,
            "remote_group_id": ids[("security_group", rule.group)] if rule.group else None,
        }
        for rule in sorted(rules, key=repr)
    ]


def _value(item: Wanted, name: str, value: Any, ids: Ids) -> Any:
    match name:
        case "network_id":
            return ids[("network", value)]
        case "fixed_ips":
            return [_address(item, subnet, address, ids) for subnet, address in sorted(value)]
        case "security_groups":
            return [ids[("security_group", group)] for group in sorted(value)]
        case "allowed_address_pairs":
            return [{"ip_address": cidr, "mac_address": mac} for cidr, mac in sorted(value)]
        case "extra_dhcp_opts":
            return [{"opt_name": option, "opt_value": text, "ip_version": v} for option, text, v in sorted(value)]
        case "host_routes":
            return [{"destination": cidr, "nexthop": hop} for cidr, hop in sorted(value)]
        case "allocation_pools":
            return [{"start": first, "end": last} for first, last in sorted(value)]
        case "dns_nameservers":
            return list(value)
        case _:
            return value


def _address(item: Wanted, subnet: str, address: str, ids: Ids) -> dict[str, str]:
    found = {"subnet_id": ids[("subnet", subnet)]}
    return found if (subnet, address) in item.automatic else {**found, "ip_address": address}
