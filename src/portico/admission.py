# SPDX-License-Identifier: Apache-2.0
"""Which features of `contract.FEATURES` a request needs, and its refusal when the backend declares less.

One table for all backends, so that what a backend does not declare is refused in the same words everywhere. Rows are in
the API's shape; an attribute that the API does not know yet is simply absent. May import what `contract` may.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from portico.contract import Capabilities, Change
from portico.errors import Unsupported
from portico.model.qos import RULE_TYPES

Row = Mapping[str, Any]
Test = Callable[[Row], bool]


def _has(attribute: str) -> Test:
    """Needed as soon as the attribute says anything."""
    return lambda row: bool(row.get(attribute))


def _is(attribute: str, value: object) -> Test:
    return lambda row: row.get(attribute, not value) == value


def _plugged(way: str) -> Test:
    """A port has to be plugged when it is on a host; a tap is what is meant when nothing is said."""
    return lambda row: _is_bound(row) and _profile(row).get("plug", "tap") == way


def _is_bound(row: Row) -> bool:
    return bool(row.get("binding:host_id"))


def _profile(row: Row) -> Row:
    profile: Row = row.get("binding:profile") or {}
    return profile


def _rules(kind: str) -> Test:
    """Needed as soon as a policy has a rule of a type."""
    return lambda row: any(rule["type"] == kind for rule in row["rules"])


# (resource, attribute, feature, when it is needed)
NEEDS: tuple[tuple[str, str, str, Test], ...] = (
    ("network", "admin_state_up", "admin-state", _is("admin_state_up", False)),
    ("network", "vlan_transparent", "vlan-transparent", _has("vlan_transparent")),
    *(("subnet", "ip_version", f"ipv{version}", _is("ip_version", version)) for version in (4, 6)),
    ("subnet", "enable_dhcp", "dhcp", _has("enable_dhcp")),
    ("subnet", "ipv6_ra_mode", "router-advertisements", _has("ipv6_ra_mode")),
    ("subnet", "segment_id", "routed-segments", _has("segment_id")),
    ("port", "fixed_ips", "no-address", lambda row: _is_bound(row) and row.get("fixed_ips") == []),
    ("port", "port_security_enabled", "port-security-off", _is("port_security_enabled", False)),
    ("port", "allowed_address_pairs", "address-pairs", _has("allowed_address_pairs")),
    ("port", "security_groups", "security-groups", _has("security_groups")),
    ("port", "extra_dhcp_opts", "dhcp-options", _has("extra_dhcp_opts")),
    ("port", "admin_state_up", "admin-state", _is("admin_state_up", False)),
    ("port", "propagate_uplink_status", "steady-link", _is("propagate_uplink_status", False)),
    ("port", "binding:profile", "tap", _plugged("tap")),
    ("port", "binding:profile", "veth", _plugged("veth")),
    *(("policy", "rules", f"qos-{kind.replace('_', '-')}", _rules(kind)) for kind in RULE_TYPES),
    ("floatingip", "qos_policy_id", "qos-floating-ips", _has("qos_policy_id")),
    ("floatingip", "router_id", "interface-floating-ips", _has("at_interface")),
    ("router", "qos_policy_id", "qos-gateways", _has("qos_policy_id")),
    ("router", "enable_ndp_proxy", "ndp-proxies", _has("enable_ndp_proxy")),
    ("router", "conntrack_helpers", "conntrack-helpers", _has("conntrack_helpers")),
    ("trunk", "port_id", "trunks", lambda _: True),
    ("router", "id", "routers", lambda _: True),
    ("log", "id", "logging", lambda _: True),
    ("metering_label", "id", "metering", lambda _: True),
    ("security_group", "stateful", "stateless-groups", _is("stateful", False)),
    ("security_group_rule", "remote_group_id", "remote-groups", _has("remote_group_id")),
    ("security_group_rule", "remote_address_group_id", "remote-address-groups", _has("remote_address_group_id")),
)


def refuse_undeclared(capabilities: Capabilities, change: Change) -> None:
    """Refuse a change that needs a feature which `capabilities` does not declare.

    Raises:
        Unsupported: names the object, the attribute, its value and the feature.
    """
    row = change.after
    for resource, attribute, feature, is_needed in NEEDS:
        if resource == change.resource and feature not in capabilities.features and is_needed(row):
            raise Unsupported(
                f"Invalid input for operation: {resource} {row.get('id', '')}: {attribute} {row.get(attribute)!r} "
                f"needs '{feature}', which the {capabilities.name} backend does not realise.",
                type="InvalidInput",
            )
    mtu = int(row.get("mtu") or 0) if change.resource == "network" else 0
    if mtu > capabilities.max_mtu:
        raise Unsupported(
            f"Invalid input for operation: network {row.get('id', '')}: mtu {mtu} is more than the "
            f"{capabilities.max_mtu} bytes that the {capabilities.name} backend carries.",
            type="InvalidInput",
        )
