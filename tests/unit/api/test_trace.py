# SPDX-License-Identifier: Apache-2.0
"""Whether a packet passes, as people are told: what decides it, what is missing, and nothing of what is others'."""

from __future__ import annotations

from typing import Any

import pytest

from portico.broker.status import write_statuses
from portico.contract import ObjectStatus
from portico.store.store import Store

from .asker import Answer, Asker, Row, addresses
from .floating import GATEWAY, Site

OPEN = {"direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
WORLD = "203.0.113.5"


@pytest.fixture
def site(api: Asker) -> Site:
    return Site(api)


def plugged(store: Store, site: Site, network: Row, **values: Any) -> Row:
    """Make a port on a host, which has it as wanted."""
    port = site.api.port(network, **{"binding:host_id": "host-a", **values})
    write_statuses(store, [ObjectStatus("port", port["id"], "ACTIVE", host="host-a")])
    return port


def ask(api: Asker, source: Row, destination: Row | str, port: int | None = 80, protocol: str = "tcp") -> Answer:
    target = destination if isinstance(destination, str) else destination["id"]
    body = {"source": source["id"], "destination": target, "protocol": protocol}
    return api.ask("POST", "/portico/v1/trace", body if port is None else {**body, "port": port})


def told(site: Site, source: Row, destination: Row | str, port: int | None = 80, protocol: str = "tcp") -> Row:
    answer = ask(site.api, source, destination, port, protocol)
    assert answer.status == 200, answer
    body: Row = answer.body
    assert [hop["verdict"] == "pass" for hop in body["hops"]] == [True] * (len(body["hops"]) - 1) + [body["passes"]]
    return body


def last(body: Row) -> tuple[str, str, str]:
    hop = body["hops"][-1]
    return hop["object"], hop["verdict"], hop["why"]


def group(site: Site, *rules: Row) -> Row:
    made = site.api.create("security-groups", name="web")
    for rule in rules:
        site.api.create("security-group-rules", security_group_id=made["id"], **rule)
    return made


def test_the_rule_that_lets_a_packet_in_is_named_and_so_is_that_none_does(site: Site, store: Store) -> None:
    web = group(site, OPEN | {"port_range_min": 80, "port_range_max": 89})
    a = plugged(store, site, site.inside)
    b = plugged(store, site, site.inside, security_groups=[web["id"]])
    passed = told(site, a, b)
    assert passed["passes"] and passed["reason"] == ""
    (rule,) = [item for item in site.api.list("security-group-rules", f"security_group_id={web['id']}") if
               item["direction"] == "ingress"]  # fmt: skip
    assert last(passed) == (f"port/{b['id']}", "pass", f"rule {rule['id']} of group {web['id']}: protocol 6 80-89")
    stopped = told(site, a, addresses(b)[0], 90)
    assert last(stopped)[:2] == (f"port/{b['id']}", "drop") and "no ingress rule" in stopped["reason"]
    assert not told(site, a, b, None, "icmp")["passes"]
    assert told(site, b, a, None, "icmp")["reason"].startswith("no ingress rule of the receiver lets it through")


def test_a_packet_is_followed_across_a_router_as_far_as_it_comes(site: Site, store: Store) -> None:
    web = group(site, OPEN)
    other = site.api.network("10.0.1.0/24")
    a = plugged(store, site, site.inside)
    b = plugged(store, site, other, security_groups=[web["id"]])
    assert last(told(site, a, b))[:2] == (f"router/{site.router['id']}", "missing")
    back = told(site, b, a)
    assert last(back)[:2] == (f"network/{other['id']}", "missing") and "gateway_ip 10.0.1.1" in back["reason"]
    site.interface(site.router, "add", other["subnets"][0])
    passed = told(site, a, b)
    assert passed["passes"]
    objects = [hop["object"].partition("/")[0] for hop in passed["hops"]]
    assert objects == ["port", "port", "network", "router", "port"]
    nobody = told(site, a, "10.0.1.77")
    assert (
        last(nobody)[:2] == (f"network/{other['id']}", "missing") and "no port there has 10.0.1.77" in nobody["reason"]
    )
    site.api.update("routers", site.router, admin_state_up=False)
    assert last(told(site, a, b)) == (f"router/{site.router['id']}", "drop", "admin_state_up is false")


def test_ways_out_and_in_tell_what_is_translated(site: Site, store: Store) -> None:
    web = group(site, OPEN | {"port_range_min": 8080, "port_range_max": 8080})
    a = plugged(store, site, site.inside)
    b = plugged(store, site, site.inside, security_groups=[web["id"]])
    out = told(site, a, WORLD)
    gateway = site.router[GATEWAY]["external_fixed_ips"][0]["ip_address"]
    assert out["passes"] and f"source {addresses(a)[0]} becomes {gateway}" in out["hops"][-2]["what"]
    assert out["hops"][-1]["object"] == f"network/{site.outside['id']}"
    floating = site.floating()
    assert site.forward(floating, b, 80, 8080).status == 201
    forwarded = told(site, a, floating["floating_ip_address"])
    assert forwarded["passes"] and any("port forwarding" in hop["why"] for hop in forwarded["hops"])
    assert told(site, a, floating["floating_ip_address"], 81)["passes"] is False
    site.api.update("routers", site.router, routes=[{"destination": "203.0.113.0/24", "nexthop": addresses(b)[0]}])
    assert "no ingress rule" in told(site, a, WORLD)["reason"]


def test_a_floating_ip_behind_another_router_is_reached_by_both(site: Site, store: Store) -> None:
    web = group(site, OPEN | {"port_range_min": 8080, "port_range_max": 8080})
    other = site.api.network("10.0.0.0/24")
    router = site.new_router(other)
    a = plugged(store, site, site.inside)
    b = plugged(store, site, other, security_groups=[web["id"]])
    whole, shared = site.floating(port_id=b["id"]), site.floating()
    own = site.router[GATEWAY]["external_fixed_ips"][0]["ip_address"]
    assert site.forward(shared, plugged(store, site, other, security_groups=[web["id"]]), 80, 8080).status == 201
    for floating, port in ((whole, 8080), (shared, 80)):
        passed = told(site, a, floating["floating_ip_address"], port)
        assert passed["passes"], passed
        first, second = (hop for hop in passed["hops"] if hop["object"].startswith("router/"))
        assert first["object"] == f"router/{site.router['id']}" and f"becomes {own}" in first["what"]
        assert second["object"] == f"router/{router['id']}" and "destination" in second["what"]
    assert "no ingress rule" in told(site, a, whole["floating_ip_address"], 80)["reason"]
    assert "no port forwarding" in told(site, a, shared["floating_ip_address"], 81)["reason"]
    site.api.update("routers", router, admin_state_up=False)
    assert not told(site, a, whole["floating_ip_address"], 8080)["passes"]


def test_what_a_host_has_not_made_yet_is_missing_with_its_reason(site: Site, store: Store) -> None:
    a, b = plugged(store, site, site.inside), plugged(store, site, site.inside)
    assert told(site, a, b)["passes"]
    write_statuses(store, [ObjectStatus("port", b["id"], "ERROR", "the kernel said no", host="host-a")])
    assert last(told(site, a, b)) == (f"port/{b['id']}", "missing", "the kernel said no")
    loose = site.api.port(site.inside)
    unbound = (f"port/{loose['id']}", "missing", "a port is bound to no host")
    assert last(told(site, loose, a)) == last(told(site, a, loose)) == unbound
    assert "no address" in told(site, site.api.port(site.inside, fixed_ips=[]), b)["reason"]
    for own in (a, addresses(a)[0]):
        assert told(site, a, own)["passes"] and "stays within the workload" in last(told(site, a, own))[2]
    (leg,) = site.api.list("ports", f"device_id={site.router['id']}&device_owner=network:router_interface")
    assert (
        last(told(site, leg, a))[:2] == (f"port/{leg['id']}", "missing")
        and "not judged" in told(site, leg, a)["reason"]
    )


def test_what_is_missing_is_told_whatever_leads_to_it(site: Site, store: Store) -> None:
    a, b = plugged(store, site, site.inside), plugged(store, site, site.inside)
    far = site.api.network("10.5.0.0/24")
    site.interface(site.router, "add", far["subnets"][0])
    c, floating = plugged(store, site, far), site.floating()
    assert site.forward(floating, b, 80, 80).status == 201
    site.api.update("routers", site.router, routes=[{"destination": "203.0.113.0/24", "nexthop": addresses(b)[0]}])
    ways = [(a, addresses(b)[0])]
    ways += [(c, way) for way in (addresses(b)[0], floating["floating_ip_address"], WORLD)]
    web = group(site, OPEN)
    site.api.update("ports", b, security_groups=[web["id"]])
    assert [told(site, source, way)["passes"] for source, way in ways] == [True] * 4
    write_statuses(store, [ObjectStatus("port", b["id"], "ERROR", "the kernel said no", host="host-a")])
    missing = (f"port/{b['id']}", "missing", "the kernel said no")
    assert [last(told(site, source, way)) for source, way in ways] == [missing] * 4


def test_a_network_s_own_server_is_on_the_sender_s_host(site: Site, store: Store) -> None:
    network = site.api.network("10.5.0.0/24")
    a = plugged(store, site, network)
    (server,) = site.api.list("ports", f"network_id={network['id']}&device_owner=network:dhcp")
    for way in (server, addresses(server)[0]):
        found = told(site, a, way, 53, "udp")
        assert found["passes"] and last(found)[0] == f"port/{server['id']}", found
    site.api.update("ports", a, security_groups=[group(site)["id"]])
    for rule in site.api.list("security-group-rules", "direction=egress"):
        site.api.delete("security-group-rules", rule)
    assert "no egress rule" in told(site, a, server, 53, "udp")["reason"]


def test_what_is_switched_off_stops_a_packet_and_not_what_its_host_says_of_it(site: Site, store: Store) -> None:
    a, b, off = (plugged(store, site, site.inside) for _ in range(3))
    far = site.api.network("10.5.0.0/24")
    site.interface(site.router, "add", far["subnets"][0])
    c = plugged(store, site, far)
    site.api.update("ports", off, admin_state_up=False)
    write_statuses(store, [ObjectStatus("port", off["id"], "DOWN", host="host-a")])
    assert (
        last(told(site, a, off)) == last(told(site, off, a)) == (f"port/{off['id']}", "drop", "admin_state_up is false")
    )
    assert told(site, a, c)["passes"]
    site.api.update("networks", far, admin_state_up=False)
    write_statuses(store, [ObjectStatus("port", c["id"], "DOWN", host="host-a")])
    assert last(told(site, a, c)) == (f"network/{far['id']}", "drop", "admin_state_up is false")
    site.api.update("routers", site.router, admin_state_up=False)
    assert last(told(site, b, c)) == (f"router/{site.router['id']}", "drop", "admin_state_up is false")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"port": None}, "port 'None' is not a number of 1 to 65535"),
        ({"port": 0}, "port '0' is not a number of 1 to 65535"),
        ({"port": True}, "port 'True' is not a number"),
        ({"protocol": "icmp"}, "port '80' is for protocols that have ports"),
        ({"protocol": "carrot"}, "protocol 'carrot' is neither a protocol's name nor a number"),
        ({"protocol": "256"}, "protocol '256' is neither"),
        ({"source": ""}, "source '' is not a text"),
        ({"destination": 7}, "destination '7' is not a text"),
        ({"destination": "224.0.0.5"}, "destination '224.0.0.5' is for several"),
        ({"destination": "255.255.255.255"}, "is for several"),
        ({"destination": "ff02::1"}, "is for several"),
        ({"destination": "::1"}, "destination '::1' stays within the workload"),
        ({"destination": "0.0.0.0"}, "destination '0.0.0.0' is nobody's address"),
        ({"colour": "red"}, "colour 'red' is none of destination, port, protocol, source"),
    ],
)
def test_a_wrong_question_is_refused_with_attribute_value_and_rule(
    api: Asker, changes: dict[str, Any], rule: str
) -> None:
    body = {"source": "a", "destination": "b", "protocol": "tcp", "port": 80, **changes}
    answer = api.ask("POST", "/portico/v1/trace", body)
    assert answer.status == 400 and rule in answer.message


def test_names_mean_ports_as_long_as_they_are_one_port_s(site: Site, store: Store) -> None:
    a = plugged(store, site, site.inside, name="a")
    body = {"source": "a", "destination": "b"}
    answer = site.api.ask("POST", "/portico/v1/trace", body)
    assert answer.status == 404 and "destination: no port has the name or id 'b'" in answer.message
    first, second = (plugged(store, site, site.inside, name="b") for _ in range(2))
    answer = site.api.ask("POST", "/portico/v1/trace", body)
    assert answer.status == 409 and first["id"] in answer.message and second["id"] in answer.message
    site.api.delete("ports", second)
    assert site.api.ask("POST", "/portico/v1/trace", body).body["hops"][0]["object"] == f"port/{a['id']}"
