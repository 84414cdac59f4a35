# SPDX-License-Identifier: Apache-2.0
"""Many clients at once, each a thread with the store's own transactions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from itertools import count

from portico.api import collection
from portico.api.app import Api
from portico.api.collection import Service
from portico.backends.routed import RoutedBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.errors import Conflict
from portico.model.resource import Registry
from portico.rules.context import Context, Limits
from portico.store.store import Store

CIDR = ip_network("10.0.0.0/20")
CLIENTS = 8


def test_eight_clients_fill_a_network_without_a_duplicate_or_a_gap_and_then_hear_that_it_is_full(
    store: Store, registry: Registry, make_api: Callable[[Store], Api]
) -> None:
    api = make_api(store)
    context = Context(project_id="red", is_admin=True, limits=api.limits, broker=api.broker)
    ports, subnets = registry.resources["port"], registry.resources["subnet"]
    network = collection.create(api.service, registry.resources["network"], context, {"network": {}})["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": str(CIDR)}
    collection.create(api.service, subnets, context, {"subnet": subnet})

    def allocate(number: int) -> tuple[list[str], str]:
        mine: list[str] = []
        # Every other client asks for several at once, fewer when so many are no longer to be had.
        size = 8 if number % 2 else 1
        while True:
            body = {"ports": [{"network_id": network, "security_groups": []}] * size}
            try:
                made = collection.create(api.service, ports, context, body)["ports"]
            except Conflict as error:
                if size == 1:
                    return mine, f"{error.type}: {error.message}"
                size = 1
                continue
            mine += [item["ip_address"] for port in made for item in port["fixed_ips"]]

    with ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(allocate, range(CLIENTS)))
    found = sorted(ip_address(text) for mine, _ in results for text in mine)
    assert found == list(CIDR.hosts())[1:]
    assert {error for _, error in results} == {
        f"IpAddressGenerationFailure: No more IP addresses available on network {network}. (ports[0])"
    }
    # One that is given back can be had again, and no more.
    with store.read() as tx:
        (port,) = [
            row for row in tx.find("port", network_id=network) if row["fixed_ips"][0]["ip_address"] == "10.0.7.7"
        ]
    collection.delete(api.service, ports, context, port["id"], None)
    assert allocate(0)[0] == ["10.0.7.7"]


def test_hosts_that_ask_at_once_share_no_address_and_no_block_and_leave_none_over(
    store: Store, registry: Registry
) -> None:
    hosts = HostStates()
    limits = Limits({"port": -1, "network": -1, "subnet": -1}, 1500, "fa:16:3e", "", "red", block_v4=28)
    service, broker = Service(store=store, page_max=1000), Broker(store, hosts, [RoutedBackend(hosts)])
    context = Context(project_id="red", is_admin=True, limits=limits, broker=broker)
    made = {"network": {"portico:backend": "routed"}}
    network = collection.create(service, registry.resources["network"], context, made)["network"]["id"]
    subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24", "enable_dhcp": False, "gateway_ip": None}
    collection.create(service, registry.resources["subnet"], context, {"subnet": subnet})

    def allocate(number: int) -> list[tuple[str, str]]:
        host, found = f"h{number % 5}", list[tuple[str, str]]()
        body = {"port": {"network_id": network, "security_groups": [], "binding:host_id": host}}
        for turn in count():
            try:
                port = collection.create(service, registry.resources["port"], context, body)["port"]
            except Conflict:
                return found
            if turn % 7:
                found.append((host, port["fixed_ips"][0]["ip_address"]))
            else:
                collection.delete(service, registry.resources["port"], context, port["id"], None)
        return found

    with ThreadPoolExecutor(CLIENTS) as pool:
        results = [item for mine in pool.map(allocate, range(CLIENTS)) for item in mine]
    with store.read() as tx:
        held = {ip["ip_address"] for row in tx.find("port", network_id=network) for ip in row["fixed_ips"]}
        blocks = tx.find("block", network_id=network)
    assert len(results) == len({address for _, address in results}) == len(held)
    assert {str(ip) for ip in ip_network("10.0.0.0/24").hosts()} - held == set()
    assert len({row["cidr"] for row in blocks}) == len(blocks) == 16
    owner = {row["cidr"]: row["host"] for row in blocks}
    at_home = sum(owner[str(ip_network(f"{address}/28", strict=False))] == host for host, address in results)
    assert at_home > len(results) / 2
