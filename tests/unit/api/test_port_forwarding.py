# SPDX-License-Identifier: Apache-2.0
"""Port forwardings: which ports lead where, what clashes, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portico.api.app import make_app
from portico.errors import BadRequest
from portico.rules.port_forwarding import _share_address, _sides
from portico.store.store import Store

from .asker import Asker, Row, addresses
from .conftest import MakeApi
from .floating import Site

BAD = (400, "BadRequest")


@pytest.fixture(scope="module")
def site(lasting_store: Store, make_api: MakeApi) -> Iterator[Site]:
    with Asker(make_app(make_api(lasting_store))) as api:
        yield Site(api, "host")


@pytest.fixture
def floating(site: Site) -> Row:
    return site.floating()


@pytest.fixture
def web(site: Site) -> Row:
    return site.api.port(site.inside, name="web")


def made(answer: Any) -> Row:
    assert answer.status == 201, answer
    row: Row = answer.body["port_forwarding"]
    return row


def test_a_forwarding_from_its_start_to_its_end(site: Site, floating: Row, web: Row) -> None:
    row = made(site.forward(floating, web, 8080, 80, description="d"))
    assert row == {
        "id": row["id"],
        "protocol": "tcp",
        "external_port": 8080,
        "external_port_range": "8080:8080",
        "internal_port_id": web["id"],
        "internal_ip_address": addresses(web)[0],
        "internal_port": 80,
        "internal_port_range": "80:80",
        "description": "d",
        "portico:host_addresses": [],
    }
    one = f"{site.path(floating)}/{row['id']}"
    assert site.api.get(one)["port_forwarding"] == row
    assert site.api.get(f"{site.path(floating)}?external_port=8080&protocol=tcp")["port_forwardings"] == [row]
    assert site.api.get(f"{site.path(floating)}?external_port=8081")["port_forwardings"] == []
    shown = site.now(floating)
    assert (shown["router_id"], shown["port_id"], shown["status"]) == (site.router["id"], None, "ACTIVE")
    assert shown["revision_number"] > floating["revision_number"]
    assert shown["port_forwardings"] == [
        {name: row[name] for name in row.keys() - {"description", "portico:host_addresses"} if "range" not in name}
    ]
    body = {"port_forwarding": {"internal_port": 81, "protocol": "udp"}}
    changed = site.api.ask("PUT", one, body).body["port_forwarding"]
    assert (changed["internal_port"], changed["internal_port_range"], changed["external_port"]) == (81, "81:81", 8080)
    assert site.now(floating)["revision_number"] > shown["revision_number"]
    assert site.api.try_delete("floatingips", floating).error == (409, "FipInUseByPortForwarding")
    other = site.api.port(site.inside)
    answer = site.api.try_update("floatingips", floating, port_id=other["id"])
    assert answer.error == (409, "FipInUseByPortForwarding")
    assert site.api.update("floatingips", floating, description="x")["router_id"] == site.router["id"]
    assert site.api.update("floatingips", floating, port_id=None)["router_id"] == site.router["id"]
    assert site.api.ask("DELETE", one).status == 204
    assert site.api.ask("GET", one).error == (404, "PortForwardingNotFound")
    free = site.now(floating)
    assert (free["router_id"], free["status"], free["port_forwardings"]) == (None, "DOWN", [])
    site.api.delete("floatingips", floating)


def test_ranges_lead_port_by_port_or_all_to_one(site: Site, floating: Row, web: Row) -> None:
    many = made(site.forward(floating, web, "1000:1009", "2000:2009"))
    assert (many["external_port"], many["external_port_range"], many["internal_port"]) == (None, "1000:1009", None)
    made(site.forward(floating, web, "1010:1019", "3000:3000"))
    for external, internal in (("1020:1029", "4000:4008"), (1030, "4000:4001"), ("1040:1039", 1), (0, 1), (1, 70000)):
        assert site.forward(floating, web, external, internal).status == 400, (external, internal)
    for values in ({"external_port": 5}, {"external_port_range": "x"}, {"internal_port_range": "1:2:3"}):
        assert site.forward(floating, web, 1050 if "external_port" not in values else "6:6", 1, **values).status == 400
    neither = {"protocol": "tcp", "internal_port_id": web["id"], "internal_ip_address": addresses(web)[0]}
    assert site.api.ask("POST", site.path(floating), {"port_forwarding": neither}).error == BAD
    shown = {row["external_port_range"] for row in site.now(floating)["port_forwardings"] if "internal_port_id" in row}
    assert shown == {"1000:1009", "1010:1019"}
    one = f"{site.path(floating)}/{many['id']}"
    answer = site.api.ask("PUT", one, {"port_forwarding": {"external_port": 7, "internal_port": 8}})
    assert (answer.body["port_forwarding"]["external_port_range"], answer.body["port_forwarding"]["internal_port"]) == (
        "7:7",
        8,
    )


def test_what_another_forwarding_has_is_refused_naming_it(site: Site, floating: Row, web: Row) -> None:
    db = site.api.port(site.inside)
    first = made(site.forward(floating, web, "100:109", "100:109"))
    for external, internal, port, name in (
        (105, 9, db, "external_port_range"),
        ("90:100", 9, db, "external_port_range"),
        (200, 109, web, "internal_port_range"),
        ("200:209", "109:118", web, "internal_port_range"),
    ):
        answer = site.forward(floating, port, external, internal)
        assert answer.error == BAD and first["id"] in answer.message and name in answer.message
    second = site.floating()
    assert site.forward(second, web, 5, 105).error == BAD
    made(site.forward(second, db, 105, 105))
    made(site.forward(floating, web, 105, 105, protocol="udp"))
    other = made(site.forward(floating, db, 110, 110))
    one = f"{site.path(floating)}/{other['id']}"
    answer = site.api.ask("PUT", one, {"port_forwarding": {"external_port": 109}})
    assert answer.error == BAD and first["id"] in answer.message
    assert site.api.ask("PUT", one, {"port_forwarding": {"description": "same ports"}}).status == 200


def test_floating_ips_and_ports_that_have_their_other_side_are_refused(site: Site, floating: Row, web: Row) -> None:
    site.floating(port_id=web["id"])
    answer = site.forward(floating, web, 80, 80)
    assert answer.error == (409, "PortHasBindingFloatingIP")
    db = site.api.port(site.inside)
    taken = site.floating(port_id=site.api.port(site.inside)["id"])
    assert site.forward(taken, db, 80, 80).error == (409, "FloatingIPPortAlreadyAssociated")
    one = made(site.forward(floating, db, 80, 80))
    body = {"port_forwarding": {"internal_port_id": web["id"]}}
    assert site.api.ask("PUT", f"{site.path(floating)}/{one['id']}", body).error == (409, "PortHasBindingFloatingIP")


def test_a_port_that_its_router_does_not_reach_is_refused(site: Site, floating: Row, web: Row) -> None:
    far = site.api.network("10.7.0.0/24")
    beyond = site.api.port(far)
    assert site.forward(floating, beyond, 80, 80).error == BAD
    site.new_router(far)
    made(site.forward(floating, web, 80, 80))
    answer = site.forward(floating, beyond, 81, 80)
    assert answer.error == BAD and site.router["id"] in answer.message
    assert site.forward(floating, web, 81, 81, internal_ip_address="10.0.0.250").error == BAD
    assert site.forward(floating, site.api.port(site.inside, fixed_ips=[]), 81, 81).error == BAD
    assert site.forward(floating, {**web, "id": floating["id"]}, 81, 81).error == (404, "PortNotFound")
    assert made(site.forward(floating, web, 80, 80, protocol="sctp"))["protocol"] == "sctp"
    for protocol in ("icmp", "dccp", "17", None):
        assert site.forward(floating, web, 81, 81, protocol=protocol).status == 400, protocol


def test_a_forwarding_moves_to_another_port(site: Site, floating: Row, web: Row) -> None:
    one = made(site.forward(floating, web, 80, 80))
    db = site.api.port(site.inside)
    body = {"port_forwarding": {"internal_port_id": db["id"]}}
    moved = site.api.ask("PUT", f"{site.path(floating)}/{one['id']}", body).body["port_forwarding"]
    assert (moved["internal_port_id"], moved["internal_ip_address"]) == (db["id"], addresses(db)[0])
    wrong = {"port_forwarding": {"internal_ip_address": addresses(web)[0]}}
    assert site.api.ask("PUT", f"{site.path(floating)}/{one['id']}", wrong).error == BAD


def test_forwardings_go_with_their_port_or_its_address(site: Site, floating: Row, web: Row) -> None:
    subnet = site.inside["subnets"][0]
    db = site.api.port(site.inside, fixed_ips=[{"subnet_id": subnet}, {"subnet_id": subnet}])
    made(site.forward(floating, web, 1, 1))
    gone = made(site.forward(floating, db, 2, 2))
    kept = made(site.forward(floating, db, 3, 3, internal_ip_address=addresses(db)[1]))
    assert site.interface(site.router, "remove", subnet).error == (409, "RouterInterfaceInUseByFloatingIP")
    site.api.update("ports", db, fixed_ips=[{"ip_address": addresses(db)[1]}])
    left = {row["id"] for row in site.now(floating)["port_forwardings"]}
    assert gone["id"] not in left and kept["id"] in left
    site.api.delete("ports", web)
    assert [row["id"] for row in site.now(floating)["port_forwardings"]] == [kept["id"]]
    site.api.delete("ports", db)
    assert (site.now(floating)["port_forwardings"], site.now(floating)["router_id"]) == ([], None)


def test_ports_of_a_host_are_published_once(site: Site, floating: Row, web: Row) -> None:
    def publish(port: Row, external: Any, *hosts: str) -> Any:
        return site.forward(site.floating(), port, external, external, **{"portico:host_addresses": list(hosts)})

    db = site.api.port(site.inside)
    first = made(publish(web, 8080, "192.0.2.1", "2001:DB8::1"))
    assert first["portico:host_addresses"] == ["192.0.2.1", "2001:db8::1"]
    made(publish(db, 8080, "192.0.2.2"))
    made(publish(db, 8081, "0.0.0.0", "::"))
    for external, host in ((8080, "192.0.2.1"), ("8078:8080", "0.0.0.0"), (8080, "::"), (8081, "127.0.0.1")):
        answer = publish(site.api.port(site.inside), external, host)
        assert answer.error == BAD and "portico:host_addresses" in answer.message, (external, host)
    again = {"portico:host_addresses": ["192.0.2.3"]}
    made(site.forward(site.floating(), db, 8082, 8081, **again))  # as with Docker, several of a host's lead to one
    made(publish(site.api.port(site.inside, **{"binding:host_id": "elsewhere"}), 8080, "192.0.2.1"))
    for odd, rule in (("224.0.0.1", "multicast"), ("::1", "127.0.0.1 can be had"), ("fe80::1", "link-local")):
        assert publish(web, 9999, odd).error == BAD and rule in publish(web, 9999, odd).message
    assert "name 192.0.2.9" in publish(web, 9999, "::ffff:192.0.2.9").message
    behind = site.api.network("203.0.113.0/24", **{"router:external": True})
    elsewhere = site.api.create("floatingips", floating_network_id=behind["id"])
    answer = site.forward(elsewhere, web, 9999, 9999, **{"portico:host_addresses": ["192.0.2.1"]})
    assert answer.error == (400, "InvalidInput") and behind["id"] in answer.message
    assert publish(web, 9999, "here").status == 400


def test_what_is_published_over_ipv6_is_led_by_an_address_that_the_floating_ip_has_beside(
    lasting_store: Store, make_api: MakeApi
) -> None:
    with Asker(make_app(make_api(lasting_store))) as api:
        site = Site(api, "host", outside="100.64.7.0/24")
        site.interface(site.router, "add", api.subnet(site.inside, "2001:db8:7::/64")["id"])
        web, floating = api.port(site.inside), site.floating()

        def beside() -> list[str]:
            [own] = api.list("ports", f"device_id={floating['id']}")
            return addresses(own)[1:]

        def publish(number: int, *hosts: str) -> Row:
            return made(site.forward(floating, web, number, number, **{"portico:host_addresses": list(hosts)}))

        publish(80, "::")
        assert beside() == [], "there is no IPv6 outside"
        api.subnet(site.outside, "fd00:64::/64")
        row = publish(81, "192.0.2.1")
        assert beside() == [], "there is no IPv6 to publish"
        path = f"{site.path(floating)}/{row['id']}"
        hosts = {"portico:host_addresses": ["2001:db8::1"]}
        assert api.ask("PUT", path, {"port_forwarding": hosts}).status == 200
        [found] = beside()
        assert found.startswith("fd00:64::")
        publish(82, "::")
        assert beside() == [found]
        assert site.now(floating)["floating_ip_address"] == floating["floating_ip_address"]


SIDE = st.integers(1, 40).flatmap(lambda first: st.tuples(st.just(first), st.integers(first, first + 5)))


@settings(max_examples=60, deadline=None)
@given(external=SIDE, internal=SIDE, as_range=st.booleans())
def test_ports_are_kept_in_both_spellings(external: tuple[int, int], internal: tuple[int, int], as_range: bool) -> None:
    given: Row = {}
    for side, (first, last) in (("external", external), ("internal", internal)):
        if first == last and not as_range:
            given[f"{side}_port"] = first
        else:
            given[f"{side}_port_range"] = f"{first}:{last}"
    fits = internal[0] == internal[1] or internal[1] - internal[0] == external[1] - external[0]
    try:
        kept = _sides(given, {})
    except BadRequest:
        assert not fits
        return
    assert fits
    assert kept["external_port_range"] == f"{external[0]}:{external[1]}"
    assert kept["internal_port"] == (internal[0] if internal[0] == internal[1] else None)
    assert _sides({}, kept) == kept
    assert _sides(kept, {}) == kept


def test_which_addresses_of_a_host_are_the_same() -> None:
    assert _share_address(["192.0.2.1"], ["192.0.2.1"])
    assert _share_address(["0.0.0.0"], ["192.0.2.1"])
    assert not _share_address(["0.0.0.0"], ["2001:db8::1"])
    assert not _share_address([], ["192.0.2.1"])
