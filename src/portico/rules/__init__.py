# SPDX-License-Identifier: Apache-2.0
"""What is not CRUD, as plain functions in one table.

May import `store`, `contract`, `model` and `errors`. A request's way: the API looks its resource up in TABLE and calls
the function of its verb inside one transaction; there are no hooks and no events besides.
"""

from __future__ import annotations

from collections.abc import Mapping

from portico.model.qos import RULE_TYPES
from portico.model.resource import Registry, Resource
from portico.rules import (
    address_group,
    address_scope,
    agent,
    bgp_peer,
    bgp_speaker,
    conntrack_helper,
    default_security_group_rule,
    extra_route,
    flavor,
    floatingip,
    log,
    metering,
    ndp_proxy,
    network,
    port,
    port_forwarding,
    qos_policy,
    qos_rule,
    rbac_policy,
    router,
    router_gateway,
    router_interface,
    security_group,
    security_group_rule,
    segment,
    segment_range,
    service,
    service_profile,
    subnet,
    subnetpool,
    trunk,
)
from portico.rules.context import Rules

TABLE: Mapping[str, Rules] = {
    "network": Rules(network.create, network.update, network.delete, network.present),
    "subnet": Rules(subnet.create, subnet.update, subnet.delete),
    "subnetpool": Rules(
        subnetpool.create,
        subnetpool.update,
        subnetpool.delete,
        subnetpool.present,
        actions={
            "add_prefixes": subnetpool.add_prefixes,
            "remove_prefixes": subnetpool.remove_prefixes,
            "onboard_network_subnets": subnetpool.onboard_network_subnets,
        },
    ),
    "port": Rules(port.create, port.update, port.delete, port.present),
    "security_group": Rules(
        security_group.create,
        security_group.update,
        security_group.delete,
        security_group.present,
        before_list=security_group.before_list,
    ),
    "security_group_rule": Rules(
        security_group_rule.create,
        delete=security_group_rule.delete,
        before_list=security_group.before_list,
        check_bulk=security_group_rule.check_bulk,
    ),
    "address_group": Rules(
        address_group.create,
        address_group.update,
        address_group.delete,
        actions={"add_addresses": address_group.add_addresses, "remove_addresses": address_group.remove_addresses},
    ),
    "address_scope": Rules(address_scope.create, address_scope.update, address_scope.delete, address_scope.present),
    "policy": Rules(qos_policy.create, qos_policy.update, qos_policy.delete, qos_policy.present),
    **{f"{kind}_rule": qos_rule.of(kind) for kind in RULE_TYPES},
    "trunk": Rules(
        trunk.create,
        trunk.update,
        trunk.delete,
        actions={
            "add_subports": trunk.add_subports,
            "remove_subports": trunk.remove_subports,
            "get_subports": trunk.get_subports,
        },
    ),
    "segment": Rules(segment.create, segment.update, segment.delete),
    "network_segment_range": Rules(
        segment_range.create,
        segment_range.update,
        segment_range.delete,
        segment_range.present,
        before_list=segment_range.before_list,
    ),
    "default_security_group_rule": Rules(default_security_group_rule.create, delete=default_security_group_rule.delete),
    "router": Rules(
        router.create,
        router.update,
        router.delete,
        router.present,
        actions={
            "add_router_interface": router_interface.add,
            "remove_router_interface": router_interface.remove,
            "add_extraroutes": extra_route.add,
            "remove_extraroutes": extra_route.remove,
            "add_external_gateways": router_gateway.add,
            "update_external_gateways": router_gateway.update,
            "remove_external_gateways": router_gateway.remove,
        },
    ),
    "flavor": Rules(flavor.create, flavor.update, flavor.delete),
    "service_profile": Rules(service_profile.create, service_profile.update, service_profile.delete),
    "floatingip": Rules(floatingip.create, floatingip.update, floatingip.delete, floatingip.present),
    "port_forwarding": Rules(port_forwarding.create, port_forwarding.update, port_forwarding.delete),
    "log": Rules(log.create, log.update, log.delete),
    "metering_label": Rules(metering.create_label, delete=metering.delete_label, present=metering.present_labels),
    "metering_label_rule": Rules(metering.create_rule, delete=metering.delete_rule),
    "metering_count": Rules(),
    "conntrack_helper": Rules(conntrack_helper.create, conntrack_helper.update, conntrack_helper.delete),
    "ndp_proxy": Rules(ndp_proxy.create, ndp_proxy.update, ndp_proxy.delete),
    "rbac_policy": Rules(rbac_policy.create, rbac_policy.update, rbac_policy.delete),
    "bgp_peer": Rules(bgp_peer.create, bgp_peer.update, bgp_peer.delete),
    "bgp_speaker": Rules(
        bgp_speaker.create,
        bgp_speaker.update,
        bgp_speaker.delete,
        actions={
            "add_bgp_peer": bgp_speaker.add_bgp_peer,
            "remove_bgp_peer": bgp_speaker.remove_bgp_peer,
            "add_gateway_network": bgp_speaker.add_gateway_network,
            "remove_gateway_network": bgp_speaker.remove_gateway_network,
            "get_advertised_routes": bgp_speaker.get_advertised_routes,
        },
    ),
    "block": Rules(),
    # What is there is listed; the rest is `api.auto_allocated`'s.
    "auto_allocated_topology": Rules(),
    "agent": Rules(update=agent.update, delete=agent.delete, present=agent.present),
}


def of(resource: Resource) -> Rules:
    """Return the rules of a resource that is served: ours are in TABLE, those of other packages follow their models."""
    return service.rules_of(resource) if resource.package else TABLE[resource.name]


def served(registry: Registry) -> list[Resource]:
    """Return the resources that have rules."""
    return [one for one in registry.resources.values() if one.name in TABLE or (one.package and one.is_stored)]
