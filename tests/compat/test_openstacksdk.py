# SPDX-License-Identifier: Apache-2.0
"""openstacksdk, unmodified: the calls of its network proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.exceptions import BadRequestException, ConflictException, NotFoundException, PreconditionFailedException

from .conftest import api

# What the SDK says of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]


@pytest.fixture
def sdk(endpoint: str) -> Iterator[Any]:
    connection = openstack.connect(auth_type="none", endpoint=endpoint, load_yaml_config=False)
    yield connection.network
    connection.close()


def names(found: Any) -> list[str]:
    return sorted(item.name for item in found)


def test_it_walks_pages_and_finds_by_name(sdk: Any) -> None:
    network = sdk.create_network(name="many")
    sdk.create_subnet(network_id=network.id, cidr="10.2.0.0/24", ip_version=4)
    made = {sdk.create_port(network_id=network.id, name=f"p{number}").id for number in range(7)}
    assert {port.id for port in sdk.ports(network_id=network.id, limit=3)} == made
    assert sdk.find_port("p3").id in made
    for port_id in made:
        sdk.delete_port(port_id)
    sdk.delete_network(network)
    assert sdk.find_network("many") is None


def test_it_understands_what_is_refused(sdk: Any) -> None:
    network = sdk.create_network(name="full")
    sdk.create_subnet(network_id=network.id, cidr="10.3.0.0/29", ip_version=4)
    port = sdk.create_port(network_id=network.id)
    with pytest.raises(ConflictException, match=port.id):
        sdk.delete_network(network)
    with pytest.raises(BadRequestException, match=r"10\.3\.0\.0/29"):
        sdk.create_subnet(network_id=network.id, cidr="10.3.0.0/29", ip_version=4)
    with pytest.raises(NotFoundException):
        sdk.get_port("00000000-0000-0000-0000-000000000000")
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_it_sees_quotas_agents_zones_and_extensions(sdk: Any) -> None:
    assert sdk.get_quota("default").ports == -1
    assert list(sdk.agents()) == []
    assert [zone.name for zone in sdk.availability_zones()] == ["default"]
    assert {"security-group", "port-security", "binding"} <= {extension.alias for extension in sdk.extensions()}


def test_it_binds_a_port_and_reads_how_it_is_reached(sdk: Any) -> None:
    network = sdk.create_network(name="bound")
    port = sdk.create_port(
        network_id=network.id, binding_host_id="h1", binding_profile={"plug": "tap", "tap_name": "tap-x"}
    )
    assert (port.binding_vif_type, port.binding_vif_details["tap_name"]) == ("tap", "tap-x")
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_it_moves_a_port_from_host_to_host(sdk: Any) -> None:
    network = sdk.create_network(name="moving")
    port = sdk.create_port(network_id=network.id, device_owner="compute:nova", binding_host_id="h1")
    assert port.data_plane_status is None and port.propagate_uplink_status is True
    made = sdk.create_port_binding(port, host="h2", profile={"migrating_to": "h2"})
    assert (made.status, made.vif_type, made.vif_details["tap_name"]) == ("INACTIVE", "tap", f"tap{port.id[:11]}")
    assert [item.host for item in sdk.port_bindings(port, status="ACTIVE")] == ["h1"]
    assert sdk.activate_port_binding(port, "h2").status == "ACTIVE"
    assert sdk.get_port(port).binding_host_id == "h2"
    sdk.delete_port_binding(port, "h1", ignore_missing=False)
    assert [(item.host, item.status) for item in sdk.port_bindings(port)] == [("h2", "ACTIVE")]
    with pytest.raises(NotFoundException):
        sdk.delete_port_binding(port, "h1", ignore_missing=False)
    sdk.delete_port(port)
    sdk.delete_network(network)


def test_it_names_a_networks_segment(sdk: Any) -> None:
    network = sdk.create_network(name="racks")
    (segment,) = sdk.segments(network_id=network.id)
    assert (segment.name, segment.network_type, segment.physical_network) == (None, "local", None)
    assert sdk.update_segment(segment, name="rack 1").name == "rack 1"
    assert sdk.find_segment("rack 1").id == segment.id
    with pytest.raises(ConflictException, match="cannot be deleted"):
        sdk.delete_segment(segment)
    sdk.delete_network(network)
    assert sdk.find_segment("rack 1") is None


def test_it_changes_nothing_on_the_ground_of_a_stale_revision(sdk: Any) -> None:
    network = sdk.create_network(name="old")
    changed = sdk.update_network(network.id, name="new", if_revision=network.revision_number)
    assert changed.revision_number > network.revision_number
    with pytest.raises(PreconditionFailedException, match="412"):
        sdk.update_network(network.id, name="newer", if_revision=network.revision_number)
    with pytest.raises(PreconditionFailedException, match="412"):
        sdk.delete_network(network.id, if_revision=network.revision_number)
    assert sdk.get_network(network).name == "new"
    sdk.delete_network(network.id, if_revision=changed.revision_number, ignore_missing=False)


def test_it_gives_a_port_everything(sdk: Any) -> None:
    network = sdk.create_network(name="blue", mtu=1400, is_port_security_enabled=True, dns_domain="blue.example.")
    subnet = sdk.create_subnet(network_id=network.id, cidr="192.0.2.0/24", ip_version=4, name="blue4")
    six = sdk.create_subnet(network_id=network.id, cidr="2001:db8::/64", ip_version=6, name="blue6")
    group = sdk.create_security_group(name="web", stateful=False)
    asked = {
        "name": "web",
        "description": "d",
        "is_admin_state_up": False,
        "mac_address": "fa:16:3e:01:02:03",
        "device_id": "d1",
        "device_owner": "compute:nova",
        "dns_name": "web",
        "fixed_ips": [
            {"subnet_id": subnet.id, "ip_address": "192.0.2.9"},
            {"subnet_id": six.id, "ip_address": "2001:db8::9"},
        ],
        "security_group_ids": [group.id],
        "allowed_address_pairs": [{"ip_address": "192.0.2.99", "mac_address": "fa:16:3e:01:02:03"}],
        "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1300", "ip_version": 4}],
        "binding_host_id": "h1",
        "binding_vnic_type": "normal",
        "binding_profile": {"plug": "tap"},
        "is_port_security_enabled": True,
        "propagate_uplink_status": False,
    }
    port = sdk.create_port(network_id=network.id, **asked)
    assert {name: getattr(port, name) for name in asked} == asked
    assert {item["fqdn"] for item in port.dns_assignment} == {"web.blue.example."}
    changed = sdk.update_port(port, fixed_ips=[{"subnet_id": six.id}], security_group_ids=[], allowed_address_pairs=[])
    assert [item["subnet_id"] for item in changed.fixed_ips] == [six.id]
    assert (changed.security_group_ids, changed.allowed_address_pairs) == ([], [])
    assert names(sdk.ports(device_owner="compute:nova", fixed_ips=f"subnet_id={six.id}")) == ["web"]
    assert sdk.wait_for_status(sdk.get_port(port), status="DOWN", wait=5).id == port.id
    sdk.delete_port(port, ignore_missing=False)
    sdk.wait_for_delete(port, wait=5)
    sdk.delete_port(port)
    with pytest.raises(NotFoundException):
        sdk.delete_port(port, ignore_missing=False)
    sdk.delete_network(network)
    sdk.delete_security_group(group)


def test_it_makes_many_at_once_or_none(sdk: Any) -> None:
    network = sdk.create_network(name="bulk")
    sdk.create_subnet(network_id=network.id, cidr="192.0.2.0/29", ip_version=4)
    made = list(sdk.create_ports([{"network_id": network.id, "name": f"p{number}"} for number in range(3)]))
    assert names(made) == ["p0", "p1", "p2"]
    with pytest.raises(ConflictException, match="No more IP addresses"):
        sdk.create_ports([{"network_id": network.id} for _ in range(4)])
    assert len(list(sdk.ports(network_id=network.id))) == 3
    for port in made:
        sdk.delete_port(port)
    sdk.delete_network(network)


def test_it_sets_and_filters_by_tags(sdk: Any) -> None:
    network = sdk.create_network(name="tagged")
    sdk.set_tags(network, ["a", "b"])
    sdk.add_tag(network, "c")
    sdk.remove_tag(network, "a")
    assert sorted(sdk.get_network(network).tags) == ["b", "c"]
    assert sdk.check_tag(network, "b")
    with pytest.raises(NotFoundException):
        sdk.check_tag(network, "a")
    other = sdk.create_network(name="bare")
    assert names(sdk.networks(tags="b,c")) == names(sdk.networks(any_tags="a,b")) == ["tagged"]
    assert names(sdk.networks(not_any_tags="b")) == ["bare"]
    sdk.remove_all_tags(network)
    assert sdk.get_network(network).tags == []
    for made in (network, other):
        sdk.delete_network(made)


def test_it_cuts_subnets_from_pools_of_a_scope(sdk: Any) -> None:
    scope = sdk.create_address_scope(name="inside", ip_version=4)
    pool = sdk.create_subnet_pool(
        name="pool", prefixes=["10.0.0.0/16"], default_prefixlen=24, min_prefixlen=20, address_scope_id=scope.id
    )
    network = sdk.create_network(name="cut")
    made = [sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id) for _ in range(2)]
    made.append(sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id, prefix_length=22))
    made.append(sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id, cidr="10.0.99.0/24"))
    assert [subnet.cidr for subnet in made] == ["10.0.0.0/24", "10.0.1.0/24", "10.0.4.0/22", "10.0.99.0/24"]
    assert sdk.get_network(network).ipv4_address_scope_id == scope.id
    with pytest.raises(ConflictException, match=r"10\.0\.99\.0/24"):
        sdk.create_subnet(network_id=network.id, ip_version=4, subnet_pool_id=pool.id, cidr="10.0.99.0/24")
    sdk.update_subnet_pool(pool, prefixes=["10.0.0.0/16", "10.2.0.0/16"], description="more")
    assert sdk.find_subnet_pool("pool").prefixes == ["10.0.0.0/16", "10.2.0.0/16"]
    with pytest.raises(BadRequestException, match="has existing allocations"):
        sdk.delete_subnet_pool(pool)
    sdk.delete_network(network)
    sdk.delete_subnet_pool(pool)
    sdk.delete_address_scope(scope)


def test_it_writes_rules_with_groups_of_addresses(sdk: Any) -> None:
    group = sdk.create_security_group(name="web", description="d")
    lan = sdk.create_address_group(name="lan", addresses=["192.0.2.0/24"])
    sdk.add_addresses_to_address_group(lan, ["198.51.100.0/24"])
    assert sdk.remove_addresses_from_address_group(lan, ["192.0.2.0/24"]).addresses == ["198.51.100.0/24"]
    web = {
        "security_group_id": group.id,
        "direction": "ingress",
        "protocol": "tcp",
        "port_range_min": 80,
        "port_range_max": 81,
        "remote_address_group_id": lan.id,
    }
    own = {"security_group_id": group.id, "direction": "ingress", "remote_group_id": group.id, "ether_type": "IPv6"}
    rules = list(sdk.create_security_group_rules([web, own]))
    found = {rule.id: rule for rule in sdk.security_group_rules(security_group_id=group.id, direction="ingress")}
    assert found.keys() == {rule.id for rule in rules}
    with pytest.raises(ConflictException, match=rules[0].id):
        sdk.create_security_group_rule(**web)
    with pytest.raises(BadRequestException, match="65536"):
        sdk.create_security_group_rule(**{**web, "port_range_max": 65536})
    for rule in rules:
        sdk.delete_security_group_rule(rule, ignore_missing=False)
    assert len(sdk.find_security_group("web").security_group_rules) == 2
    sdk.delete_security_group(group)
    sdk.delete_address_group(lan)


def test_it_shares_with_one_project_and_limits_another(sdk: Any) -> None:
    network = sdk.create_network(name="shared")
    policy = sdk.create_rbac_policy(
        object_type="network", object_id=network.id, action="access_as_shared", target_project_id="p2"
    )
    assert sdk.update_rbac_policy(policy, target_project_id="p3").target_project_id == "p3"
    assert [item.id for item in sdk.rbac_policies(object_type="network", target_project_id="p3")] == [policy.id]
    sdk.delete_rbac_policy(policy, ignore_missing=False)
    sdk.delete_network(network)
    assert sdk.update_quota("p1", networks=1).networks == 1
    made = sdk.create_network(name="first", project_id="p1")
    details = sdk.get_quota("p1", details=True)
    assert (details.networks["limit"], details.networks["used"]) == (1, 1)
    with pytest.raises(ConflictException, match="Quota exceeded for resources: \\['network'\\]"):
        sdk.create_network(name="second", project_id="p1")
    assert [quota.project_id for quota in sdk.quotas()] == ["p1"]
    sdk.delete_quota("p1")
    assert sdk.get_quota("p1").networks == sdk.get_quota_default("p1").networks
    sdk.delete_network(made)


def test_it_follows_the_pages_that_a_server_insists_on(tmp_path: Path) -> None:
    with api(tmp_path, "--api-page-max", "2") as url, openstack.connect(
        auth_type="none", endpoint=url, load_yaml_config=False
    ) as cloud:  # fmt: skip
        made = {cloud.network.create_network(name=f"n{number}").id for number in range(7)}
        answer = cloud.network.get("/networks", params={"limit": 50}).json()
        assert (len(answer["networks"]), answer["networks_links"][0]["rel"]) == (2, "next")
        listed = [network.id for network in cloud.network.networks()]
        assert (set(listed), len(listed)) == (made, len(made))
        assert len(list(cloud.network.networks(sort_key="name", sort_dir="desc", limit=50))) == len(made)


def test_it_sorts_and_chooses_fields(sdk: Any) -> None:
    made = [sdk.create_network(name=name, description="s") for name in ("b", "c", "a")]
    listed = sdk.networks(description="s", sort_key="name", sort_dir="desc", fields=["id", "name"], limit=2)
    assert [(item.name, item.mtu) for item in listed] == [("c", None), ("b", None), ("a", None)]
    for network in made:
        sdk.delete_network(network)


def test_it_counts_addresses(sdk: Any) -> None:
    network = sdk.create_network(name="counted")
    sdk.create_subnet(network_id=network.id, cidr="192.0.2.0/28", ip_version=4)
    port = sdk.create_port(network_id=network.id)
    (found,) = sdk.network_ip_availabilities(network_name="counted")
    assert (found.network_id, found.total_ips, found.used_ips) == (network.id, 13, 1)
    sdk.delete_port(port)
    sdk.delete_network(network)
