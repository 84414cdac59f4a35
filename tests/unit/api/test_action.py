# SPDX-License-Identifier: Apache-2.0
"""What is no plain collection: tags, quotas, extensions, agents, zones, availability of addresses, versions."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from portico.model.resource import Registry
from portico.rules import agent
from portico.store.store import Store

from .asker import Asker, Row, singular

TAGGED = ("networks", "subnets", "subnetpools", "ports", "security-groups")


def tagged(api: Asker, collection: str) -> Row:
    """Create an object that can have tags."""
    network = api.network()
    values: dict[str, Row] = {
        "networks": {},
        "subnets": {"network_id": network["id"], "ip_version": 4, "cidr": "192.0.2.0/24"},
        "subnetpools": {"name": "p", "prefixes": ["192.0.2.0/24"]},
        "ports": {"network_id": network["id"]},
        "security-groups": {"name": "g"},
    }
    return api.create(collection, **values[collection])


@pytest.mark.parametrize("collection", TAGGED)
def test_tags_are_set_added_asked_for_and_removed(api: Asker, collection: str) -> None:
    made = tagged(api, collection)
    path = f"{collection}/{made['id']}/tags"

    def status(method: str, target: str, body: Any = None) -> int:
        return api.ask(method, target, body).status

    assert api.get(path) == {"tags": []}
    answer = api.ask("PUT", path, {"tags": ["b", "a"]})
    assert (answer.status, sorted(answer.body["tags"])) == (200, ["a", "b"])
    answer = api.ask("POST", path, {"tags": ["c"]})
    assert answer.status == 200 and sorted(api.get(path)["tags"]) == ["a", "b", "c"]
    assert [status("GET", f"{path}/{tag}") for tag in ("a", "x")] == [204, 404]
    assert [status("PUT", f"{path}/{tag}") for tag in ("d", "d")] == [201, 201]
    assert [status("DELETE", f"{path}/{tag}") for tag in ("d", "d")] == [204, 404]
    assert api.ask("GET", f"{path}/x").error == (404, "TagNotFound")
    shown = api.show(collection, made["id"])
    assert sorted(shown["tags"]) == ["a", "b", "c"] and shown["revision_number"] > made["revision_number"]
    assert api.list(collection, "tags=a,c") == [shown]
    assert status("DELETE", path) == 204 and api.get(path) == {"tags": []}
    missing = f"{collection}/{uuid4()}/tags"
    for method, body in (("GET", None), ("PUT", {"tags": []}), ("POST", {"tags": []}), ("DELETE", None)):
        assert status(method, missing, body) == 404
    assert singular(collection) and status("PATCH", path) == 405


def test_tags_of_policies_are_where_neutron_has_them_and_below_their_own_path(api: Asker) -> None:
    made = api.ask("POST", "qos/policies", {"policy": {"name": "p"}}).body["policy"]
    path, own = f"policies/{made['id']}/tags", f"qos/policies/{made['id']}/tags"
    assert api.ask("PUT", path, {"tags": ["b", "a"]}).status == 200
    assert sorted(api.get(own)["tags"]) == ["a", "b"]
    assert [api.ask(verb, f"{path}/a").status for verb in ("GET", "DELETE", "GET")] == [204, 204, 404]
    assert api.get(path) == {"tags": ["b"]}
    assert api.ask("GET", "policies").status == 404, "nothing else is there"


@pytest.mark.parametrize("tag", ["with space", "a,b", "ä", "x" * 255, "%", "a/b", "tags"])
def test_a_tag_may_be_any_text(api: Asker, tag: str) -> None:
    path = f"networks/{api.network()['id']}/tags"
    assert api.ask("PUT", f"{path}/{quote(tag, safe='')}").status == 201
    assert api.get(path) == {"tags": [tag]}
    assert api.ask("GET", f"{path}/{quote(tag, safe='')}").status == 204
    assert api.ask("DELETE", f"{path}/{quote(tag, safe='')}").status == 204


@pytest.mark.parametrize(
    "body", [{}, {"tags": "x"}, {"tags": ["a", "a"]}, {"tags": [1]}, {"tags": ["x" * 256]}, [], {"tags": None}]
)
def test_what_are_no_tags_is_refused(api: Asker, body: Any) -> None:
    path = f"networks/{api.network()['id']}/tags"
    for method in ("PUT", "POST"):
        assert api.ask(method, path, body).error == (400, "InvalidInput")
    assert api.ask("PUT", f"{path}/{'x' * 256}").error == (400, "InvalidInput")
    assert api.get(path) == {"tags": []}


def test_an_object_has_fifty_tags_at_most(api: Asker) -> None:
    path = f"networks/{api.network()['id']}/tags"
    assert api.ask("PUT", path, {"tags": [str(number) for number in range(50)]}).status == 200
    answer = api.ask("PUT", f"{path}/more")
    assert answer.error[0] == 400 and "50" in answer.message


def test_quotas_are_shown_set_counted_enforced_and_reset(api: Asker) -> None:
    unlimited = {"network": -1, "subnet": -1, "subnetpool": -1, "port": -1, "security_group": -1,
                 "security_group_rule": -1}  # fmt: skip

    def limits(body: Row) -> Row:
        return {name: value for name, value in body["quota"].items() if name in unlimited}

    assert limits(api.get("quotas/red")) == limits(api.get("quotas/red/default")) == unlimited
    assert api.get("quotas") == {"quotas": []}
    for word in ("tenant", "project"):
        assert api.get(f"quotas/{word}") == {word: {f"{word}_id": "red"}}
    answer = api.ask("PUT", "quotas/red", {"quota": {"network": 2, "port": "1"}})
    assert answer.status == 200 and limits(answer.body) == {**unlimited, "network": 2, "port": 1}
    (own,) = api.get("quotas")["quotas"]
    assert (own["project_id"], own["network"]) == ("red", 2)
    network = api.network("192.0.2.0/24")
    api.create("networks")
    answer = api.try_create("networks")
    assert answer.error == (409, "OverQuota")
    assert answer.message.startswith("Quota exceeded for resources: ['network'].")
    assert api.create("networks", project_id="blue")["project_id"] == "blue"
    for name in ("details", "details.json"):
        details = api.get(f"quotas/red/{name}")["quota"]
        assert details["network"] == {"limit": 2, "used": 2, "reserved": 0}
        assert details["subnet"] == {"limit": -1, "used": 1, "reserved": 0}
    two = {"ports": [{"network_id": network["id"]}] * 2}
    assert api.ask("POST", "ports", two).error == (409, "OverQuota") and api.list("ports") == []
    api.port(network)
    assert api.ask("DELETE", "quotas/red").status == 204
    assert limits(api.get("quotas/red")) == unlimited
    assert api.ask("DELETE", "quotas/red").error == (404, "TenantQuotaNotFound")
    assert api.ask("POST", "ports", two).status == 201


@pytest.mark.parametrize(
    "body", [{}, {"quota": 1}, {"quota": {"bogus": 1}}, {"quota": {"network": -2}}, {"quota": {"network": 2**31}}]
)  # fmt: skip
def test_what_is_no_quota_is_refused(api: Asker, body: Any) -> None:
    assert api.ask("PUT", "quotas/red", body).error == (400, "HTTPBadRequest")
    assert api.ask("GET", "quotas/red/bogus").error == (404, "HTTPNotFound")
    assert api.get("quotas") == {"quotas": []}


def test_a_quota_below_what_is_used_needs_force(api: Asker) -> None:
    for _ in range(2):
        api.network()
    assert api.ask("PUT", "quotas/red", {"quota": {"network": 1, "check_limit": True}}).error[0] == 400
    assert api.ask("PUT", "quotas/red", {"quota": {"network": 1, "force": True}}).status == 200
    assert api.try_create("networks").error == (409, "OverQuota")


def test_extensions_are_listed_and_shown(api: Asker, registry: Registry) -> None:
    listed = api.get("extensions")["extensions"]
    assert {item["alias"] for item in listed} == {item.alias for item in registry.extensions}
    for item in listed:
        assert set(item) == {"alias", "name", "description", "updated", "links"}
        assert api.get(f"extensions/{item['alias']}") == {"extension": item}
    answer = api.ask("GET", "extensions/bogus")
    assert answer.error == (404, "ExtensionNotFound")
    assert answer.message == "Extension with alias bogus does not exist."


@pytest.mark.parametrize(
    ("collection", "attribute", "value"),
    [
        ("networks", "vlan_transparent", True),
        ("ports", "hints", None),
        ("routers", "ha", None),
        ("subnets", "dns_publish_fixed_ip", True),
    ],
)
def test_attributes_of_what_is_not_advertised_do_not_exist(
    api: Asker, collection: str, attribute: str, value: Any
) -> None:
    answer = api.try_create(collection, **{attribute: value})
    assert answer.error == (400, "HTTPBadRequest")
    assert answer.message.startswith(f"Unrecognized attribute(s) '{attribute}' of ")
    assert api.ask("GET", f"{collection}?{attribute}=x").error == (400, "HTTPBadRequest")


def test_agents_come_from_heartbeats_and_can_be_switched_off_and_forgotten(api: Asker, store: Store) -> None:
    def beat(host: str, ago_s: float, zone: str) -> str:
        with store.write() as tx:
            facts = {"configurations": {"a": "b"}, "availability_zone": zone}
            return agent.heartbeat(tx, host, "Portico agent", "portico-agent", facts, time.time() - ago_s)

    young, old = beat("h1", 0, "default"), beat("h2", 1000, "cellar")
    shown = api.show("agents", young)
    assert (shown["alive"], shown["host"], shown["configurations"]) == (True, "h1", {"a": "b"})
    assert api.show("agents", old)["alive"] is False
    assert [row["id"] for row in api.list("agents", "alive=true")] == [young]
    assert [row["id"] for row in api.list("agents", "alive=false")] == [old]
    assert len(api.list("agents", "alive=false&alive=true")) == 2
    changed = api.update("agents", old, admin_state_up=False, description="broken")
    assert (changed["admin_state_up"], changed["description"]) == (False, "broken")
    assert api.try_update("agents", old, host="x").error == (400, "HTTPBadRequest")
    zones = api.get("availability_zones")["availability_zones"]
    assert zones == [
        {"name": "cellar", "resource": "network", "state": "unavailable"},
        {"name": "default", "resource": "network", "state": "available"},
    ]
    assert api.get("availability_zones?name=cellar&fields=state") == {"availability_zones": [{"state": "unavailable"}]}
    assert api.get("availability_zones?state=available")["availability_zones"] == zones[1:]
    assert api.ask("GET", "availability_zones?bogus=1").error == (400, "HTTPBadRequest")
    api.delete("agents", old)
    assert [row["id"] for row in api.list("agents")] == [young]


def computed(api: Asker, store: Store, collection: str) -> list[str]:
    """Make four objects of a collection that is computed when read; return their keys in order."""
    if collection == "network-ip-availabilities":
        return sorted(api.network(name=name)["id"] for name in "abcd")
    if collection == "quotas":
        for number, project in enumerate("abcd"):
            api.ask("PUT", f"quotas/{project}", {"quota": {"network": 10 - number}})
        return ["a", "b", "c", "d"]
    with store.write() as tx:
        for zone in "abc":
            agent.heartbeat(tx, f"h{zone}", "Portico agent", "x", {"availability_zone": zone}, time.time())
    return ["a", "b", "c", "default"]


@pytest.mark.parametrize(
    ("collection", "key", "other"),
    [
        ("availability_zones", "name", "state"),
        ("network-ip-availabilities", "network_id", "network_name"),
        ("quotas", "project_id", "network"),
    ],
)
def test_computed_lists_are_filtered_sorted_cut_and_paged_like_all_others(
    api: Asker, store: Store, collection: str, key: str, other: str
) -> None:
    keys = computed(api, store, collection)
    plural = collection.replace("-", "_")

    def listed(query: str) -> list[str]:
        return [row[key] for row in api.list(collection, query)]

    assert listed("") == keys
    assert listed(f"sort_key={key}&sort_dir=desc") == keys[::-1]
    assert listed(f"{key}={keys[1]}&{key}={keys[2]}") == keys[1:3]
    assert api.list(collection, f"{key}={keys[1]}&fields={key}") == [{key: keys[1]}]
    assert listed(f"limit=2&marker={keys[0]}") == keys[1:3]
    assert listed(f"limit=2&marker={keys[3]}&page_reverse=True") == keys[1:3]
    page, walked = api.get(f"{collection}?limit=3&sort_key={key}&sort_dir=desc"), []
    while page[plural]:
        walked += [row[key] for row in page[plural]]
        following = [link["href"] for link in page.get(f"{plural}_links", ()) if link["rel"] == "next"]
        if not following:
            break
        page = api.get(following[0].removeprefix("http://portico.test"))
    assert walked == keys[::-1]
    for wrong in ("limit=x", "limit=-1", "sort_dir=asc", f"sort_key={key}&sort_dir=up", "sort_key=bogus", "bogus=1"):
        assert api.ask("GET", f"{collection}?{wrong}").error[0] == 400, wrong
    assert api.ask("GET", f"{collection}?marker=nowhere").error[0] == 404
    assert len(listed(f"sort_key={other}&sort_key={key}&sort_dir=asc&sort_dir=desc")) == 4


def test_an_ip_version_stays_in_the_links_of_pages(api: Asker) -> None:
    for _ in range(2):
        api.network("192.0.2.0/24")
    body = api.get("network-ip-availabilities?ip_version=4&limit=1")
    links = body["network_ip_availabilities_links"]
    assert [link["rel"] for link in links] == ["next", "previous"]
    assert all("ip_version=4" in link["href"] for link in links) and len(body["network_ip_availabilities"]) == 1
    assert api.list("network-ip-availabilities", "ip_version=6") == []


def test_fields_cut_single_computed_objects_too(api: Asker) -> None:
    network = api.network("192.0.2.0/24")
    found = api.get(f"network-ip-availabilities/{network['id']}?fields=used_ips&fields=network_id")
    assert found == {"network_ip_availability": {"network_id": network["id"], "used_ips": 0}}
    assert api.get("extensions/quotas?fields=alias") == {"extension": {"alias": "quotas"}}
    assert {"alias": "quotas"} in api.get("extensions?fields=alias")["extensions"]


def test_availability_counts_addresses_per_network_and_subnet(api: Asker) -> None:
    network = api.network("192.0.2.0/24", "2001:db8::/120", name="blue")
    empty = api.network(name="empty", project_id="green")
    for _ in range(3):
        api.port(network)
    found = api.get(f"network-ip-availabilities/{network['id']}")["network_ip_availability"]
    assert (found["network_name"], found["project_id"], found["tenant_id"]) == ("blue", "red", "red")
    by_version = {item["ip_version"]: item for item in found["subnet_ip_availability"]}
    assert (by_version[4]["total_ips"], by_version[4]["used_ips"], by_version[4]["cidr"]) == (253, 3, "192.0.2.0/24")
    assert (by_version[6]["total_ips"], by_version[6]["used_ips"]) == (254, 3)
    assert (found["total_ips"], found["used_ips"]) == (253 + 254, 6)
    outside = [{"ip_address": "192.0.2.1"}]  # the gateway's own
    api.port(network, fixed_ips=outside)
    details = api.get(f"network-ip-availabilities/{network['id']}")["network_ip_availability"][
        "ip_availability_details"
    ]
    assert details == {
        "total_ips_in_subnet": 254 + 256,
        "total_ips_in_allocation_pool": 253 + 254,
        "used_ips_in_subnet": 7,
        "used_ips_in_allocation_pool": 6,
    }
    listed = "network-ip-availabilities"

    def networks(query: str) -> list[str]:
        rows = api.get(f"{listed}?{query}")["network_ip_availabilities"]
        return sorted(row["network_name"] for row in rows)

    assert networks("") == ["blue", "empty"]
    assert networks("network_name=blue") == networks(f"network_id={network['id']}") == ["blue"]
    assert networks("project_id=green") == networks("tenant_id=green") == ["empty"]
    (four,) = api.get(f"{listed}?ip_version=4")["network_ip_availabilities"]
    assert (four["total_ips"], len(four["subnet_ip_availability"])) == (253, 1)
    assert api.ask("GET", f"{listed}?ip_version=5").error == (400, "HTTPBadRequest")
    assert api.ask("GET", f"{listed}?bogus=5").error == (400, "HTTPBadRequest")
    assert api.ask("GET", f"{listed}/{uuid4()}").error == (404, "NetworkNotFound")
    assert api.get(f"{listed}/{empty['id']}")["network_ip_availability"]["total_ips"] == 0


def test_versions_and_collections_lead_a_client_to_where_things_are(api: Asker, registry: Registry) -> None:
    (version,) = api.get("/")["versions"]
    assert (version["id"], version["status"]) == ("v2.0", "CURRENT")
    assert version["links"] == [{"rel": "self", "href": "http://portico.test/v2.0/"}]
    for path in ("/v2.0", "/v2.0/"):
        links = {item["name"]: item["links"][0]["href"] for item in api.get(path)["resources"]}
        whole = {name: resource for name, resource in registry.resources.items() if resource.parent is None}
        assert links.keys() == whole.keys()
        named = {item["name"]: item["collection"] for item in api.get(path)["resources"]}
        assert named == {name: resource.plural for name, resource in whole.items()}
    for name, link in links.items():
        assert api.ask("GET", link.removeprefix("http://portico.test")).status == 200, name
    assert api.get("/healthz")["status"] == "ok"
