# SPDX-License-Identifier: Apache-2.0
"""Lists: filters, order, pages. What to expect is worked out in Python from the whole list."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.model.load import load
from portico.model.resource import Attribute
from portico.store.store import Store
from portico.store.transaction import timestamp

from .asker import Asker, Row

REGISTRY = load()
COLLECTIONS = (
    *("networks", "subnets", "subnetpools", "address-scopes", "address-groups", "ports"),
    *("security-groups", "security-group-rules", "default-security-group-rules", "agents"),
)
NOWHERE = "11111111-2222-3333-4444-555555555555"

# Filters that do not compare an attribute with a value; each has a test of its own.
APART = {"tags", "tags-any", "not-tags", "not-tags-any", "changed_since", "fixed_ips", "security_groups", "shared"}


def filters() -> Iterator[tuple[str, Attribute]]:
    for collection in COLLECTIONS:
        for attribute in REGISTRY.by_collection[collection].attributes.values():
            if attribute.is_filter and (attribute.name not in APART or (attribute.is_visible and attribute.column)):
                yield collection, attribute


PLAIN = [
    pytest.param(collection, attribute, id=f"{collection}-{attribute.name}")
    for collection, attribute in filters()
    if attribute.column != "json"
]
SORTS = [
    pytest.param(collection, attribute.name, id=f"{collection}-{attribute.name}")
    for collection in COLLECTIONS
    for attribute in REGISTRY.by_collection[collection].attributes.values()
    if attribute.is_sort_key
]


@pytest.fixture(scope="module")
def full(lasting_api: Asker, lasting_store: Store) -> Asker:
    """An API with a few objects of each kind that differ in most attributes."""
    api = lasting_api
    networks = [
        api.create("networks", name=name, mtu=mtu, shared=shared, admin_state_up=up, project_id=project)
        for name, mtu, shared, up, project in (
            ("a", 1500, False, True, "red"), ("b", 1400, True, True, "blue"), ("a", 1400, False, False, "blue"),
            ("", 9000, True, False, "red"), ("ä%_", 68, False, True, "green"),
        )
    ]  # fmt: skip
    scope, *_ = [
        api.create("address-scopes", name=name, ip_version=version, project_id=project, shared=shared)
        for name, version, project, shared in (("s", 4, "red", False), ("t", 6, "red", True), ("s", 6, "blue", False))
    ]
    for name, text, project in (("g", "", "red"), ("h", "x", "red"), ("g", "x", "blue")):
        api.create("address-groups", name=name, description=text, project_id=project)
    api.create("subnetpools", name="p", prefixes=["10.0.0.0/8"], default_prefixlen=24, is_default=True, shared=True,
               address_scope_id=scope["id"])  # fmt: skip
    pool = api.create("subnetpools", name="q", prefixes=["10.0.0.0/8"], default_prefixlen=26, default_quota=4096)
    api.create("subnetpools", name="p", prefixes=["2001:db8::/32"], max_prefixlen=96, project_id="blue")
    red = networks[0]
    api.subnet(red, "192.0.2.0/24", name="s")
    api.subnet(red, "198.51.100.0/24", gateway_ip=None, enable_dhcp=False)
    api.subnet(networks[1], "2001:db8:1::/64", ipv6_ra_mode="slaac", ipv6_address_mode="slaac", name="s")
    api.subnet(networks[1], "2001:db8:2::/64", ipv6_ra_mode="dhcpv6-stateful", project_id="blue")
    api.create("subnets", network_id=networks[2]["id"], ip_version=4, subnetpool_id=pool["id"])
    groups = [api.create("security-groups", name=name, stateful=stateful, project_id=project, description=text)
              for name, stateful, project, text in (("web", True, "red", ""), ("db", False, "red", "x"),
                                                    ("web", True, "blue", "x"))]  # fmt: skip
    for values in ({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90, "remote_ip_prefix": "192.0.2.7/24"},
                   {"protocol": "17", "port_range_min": 80, "port_range_max": 80},
                   {"protocol": "icmp", "port_range_min": 8, "remote_group_id": groups[1]["id"]},
                   {"ethertype": "IPv6", "remote_ip_prefix": "2001:db8::/32", "description": "x"}):  # fmt: skip
        api.create("security-group-rules", security_group_id=groups[0]["id"], direction="ingress", **values)
    for values in (
        {"name": "a", "device_id": "one", "device_owner": "compute:x", "binding:host_id": "h1", "tags": ["t", "u"]},
        {"name": "a", "device_id": "two", "device_owner": "compute:x", "binding:host_id": "h2", "tags": ["t"]},
        {"name": "b", "fixed_ips": [], "admin_state_up": False, "project_id": "blue"},
        {"description": "x", "mac_address": "02:00:00:00:00:AB", "security_groups": [groups[0]["id"]]},
        {"description": "x", "security_groups": [groups[0]["id"], groups[2]["id"]], "tags": ["u"]},
    ):
        api.port(networks[0 if "fixed_ips" not in values else 1], **values)
    api.ask("PUT", f"networks/{red['id']}/tags", {"tags": ["t", "u", "v"]})
    api.ask("PUT", f"networks/{networks[1]['id']}/tags", {"tags": ["t"]})
    with lasting_store.write() as tx:
        for number, (kind, host, up, zone) in enumerate(
            [("L2", "h1", True, "default"), ("L3", "h1", False, "default"), ("L2", "h2", True, "z2")]
        ):
            moment = timestamp(time.time() - 1000 * number)
            tx.insert("agent", {"id": f"agent-{number}", "agent_type": kind, "host": host, "admin_state_up": up,
                                "binary": kind.lower(), "topic": "", "availability_zone": zone, "configurations": {},
                                "description": "", "created_at": moment, "started_at": moment,
                                "heartbeat_timestamp": moment})  # fmt: skip
    return api


def asked(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def ids(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]


@pytest.mark.parametrize(("collection", "attribute"), PLAIN)
def test_every_filter_finds_exactly_what_python_finds(full: Asker, collection: str, attribute: Attribute) -> None:
    name, every = attribute.name, full.list(collection, "sort_key=id&sort_dir=asc")
    values = {row[name] for row in every if row[name] is not None}
    for value in values:
        found = full.list(collection, f"sort_key=id&sort_dir=asc&{quote(name)}={quote(asked(value))}")
        assert found == [row for row in every if row[name] == value]
    query = urlencode([(name, asked(value)) for value in values])
    assert ids(full.list(collection, query)) == ids([row for row in every if row[name] is not None]) or not values
    none = {"boolean": None, "integer": "77777", "": None}.get(attribute.column, NOWHERE)
    if none is not None and attribute.convert_to is None:
        found = full.list(collection, f"{quote(name)}={none}")
        # Asking for the groups of a project makes its default group.
        made = collection.startswith("security-group") and name == "project_id"
        assert [row for row in found if not made or row[name] != none] == []


def test_two_filters_must_both_hold_and_values_of_one_are_alternatives(full: Asker) -> None:
    every = full.list("networks")
    found = full.list("networks", "name=a&name=&project_id=blue&project_id=red")
    assert ids(found) == ids([row for row in every if row["name"] in ("a", "") and row["project_id"] != "green"])


def test_values_are_compared_in_the_form_in_which_they_are_kept(full: Asker) -> None:
    (port,) = full.list("ports", "mac_address=02:00:00:00:00:ab")
    assert full.list("ports", "mac_address=02-00-00-00-00-AB") == [port]
    assert full.list("networks", "admin_state_up=1") == full.list("networks", "admin_state_up=True")
    rules = full.list("security-group-rules", "ethertype=IPv6")
    assert rules and full.list("security-group-rules", "ethertype=ipv6") == rules


def test_a_filter_that_spells_null_finds_what_has_none(full: Asker) -> None:
    every = full.list("security-group-rules")
    for query, name in (("protocol=any", "protocol"), ("protocol=ANY", "protocol"), ("remote_ip_prefix=", None)):
        found = full.list("security-group-rules", query)
        attribute = name or "remote_ip_prefix"
        assert found and found == [row for row in every if row[attribute] is None], query
    both = full.list("security-group-rules", "protocol=any&protocol=tcp")
    assert both == [row for row in every if row["protocol"] in (None, "tcp")]


def test_subnets_are_found_by_whether_their_network_is_shared(full: Asker) -> None:
    shared = {row["id"]: row["shared"] for row in full.list("networks")}
    every = full.list("subnets")
    for value in (True, False):
        expected = [row for row in every if shared[row["network_id"]] is value]
        assert expected and full.list("subnets", f"shared={value}") == expected
    assert full.list("subnets", "shared=true&shared=false") == every


def test_ports_are_found_by_their_addresses(full: Asker) -> None:
    every = full.list("ports")
    assert any(row["fixed_ips"] for row in every)
    for port in every:
        for item in port["fixed_ips"]:
            assert full.list("ports", f"fixed_ips=ip_address={quote(item['ip_address'])}") == [port]
            with_subnet = [
                row for row in every if any(one["subnet_id"] == item["subnet_id"] for one in row["fixed_ips"])
            ]
            assert full.list("ports", f"fixed_ips=subnet_id={item['subnet_id']}") == with_subnet
            both = f"fixed_ips=ip_address={quote(item['ip_address'])}&fixed_ips=subnet_id={item['subnet_id']}"
            assert full.list("ports", both) == [port]
    part = [row for row in every if any("2.1" in item["ip_address"] for item in row["fixed_ips"])]
    assert full.list("ports", "fixed_ips=ip_address_substr=2.1") == part
    assert full.list("ports", f"fixed_ips=subnet_id={NOWHERE}") == []
    assert full.list("ports", "fixed_ips=ip_address=no-address") == []


def test_fixed_ips_of_one_key_are_alternatives_and_different_keys_must_all_hold(api: Asker) -> None:
    network = api.network("192.0.2.0/24", "198.51.100.0/24")
    subnets = [api.list("subnets", f"cidr={quote(cidr)}")[0]["id"] for cidr in ("192.0.2.0/24", "198.51.100.0/24")]
    for address in ("192.0.2.7", "198.51.100.8", "192.0.2.9"):
        api.port(network, fixed_ips=[{"ip_address": address}], name=address)

    def names(*pairs: str) -> list[str]:
        return sorted(row["name"] for row in api.list("ports", urlencode([("fixed_ips", pair) for pair in pairs])))

    assert names("ip_address=192.0.2.7", "ip_address=198.51.100.8") == ["192.0.2.7", "198.51.100.8"]
    assert len(names(*(f"subnet_id={subnet}" for subnet in subnets))) == 3
    assert names("ip_address_substr=100.8", "ip_address_substr=2.9") == ["192.0.2.9", "198.51.100.8"]
    assert names("ip_address=192.0.2.7", "ip_address=198.51.100.8", f"subnet_id={subnets[0]}") == ["192.0.2.7"]
    assert names("ip_address=192.0.2.7", f"subnet_id={subnets[1]}") == []


@pytest.mark.parametrize(
    ("pair", "kind"),
    [("bogus=1", "HTTPBadRequest"), ("", "InvalidInput"), ("192.0.2.1", "InvalidInput"), ("=1", "InvalidInput")],
)
def test_what_is_no_pair_of_a_fixed_ip_is_refused(full: Asker, pair: str, kind: str) -> None:
    answer = full.ask("GET", f"ports?fixed_ips={pair}")
    assert answer.error == (400, kind) and "ip_address_substr" in answer.message


def test_more_values_than_a_statement_takes_are_refused(full: Asker) -> None:
    answer = full.ask("GET", "networks?" + "&".join(["name=a"] * 5001))
    assert answer.error == (400, "HTTPBadRequest") and "name" in answer.message and "5000" in answer.message
    assert full.list("networks", "&".join(["name=a"] * 5000))


def test_ports_are_found_by_their_groups(full: Asker) -> None:
    every = full.list("ports")
    for group in full.list("security-groups"):
        expected = [row for row in every if group["id"] in row["security_groups"]]
        assert full.list("ports", f"security_groups={group['id']}") == expected


TAG_FILTERS: dict[str, Callable[[set[str], set[str]], bool]] = {
    "tags": lambda have, asked: asked <= have,
    "tags-any": lambda have, asked: bool(asked & have),
    "not-tags": lambda have, asked: not asked <= have,
    "not-tags-any": lambda have, asked: not asked & have,
}


@pytest.mark.parametrize("name", TAG_FILTERS)
@pytest.mark.parametrize("collection", ["networks", "ports"])
@pytest.mark.parametrize("tags", ["t", "u", "t,u", "t,u,v", "w", "t,w"])
def test_objects_are_found_by_tags(full: Asker, collection: str, name: str, tags: str) -> None:
    test = TAG_FILTERS[name]
    expected = [row for row in full.list(collection) if test(set(row["tags"]), set(tags.split(",")))]
    assert full.list(collection, f"{name}={tags}") == expected


def test_changed_since_finds_what_changed_then_or_later(api: Asker, store: Store) -> None:
    old, new = api.create("networks"), api.create("networks")
    with store.write() as tx:
        table = tx.tables.of["network"]
        tx.connection.execute(table.update().where(table.c.id == old["id"]).values(updated_at="2026-01-02T03:04:05Z"))
    assert ids(api.list("networks", "changed_since=2026-01-02T03:04:06Z")) == [new["id"]]
    for text in ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05.000Z"):
        assert set(ids(api.list("networks", f"changed_since={text}"))) == {old["id"], new["id"]}
    for text in ("yesterday", "2026-13-45T00:00:00Z", "", "2026-01-02", "2026-01-02T03:04:05+01:00"):
        answer = api.ask("GET", f"networks?changed_since={quote(text)}")
        assert answer.error == (400, "HTTPBadRequest") and "changed_since" in answer.message


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ("bogus=1", "['bogus'] is invalid attribute for filtering"),
        ("subnets=x", "['subnets'] is invalid attribute for filtering"),
        ("mtu=x", "mtu"),
        ("mtu=99999999999999999999", "mtu"),
        ("admin_state_up=perhaps", "admin_state_up"),
        ("name=%00", "name"),
        ("limit=-1", "limit"),
        ("limit=x", "limit"),
        ("sort_key=bogus&sort_dir=asc", "bogus"),
        ("sort_key=name&sort_dir=up", "up"),
        ("sort_key=name&sort_key=id&sort_dir=asc", "sort_dir"),
        ("sort_key=subnets&sort_dir=asc", "subnets"),
    ],
)
def test_wrong_queries_are_refused_and_say_what_is_wrong(full: Asker, query: str, part: str) -> None:
    answer = full.ask("GET", f"networks?{query}")
    assert answer.error[0] == 400 and part in answer.message


def test_a_wrong_limit_has_neutrons_error(full: Asker) -> None:
    answer = full.ask("GET", "networks?limit=x")
    assert answer.error == (400, "BadRequest")
    assert answer.message == "Bad limit request: Limit must be an integer 0 or greater and not 'x'."


def test_a_marker_that_is_nothing_is_not_found(full: Asker) -> None:
    answer = full.ask("GET", f"networks?limit=1&marker={NOWHERE}")
    assert answer.error == (404, "NetworkNotFound") and NOWHERE in answer.message


def rank(value: Any) -> tuple[int, Any]:
    """Order as lists have it: nothing, which sorts with the empty, before all else."""
    if value is None or value == "":
        return (0, 0)
    return (1, value)


@pytest.mark.parametrize(("collection", "name"), SORTS)
def test_lists_are_sorted_by_every_sort_key(full: Asker, collection: str, name: str) -> None:
    every = full.list(collection, "sort_key=id&sort_dir=asc")
    shown = "project_id" if name == "tenant_id" else name
    told = REGISTRY.by_collection[collection].attributes[shown]
    assert ids(every) == sorted(ids(every))
    for direction in ("asc", "desc"):
        found = full.list(collection, f"sort_key={quote(name)}&sort_dir={direction}")
        values = [int(row[shown]) if told.as_text else row[shown] for row in found]
        keys = [str(value) if isinstance(value, list) else rank(value) for value in values]
        assert keys == sorted(keys, reverse=direction == "desc")
        assert sorted(ids(found)) == ids(every)


def test_several_sort_keys_count_in_their_order_and_each_once(full: Asker) -> None:
    every = full.list("networks", "sort_key=id&sort_dir=asc")
    by_mtu = sorted(every, key=lambda row: row["mtu"], reverse=True)
    expected = sorted(by_mtu, key=lambda row: row["name"])
    query = "sort_key=name&sort_dir=asc&sort_key=mtu&sort_dir=desc"
    assert full.list("networks", query) == expected
    # A key that comes again decides nothing any more.
    assert full.list("networks", query + "&sort_key=name&sort_dir=desc") == expected
    assert full.list("networks", "sort_key=name&sort_key=mtu") == sorted(
        every, key=lambda row: (row["name"], row["mtu"])
    )


def follow(api: Asker, target: str, collection: str, direction: str) -> Iterator[list[Row]]:
    """Yield the pages from `target` on, following links of one direction."""
    plural = collection.replace("-", "_")
    for _ in range(50):
        body = api.get(target)
        yield body[plural]
        links = {link["rel"]: link["href"] for link in body.get(f"{plural}_links", ())}
        if direction not in links:
            return
        parts = urlsplit(links[direction])
        assert (parts.scheme, parts.netloc, parts.path) == ("http", "portico.test", f"/v2.0/{collection}")
        assert ("page_reverse", "True") in parse_qsl(parts.query) or direction == "next"
        target = f"{parts.path}?{parts.query}"
    raise AssertionError("the links never end")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_links_lead_through_the_whole_list_and_back(full: Asker, data: st.DataObject) -> None:
    collection = data.draw(st.sampled_from(COLLECTIONS))
    resource = REGISTRY.by_collection[collection]
    keys = sorted(one.name for one in resource.attributes.values() if one.is_sort_key)
    sort = data.draw(st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(["asc", "desc"])), max_size=2))
    order = [pair for key, way in sort for pair in (("sort_key", key), ("sort_dir", way))]
    owner = resource.attributes.get("project_id")
    which = [("project_id", "red")] if data.draw(st.booleans()) and owner and owner.is_filter else []
    whole = full.list(collection, urlencode([*order, *which]))
    limit = data.draw(st.integers(1, 4))
    first = f"{collection}?{urlencode([*order, *which, ('limit', limit)])}"
    pages = list(follow(full, first, collection, "next"))
    assert [row for page in pages for row in page] == whole
    assert all(len(page) == limit for page in pages[:-1])
    back = list(follow(full, f"{first}&page_reverse=True", collection, "previous"))
    assert [row for page in reversed(back) for row in page] == whole
    # From any page in the middle one can go back to what came before.
    if len(pages) > 2:
        marker = random.choice(whole[limit:])["id"]
        before = list(follow(full, f"{first}&page_reverse=True&marker={marker}", collection, "previous"))
        assert [row for page in reversed(before) for row in page] == whole[: ids(whole).index(marker)]


def test_page_links_work_with_fields_that_leave_the_id_out(full: Asker) -> None:
    pages = list(follow(full, "networks?fields=name&limit=2", "networks", "next"))
    assert [row for page in pages for row in page] == [{"name": row["name"]} for row in full.list("networks")]


def test_a_page_never_holds_more_than_the_server_allows(api: Asker) -> None:
    for _ in range(2):
        answer = api.ask("POST", "networks", {"networks": [{}] * 600})
        assert answer.status == 201
    body = api.get("networks")
    assert len(body["networks"]) == 1000 and body["networks_links"][0]["rel"] == "next"
    assert len(api.get("networks?limit=5000")["networks"]) == 1000
    rows = [row for page in follow(api, "networks", "networks", "next") for row in page]
    assert len({row["id"] for row in rows}) == len(rows) == 1200
