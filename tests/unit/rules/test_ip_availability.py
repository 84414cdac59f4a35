# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from portico.errors import NotFound
from portico.rules import ip_availability
from portico.rules.context import Context
from portico.store import allocate
from portico.store.store import Store
from portico.store.transaction import Transaction


def add_network(tx: Transaction, network_id: str, project_id: str = "red") -> None:
    tx.insert("network", {"id": network_id, "name": f"name of {network_id}", "project_id": project_id})


def add_subnet(tx: Transaction, network_id: str, subnet_id: str, cidr: str, *pools: tuple[str, str]) -> None:
    row = {
        "id": subnet_id,
        "name": f"name of {subnet_id}",
        "network_id": network_id,
        "project_id": "red",
        "cidr": cidr,
        "ip_version": ip_network(cidr).version,
        "allocation_pools": [{"start": first, "end": last} for first, last in pools],
    }
    tx.insert("subnet", row)
    allocate.set_pools(tx, subnet_id, [(ip_address(first), ip_address(last)) for first, last in pools])


@pytest.fixture
def filled(store: Store) -> Store:
    """Networks n1 (IPv4 with two pools, and IPv6), n2 (IPv4 without pools), n3 (another project's, no subnet)."""
    with store.write() as tx:
        for network_id, project_id in (("n1", "red"), ("n2", "red"), ("n3", "blue")):
            add_network(tx, network_id, project_id)
        add_subnet(tx, "n1", "s1", "192.0.2.0/24", ("192.0.2.10", "192.0.2.19"), ("192.0.2.30", "192.0.2.30"))
        add_subnet(tx, "n1", "s2", "2001:db8::/64", ("2001:db8::2", "2001:db8::ffff:ffff:ffff:ffff"))
        add_subnet(tx, "n2", "s3", "198.51.100.0/30")
        held = (("s1", "192.0.2.10"), ("s1", "192.0.2.200"), ("s2", "2001:db8::2"), ("s3", "198.51.100.1"))
        for number, (subnet_id, address) in enumerate(held):
            allocate.take(tx, subnet_id, ip_address(address))
            allocate.record(tx, subnet_id, ip_address(address), f"port-{number}")
    return store


def listed(store: Store, context: Context, **filters: Any) -> dict[str, tuple[int, int, list[str]]]:
    with store.read() as tx:
        rows = ip_availability.list_all(tx, context, **filters)
    return {
        row["network_id"]: (
            row["total_ips"],
            row["used_ips"],
            [item["subnet_id"] for item in row["subnet_ip_availability"]],
        )
        for row in rows
    }


def details(total: int, total_pools: int, used: int, used_pools: int) -> dict[str, int]:
    return {
        "total_ips_in_subnet": total,
        "total_ips_in_allocation_pool": total_pools,
        "used_ips_in_subnet": used,
        "used_ips_in_allocation_pool": used_pools,
    }


def test_totals_are_those_of_the_pools_and_uses_are_exact(filled: Store, admin: Context) -> None:
    with filled.read() as tx:
        shown = ip_availability.show(tx, admin, "n1")
    six = 2**64 - 2
    assert shown == {
        "network_id": "n1",
        "network_name": "name of n1",
        "project_id": "red",
        "tenant_id": "red",
        "total_ips": 11 + six,
        "used_ips": 3,
        "ip_availability_details": details(254 + 2**64, 11 + six, 3, 2),
        "subnet_ip_availability": [
            {
                "subnet_id": "s1",
                "subnet_name": "name of s1",
                "cidr": "192.0.2.0/24",
                "ip_version": 4,
                "total_ips": 11,
                "used_ips": 2,
                "ip_availability_details": details(254, 11, 2, 1),
            },
            {
                "subnet_id": "s2",
                "subnet_name": "name of s2",
                "cidr": "2001:db8::/64",
                "ip_version": 6,
                "total_ips": six,
                "used_ips": 1,
                "ip_availability_details": details(2**64, six, 1, 1),
            },
        ],
    }


@pytest.mark.parametrize(("cidr", "hosts"), [("192.0.2.0/30", 2), ("192.0.2.0/31", 2), ("192.0.2.0/32", 1),
                                             ("2001:db8::/127", 2)])  # fmt: skip
def test_details_count_host_addresses(store: Store, admin: Context, cidr: str, hosts: int) -> None:
    with store.write() as tx:
        add_network(tx, "n1")
        add_subnet(tx, "n1", "s1", cidr)
        shown = ip_availability.show(tx, admin, "n1")
    assert shown["ip_availability_details"] == details(hosts, 0, 0, 0)
    assert shown["subnet_ip_availability"][0]["ip_availability_details"] == details(hosts, 0, 0, 0)


def test_every_network_is_listed_also_without_subnets_or_pools(filled: Store, admin: Context) -> None:
    assert listed(filled, admin) == {
        "n1": (2**64 + 9, 3, ["s1", "s2"]),
        "n2": (4, 1, ["s3"]),
        "n3": (0, 0, []),
    }


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"network_ids": ["n2", "n3"]}, {"n2", "n3"}),
        ({"network_names": ["name of n2"]}, {"n2"}),
        ({"project_ids": ["blue"]}, {"n3"}),
        ({"project_ids": ["red"], "ip_versions": [6]}, {"n1"}),
        ({"network_ids": []}, set()),
    ],
)
def test_filters_narrow_the_list(filled: Store, admin: Context, filters: dict[str, Any], found: set[str]) -> None:
    assert set(listed(filled, admin, **filters)) == found


def test_an_ip_version_counts_its_subnets_only(filled: Store, admin: Context) -> None:
    assert listed(filled, admin, ip_versions=[4]) == {"n1": (11, 2, ["s1"]), "n2": (4, 1, ["s3"])}


def test_a_network_that_does_not_exist_is_not_found(filled: Store, admin: Context) -> None:
    with filled.read() as tx, pytest.raises(NotFound) as caught:
        ip_availability.show(tx, admin, "n9")
    assert caught.value.type == "NetworkNotFound"
