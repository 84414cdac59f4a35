# SPDX-License-Identifier: Apache-2.0
"""Network segment ranges: whose networks get which VLAN IDs, and what stands in the way of changing them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.backends.bridge import BridgeBackend
from portico.backends.memory import MemoryBackend
from portico.backends.memory.fabric import Fabric
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.rules.context import Limits
from portico.store.store import Store

from .asker import Answer, Asker, Row

RANGES = "network_segment_ranges"
SETTING = (("lab", 7, 8), ("office", 100, 105))
VLAN = {"network_type": "vlan", "physical_network": "office"}


def api_with(store: Store, *ranges: tuple[str, int, int], without: bool = False) -> Asker:
    """Return an API with the setting `network.vlan_ranges`, of a backend with VLANs or one `without`."""
    hosts = HostStates()
    limits = Limits({}, 1500, "fa:16:3e", "portico.test.", "red", vlan_ranges=ranges)
    backend = MemoryBackend(Fabric()) if without else BridgeBackend(hosts)
    return Asker(make_app(Api(Service(store, 1000), Broker(store, hosts, [backend]), hosts, limits)))


@pytest.fixture
def api(store: Store) -> Iterator[Asker]:
    with api_with(store, *SETTING) as asker:
        facts = {"able": "bridge bpf", "physical_networks": "office:eth1 lab:eth2"}
        assert asker.ask("PUT", "/portico/v1/hosts/one/status", {"revision": 0, "facts": facts}).status == 204
        yield asker


def attempt(api: Asker, project_id: str, physical: str = "office", number: int | None = None) -> Answer:
    where: Row = {"provider:network_type": "vlan", "provider:physical_network": physical}
    if number is not None:
        where["provider:segmentation_id"] = number
    return api.try_create("networks", project_id=project_id, **where)


def vlan(api: Asker, project_id: str, physical: str = "office") -> int:
    answer = attempt(api, project_id, physical)
    assert answer.status == 201, answer
    return int(answer.body["network"]["provider:segmentation_id"])


def own(api: Asker, project_id: str, first: int, last: int) -> Row:
    return api.create(RANGES, **VLAN, shared=False, project_id=project_id, minimum=first, maximum=last)


def test_the_setting_s_ranges_are_default_ones_and_nobody_changes_them(api: Asker, store: Store) -> None:
    found = api.list(RANGES)
    assert sorted((row["physical_network"], row["minimum"], row["maximum"]) for row in found) == list(SETTING)
    for row in found:
        assert (row["default"], row["shared"], row["project_id"], row["network_type"]) == (True, True, None, "vlan")
        for answer in (api.try_update(RANGES, row, name="x"), api.try_delete(RANGES, row)):
            assert answer.error == (400, "NetworkSegmentRangeDefaultReadOnly") and row["id"] in answer.message
    with api_with(store, SETTING[0], ("lab", 20, 21)) as changed:
        again = changed.list(RANGES)
    assert sorted((row["physical_network"], row["minimum"]) for row in again) == [("lab", 7), ("lab", 20)]
    assert {row["id"] for row in again} & {row["id"] for row in found}, "what stayed is the same"


def test_a_project_gets_of_its_own_ranges_first_and_others_never_of_them(api: Asker) -> None:
    own(api, "blue", 100, 101)
    assert [vlan(api, "red"), vlan(api, "blue"), vlan(api, "blue")] == [102, 100, 101]
    assert [vlan(api, "blue"), vlan(api, "red"), vlan(api, "red")] == [103, 104, 105]
    answer = attempt(api, "red")
    assert answer.error == (503, "NoNetworkAvailable") and "of physical network office" in answer.message
    own(api, "red", 3000, 3000)
    assert vlan(api, "red") == 3000
    assert vlan(api, "red", "lab") == 7, "ranges of another physical network are no help"


def test_a_shared_range_serves_everybody_and_shows_what_is_used(api: Asker) -> None:
    made = api.create(RANGES, **VLAN, name="more", minimum=200, maximum=202)
    assert (made["default"], made["shared"], made["project_id"]) == (False, True, None)
    assert vlan(api, "blue") == 200, "what the operator made comes before the setting's"
    assert attempt(api, "red", number=202).status == 201
    shown = api.show(RANGES, made["id"])
    assert (shown["used"], shown["available"]) == ({"200": "blue", "202": "red"}, [201])
    assert api.list(RANGES, "name=more") == [shown]


def test_a_range_stays_around_what_networks_have_of_it(api: Asker) -> None:
    made = own(api, "blue", 300, 310)
    assert vlan(api, "blue") == 300
    for answer in (
        api.try_delete(RANGES, made),
        api.try_update(RANGES, made, minimum=301),
        api.try_update(RANGES, made, minimum=290, maximum=299),
    ):
        assert answer.error == (409, "NetworkSegmentRangeReferencedByProject") and "they have 300" in answer.message
    changed = api.update(RANGES, made, minimum=300, maximum=300, name="one", description="d")
    assert (changed["maximum"], changed["name"], changed["available"]) == (300, "one", [])
    (network,) = api.list("networks")
    api.delete("networks", network)
    api.delete(RANGES, made)
    assert api.ask("GET", f"{RANGES}/{made['id']}").error == (404, "NetworkSegmentRangeNotFound")


def test_ranges_of_one_physical_network_do_not_overlap(api: Asker) -> None:
    made, other = own(api, "blue", 300, 310), own(api, "red", 320, 330)
    for first, last in ((310, 315), (290, 300), (305, 306), (1, 4094)):
        answer = api.try_create(RANGES, **VLAN, minimum=first, maximum=last)
        assert answer.error == (409, "NetworkSegmentRangeOverlaps") and made["id"] in answer.message
    assert api.try_update(RANGES, other, minimum=310).error == (409, "NetworkSegmentRangeOverlaps")
    assert api.try_update(RANGES, made, maximum=320).error == (409, "NetworkSegmentRangeOverlaps")
    api.create(RANGES, network_type="vlan", physical_network="lab", minimum=300, maximum=310)


def test_what_is_no_range_is_refused(api: Asker) -> None:
    for given, error in (
        ({"minimum": 5, "maximum": 4}, "NetworkVlanRangeError"),
        ({"minimum": 1, "maximum": 4095}, "NetworkVlanRangeError"),
        ({"maximum": 4294967295}, "HTTPBadRequest"),
        ({"minimum": 0}, "HTTPBadRequest"),
        ({"physical_network": None}, "HTTPBadRequest"),
        ({"physical_network": ""}, "BadRequest"),
        ({"network_type": "vxlan"}, "NetworkSegmentRangeNetTypeNotSupported"),
        ({"network_type": "flat"}, "HTTPBadRequest"),
    ):
        answer = api.try_create(RANGES, **{**VLAN, "minimum": 300, "maximum": 310, **given})
        assert answer.error == (400, error), answer
    bare = api.try_create(RANGES, minimum=1, maximum=2)
    assert bare.error == (400, "NetworkSegmentRangeNetTypeNotSupported")
    assert len(api.list(RANGES)) == len(SETTING)


def test_where_no_backend_has_vlans_there_are_no_ranges(store: Store) -> None:
    with api_with(store, without=True) as api:
        answer = api.try_create(RANGES, **VLAN, minimum=1, maximum=2)
        assert answer.error == (400, "NetworkSegmentRangeNetTypeNotSupported")
        assert "local" in answer.message, "the types that there are"
        assert api.list(RANGES) == []
