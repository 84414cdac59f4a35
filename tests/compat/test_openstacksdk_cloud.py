# SPDX-License-Identifier: Apache-2.0
"""openstacksdk, unmodified: its cloud layer, which Ansible's modules and many scripts are made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openstack
import pytest
from openstack.exceptions import SDKException

# What the SDK says of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]


@pytest.fixture
def cloud(endpoint: str) -> Iterator[Any]:
    connection = openstack.connect(auth_type="none", endpoint=endpoint, load_yaml_config=False)
    yield connection
    connection.close()


def test_networks_subnets_and_ports_by_their_names(cloud: Any) -> None:
    network = cloud.create_network(
        "blue", shared=True, mtu_size=1400, port_security_enabled=True, availability_zone_hints=["default"],
        provider={"network_type": "local"},
    )  # fmt: skip
    assert (network.mtu, network.is_shared, network.provider_network_type) == (1400, True, "local")
    subnet = cloud.create_subnet(
        "blue", cidr="192.0.2.0/24", subnet_name="blue4", dns_nameservers=["192.0.2.53"], gateway_ip="192.0.2.254",
        allocation_pools=[{"start": "192.0.2.10", "end": "192.0.2.20"}], enable_dhcp=True,
        host_routes=[{"destination": "198.51.100.0/24", "nexthop": "192.0.2.9"}],
    )  # fmt: skip
    port = cloud.create_port(network.id, name="web", fixed_ips=[{"ip_address": "192.0.2.15"}], admin_state_up=False)
    assert (port.name, port.is_admin_state_up, port.fixed_ips[0]["ip_address"]) == ("web", False, "192.0.2.15")
    assert [item.id for item in cloud.search_networks("blue")] == [network.id]
    assert [item.id for item in cloud.search_networks(filters={"shared": True})] == [network.id]
    assert [item.id for item in cloud.search_subnets("blue4", {"ip_version": 4})] == [subnet.id]
    assert [item.id for item in cloud.search_ports(filters={"device_owner": ""})] == [port.id]
    assert cloud.search_ports("nobody") == []
    assert cloud.update_network("blue", mtu_size=1300, shared=False).mtu == 1300
    changed = cloud.update_subnet("blue4", subnet_name="four", disable_gateway_ip=True, enable_dhcp=False)
    assert (changed.name, changed.gateway_ip, changed.is_dhcp_enabled) == ("four", None, False)
    assert cloud.update_port("web", name="www", admin_state_up=True).is_admin_state_up is True
    assert cloud.get_port("www").id == port.id
    assert cloud.get_network("blue").subnet_ids == [subnet.id]
    with pytest.raises(SDKException, match=port.id):
        cloud.delete_network("blue")
    assert cloud.delete_port("www") and cloud.delete_subnet("four") and cloud.delete_network("blue")
    assert not cloud.delete_port("www") and not cloud.delete_subnet("four") and not cloud.delete_network("blue")


def test_a_subnet_of_the_default_pool(cloud: Any) -> None:
    pool = cloud.network.create_subnet_pool(
        name="pool", prefixes=["10.0.0.0/16"], default_prefixlen=24, is_default=True
    )
    cloud.create_network("red")
    assert cloud.create_subnet("red", use_default_subnetpool=True).cidr == "10.0.0.0/24"
    cloud.delete_network("red")
    cloud.network.delete_subnet_pool(pool)


def test_security_groups_by_their_names(cloud: Any) -> None:
    group = cloud.create_security_group("web", "d", stateful=True)
    rule = cloud.create_security_group_rule(
        "web", port_range_min=80, port_range_max=81, protocol="tcp", remote_ip_prefix="192.0.2.0/24"
    )
    assert (rule.direction, rule.remote_ip_prefix) == ("ingress", "192.0.2.0/24")
    cloud.create_security_group_rule("web", remote_group_id=group.id, direction="egress", ethertype="IPv6")
    assert cloud.update_security_group("web", name="shop").name == "shop"
    assert [item.id for item in cloud.search_security_groups("shop")] == [group.id]
    assert len(cloud.get_security_group("shop").security_group_rules) == 4
    assert cloud.delete_security_group_rule(rule.id)
    assert len(cloud.get_security_group("shop").security_group_rules) == 3
    assert cloud.delete_security_group("shop") and not cloud.delete_security_group("shop")
