# SPDX-License-Identifier: Apache-2.0
"""The segment of a network, through the API."""

from __future__ import annotations

from typing import Any

import pytest

from .asker import Asker, Row

NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


def test_every_network_has_one_segment_from_its_creation_to_its_end(api: Asker, network: Row) -> None:
    other = api.network()
    (row,) = api.list("segments", f"network_id={network['id']}")
    assert {item["network_id"] for item in api.list("segments")} == {network["id"], other["id"]}
    assert (row["network_type"], row["physical_network"], row["segmentation_id"]) == ("local", None, None)
    assert (row["name"], row["description"]) == (None, "")
    assert row["created_at"] and row["updated_at"] and row["revision_number"] == other["revision_number"] - 2
    assert api.show("segments", row["id"]) == row
    assert len(api.list("segments", "network_type=local&sort_key=network_id")) == 2
    assert api.list("segments", "physical_network=public") == []
    api.delete("networks", network)
    assert [item["network_id"] for item in api.list("segments")] == [other["id"]]
    assert api.ask("GET", f"segments/{row['id']}").error == (404, "SegmentNotFound")


def test_a_segment_has_a_name_and_a_description(api: Asker, network: Row) -> None:
    (row,) = api.list("segments")
    changed = api.update("segments", row, name="rack 1", description="by the door")
    assert (changed["name"], changed["description"], changed["created_at"]) == (
        "rack 1",
        "by the door",
        row["created_at"],
    )
    assert changed["revision_number"] > row["revision_number"]
    assert api.list("segments", "name=rack%201") == [changed]
    for name in ("network_type", "network_id", "segmentation_id"):
        assert api.try_update("segments", row, **{name: row[name]}).error == (400, "HTTPBadRequest")


def test_another_segment_is_refused(api: Asker, network: Row) -> None:
    answer = api.try_create("segments", network_id=network["id"], network_type="vlan", segmentation_id=7)
    (row,) = api.list("segments")
    assert answer.error == (400, "InvalidInput") and network["id"] in answer.message and row["id"] in answer.message
    assert api.try_create("segments", network_id=NOBODY, network_type="vlan").error == (404, "NetworkNotFound")


def test_the_only_segment_stays(api: Asker, network: Row) -> None:
    (row,) = api.list("segments")
    answer = api.try_delete("segments", row)
    assert answer.error == (409, "SegmentInUse")
    assert answer.message.startswith(f"Segment '{row['id']}' cannot be deleted: ")


@pytest.mark.parametrize("segment", ["own", NOBODY])
def test_a_subnet_of_one_segment_alone_is_refused(api: Asker, network: Row, segment: str) -> None:
    (row,) = api.list("segments")
    wanted: dict[str, Any] = {"network_id": network["id"], "ip_version": 4, "cidr": "198.51.100.0/24"}
    answer = api.try_create("subnets", **wanted, segment_id=row["id"] if segment == "own" else segment)
    assert answer.error == (400, "InvalidInput") and "needs 'routed-segments'" in answer.message
    made = api.create("subnets", **wanted, segment_id=None)
    assert made["segment_id"] is None
    assert api.list("subnets", f"segment_id={row['id']}") == []
    assert api.try_update("subnets", made, segment_id=None).error == (400, "HTTPBadRequest")
