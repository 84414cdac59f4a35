# SPDX-License-Identifier: Apache-2.0
"""What Kuryr asks of the API while Docker makes networks and runs containers, by openstacksdk.

Kuryr-libnetwork itself is not installed: it is no longer maintained and speaks through python-neutronclient. Which
objects it makes, how it names and tags them and by what it finds them again are those of its
kuryr_libnetwork/controllers.py, utils.py and constants.py. It keeps nothing itself: each of Docker's requests begins
with a search of the API. Docker's ids have 64 digits, for which a tag had no room then: each is two tags.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import openstack
import pytest
from openstack.exceptions import ConflictException

pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
DEVICE_OWNER = "kuryr:container"
EXISTING_NETWORK = "kuryr.net.existing"
UNBOUND = "kuryr-unbound-port"
HALF = 32
CIDR = "10.50.0.0/24"


def docker_id() -> str:
    return secrets.token_hex(32)


def tags_of(kind: str, identifier: str) -> list[str]:
    """Return the tags by which a network or port is found that Docker knows by this id."""
    return [f"kuryr.{kind}.uuid.lh:{identifier[:HALF]}", f"kuryr.{kind}.uuid.uh:{identifier[HALF:]}"]


@dataclass(frozen=True)
class Kuryr:
    """The plugin of one host: a method for each request of Docker's."""

    api: Any
    host: str

    def tag(self, made: Any, *tags: str) -> None:
        for tag in tags:
            self.api.add_tag(made, tag)

    def request_pool(self, cidr: str, adopted_subnet: str = "") -> str:
        """Return the id of a new pool; one for a subnet that exists is tagged with the id of that."""
        pool = self.api.create_subnet_pool(
            name=f"kuryrPool-{cidr}", prefixes=[cidr], default_prefixlen=int(cidr.split("/")[1])
        )
        if adopted_subnet:
            self.tag(pool, adopted_subnet)
        return str(pool.id)

    def create_network(self, network_id: str, cidr: str, adopted: str = "", adopted_subnet: str = "") -> None:
        tags = adopted_subnet or None
        (pool,) = self.api.subnet_pools(name=f"kuryrPool-{cidr}", **({"tags": tags} if tags else {}))
        if adopted:
            (network,) = self.api.networks(name=adopted)
            self.tag(network, EXISTING_NETWORK)
        else:
            network = self.api.create_network(name=f"kuryr-net-{network_id[:8]}", is_admin_state_up=True)
        self.tag(network, *tags_of("net", network_id))
        existing = list(self.api.subnets(network_id=network.id, cidr=cidr))
        for subnet in existing:
            self.tag(subnet, pool.id)
        if not existing:
            self.api.create_subnet(
                name=f"kuryr-subnet-{cidr}", network_id=network.id, ip_version=4, cidr=cidr, subnet_pool_id=pool.id,
                is_dhcp_enabled=False,
            )  # fmt: skip

    def network(self, network_id: str) -> Any:
        (found,) = self.api.networks(tags=",".join(tags_of("net", network_id)))
        return found

    def subnet(self, pool_id: str) -> Any:
        """Return the subnet that was cut from a pool, or else the one that is tagged with the pool's id."""
        cut = list(self.api.subnets(subnet_pool_id=pool_id))
        (found,) = cut or list(self.api.subnets(tags=pool_id))
        return found

    def request_address(self, pool_id: str, address: str = "") -> str:
        """Have a port of nobody's hold the address, which Docker tells of before it tells of the endpoint."""
        subnet = self.subnet(pool_id)
        wish = {"subnet_id": subnet.id, **({"ip_address": address} if address else {})}
        port = self.api.create_port(
            name=UNBOUND, network_id=subnet.network_id, is_admin_state_up=True, fixed_ips=[wish]
        )
        self.tag(port, DEVICE_OWNER)
        return str(port.fixed_ips[0]["ip_address"])

    def create_endpoint(self, network_id: str, endpoint_id: str, address: str) -> Any:
        (subnet,) = self.api.subnets(network_id=self.network(network_id).id)
        held = [f"subnet_id={subnet.id}", f"ip_address={address}"]
        (port,) = self.api.ports(fixed_ips=held)
        assert port.name == UNBOUND
        self.tag(port, *tags_of("port", endpoint_id))
        return self.api.update_port(
            port, name=f"{endpoint_id}-port", device_owner=DEVICE_OWNER, device_id=endpoint_id,
            binding_host_id=self.host,
        )  # fmt: skip

    def endpoint(self, endpoint_id: str) -> Any:
        """Return the port of an endpoint: tags, device and name find the same one."""
        searches = ({"tags": ",".join(tags_of("port", endpoint_id))}, {"device_id": endpoint_id})
        found = [port for search in searches for port in self.api.ports(device_owner=DEVICE_OWNER, **search)]
        found.append(self.api.find_port(f"{endpoint_id}-port", ignore_missing=False))
        (port_id,) = {port.id for port in found}
        return self.api.get_port(port_id)

    def release_address(self, pool_id: str, address: str) -> None:
        subnet = self.subnet(pool_id)
        for port in list(self.api.ports(fixed_ips=f"ip_address={address}", tags=DEVICE_OWNER)):
            if port.fixed_ips[0]["subnet_id"] == subnet.id:
                self.api.delete_port(port, ignore_missing=False)

    def delete_network(self, network_id: str) -> None:
        network = self.network(network_id)
        is_adopted = EXISTING_NETWORK in network.tags
        if is_adopted:
            for tag in (*tags_of("net", network_id), EXISTING_NETWORK):
                self.api.remove_tag(network, tag)
        for subnet in list(self.api.subnets(network_id=network.id)):
            if subnet.name.startswith("kuryr-subnet-"):
                self.api.delete_subnet(subnet, ignore_missing=False)
        if not is_adopted:
            self.api.delete_network(network, ignore_missing=False)

    def release_pool(self, pool_id: str) -> None:
        for subnet in list(self.api.subnets(tags=pool_id)):
            self.api.remove_tag(subnet, pool_id)
        self.api.delete_subnet_pool(pool_id, ignore_missing=False)

    def live(self, cidr: str, containers: int) -> list[str]:
        """Make a network, run containers on it and take all away; returns the addresses that they had."""
        pool_id, network_id = self.request_pool(cidr), docker_id()
        self.create_network(network_id, cidr)
        endpoints = {docker_id(): self.request_address(pool_id) for _ in range(containers)}
        for endpoint_id, address in endpoints.items():
            self.create_endpoint(network_id, endpoint_id, address)
        for endpoint_id, address in endpoints.items():
            port = self.endpoint(endpoint_id)
            assert (port.binding_host_id, port.fixed_ips[0]["ip_address"]) == (self.host, address)
            self.release_address(pool_id, address)
        self.delete_network(network_id)
        self.release_pool(pool_id)
        return list(endpoints.values())


@pytest.fixture
def kuryrs(endpoint: str) -> Iterator[tuple[Kuryr, Kuryr]]:
    """The plugins of two hosts on one API, of which nothing may be left."""
    clouds = [openstack.connect(auth_type="none", endpoint=endpoint, load_yaml_config=False) for _ in range(2)]
    first, second = (Kuryr(cloud.network, f"h{number}") for number, cloud in enumerate(clouds))
    yield first, second
    kinds = ("ports", "subnets", "networks", "subnet_pools")
    assert {kind: len(list(getattr(first.api, kind)())) for kind in kinds} == dict.fromkeys(kinds, 0)
    for cloud in clouds:
        cloud.close()


def test_what_kuryr_demands_of_the_server_is_there(kuryrs: tuple[Kuryr, Kuryr]) -> None:
    for alias in ("subnet_allocation", "standard-attr-tag"):
        assert kuryrs[0].api.find_extension(alias, ignore_missing=False).alias == alias


def test_a_network_of_its_own_lives_and_leaves_nothing(kuryrs: tuple[Kuryr, Kuryr]) -> None:
    assert kuryrs[0].live(CIDR, 3) == ["10.50.0.2", "10.50.0.3", "10.50.0.4"]


def test_one_host_finds_what_another_has_made(kuryrs: tuple[Kuryr, Kuryr]) -> None:
    one, other = kuryrs
    pool_id, network_id, endpoint_id = one.request_pool(CIDR), docker_id(), docker_id()
    one.create_network(network_id, CIDR)
    assert one.request_address(pool_id, "10.50.0.77") == "10.50.0.77"
    with pytest.raises(ConflictException, match=r"10\.50\.0\.77"):
        other.request_address(pool_id, "10.50.0.77")
    other.create_endpoint(network_id, endpoint_id, "10.50.0.77")
    assert one.endpoint(endpoint_id).binding_vif_type == "tap"
    with pytest.raises(ConflictException, match=one.endpoint(endpoint_id).id):
        one.delete_network(network_id)
    one.release_address(pool_id, "10.50.0.77")
    other.delete_network(network_id)
    one.release_pool(pool_id)


def test_an_adopted_network_keeps_its_subnet_its_tags_and_its_ports(kuryrs: tuple[Kuryr, Kuryr]) -> None:
    kuryr, _ = kuryrs
    network = kuryr.api.create_network(name="shop")
    subnet = kuryr.api.create_subnet(network_id=network.id, ip_version=4, cidr=CIDR)
    mine = kuryr.api.create_port(network_id=network.id, name="mine")
    for made in (network, subnet, mine):
        kuryr.tag(made, "mine")
    pool_id, network_id, endpoint_id = kuryr.request_pool(CIDR, subnet.id), docker_id(), docker_id()
    kuryr.create_network(network_id, CIDR, "shop", subnet.id)
    assert kuryr.network(network_id).id == network.id
    assert [pool.id for pool in kuryr.api.subnet_pools(tags=subnet.id)] == [pool_id]
    address = kuryr.request_address(pool_id)
    assert kuryr.create_endpoint(network_id, endpoint_id, address).network_id == network.id
    kuryr.release_address(pool_id, address)
    kuryr.delete_network(network_id)
    kuryr.release_pool(pool_id)
    assert (kuryr.api.get_network(network).tags, kuryr.api.get_subnet(subnet).tags) == (["mine"], ["mine"])
    assert [port.id for port in kuryr.api.ports(network_id=network.id)] == [mine.id]
    kuryr.api.delete_port(mine)
    kuryr.api.delete_network(network)


def test_two_at_once_do_not_tread_on_each_other(kuryrs: tuple[Kuryr, Kuryr]) -> None:
    with ThreadPoolExecutor() as threads:
        lives = [threads.submit(kuryr.live, f"10.6{kuryr.host[1:]}.0.0/28", 8) for kuryr in kuryrs]
    assert [life.result() for life in lives] == [
        [f"10.6{number}.0.{last}" for last in range(2, 10)] for number in range(2)
    ]
