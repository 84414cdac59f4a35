# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends is done or refused with an error of ours: a fault of the server is neither."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.errors import PorticoError
from portico.model.resource import Registry, Resource
from portico.rules import TABLE
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]


class Undone(Exception):
    """Ends a transaction whose writes nobody wants."""


ADDRESSES = ["192.0.2.0", "192.0.2.1", "192.0.2.9", "192.0.2.255", "0.0.0.0", "2001:db8::", "2001:db8::5", "fe80::1"]
CIDRS = ["192.0.2.0/24", "192.0.2.4/30", "192.0.2.1/32", "192.0.2.7/24", "0.0.0.0/0", "::/0", "224.0.0.0/4",
         "2001:db8::/64", "2001:db8::/127", "2001:db8::/32", "fe80::/64"]  # fmt: skip
WORDS = ["", "default", "slaac", "dhcpv6-stateful", "tcp", "icmp", "icmpv6", "any", "ingress", "egress", "IPv4", "IPv6",
         "blue", "x" * 300, "é", "fa:16:3e:00:00:01", "00:00:00:00:00:00", "network:dhcp", "normal"]  # fmt: skip
NUMBERS = [-1, 0, 1, 4, 6, 8, 24, 32, 64, 128, 129, 255, 256, 1280, 65535, 65536, 2**31, 2**63, 1.5]
PLAIN = st.sampled_from([None, True, False, *ADDRESSES, *CIDRS, *WORDS, *NUMBERS])
KEYS = st.sampled_from(["ip_address", "subnet_id", "start", "end", "destination", "nexthop", "mac_address", "opt_name",
                        "opt_value", "ip_version"])  # fmt: skip


def values(ids: list[str]) -> st.SearchStrategy[Any]:
    """Return JSON values of which many make sense somewhere; `ids` are those of objects that exist."""
    single = st.one_of(PLAIN, st.sampled_from([*ids, "00000000-0000-4000-8000-000000000000"]))
    item = st.one_of(single, st.dictionaries(KEYS, single, max_size=3))
    return st.one_of(single, st.lists(item, max_size=3), st.dictionaries(KEYS, single, max_size=2))


SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["blue", "red"]),
    "enable_dhcp": st.booleans(),
    "port_security_enabled": st.booleans(),
    "binding:host_id": st.sampled_from(["", "h1"]),
    "cidr": st.sampled_from(CIDRS),
    "prefixes": st.lists(st.sampled_from(CIDRS), min_size=1, max_size=2),
    "ip_version": st.sampled_from([4, 6]),
    "gateway_ip": st.sampled_from([None, *ADDRESSES]),
    "direction": st.sampled_from(["ingress", "egress"]),
    "ethertype": st.sampled_from(["IPv4", "IPv6"]),
    "protocol": st.sampled_from([None, "tcp", "icmp", "ipv6-icmp", "0", 255]),
    "remote_ip_prefix": st.sampled_from([None, *CIDRS]),
    "allocation_pools": st.lists(
        st.fixed_dictionaries({"start": st.sampled_from(ADDRESSES), "end": st.sampled_from(ADDRESSES)}), max_size=2
    ),
    "fixed_ips": st.lists(st.fixed_dictionaries({"ip_address": st.sampled_from(ADDRESSES)}), max_size=2),
    "allowed_address_pairs": st.lists(st.fixed_dictionaries({"ip_address": st.sampled_from(CIDRS)}), max_size=2),
    "dns_nameservers": st.lists(st.sampled_from(ADDRESSES), max_size=2),
    "host_routes": st.lists(
        st.fixed_dictionaries({"destination": st.sampled_from(CIDRS), "nexthop": st.sampled_from(ADDRESSES)}),
        max_size=2,
    ),
    "extra_dhcp_opts": st.lists(
        st.fixed_dictionaries({"opt_name": st.just("mtu"), "opt_value": PLAIN}, optional={"ip_version": PLAIN}),
        max_size=2,
    ),
    "binding:profile": st.fixed_dictionaries({}, optional={"plug": PLAIN, "tap_name": PLAIN, "make_tap": PLAIN}),
}


def bodies(resource: Resource, verb: str, ids: dict[str, str]) -> st.SearchStrategy[Row]:
    """Return bodies that are sensible but for two attributes at most: the first error ends a request."""
    sensible: dict[str, st.SearchStrategy[Any]] = {}
    odd: list[str] = []
    for attribute in resource.attributes.values():
        if not (attribute.allow_post if verb == "create" else attribute.allow_put):
            continue
        odd.append(attribute.name)
        if attribute.name in ids:
            sensible[attribute.name] = st.just(ids[attribute.name])
        elif attribute.references in ids:
            sensible[attribute.name] = st.just(ids[attribute.references])
        elif attribute.name in SENSIBLE:
            sensible[attribute.name] = SENSIBLE[attribute.name]
    required = {name for name in sensible if verb == "create" and resource.attributes[name].required}
    base = st.fixed_dictionaries(
        {name: sensible[name] for name in required},
        optional={name: strategy for name, strategy in sensible.items() if name not in required},
    )
    spoilt = st.dictionaries(st.sampled_from(odd), values(list(ids.values())), max_size=2)
    return st.tuples(base, spoilt).map(lambda parts: {**parts[0], **parts[1]})


@pytest.fixture(scope="module")
def ids(lasting_store: Store, context: Context) -> dict[str, str]:
    """One object of each kind, with an address that a port holds."""
    network: Row = {"name": "n", "project_id": "red", "admin_state_up": True, "shared": False, "dns_domain": "",
                    "port_security_enabled": True}  # fmt: skip
    made: dict[str, str] = {}

    def make(tx: Transaction, resource: str, **body: Any) -> None:
        rule = TABLE[resource].create
        assert rule is not None
        made[resource] = rule(tx, context, {"project_id": "red", **body})["id"]

    with lasting_store.write() as tx:
        make(tx, "network", **network)
        make(tx, "subnet", network_id=made["network"], cidr="192.0.2.0/24", name="", enable_dhcp=True)
        make(tx, "address_scope", name="s", ip_version=4)
        make(tx, "address_group", name="g", description="", addresses=["192.0.2.0/24"])
        make(tx, "subnetpool", name="p", prefixes=["192.0.2.0/24"])
        make(tx, "port", network_id=made["network"], name="", admin_state_up=True)
        make(tx, "security_group", name="web", stateful=True, description="")
        make(tx, "security_group_rule", security_group_id=made["security_group"], direction="ingress",
             ethertype="IPv4", protocol=None, port_range_min=None, port_range_max=None, remote_ip_prefix=None,
             remote_group_id=None, remote_address_group_id=None)  # fmt: skip
        (segment,) = tx.find("segment", network_id=made["network"])
        made["segment"] = segment["id"]
        make(tx, "default_security_group_rule", direction="ingress", ethertype="IPv4", protocol="tcp",
             port_range_min=80, port_range_max=80, remote_ip_prefix=None, remote_group_id=None,
             remote_address_group_id=None, used_in_default_sg=True, used_in_non_default_sg=False)  # fmt: skip
        make(tx, "rbac_policy", object_type="network", object_id=made["network"], action="access_as_shared",
             target_tenant="blue")  # fmt: skip
        make(tx, "trunk", name="t", port_id=made["port"], admin_state_up=True)
        make(tx, "policy", name="p", is_default=False)
        make(tx, "dscp_marking_rule", qos_policy_id=made["policy"], dscp_mark=0)
        for kind, value in (("bandwidth_limit", "max_kbps"), ("minimum_bandwidth", "min_kbps"),
                            ("minimum_packet_rate", "min_kpps"), ("packet_rate_limit", "max_kpps")):  # fmt: skip
            make(tx, f"{kind}_rule", qos_policy_id=made["policy"], direction="egress", **{value: 0})
        make(tx, "log", name="l", resource_type="security_group", resource_id=None, target_id=made["port"],
             event="ALL", enabled=True, description="")  # fmt: skip
        make(tx, "router", name="r", admin_state_up=True)
        make(tx, "service_profile", description="", driver="distributed", metainfo="", enabled=True)
        make(tx, "flavor", name="f", description="", service_type="L3_ROUTER_NAT", service_profiles=[], enabled=True)
        make(tx, "conntrack_helper", router_id=made["router"], protocol="tcp", port=21, helper="ftp")
        where = {"network_type": "vlan", "physical_network": "p", "minimum": 7, "maximum": 9}
        make(tx, "network_segment_range", name="v", shared=True, **where)
        made |= floating(tx, context, made)
        proxy = {"id": str(uuid.uuid4()), "router_id": made["router"], "port_id": made["port"], "project_id": "red"}
        made["ndp_proxy"] = tx.insert("ndp_proxy", {**proxy, "ip_address": "2001:db8::5"})["id"]
        own = {"portico:bfd": False, "portico:hosts": []}
        make(tx, "bgp_peer", name="tor", peer_ip="192.0.2.1", remote_as=65001, auth_type="md5", password="x", **own)
        own = {"portico:mode": "full-mesh", "portico:reflectors": [], "portico:communities": []}
        make(tx, "bgp_speaker", name="s", local_as=65000, ip_version=4, **own)
    return made


def floating(tx: Transaction, context: Context, made: dict[str, str]) -> dict[str, str]:
    """Make a floating IP on an external network, and a forwarding from it to the port by way of the router."""

    def make(resource: str, **body: Any) -> Row:
        rule = TABLE[resource].create
        assert rule is not None
        return rule(tx, context, {"project_id": "red", **body})

    port, router = tx.get("port", made["port"]), tx.get("router", made["router"])
    assert port is not None and router is not None
    outside = make("network", name="out", dns_domain="", port_security_enabled=True, **{"router:external": True})["id"]
    make("subnet", network_id=outside, cidr="198.51.100.0/24", name="", enable_dhcp=True)
    acts = TABLE["router"].actions
    acts["add_router_interface"](tx, context, router, {"subnet_id": made["subnet"]})
    acts["add_external_gateways"](tx, context, router, {"external_gateways": [{"network_id": outside}]})
    address = make("floatingip", floating_network_id=outside)["id"]
    here = {"internal_port_id": port["id"], "internal_ip_address": port["fixed_ips"][0]["ip_address"]}
    there = {"floatingip_id": address, "protocol": "tcp", "external_port": 80, "internal_port": 80}
    forwarding = make("port_forwarding", **there, **here)
    return {"floatingip": address, "port_forwarding": forwarding["id"], "floating_network_id": outside}


CREATED = sorted(name for name, rules in TABLE.items() if rules.create is not None)
UPDATED = sorted(name for name in CREATED if TABLE[name].update is not None)


def attempt(store: Store, act: Callable[[Transaction], Row]) -> None:
    """Do it and undo it; only an error of ours may come of it."""
    with contextlib.suppress(Undone, PorticoError), store.write() as tx:
        act(tx)
        raise Undone


@pytest.mark.parametrize("name", CREATED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_no_body_of_a_create_is_a_fault_of_the_server(
    lasting_store: Store, registry: Registry, context: Context, create: Make, ids: dict[str, str], name: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    body = data.draw(bodies(registry.resources[name], "create", ids))
    parent = registry.resources[name].parent
    inside = {registry.resources[name].parent_key: ids[parent.name]} if parent else {}
    attempt(lasting_store, lambda tx: create(tx, context, name, **body, **inside))


@pytest.mark.parametrize("name", UPDATED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_no_body_of_an_update_is_a_fault_of_the_server(
    lasting_store: Store, registry: Registry, context: Context, update: Make, ids: dict[str, str], name: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    body = data.draw(bodies(registry.resources[name], "update", ids))

    def act(tx: Transaction) -> Row:
        row = tx.get(name, ids[name])
        assert row is not None
        return update(tx, context, name, row, **body)

    attempt(lasting_store, act)
