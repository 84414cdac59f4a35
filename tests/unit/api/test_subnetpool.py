# SPDX-License-Identifier: Apache-2.0
"""Subnet pools through HTTP: what is done with one besides the verbs."""

from __future__ import annotations

from .asker import Asker


def test_prefixes_come_and_go(api: Asker) -> None:
    pool = api.create("subnetpools", name="p", prefixes=["192.0.2.0/24"])
    path = f"subnetpools/{pool['id']}"
    answer = api.ask("PUT", f"{path}/add_prefixes", {"prefixes": ["198.51.100.0/24"]})
    assert (answer.status, answer.body) == (200, {"prefixes": ["192.0.2.0/24", "198.51.100.0/24"]})
    answer = api.ask("PUT", f"{path}/remove_prefixes", {"prefixes": ["192.0.2.0/24"]})
    assert (answer.status, answer.body) == (200, {"prefixes": ["198.51.100.0/24"]})
    changed = api.show("subnetpools", pool["id"])
    assert changed["prefixes"] == ["198.51.100.0/24"] and changed["revision_number"] > pool["revision_number"]
    for verb in ("add_prefixes", "remove_prefixes"):
        for prefixes in ([], ["nowhere"], "192.0.2.0/24", None):
            assert api.ask("PUT", f"{path}/{verb}", {"prefixes": prefixes}).status == 400, prefixes


def test_subnets_of_a_network_are_taken_into_a_pool(api: Asker) -> None:
    scope = api.create("address-scopes", name="s", ip_version=4)
    pool = api.create("subnetpools", name="p", prefixes=["192.0.2.0/24"], address_scope_id=scope["id"])
    network = api.network("198.51.100.0/24", "2001:db8::/64")
    path = f"subnetpools/{pool['id']}/onboard_network_subnets"
    (four,) = api.list("subnets", f"network_id={network['id']}&ip_version=4")
    answer = api.ask("PUT", path, {"network_id": network["id"]})
    assert (answer.status, answer.body) == (200, [{"id": four["id"], "cidr": "198.51.100.0/24"}])
    assert [row["id"] for row in api.list("subnets", f"subnetpool_id={pool['id']}")] == [four["id"]]
    network = api.show("networks", network["id"])
    assert (network["ipv4_address_scope"], network["ipv6_address_scope"]) == (scope["id"], None)
    assert api.ask("PUT", path, {"network_id": network["id"]}).error == (400, "IllegalSubnetPoolUpdate")
    assert api.ask("PUT", path, {"network_id": four["id"]}).error == (404, "NetworkNotFound")
    assert api.ask("PUT", path, {"network": network["id"]}).error == (400, "HTTPBadRequest")
    assert api.ask("PUT", path, {"network_id": "x"}).error == (400, "HTTPBadRequest")
