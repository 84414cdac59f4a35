# SPDX-License-Identifier: Apache-2.0
"""Objects that a request names: found, or refused in Neutron's words."""

from __future__ import annotations

from portico.errors import NotFound
from portico.rules.context import Context, Row
from portico.store.transaction import Transaction

# Neutron's names and texts for what is not there; every other resource follows the first pattern.
_TEXTS = {
    "bgp_peer": ("BgpPeerNotFound", "BGP peer {id} could not be found."),
    "bgp_speaker": ("BgpSpeakerNotFound", "BGP speaker {id} could not be found."),
    "default_security_group_rule": (
        "DefaultSecurityGroupRuleNotFound",
        "Default Security Group rule {id} does not exist.",
    ),
    "log": ("LogResourceNotFound", "Log resource {id} could not be found."),
    "metering_label": ("MeteringLabelNotFound", "Metering label '{id}' does not exist."),
    "metering_label_rule": ("MeteringLabelRuleNotFound", "Metering label rule '{id}' does not exist."),
    "ndp_proxy": ("NDPProxyNotFound", "Ndp proxy {id} could not be found."),
    "network_segment_range": ("NetworkSegmentRangeNotFound", "Network Segment Range {id} could not be found."),
    "policy": ("QosPolicyNotFound", "QoS policy {id} could not be found."),
    **dict.fromkeys(
        ("bandwidth_limit_rule", "dscp_marking_rule", "minimum_bandwidth_rule", "packet_rate_limit_rule"),
        ("QosRuleNotFound", "QoS rule {id} could not be found."),
    ),
    "floatingip": ("FloatingIPNotFound", "Floating IP {id} could not be found"),
    "port_forwarding": ("PortForwardingNotFound", "Port Forwarding {id} could not be found."),
    "security_group": ("SecurityGroupNotFound", "Security group {id} does not exist."),
    "security_group_rule": ("SecurityGroupRuleNotFound", "Security group rule {id} does not exist."),
    "service_profile": ("ServiceProfileNotFound", "Service Profile {id} could not be found."),
    "subnetpool": ("SubnetPoolNotFound", "Subnet pool {id} could not be found."),
}


def missing(resource: str, object_id: str) -> NotFound:
    """Return the error for an object that does not exist."""
    words = resource.replace("_", " ")
    default = (words.title().replace(" ", "") + "NotFound", words.capitalize() + " {id} could not be found.")
    type_name, text = _TEXTS.get(resource, default)
    return NotFound(text.format(id=object_id), type=type_name)


def get(tx: Transaction, resource: str, object_id: str) -> Row:
    """Return the object's row.

    Raises:
        NotFound: there is none.
    """
    row = tx.get(resource, object_id)
    if row is None:
        raise missing(resource, object_id)
    return row


def visible(tx: Transaction, context: Context, resource: str, object_id: str) -> Row:
    """Return the row of an object that a request refers to, if who asks may see it.

    Raises:
        NotFound: there is none, or none for this caller: both look the same.
    """
    row = seen(tx, context, resource, object_id)
    if row is None:
        raise missing(resource, object_id)
    return row


def seen(tx: Transaction, context: Context, resource: str, object_id: str) -> Row | None:
    """Return the object's row if there is one that who asks may see."""
    condition = context.policy.visible(tx.tables, context, resource)
    # One statement finds it and asks whether it may be seen: what may not takes as long as what is not there.
    return tx.get(resource, object_id) if condition is None else tx.get_visible(resource, object_id, condition)


def named(tx: Transaction, context: Context, resource: str, object_id: str, more: str = "") -> str:
    """Return an object as an error names it, and `more` of it; who may not see it learns but that there is one."""
    words = resource.replace("_", " ")
    if seen(tx, context, resource, object_id) is None:
        return f"a {words} of another project"
    return f"{words} {object_id}{more}"
