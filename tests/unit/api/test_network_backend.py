# SPDX-License-Identifier: Apache-2.0
"""The backend of a network: who may choose it, what it goes with, and when it may change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from portico.admission import refuse_undeclared
from portico.api import collection
from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import CAPABILITIES, BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import Capabilities, Change
from portico.errors import Forbidden
from portico.model.snapshot import Snapshot
from portico.policy.policy import Policy
from portico.rules.context import Context, Limits
from portico.settings_broker import BrokerSettings
from portico.store.store import Store

from .asker import Asker

BACKEND, TYPE = "portico:backend", "provider:network_type"
LIMITS = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
SETTINGS = BrokerSettings(types={"flat": "second", "vlan": "second"}, projects={"blue": "second bridge"})


class Second(BridgeBackend):
    """Another backend, which has no DHCP server and no IPv6."""

    def describe(self) -> Capabilities:
        features = CAPABILITIES.features - {"dhcp", "ipv6"}
        changed = {"network_types": ("flat", "vlan"), "physical_types": (), "features": features}
        return msgspec.structs.replace(CAPABILITIES, name="second", **changed)

    def admit(self, _want: Snapshot, change: Change) -> None:
        refuse_undeclared(self.describe(), change)


def make_broker(store: Store, hosts: HostStates) -> Broker:
    return Broker(store, hosts, [BridgeBackend(hosts), Second(hosts)], SETTINGS)


@pytest.fixture
def api(store: Store) -> Iterator[Asker]:
    hosts = HostStates()
    with Asker(make_app(Api(Service(store, 1000), make_broker(store, hosts), hosts, LIMITS))) as asker:
        yield asker


def test_a_network_shows_its_backend_and_can_be_found_by_it(api: Asker) -> None:
    chosen = [
        api.create("networks", **body)
        for body in ({}, {BACKEND: "second"}, {TYPE: "flat"}, {TYPE: "vlan"}, {"project_id": "blue"})
    ]
    assert [(row[BACKEND], row[TYPE]) for row in chosen] == [
        ("bridge", "local"), ("second", "flat"), ("second", "flat"), ("second", "vlan"), ("second", "flat")
    ]  # fmt: skip
    assert api.list("networks", f"{BACKEND}=bridge") == chosen[:1]
    assert "portico-backends" in {item["alias"] for item in api.list("extensions")}


def test_an_unknown_backend_is_refused_with_those_that_there_are(api: Asker) -> None:
    for answer in (
        api.try_create("networks", **{BACKEND: "pigeon"}),
        api.try_update("networks", api.create("networks"), **{BACKEND: "pigeon"}),
    ):
        assert answer.error == (400, "InvalidInput")
        assert "portico:backend 'pigeon' is no backend here; known are: bridge, second" in answer.message
    assert api.try_create("networks", **{BACKEND: "second", TYPE: "local"}).error == (400, "InvalidInput")
    assert api.try_create("networks", **{BACKEND: None}).error[0] == 400


def test_a_network_changes_its_backend_only_without_ports_which_are_named(api: Asker) -> None:
    network = api.create("networks")
    port = api.create("ports", network_id=network["id"])
    answer = api.try_update("networks", network, **{BACKEND: "second"})
    assert answer.error == (409, "NetworkInUse")
    assert port["id"] in answer.message and "cannot change from 'bridge' to 'second'" in answer.message
    assert api.update("networks", network, **{BACKEND: "bridge"})[BACKEND] == "bridge"
    api.delete("ports", port["id"])
    moved = api.update("networks", network, **{BACKEND: "second"})
    assert (moved[BACKEND], moved[TYPE]) == ("second", "flat")
    [segment] = api.list("segments", f"network_id={network['id']}")
    assert segment["network_type"] == "flat"
    assert api.update("networks", network, **{TYPE: "vlan"})[TYPE] == "vlan"
    assert api.try_update("networks", network, **{TYPE: "local"}).error == (400, "InvalidInput")


def test_a_backend_that_lacks_what_a_subnet_needs_is_not_taken(api: Asker) -> None:
    network = api.create("networks")
    api.create("subnets", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24")
    answer = api.try_update("networks", network, **{BACKEND: "second"})
    assert answer.error == (400, "InvalidInput") and "needs 'dhcp'" in answer.message
    assert api.show("networks", network["id"])[BACKEND] == "bridge"


def test_objects_on_a_new_network_are_judged_by_its_backend(api: Asker) -> None:
    """Nothing but the request itself tells of the network: the broker has not seen it yet."""
    network = api.create("networks", **{BACKEND: "second"})
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "192.0.2.0/24"}
    answer = api.try_create("subnets", **body)
    assert answer.error == (400, "InvalidInput") and "the second backend does not realise" in answer.message
    api.create("subnets", **body, enable_dhcp=False)


def test_a_subnet_of_an_ip_version_that_the_backend_lacks_is_refused_and_the_others_stay(api: Asker) -> None:
    network = api.create("networks", **{BACKEND: "second"})
    four = api.create("subnets", network_id=network["id"], ip_version=4, cidr="192.0.2.0/24", enable_dhcp=False)
    six = {"ip_version": 6, "cidr": "2001:db8::/64", "enable_dhcp": False}
    answer = api.try_create("subnets", network_id=network["id"], **six)
    assert answer.error == (400, "InvalidInput")
    assert "ip_version 6 needs 'ipv6', which the second backend does not realise" in answer.message
    assert api.show("networks", network["id"])["subnets"] == [four["id"]]
    both = api.create("networks")
    api.create("subnets", network_id=both["id"], **six)
    answer = api.try_update("networks", both, **{BACKEND: "second"})
    assert "needs 'ipv6'" in answer.message and api.show("networks", both["id"])[BACKEND] == "bridge"


def test_members_choose_among_the_backends_of_their_project(store: Store) -> None:
    broker = make_broker(store, HostStates())
    service, network = Service(store, 1000), store.registry.resources["network"]

    def ask(project_id: str, *roles: str) -> str:
        context = Context(project_id, "admin" in roles, LIMITS, broker, roles, policy=Policy(store.registry))
        answer = collection.create(service, network, context, {"network": {BACKEND: "second"}})
        return str(answer["network"][BACKEND])

    assert ask("blue", "member", "reader") == ask("red", "admin") == "second"
    with pytest.raises(Forbidden, match="portico:backend 'second' is none of those of project red: bridge"):
        ask("red", "member", "reader")
