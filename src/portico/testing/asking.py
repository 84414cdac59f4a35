# SPDX-License-Identifier: Apache-2.0
"""Requests that ask for one feature each, as backends see them at admission."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from portico.contract import Change
from portico.model.qos import RULE_TYPES
from portico.testing.router_world import l3_id
from portico.testing.world import (
    PutPort,
    PutRule,
    PutSubnet,
    network_row,
    object_id,
    port_row,
    rule_row,
    subnet_row,
)

_GROUP = object_id("security_group", 0)
_ADDRESS_GROUP = object_id("address_group", 0)
_ADDRESS = [{"subnet_id": object_id("subnet", 4), "ip_address": "192.0.2.10"}]

# feature -> (resource, attribute, what is asked for besides)
_ASKING: dict[str, tuple[tuple[str, str, dict[str, Any]], ...]] = {
    "no-address": (
        ("port", "fixed_ips", {"fixed_ips": [], "binding:host_id": "host-a", "binding:profile": {"plug": ""}}),
    ),
    "port-security-off": (("port", "port_security_enabled", {"port_security_enabled": False}),),
    "address-pairs": (("port", "allowed_address_pairs", {"allowed_address_pairs": [{"ip_address": "192.0.2.99"}]}),),
    "security-groups": (("port", "security_groups", {"security_groups": [_GROUP]}),),
    "stateless-groups": (("security_group", "stateful", {"stateful": False}),),
    "remote-groups": (("security_group_rule", "remote_group_id", {"remote_group_id": _GROUP}),),
    "remote-address-groups": (
        ("security_group_rule", "remote_address_group_id", {"remote_address_group_id": _ADDRESS_GROUP}),
    ),
    "ipv4": (("subnet", "ip_version", {"ip_version": 4}),),
    "ipv6": (("subnet", "ip_version", {"ip_version": 6}),),
    "dhcp": (("subnet", "enable_dhcp", {"enable_dhcp": True}),),
    "router-advertisements": (("subnet", "ipv6_ra_mode", {"ipv6_ra_mode": "slaac"}),),
    "dhcp-options": (("port", "extra_dhcp_opts", {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1400"}]}),),
    "tap": (("port", "binding:profile", {"binding:host_id": "host-a", "binding:profile": {}}),),
    "veth": (("port", "binding:profile", {"binding:host_id": "host-a", "binding:profile": {"plug": "veth"}}),),
    "admin-state": (
        ("port", "admin_state_up", {"admin_state_up": False}),
        ("network", "admin_state_up", {"admin_state_up": False}),
    ),
    "routed-segments": (("subnet", "segment_id", {"segment_id": object_id("subnet", 4)}),),
    **{f"qos-{kind.replace('_', '-')}": (("policy", "rules", {"rules": [{"type": kind}]}),) for kind in RULE_TYPES},
    "qos-floating-ips": (("floatingip", "qos_policy_id", {"qos_policy_id": _GROUP}),),
    "interface-floating-ips": (("floatingip", "router_id", {"router_id": _GROUP, "at_interface": True}),),
    "qos-gateways": (("router", "qos_policy_id", {"qos_policy_id": _GROUP}),),
    "logging": (("log", "id", {}),),
    "metering": (("metering_label", "id", {}),),
    "conntrack-helpers": (("router", "conntrack_helpers", {"conntrack_helpers": [{"helper": "ftp"}]}),),
    "ndp-proxies": (("router", "enable_ndp_proxy", {"enable_ndp_proxy": True}),),
    "routers": (("router", "id", {}),),
    "trunks": (("trunk", "port_id", {"port_id": object_id("port", 0)}),),
    "steady-link": (("port", "propagate_uplink_status", {"propagate_uplink_status": False}),),
    "vlan-transparent": (("network", "vlan_transparent", {"vlan_transparent": True}),),
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request and the attribute by which it asks for a feature."""

    change: Change
    attribute: str


def for_feature(feature: str) -> Iterator[Request]:
    """Yield requests that need `feature` and nothing else.

    Raises:
        KeyError: the feature is new; its requests have to be added here.
    """
    for resource, attribute, asked in _ASKING[feature]:
        yield Request(Change(resource, None, {**_plain(resource), **asked}), attribute)


def for_network(*, mtu: int) -> Change:
    """Return a request for a network with an MTU in bytes."""
    return Change("network", None, network_row(object_id("network", 0), mtu=mtu))


def _plain(resource: str) -> dict[str, Any]:
    """Return an object that needs no feature."""
    match resource:
        case "network":
            return network_row(object_id("network", 0))
        case "subnet":
            return subnet_row(PutSubnet(0, 6, enable_dhcp=False))
        case "port":
            return port_row(PutPort(0, 0, host="")) | {"fixed_ips": _ADDRESS}
        case "router":
            return {"id": l3_id("router", 0), "admin_state_up": True}
        case "security_group":
            return {"id": _GROUP, "stateful": True}
        case _:
            return rule_row(PutRule(0, 0))
