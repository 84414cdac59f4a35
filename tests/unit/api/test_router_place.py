# SPDX-License-Identifier: Apache-2.0
"""`distributed` of routers: what it tells, and what it keeps a router from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Answer, Asker, Row


@pytest.fixture
def api(store: Store) -> Iterator[Asker]:
    hosts, limits = HostStates(), Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
    with Asker(
        make_app(Api(Service(store, 1000), Broker(store, hosts, [BridgeBackend(hosts)]), hosts, limits))
    ) as asker:
        facts = {"able": "bridge bpf", "physical_networks": "office:eth1"}
        assert asker.ask("PUT", "/portico/v1/hosts/one/status", {"revision": 0, "facts": facts}).status == 204
        yield asker


def network(api: Asker, number: int, vlan: int = 0) -> Row:
    """Return a subnet on a network of each host, or on one that is one on all hosts."""
    where = {"provider:network_type": "vlan", "provider:physical_network": "office", "provider:segmentation_id": vlan}
    return api.subnet(api.create("networks", **(where if vlan else {})), f"10.{number}.0.0/24")


def join(api: Asker, router: Row, subnet: Row, by: str = "subnet_id") -> Answer:
    value = subnet["id"]
    if by == "port_id":
        value = api.create("ports", network_id=subnet["network_id"])["id"]
    return api.ask("PUT", f"routers/{router['id']}/add_router_interface", {by: value})


def test_networks_decide_what_a_router_is_that_does_not_say(api: Asker) -> None:
    own, shared = network(api, 1), network(api, 2, vlan=7)
    router, other = api.create("routers"), api.create("routers")
    assert router["distributed"] is True
    assert [join(api, router, subnet).status for subnet in (own, shared)] == [200, 200]
    assert {row["id"]: row["distributed"] for row in api.list("routers")} == {router["id"]: False, other["id"]: True}


@pytest.mark.parametrize("by", ["subnet_id", "port_id"])
@pytest.mark.parametrize("distributed", [True, False])
def test_a_router_that_says_what_it_is_joins_no_network_where_it_would_be_the_other(
    api: Asker, by: str, *, distributed: bool
) -> None:
    subnets = network(api, 1), network(api, 2, vlan=7)
    fits, other = subnets if distributed else subnets[::-1]
    router = api.create("routers", distributed=distributed)
    assert join(api, router, fits, by).status == 200
    answer = join(api, router, other, by)
    assert answer.error == (400, "BadRequest") and other["network_id"] in answer.message
    assert api.show("routers", router["id"])["distributed"] is distributed


def test_only_a_router_that_does_not_forward_changes_and_as_far_as_its_networks_let_it(api: Asker) -> None:
    router = api.create("routers", distributed=False)
    answer = api.try_update("routers", router, distributed=True)
    assert answer.error == (400, "BadRequest") and "admin_state_up to False" in answer.message
    assert api.update("routers", router, distributed=False)["distributed"] is False, "that changes nothing"
    assert api.try_update("routers", router, distributed=True, admin_state_up=False).status == 400
    api.update("routers", router, admin_state_up=False)
    assert api.try_update("routers", router, distributed=True, admin_state_up=True).status == 400
    assert api.update("routers", router, distributed=True)["distributed"] is True
    subnet = network(api, 1)
    assert join(api, router, subnet).status == 200
    answer = api.try_update("routers", router, distributed=False)
    assert answer.error == (400, "BadRequest") and subnet["network_id"] in answer.message
    assert api.update("routers", router, distributed=None)["distributed"] is True
