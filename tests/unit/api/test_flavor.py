# SPDX-License-Identifier: Apache-2.0
"""Flavors of routers: what is refused in Neutron's words, and where the routers are that follow them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.hoststate import Update, key_of
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Asker, Row, wait_until

NOBODY = "00000000-0000-4000-8000-000000000000"
NEUTRONS = "neutron.services.l3_router.service_providers."
ROUTERS = "L3_ROUTER_NAT"
HOSTS = ("one", "two")


@pytest.fixture
def hosts() -> HostStates:
    return HostStates()


@pytest.fixture
def api(store: Store, hosts: HostStates) -> Iterator[Asker]:
    limits = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
    broker = Broker(store, hosts, [BridgeBackend(hosts)])
    with Asker(make_app(Api(Service(store, 1000), broker, hosts, limits))) as asker:
        yield asker


def flavor(api: Asker, *profiles: Row, **values: object) -> Row:
    ids = [profile["id"] for profile in profiles]
    return api.create("flavors", service_profiles=ids, **{"service_type": ROUTERS, **values})


def profile(api: Asker, driver: str, **values: object) -> Row:
    return api.create("service_profiles", driver=driver, **values)


def test_service_providers_are_the_ways_to_have_a_router(api: Asker) -> None:
    found = {(row["service_type"], row["name"], row["default"]) for row in api.list("service-providers")}
    assert found == {(ROUTERS, "by-networks", True), (ROUTERS, "distributed", False), (ROUTERS, "centralized", False)}
    for row in api.list("service-providers"):
        assert profile(api, row["name"])["driver"] == row["name"]


@pytest.mark.parametrize(("provider", "distributed"), [("distributed", True), ("centralized", False)])
def test_a_router_follows_its_flavor_and_stays_as_it_was_made(api: Asker, provider: str, *, distributed: bool) -> None:
    chosen = profile(api, provider)
    made = flavor(api, chosen)
    router = api.create("routers", flavor_id=made["id"])
    assert (router["flavor_id"], router["distributed"]) == (made["id"], distributed)
    assert api.create("routers", flavor_id=made["id"], distributed=distributed)["distributed"] is distributed
    answer = api.try_create("routers", flavor_id=made["id"], distributed=not distributed)
    assert answer.error == (400, "InvalidInput")
    assert f"Provider {provider} does not support distributed={not distributed}" in answer.message
    api.update("routers", router, admin_state_up=False)
    for other in (not distributed, None):
        answer = api.try_update("routers", router, distributed=other)
        assert answer.error == (400, "InvalidInput") and made["id"] in answer.message
    assert api.update("routers", router, distributed=distributed)["distributed"] is distributed
    assert api.try_update("routers", router, flavor_id=None).error == (400, "HTTPBadRequest")
    api.update("flavors", made, service_profiles=[profile(api, "by-networks")["id"]], enabled=False)
    assert api.show("routers", router["id"])["distributed"] is distributed


def test_of_a_flavor_s_profiles_the_first_that_is_enabled_counts(api: Asker) -> None:
    off, first, last = (
        profile(api, "by-networks", enabled=False),
        profile(api, "centralized"),
        profile(api, "distributed"),
    )
    made = flavor(api, off, first, last)
    assert made["service_profiles"] == [off["id"], first["id"], last["id"]]
    assert api.create("routers", flavor_id=made["id"])["distributed"] is False
    api.update("flavors", made, service_profiles=[last["id"], first["id"]])
    assert api.create("routers", flavor_id=made["id"])["distributed"] is True


def test_networks_decide_of_the_default_provider_and_without_a_flavor(api: Asker) -> None:
    made = flavor(api, profile(api, "by-networks"))
    assert api.create("routers", flavor_id=made["id"])["distributed"] is True
    assert api.try_create("routers", flavor_id=made["id"], distributed=False).error == (400, "InvalidInput")
    router = api.create("routers", flavor_id=None)
    assert (router["flavor_id"], router["distributed"]) == (None, True)


def test_names_that_neutron_has_for_the_same_are_taken(api: Asker) -> None:
    for driver, distributed in (("dvr.DvrDriver", True), ("single_node.SingleNodeDriver", False)):
        made = flavor(api, profile(api, NEUTRONS + driver))
        assert api.create("routers", flavor_id=made["id"])["distributed"] is distributed


def test_flavors_by_which_no_router_can_be_made(api: Asker) -> None:
    def refused(flavor_id: object) -> tuple[int, str]:
        return api.try_create("routers", flavor_id=flavor_id).error

    disabled, empty = profile(api, "distributed", enabled=False), profile(api, "", metainfo='{"data": "value"}')
    assert refused(NOBODY) == (404, "FlavorNotFound")
    assert refused("x") == (400, "HTTPBadRequest")
    assert refused(flavor(api)["id"]) == (404, "FlavorServiceProfileBindingNotFound")
    assert refused(flavor(api, profile(api, "distributed"), enabled=False)["id"]) == (503, "FlavorDisabled")
    assert refused(flavor(api, disabled)["id"]) == (503, "ServiceProfileDisabled")
    assert refused(flavor(api, empty)["id"]) == (404, "ServiceProfileDriverNotFound")
    assert refused(flavor(api, profile(api, "distributed"), service_type="FLAVORS")["id"]) == (
        400,
        "InvalidServiceType",
    )
    assert api.list("routers") == []


def test_what_is_in_use_stays(api: Asker) -> None:
    used = profile(api, "distributed")
    made = flavor(api, used)
    for answer in (api.try_delete("service_profiles", used), api.try_update("service_profiles", used, enabled=False)):
        assert answer.error == (409, "ServiceProfileInUse") and made["id"] in answer.message
    router = api.create("routers", flavor_id=made["id"])
    answer = api.try_delete("flavors", made)
    assert answer.error == (409, "FlavorInUse") and router["id"] in answer.message
    api.delete("routers", router)
    api.delete("flavors", made)
    assert api.update("service_profiles", used, enabled=False)["enabled"] is False
    api.delete("service_profiles", used)
    assert api.list("flavors") == api.list("service_profiles") == []


def test_profiles_come_and_go_one_by_one(api: Asker) -> None:
    first, second, made = profile(api, "distributed"), profile(api, "centralized"), flavor(api)
    path = f"flavors/{made['id']}/service_profiles"

    def add(profile_id: str, where: str = path) -> tuple[int, object]:
        answer = api.ask("POST", where, {"service_profile": {"id": profile_id}})
        return answer.error if answer.status >= 400 else (answer.status, answer.body)

    for row in (first, second):
        assert add(row["id"]) == (201, {"service_profile": {"id": row["id"]}})
    assert api.show("flavors", made["id"])["service_profiles"] == [first["id"], second["id"]]
    assert add(first["id"]) == (409, "FlavorServiceProfileBindingExists")
    assert add(NOBODY) == (404, "ServiceProfileNotFound")
    assert add(first["id"], f"flavors/{NOBODY}/service_profiles") == (404, "FlavorNotFound")
    assert api.ask("DELETE", f"{path}/{first['id']}").status == 204
    assert api.ask("DELETE", f"{path}/{first['id']}").error == (404, "FlavorServiceProfileBindingNotFound")
    assert api.ask("DELETE", f"flavors/{NOBODY}/service_profiles/{second['id']}").error == (404, "FlavorNotFound")
    assert api.show("flavors", made["id"])["service_profiles"] == [second["id"]]
    assert api.try_update("flavors", made, service_profiles=[first["id"], first["id"]]).status == 400
    assert api.try_update("flavors", made, service_profiles=[NOBODY]).error == (404, "ServiceProfileNotFound")
    assert api.update("flavors", made, service_profiles=[])["service_profiles"] == []


def test_bodies_that_name_no_profile_are_refused(api: Asker) -> None:
    path = f"flavors/{flavor(api)['id']}/service_profiles"
    for item in (None, {}, {"id": 1}, {"id": "\0"}, {"id": NOBODY, "x": 1}):
        assert api.ask("POST", path, {"service_profile": item}).error == (400, "HTTPBadRequest")
    nothing: tuple[object, ...] = (None, [], {})
    for body in nothing:
        assert api.ask("POST", path, body).error == (400, "HTTPBadRequest")


def test_flavors_and_profiles_that_cannot_be(api: Asker) -> None:
    for service_type in ("VPN", "l3_router_nat"):
        answer = api.try_create("flavors", service_type=service_type)
        assert answer.error == (400, "InvalidServiceType") and ROUTERS in answer.message
    for driver in ("by", f"{NEUTRONS}ha.HaDriver", "Distributed"):
        answer = api.try_create("service_profiles", driver=driver)
        assert answer.error == (404, "ServiceProfileDriverNotFound") and "centralized" in answer.message
    assert api.try_create("service_profiles").error == (400, "ServiceProfileEmpty")
    for metainfo in (None, 1, {"data": "value"}):
        assert api.try_create("service_profiles", metainfo=metainfo).error == (400, "HTTPBadRequest")
    made = profile(api, "distributed")
    assert api.try_update("service_profiles", made, driver="x").error == (404, "ServiceProfileDriverNotFound")
    assert api.try_update("service_profiles", made, driver="").error == (400, "ServiceProfileEmpty")
    assert api.try_update("service_profiles", made, enabled=None).error == (400, "InvalidInput")
    assert api.update("service_profiles", made, driver="", metainfo="x")["metainfo"] == "x"


@pytest.mark.parametrize(
    ("provider", "joined", "where"),
    [("distributed", ["local"], {"one", "two"}), ("centralized", ["vlan"], {"one"}),
     ("by-networks", ["local", "vlan"], {"one", "two"})],
)  # fmt: skip
def test_hosts_have_a_router_as_its_flavor_says(
    api: Asker, hosts: HostStates, provider: str, joined: list[str], where: set[str]
) -> None:
    facts = {"able": "bridge bpf", "physical_networks": "office:eth1"}
    for host in HOSTS:
        assert api.ask("PUT", f"/portico/v1/hosts/{host}/status", {"revision": 0, "facts": facts}).status == 204
    wire = {"provider:network_type": "vlan", "provider:physical_network": "office", "provider:segmentation_id": 7}
    router = api.create("routers", flavor_id=flavor(api, profile(api, provider))["id"])
    for number, values in enumerate(({}, wire)):
        network = api.network(f"10.{number}.0.0/24", **values)
        for host in HOSTS:
            api.port(network, **{"binding:host_id": host})
        body = {"subnet_id": network["subnets"][0]}
        answer = api.ask("PUT", f"routers/{router['id']}/add_router_interface", body)
        assert answer.status == (200 if network["provider:network_type"] in joined else 400)

    def told(host: str) -> Update:
        seen: list[Update] = []
        hosts.follow(host, seen.append)()
        return seen[0]

    newest = max(port["revision_number"] for port in api.list("ports"))
    wait_until(lambda: all(told(host).revision >= newest for host in HOSTS))
    key = f"router/{router['id']}"
    assert {host for host in HOSTS if key in map(key_of, told(host).objects)} == where
