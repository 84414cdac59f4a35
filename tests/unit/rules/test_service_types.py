# SPDX-License-Identifier: Apache-2.0
"""Subnets that are for some kinds of ports only."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import BadRequest, Conflict
from portico.model.snapshot import DHCP_OWNER
from portico.rules import fixed_ip, lookup
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

Make = Callable[..., Row]
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
ROUTER, SERVER, OTHER = "network:router_gateway", "compute:one", "compute:two"


@pytest.fixture
def network(create: Make) -> Make:
    """Make a network with subnets, each given by its range and its service types."""

    def make(tx: Transaction, context: Context, *subnets: tuple[str, list[str]], **more: Any) -> Row:
        made = create(tx, context, "network")
        for cidr, types in subnets:
            create(tx, context, "subnet", network_id=made["id"], ip_version=ip_network(cidr).version, cidr=cidr,
                   service_types=types, **more)  # fmt: skip
        return made

    return make


@pytest.fixture
def port(create: Make) -> Make:
    def make(tx: Transaction, context: Context, network: Row, owner: str, **body: Any) -> Row:
        return create(tx, context, "port", network_id=network["id"], device_owner=owner, **body)

    return make


def cidrs(tx: Transaction, row: Row) -> list[str]:
    return [lookup.get(tx, "subnet", item["subnet_id"])["cidr"] for item in row["fixed_ips"]]


def test_types_are_kept_each_once(store: Store, context: Context, network: Make, update: Make) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", [SERVER, OTHER, SERVER]), ("198.51.100.0/24", []))
        one, two = sorted(tx.find("subnet", network_id=made["id"]), key=lambda row: str(row["cidr"]))
        assert (one["service_types"], two["service_types"]) == ([SERVER, OTHER], [])
        assert update(tx, context, "subnet", two, service_types=[ROUTER, ROUTER])["service_types"] == [ROUTER]
        assert update(tx, context, "subnet", one, service_types=[])["service_types"] == []


@pytest.mark.parametrize(
    ("types", "error"),
    [
        ("compute:one", "HTTPBadRequest"),
        ([7], "InvalidInputSubnetServiceType"),
        (["storage"], "InvalidSubnetServiceType"),
        ([""], "InvalidSubnetServiceType"),
    ],
)
def test_what_is_no_device_owner_is_refused(
    store: Store, context: Context, create: Make, types: Any, error: str
) -> None:
    with store.write() as tx:
        made = create(tx, context, "network")
        body = {"network_id": made["id"], "ip_version": 4, "cidr": "192.0.2.0/24", "service_types": types}
        with pytest.raises(BadRequest) as caught:
            create(tx, context, "subnet", **body)
    assert caught.value.type == error


def test_a_port_has_its_address_from_a_subnet_for_its_kind(
    store: Store, context: Context, network: Make, port: Make
) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", []), ("198.51.100.0/30", [SERVER]), ("203.0.113.0/24", [OTHER]))
        # Two addresses in the subnet, one of them the gateway's; then the subnet for all.
        assert [cidrs(tx, port(tx, context, made, SERVER)) for _ in range(2)] == [["198.51.100.0/30"], ["192.0.2.0/24"]]
        assert cidrs(tx, port(tx, context, made, OTHER)) == ["203.0.113.0/24"]
        assert cidrs(tx, port(tx, context, made, "")) == ["192.0.2.0/24"]


def test_without_a_subnet_for_its_kind_a_port_is_refused(
    store: Store, context: Context, create: Make, network: Make, port: Make
) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", [SERVER]), ("2001:db8::/64", [ROUTER]))
        for body in ({}, {"fixed_ips": [{"ip_address": "192.0.2.9"}]}):
            with pytest.raises(Conflict, match=f"service type {OTHER}") as caught:
                port(tx, context, made, OTHER, **body)
            assert caught.value.type == "IpAddressGenerationFailureNoMatchingSubnet"
        assert port(tx, context, made, OTHER, fixed_ips=[])["fixed_ips"] == []
        assert port(tx, context, create(tx, context, "network"), OTHER)["fixed_ips"] == []


def test_a_subnet_for_others_cannot_be_asked_for(store: Store, context: Context, network: Make, port: Make) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", [SERVER]), ("198.51.100.0/24", []))
        subnets = tx.find("subnet", network_id=made["id"])
        (reserved,) = (row["id"] for row in subnets if row["service_types"])
        for item, error in (({"subnet_id": reserved}, "InvalidInput"),
                            ({"subnet_id": reserved, "ip_address": "192.0.2.9"}, "InvalidInput"),
                            ({"ip_address": "192.0.2.9"}, "InvalidIpForNetwork")):  # fmt: skip
            with pytest.raises(BadRequest) as caught:
                port(tx, context, made, OTHER, fixed_ips=[item])
            assert caught.value.type == error
        assert cidrs(tx, port(tx, context, made, SERVER, fixed_ips=[{"ip_address": "192.0.2.9"}])) == ["192.0.2.0/24"]


def test_a_dhcp_server_is_in_every_subnet_that_it_serves(
    store: Store, context: Context, network: Make, port: Make
) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", [SERVER]))
        assert cidrs(tx, port(tx, context, made, DHCP_OWNER)) == ["192.0.2.0/24"]
        silent = network(tx, context, ("192.0.2.0/24", [SERVER]), enable_dhcp=False)
        with pytest.raises(Conflict):
            port(tx, context, silent, DHCP_OWNER)


def test_automatic_addresses_are_for_the_kind_too(
    store: Store, context: Context, create: Make, update: Make, network: Make, port: Make
) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", []))
        old, other = (port(tx, context, made, owner) for owner in (SERVER, OTHER))
        six = create(tx, context, "subnet", network_id=made["id"], ip_version=6, cidr="2001:db8::/64",
                     service_types=[SERVER], **SLAAC)  # fmt: skip
        new = port(tx, context, made, SERVER)
        ports = [lookup.get(tx, "port", row["id"]) for row in (old, new, other)]
        both = ["192.0.2.0/24", "2001:db8::/64"]
        assert [cidrs(tx, row) for row in ports] == [both, both, ["192.0.2.0/24"]]
        # What a port has it keeps, wherever the subnet is meant for now, also when its MAC address changes.
        update(tx, context, "subnet", six, service_types=[OTHER])
        moved = update(tx, context, "port", ports[0], mac_address="02:00:00:00:00:99")
        assert cidrs(tx, moved) == both and ip_address(moved["fixed_ips"][1]["ip_address"]) == fixed_ip.eui64(
            ip_network("2001:db8::/64"),  # type: ignore[arg-type]
            "02:00:00:00:00:99",
        )


def test_a_change_of_addresses_asks_for_the_kind_and_keeps_what_stays(
    store: Store, context: Context, update: Make, network: Make, port: Make
) -> None:
    with store.write() as tx:
        made = network(tx, context, ("192.0.2.0/24", [SERVER]), ("198.51.100.0/24", [OTHER]))
        row = port(tx, context, made, SERVER)
        (other,) = (item for item in tx.find("subnet", network_id=made["id"]) if item["service_types"] == [OTHER])
        with pytest.raises(BadRequest):
            update(tx, context, "port", row, fixed_ips=[*row["fixed_ips"], {"subnet_id": other["id"]}])
        (own,) = (item for item in tx.find("subnet", network_id=made["id"]) if item["id"] != other["id"])
        update(tx, context, "subnet", own, service_types=[ROUTER])
        kept = update(tx, context, "port", row, fixed_ips=row["fixed_ips"], name="same")
        assert kept["fixed_ips"] == row["fixed_ips"]
        moved = update(tx, context, "port", kept, device_owner=OTHER, fixed_ips=[{"subnet_id": other["id"]}])
        assert cidrs(tx, moved) == ["198.51.100.0/24"]


OWNERS = (ROUTER, SERVER, OTHER, "", DHCP_OWNER)
SUBNETS = st.lists(
    st.tuples(st.sampled_from((4, 6)), st.lists(st.sampled_from(OWNERS[:3]), max_size=2, unique=True), st.booleans()),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(subnets=SUBNETS, owners=st.lists(st.sampled_from(OWNERS), max_size=6))
def test_whoever_comes_has_one_address_of_each_version_where_its_kind_may(
    lasting_store: Store, context: Context, create: Make, subnets: list[tuple[int, list[str], bool]],
    owners: list[str],
) -> None:  # fmt: skip
    with lasting_store.write() as tx:
        made = create(tx, context, "network")
        rows: list[Row] = []
        for number, (version, types, served) in enumerate(subnets):
            # Three addresses each, one of them the gateway's, so that subnets run full.
            cidr = f"192.0.2.{8 * number}/30" if version == 4 else f"2001:db8::{8 * number:x}/126"
            rows.append(create(tx, context, "subnet", network_id=made["id"], ip_version=version, cidr=cidr,
                               service_types=types, enable_dhcp=served))  # fmt: skip
        room = {row["id"]: sum(int(ip_address(p["end"])) - int(ip_address(p["start"])) + 1
                               for p in row["allocation_pools"]) for row in rows}  # fmt: skip
        for owner in owners:
            mine = [row for row in rows if not row["service_types"] or owner in row["service_types"]
                    or (owner == DHCP_OWNER and row["enable_dhcp"])]  # fmt: skip
            mine.sort(key=lambda row: not row["service_types"])
            first = [next((row["id"] for row in mine if row["ip_version"] == version and room[row["id"]]), None)
                     for version in sorted({row["ip_version"] for row in mine})]  # fmt: skip
            if (rows and not mine) or None in first:
                with pytest.raises(Conflict, match="No valid service subnet" if not mine else "No more IP addresses"):
                    create(tx, context, "port", network_id=made["id"], device_owner=owner)
                return
            found = [
                item["subnet_id"]
                for item in create(tx, context, "port", network_id=made["id"], device_owner=owner)["fixed_ips"]
            ]
            assert found == first
            for subnet_id in found:
                room[subnet_id] -= 1
