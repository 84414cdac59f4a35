# SPDX-License-Identifier: Apache-2.0
"""Routers through HTTP: the bodies and answers of their actions, what lists filter by, revisions and tags."""

from __future__ import annotations

import time
from typing import Any

import pytest

from portico.rules import agent
from portico.store.store import Store

from .asker import Asker


def test_a_router_s_actions_take_and_give_what_neutron_s_do(api: Asker) -> None:
    public = api.create("networks", name="public", **{"router:external": True})
    api.create("subnets", network_id=public["id"], ip_version=4, cidr="203.0.113.0/24")
    inner = api.create("networks", name="inner")
    subnet = api.create("subnets", network_id=inner["id"], ip_version=4, cidr="192.0.2.0/24")
    made = api.create("routers", name="r", external_gateway_info={"network_id": public["id"], "enable_snat": "False"})
    assert made["tenant_id"] == made["project_id"] == "red"
    assert made["external_gateway_info"]["enable_snat"] is False
    path = f"routers/{made['id']}"
    answer = api.ask("PUT", f"{path}/add_router_interface", {"subnet_id": subnet["id"]})
    (port,) = api.list("ports", f"device_id={made['id']}&device_owner=network:router_interface")
    assert (answer.status, answer.body) == (200, {
        "id": made["id"], "project_id": "red", "tenant_id": "red", "port_id": port["id"], "network_id": inner["id"],
        "subnet_id": subnet["id"], "subnet_ids": [subnet["id"]],
    })  # fmt: skip
    joined = api.show("routers", made["id"])
    assert joined["revision_number"] > made["revision_number"]
    route = {"destination": "198.51.100.0/24", "nexthop": "192.0.2.9"}
    added = api.ask("PUT", f"{path}/add_extraroutes", {"router": {"routes": [route]}})
    assert added.body == {"router": api.show("routers", made["id"])}
    assert added.body["router"]["routes"] == [route]
    gateways: list[Any] = [{"network_id": public["id"]}]
    more = api.ask("PUT", f"{path}/add_external_gateways", {"router": {"external_gateways": gateways}})
    assert [item["network_id"] for item in more.body["router"]["external_gateways"]] == [public["id"]] * 2
    assert all("port_id" not in item for item in more.body["router"]["external_gateways"])
    bodies: list[Any] = [
        *(
            [],
            {},
            {"subnet_id": None},
            {"subnet_id": "x"},
            {"port": port["id"]},
            {"router": {"subnet_id": subnet["id"]}},
        ),
        {"subnet_id": subnet["id"], "port_id": port["id"]},
    ]
    for body in bodies:
        assert api.ask("PUT", f"{path}/add_router_interface", body).status == 400, body
    for body in ({"routes": []}, {"router": {}}, {"router": {"routes": [{}]}}, {"router": {"routes": [], "x": 1}}):
        assert api.ask("PUT", f"{path}/add_extraroutes", body).status == 400, body
    for item in (None, {}, {"network_id": public["id"], "x": 1}, "x"):
        wrong = {"router": {"external_gateways": [item]}}
        assert api.ask("PUT", f"{path}/add_external_gateways", wrong).status == 400, item
    assert api.try_update("routers", made, status="DOWN").error == (400, "HTTPBadRequest")


def test_a_router_s_gateway_is_meant_for_zones_that_there_are(api: Asker, store: Store) -> None:
    with store.write() as tx:
        for host, zone in (("h1", "east"), ("h2", "west")):
            agent.heartbeat(tx, host, "Portico agent", "portico-agent", {"availability_zone": zone}, time.time())
    anywhere, made = api.create("routers"), api.create("routers", availability_zone_hints=["west"])
    assert (anywhere["availability_zone_hints"], anywhere["availability_zones"]) == ([], ["east", "west"])
    assert (made["availability_zone_hints"], made["availability_zones"]) == (["west"], ["west"])
    assert api.try_create("routers", availability_zone_hints=["north"]).error == (404, "AvailabilityZoneNotFound")
    assert api.try_update("routers", made, availability_zone_hints=["east"]).error == (400, "HTTPBadRequest")


def test_routers_are_found_by_what_they_have(api: Asker) -> None:
    one = api.create("routers", name="one", description="first")
    two = api.create("routers", name="two", admin_state_up=False)
    api.ask("PUT", f"routers/{one['id']}/tags", {"tags": ["a"]})
    assert [row["id"] for row in api.list("routers", "tags=a")] == [one["id"]]
    for query, found in (("name=two", two), ("admin_state_up=False", two), ("description=first", one)):
        assert [row["id"] for row in api.list("routers", query)] == [found["id"]], query
    assert [row["name"] for row in api.list("routers", "sort_key=name&sort_dir=desc")] == ["two", "one"]
    assert api.list("routers", "fields=name&name=one") == [{"name": "one"}]
    api.delete("routers", one)
    assert api.ask("GET", f"routers/{one['id']}").error == (404, "RouterNotFound")


@pytest.mark.parametrize("name", ["enable_default_route_ecmp", "enable_default_route_bfd"])
def test_connections_are_spread_over_gateways_and_next_hops_watched_if_asked_for(api: Asker, name: str) -> None:
    plain, asked = api.create("routers"), api.create("routers", **{name: "true"})
    assert [row[name] for row in (plain, asked)] == [False, True]
    assert [api.update("routers", asked, **{name: value})[name] for value in (False, True, None)] == [
        False,
        True,
        False,
    ]
