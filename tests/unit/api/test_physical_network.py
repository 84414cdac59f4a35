# SPDX-License-Identifier: Apache-2.0
"""Networks on physical networks of hosts: what the attributes must be, what is chosen, where ports can be bound."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Answer, Asker, Row

LIMITS = Limits({}, 1500, "fa:16:3e", "portico.test.", "red", vlan_ranges=(("lab", 7, 8), ("office", 100, 100)))
TYPE, PHYSICAL, SEGMENT = "provider:network_type", "provider:physical_network", "provider:segmentation_id"


def body(network_type: str, physical: Any = None, segment: Any = None) -> Row:
    given = {TYPE: network_type, PHYSICAL: physical, SEGMENT: segment}
    return {name: value for name, value in given.items() if value is not None}


@pytest.fixture
def api(store: Store) -> Iterator[Asker]:
    hosts = HostStates()
    with Asker(make_app(Api(Service(store, 1000), Broker(store, hosts, [BridgeBackend(hosts)]), hosts, LIMITS))) as api:
        tell(api, "one", "office:eth1")
        tell(api, "two", "office:eth1 lab:eth2")
        yield api


def tell(api: Asker, host: str, physical_networks: str, able: str = "bridge bpf") -> None:
    facts = {"able": able, "physical_networks": physical_networks, "lacks_bpf": "bpf(2): Operation not permitted"}
    assert api.ask("PUT", f"/portico/v1/hosts/{host}/status", {"revision": 0, "facts": facts}).status == 204


def place(row: Row) -> tuple[Any, ...]:
    return row[TYPE], row[PHYSICAL], row[SEGMENT]


def refused(answer: Answer) -> tuple[int, str, str]:
    return (*answer.error, answer.message)


def test_what_does_not_go_with_a_type_is_refused_in_neutrons_words(api: Asker) -> None:
    network = api.create("networks")
    words = {
        "provider:physical_network required for flat provider network": body("flat"),
        "provider:segmentation_id prohibited for flat provider network": body("flat", "office", 7),
        "provider:segmentation_id requires provider:physical_network for VLAN provider": body("vlan", None, 7),
        "provider:segmentation_id out of range (1 through 4094)": body("vlan", "office", 0),
        "segmentation_id out of range (1 through 4094)": body("vlan", "office", 4095),
        "'attic' unknown for VLAN provider network: no host has it. Hosts have: lab (on two); office (on one, two)": (
            body("vlan", "attic", 7)
        ),
    }
    for rule, given in words.items():
        for answer in (api.try_create("networks", **given), api.try_update("networks", network, **given)):
            assert answer.error == (400, "InvalidInput") and rule in answer.message, given
    assert api.list("networks") == [network]


def test_a_place_is_one_networks_alone_until_it_goes(api: Asker) -> None:
    flat, tagged = api.create("networks", **body("flat", "office")), api.create("networks", **body("vlan", "office", 7))
    assert [place(row) for row in (flat, tagged)] == [("flat", "office", None), ("vlan", "office", 7)]
    (segment,) = api.list("segments", f"network_id={tagged['id']}")
    assert (segment["physical_network"], segment["segmentation_id"]) == ("office", 7)
    api.create("networks", **body("flat", "lab"))
    assert refused(api.try_create("networks", **body("flat", "office"))) == (
        409, "FlatNetworkInUse", "Unable to create the flat network. Physical network office is in use."
    )  # fmt: skip
    assert refused(api.try_create("networks", **body("vlan", "office", 7))) == (
        409, "VlanIdInUse", "Unable to create the network. The VLAN 7 on physical network office is in use."
    )  # fmt: skip
    api.delete("networks", tagged)
    assert place(api.create("networks", **body("vlan", "office", 7))) == ("vlan", "office", 7)


def test_a_vlan_id_that_nobody_names_is_a_free_one_of_the_ranges(api: Asker) -> None:
    api.create("networks", **body("vlan", "lab", 7))
    chosen = [place(api.create("networks", **body("vlan", *given)))[1:] for given in ((), ())]
    assert chosen == [("lab", 8), ("office", 100)]


def test_no_free_vlan_id_is_neutrons_no_network_available(api: Asker) -> None:
    for wanted in (("office", 100), ("lab", 7), ("lab", 8)):
        assert place(api.create("networks", **body("vlan", wanted[0])))[1:] == wanted
    for given, where in (((), ""), (("lab",), " of physical network lab")):
        status, kind, message = refused(api.try_create("networks", **body("vlan", *given)))
        assert (status, kind) == (503, "NoNetworkAvailable")
        assert f" No VLAN ID{where} is free in network segment ranges of project red " in message
    assert len(api.list("networks")) == 3


def test_a_port_is_bound_only_where_the_physical_network_is(api: Asker) -> None:
    network = api.create("networks", **body("vlan", "lab", 7))
    port = api.create("ports", **{"network_id": network["id"], "binding:host_id": "one"})
    assert port["binding:vif_type"] == "binding_failed"
    why = "binding failed: host one has no physical network 'lab', but: office"
    assert api.ask("GET", f"/portico/v1/ports/{port['id']}/status").body["reason"] == why
    assert api.update("ports", port, **{"binding:host_id": "two"})["binding:vif_type"] == "tap"
    (agent,) = [row for row in api.list("agents") if row["host"] == "two"]
    assert agent["configurations"]["interface_mappings"] == {"office": "eth1", "lab": "eth2"}


def test_a_host_without_bpf_has_none_and_says_why(api: Asker) -> None:
    tell(api, "two", "lab:eth2", able="bridge")
    network = api.create("networks", **body("vlan", "lab", 7))
    port = api.create("ports", **{"network_id": network["id"], "binding:host_id": "two"})
    assert port["binding:vif_type"] == "binding_failed"
    tell(api, "one", "", able="bridge")
    answer = refused(api.try_create("networks", **body("vlan", "lab", 8)))
    assert answer[:2] == (409, "BackendNotAvailable") and "host two: bpf(2): Operation not permitted" in answer[2]


def test_a_network_moves_only_without_ports_and_then_wholly(api: Asker) -> None:
    network = api.create("networks", **body("vlan", "lab", 7))
    assert place(api.update("networks", network, **{SEGMENT: 9})) == ("vlan", "lab", 9)
    api.subnet(network, "192.0.2.0/24")
    port = api.create("ports", network_id=network["id"])
    moves: tuple[Row, ...] = ({SEGMENT: 8}, {PHYSICAL: "office"}, {TYPE: "flat"}, {TYPE: "local"})
    for changes in moves:
        status, kind, message = refused(api.try_update("networks", network, **changes))
        assert (status, kind) == (409, "NetworkInUse") and port["id"] in message, message
    assert place(api.update("networks", network, **{SEGMENT: 9, "name": "n"})) == ("vlan", "lab", 9)
    api.delete("ports", port)
    assert place(api.update("networks", network, **{TYPE: "local"})) == ("local", None, None)
    (segment,) = api.list("segments", f"network_id={network['id']}")
    assert operator.itemgetter("network_type", "physical_network", "segmentation_id")(segment) == ("local", None, None)
