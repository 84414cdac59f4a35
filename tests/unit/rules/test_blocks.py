# SPDX-License-Identifier: Apache-2.0
"""Blocks of routed subnets: which host's ports get which addresses."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.errors import Conflict
from portico.rules import TABLE, agent
from portico.rules.context import Context
from portico.store.blocks import _gap
from portico.store.store import Store
from portico.store.transaction import Transaction
from portico.testing.statements import asked

Row = dict[str, Any]
Create = Callable[..., Row]


class Net:
    """A network with a subnet in one transaction, whose blocks are of four addresses."""

    def __init__(self, tx: Transaction, context: Context, create: Create, cidr: str, backend: str = "routed") -> None:
        limits = msgspec.structs.replace(context.limits, block_v4=30, block_v6=126)
        self.tx, self.context, self._create = tx, msgspec.structs.replace(context, limits=limits), create
        self.network = create(tx, self.context, "network", **{"portico:backend": backend})
        version = ip_network(cidr).version
        body = {"cidr": cidr, "ip_version": version, "enable_dhcp": False, "gateway_ip": None}
        self.subnet = create(tx, self.context, "subnet", network_id=self.network["id"], **body)

    def port(self, host: str, **body: Any) -> Row:
        return self._create(
            self.tx, self.context, "port", network_id=self.network["id"], **{"binding:host_id": host}, **body
        )

    def address(self, host: str, **body: Any) -> str:
        return str(self.port(host, **body)["fixed_ips"][0]["ip_address"])

    def delete(self, resource: str, row: Row) -> None:
        rule = TABLE[resource].delete
        assert rule is not None
        fresh = self.tx.get(resource, row["id"])
        assert fresh is not None
        rule(self.tx, self.context, fresh)

    @property
    def blocks(self) -> list[tuple[str, str]]:
        return sorted((row["cidr"], row["host"]) for row in self.tx.find("block", network_id=self.network["id"]))


def test_a_host_fills_its_blocks_before_it_takes_another_and_borrows_when_none_is_free(
    store: Store, admin: Context, create: Create
) -> None:
    with store.write() as tx:
        net = Net(tx, admin, create, "192.0.2.0/28")
        assert [net.address("h1") for _ in range(3)] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        assert net.address("h2") == "192.0.2.4"
        assert net.address("h1") == "192.0.2.8"
        assert net.address("h3") == "192.0.2.12"
        owned = [("192.0.2.0/30", "h1"), ("192.0.2.12/30", "h3"), ("192.0.2.4/30", "h2"), ("192.0.2.8/30", "h1")]
        assert net.blocks == owned
        borrowed = net.address("h4")
        assert ip_address(borrowed) in ip_network("192.0.2.0/28")
        assert net.blocks == owned
        for _ in range(7):
            net.address("h2")
        with pytest.raises(Conflict, match="No more IP addresses"):
            net.address("h2")
        assert len(tx.find("port", network_id=net.network["id"])) == 14, "no address is left over"


def test_a_block_goes_with_its_last_port_and_the_last_block_when_another_host_needs_it(
    store: Store, admin: Context, create: Create
) -> None:
    with store.write() as tx:
        net = Net(tx, admin, create, "192.0.2.0/29")
        first = [net.port("h1") for _ in range(3)]
        other = net.port("h1", fixed_ips=[{"ip_address": "192.0.2.5"}])
        assert net.blocks == [("192.0.2.0/30", "h1")]
        more = net.port("h1")
        assert net.blocks == [("192.0.2.0/30", "h1"), ("192.0.2.4/30", "h1")]
        net.delete("port", more)
        assert len(net.blocks) == 2, "a port has an address of it still"
        net.delete("port", other)
        assert net.blocks == [("192.0.2.0/30", "h1")]
        net.address("h2")
        for port in first:
            net.delete("port", port)
        assert net.blocks == [("192.0.2.0/30", "h1"), ("192.0.2.4/30", "h2")]
        assert ip_address(net.address("h3")) in IPv4Network("192.0.2.0/30")
        assert net.blocks == [("192.0.2.0/30", "h3"), ("192.0.2.4/30", "h2")]


def test_only_bound_ports_of_routed_networks_bring_blocks_about(store: Store, admin: Context, create: Create) -> None:
    with store.write() as tx:
        bridged = Net(tx, admin, create, "192.0.2.0/28", backend="bridge")
        assert bridged.address("h1") == "192.0.2.1"
        routed = Net(tx, admin, create, "198.51.100.0/28")
        unbound = routed.port("")
        assert (bridged.blocks, routed.blocks) == ([], [])
        sixth = Net(tx, admin, create, "2001:db8::/64")
        assert sixth.address("h1") == "2001:db8::1"
        assert sixth.blocks == [("2001:db8::/126", "h1")]
        small = Net(tx, admin, create, "203.0.113.8/31")
        small.address("h1")
        assert small.blocks == [("203.0.113.8/31", "h1")]
        routed.delete("port", unbound)
        routed.port("h1")
        for row in tx.find("port", network_id=routed.network["id"]):
            routed.delete("port", row)
        routed.delete("network", routed.network)
        assert routed.blocks == []


@pytest.mark.parametrize("length", [32, 24])
def test_a_length_of_32_makes_no_blocks_and_one_beyond_the_subnet_one_of_it_all(
    store: Store, admin: Context, create: Create, length: int
) -> None:
    with store.write() as tx:
        net = Net(tx, admin, create, "192.0.2.0/28")
        limits = msgspec.structs.replace(net.context.limits, block_v4=length)
        net.context = msgspec.structs.replace(net.context, limits=limits)
        assert net.address("h1") == "192.0.2.1"
        assert net.blocks == ([] if length == 32 else [("192.0.2.0/28", "h1")])


RANGES = st.lists(st.integers(0, 200), unique=True, max_size=16).map(sorted).map(
    lambda ends: list(zip(ends[::2], ends[1::2], strict=False))
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(RANGES, RANGES, st.sampled_from([1, 2, 4, 8, 16]))
def test_the_first_gap_is_what_a_look_at_every_range_finds(
    free: list[tuple[int, int]], taken: list[tuple[int, int]], size: int
) -> None:
    def meets(start: int, ranges: list[tuple[int, int]]) -> bool:
        return any(first <= start + size - 1 and last >= start for first, last in ranges)

    expected = (start for start in range(0, 201, size) if meets(start, free) and not meets(start, taken))
    assert _gap(free, taken, size) == next(expected, None)


def test_blocks_without_ports_go_with_their_host_s_agent_and_all_with_the_routes(
    store: Store, admin: Context, create: Create, update: Create
) -> None:
    with store.write() as tx:
        net = Net(tx, admin, create, "192.0.2.0/28")
        idle, used = net.port("h1"), net.port("h2")
        agents = [agent.heartbeat(tx, host, "Portico agent", "portico-agent", {}, time.time()) for host in ("h1", "h2")]
        net.delete("port", idle)
        assert net.blocks == [("192.0.2.0/30", "h1"), ("192.0.2.4/30", "h2")]
        for agent_id in agents:
            net.delete("agent", {"id": agent_id})
        assert net.blocks == [("192.0.2.4/30", "h2")]
        net.delete("port", used)
        assert net.blocks == [("192.0.2.4/30", "h2")]
        network = tx.get("network", net.network["id"])
        update(tx, net.context, "network", network, **{"portico:backend": "bridge"})
        assert net.blocks == []


def test_a_port_of_a_block_asks_the_database_once_for_its_address_and_once_at_its_end(
    store: Store, admin: Context, create: Create
) -> None:
    counts = {}
    for backend, cidr in (("bridge", "192.0.2.0/28"), ("routed", "198.51.100.0/28")):
        with store.write() as tx:
            net = Net(tx, admin, create, cidr, backend)
            net.port("h1")
            tx.settle()
            with asked(store) as making:
                port = net.port("h1", fixed_ips=[{"subnet_id": net.subnet["id"]}])
                tx.settle()
            with asked(store) as ending:
                net.delete("port", port)
                tx.settle()
        counts[backend] = len(making), len(ending)
    made, ended = counts["bridge"]
    assert counts["routed"] == (made - 1, ended + 1), "a block has no cursor to move, but may be one too many"
