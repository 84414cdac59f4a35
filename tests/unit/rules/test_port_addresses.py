# SPDX-License-Identifier: Apache-2.0
"""Whatever is asked of ports, in any order: the books of addresses stay true."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_utils import netutils

from portico.errors import BadRequest, Conflict, NotFound
from portico.rules import TABLE, fixed_ip, pools
from portico.rules.context import Context, Row
from portico.store.store import Store
from portico.store.transaction import Transaction

from .conftest import Create

CIDRS = ("192.0.2.0/29", "198.51.100.0/30", "2001:db8::/125", "2001:db8:a::/64")
MACS = ("fa:16:3e:00:00:01", "fa:16:3e:00:00:02", "fa:16:3e:00:00:03")
SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}

# Mostly addresses that can be had: a request that is refused changes nothing.
near = st.one_of(
    st.integers(1, 6).map(lambda number: f"192.0.2.{number}"),
    st.integers(0, 8).map(lambda number: f"192.0.2.{number}"),
    st.integers(0, 4).map(lambda number: f"198.51.100.{number}"),
    st.integers(0, 8).map(lambda number: f"2001:db8::{number:x}"),
    st.sampled_from(MACS).map(lambda mac: str(fixed_ip.eui64(IPv6Network(CIDRS[3]), mac))),
)
items = st.one_of(
    near.map(lambda text: {"ip_address": text}),
    st.integers(0, 3).map(lambda number: {"subnet": number}),
    st.fixed_dictionaries({}, optional={"subnet": st.integers(0, 3), "ip_address": near}),
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "fixed_ips": st.lists(items, max_size=2),
        "mac_address": st.sampled_from([*MACS, None]),
        "device_owner": st.sampled_from(["", "compute:x", "network:router_interface"]),
        "binding:host_id": st.sampled_from(["h1", ""]),  # a DHCP server comes and goes, and holds addresses, too
    },
)
steps = st.lists(
    st.tuples(st.sampled_from(["create", "create", "update", "update", "delete", "merge"]), st.integers(0, 5), bodies),
    min_size=2,
    max_size=14,
)


def named(body: Row, subnets: list[Row]) -> Row:
    """Return a body with subnets by id instead of by number."""
    if "fixed_ips" not in body:
        return body
    fixed_ips = [
        {("subnet_id" if key == "subnet" else key): subnets[value]["id"] if key == "subnet" else value
         for key, value in item.items()}
        for item in body["fixed_ips"]
    ]  # fmt: skip
    return {**body, "fixed_ips": fixed_ips}


def check_books(tx: Transaction, subnets: list[Row]) -> None:
    ports = tx.find("port", network_id=subnets[0]["network_id"])
    shown = sorted((item["subnet_id"], item["ip_address"], port["id"]) for port in ports for item in port["fixed_ips"])
    table, free = tx.tables.address, tx.tables.free_range
    of_subnet = table.c.subnet_id.in_([subnet["id"] for subnet in subnets])
    held = tx.connection.execute(table.select().where(of_subnet)).all()
    assert sorted((row.subnet_id, row.ip, row.port_id) for row in held) == shown
    for subnet in subnets[:3]:
        ranges = tx.connection.execute(free.select().where(free.c.subnet_id == subnet["id"])).all()
        numbers = [n for row in ranges for n in range(int(row.first, 16), int(row.last, 16) + 1)]
        taken = {int(ip_address(row.ip)) for row in held if row.subnet_id == subnet["id"]}
        inside = {n for a, b in pools.parse(subnet["allocation_pools"]) for n in range(int(a), int(b) + 1)}
        assert sorted(numbers) == sorted(inside - taken)
    for port in ports:
        automatic = [item["ip_address"] for item in port["fixed_ips"] if item["subnet_id"] == subnets[3]["id"]]
        if port["device_owner"] not in fixed_ip.ROUTER_OWNERS:
            expected = [str(fixed_ip.eui64(IPv6Network(CIDRS[3]), port["mac_address"]))]
            assert automatic == (expected if port["fixed_ips"] else [])
        assert port["ip_allocation"] == ("immediate" if port["fixed_ips"] else "none")


def merge(tx: Transaction, context: Context, update: Create, row: Row, other: Row) -> None:
    """Give a port the IPv4 addresses of another one that goes, in one transaction."""
    if other["id"] == row["id"]:
        return
    remove = TABLE["port"].delete
    assert remove is not None
    remove(tx, context, other)
    taken = [item for item in other["fixed_ips"] if ":" not in item["ip_address"]]
    update(tx, context, "port", row, fixed_ips=[*row["fixed_ips"], *taken])
    after = tx.get("port", row["id"])
    assert after is not None and all(item in after["fixed_ips"] for item in [*row["fixed_ips"], *taken])


@settings(max_examples=80, deadline=None)
@given(steps=steps)
def test_addresses_held_free_and_shown_always_agree(
    lasting_store: Store, context: Context, create: Create, update: Create, steps: list[tuple[str, int, Row]]
) -> None:
    with lasting_store.write() as tx:
        network = create(tx, context, "network")
        subnets = [
            create(tx, context, "subnet", network_id=network["id"], cidr=cidr, ip_version=ip_network(cidr).version,
                   **(SLAAC if cidr.endswith("/64") else {}))
            for cidr in CIDRS
        ]  # fmt: skip
    ports: list[str] = []
    for verb, number, body in steps:
        port_id = ports[number % len(ports)] if ports else ""
        with suppress(BadRequest, Conflict, NotFound), lasting_store.write() as tx:
            if verb == "create":
                values: Any = {**named(body, subnets), "security_groups": []}
                ports.append(create(tx, context, "port", network_id=network["id"], **values)["id"])
            elif port_id:
                row = tx.get("port", port_id)
                assert row is not None
                if verb == "merge":
                    other = tx.get("port", ports[(number + 1) % len(ports)])
                    assert other is not None
                    merge(tx, context, update, row, other)
                    ports = [item for item in ports if item == port_id or item != other["id"]]
                elif verb == "update":
                    # Another owner would not change the addresses that are there.
                    update(tx, context, "port", row, **named({**body, "device_owner": row["device_owner"]}, subnets))
                else:
                    remove = TABLE["port"].delete
                    assert remove is not None
                    remove(tx, context, row)
                    ports.remove(port_id)
        with lasting_store.read() as tx:
            check_books(tx, subnets)


@given(mac=st.binary(min_size=6, max_size=6), prefix=st.integers(0, 2**64 - 1))
def test_automatic_addresses_are_what_others_make_of_the_same_mac_address(mac: bytes, prefix: int) -> None:
    text = ":".join(f"{octet:02x}" for octet in mac)
    cidr = IPv6Network((prefix << 64, 64))
    assert str(fixed_ip.eui64(cidr, text)) == str(ip_address(str(netutils.get_ipv6_addr_by_EUI64(str(cidr), text))))


@given(number=st.integers(0, 2**32 - 1), length=st.integers(20, 32), data=st.data())
def test_default_pools_are_every_host_but_the_gateway(number: int, length: int, data: st.DataObject) -> None:
    cidr = IPv4Network((number >> (32 - length) << (32 - length), length))
    hosts = list(cidr.hosts())
    gateway = data.draw(st.sampled_from([None, *hosts]))
    made = pools.default_pools(cidr, gateway)
    found = [n for start, end in made for n in range(int(start), int(end) + 1)]
    assert found == [int(host) for host in hosts if host != gateway]
    assert pools.check_pools(cidr, made) == made
    pools.check_gateway_outside(gateway, made)
