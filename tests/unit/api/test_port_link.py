# SPDX-License-Identifier: Apache-2.0
"""What a port says of the network below it: data_plane_status and propagate_uplink_status."""

from __future__ import annotations

from typing import Any

import pytest

from .asker import Asker, Row


@pytest.fixture
def network(api: Asker) -> Row:
    return api.network("192.0.2.0/24")


def test_the_status_of_the_data_plane_is_what_an_update_said_last(api: Asker, network: Row) -> None:
    port = api.port(network, **{"binding:host_id": "h1"})
    assert port["data_plane_status"] is None
    for value in ("DOWN", "ACTIVE", None):
        changed = api.update("ports", port, data_plane_status=value)
        assert (changed["data_plane_status"], changed["status"]) == (value, port["status"])
        assert api.show("ports", port["id"])["data_plane_status"] == value


@pytest.mark.parametrize("value", ["UP", "active", "", 1, {}])
def test_the_data_plane_has_no_other_status(api: Asker, network: Row, value: Any) -> None:
    port = api.port(network)
    answer = api.try_update("ports", port, data_plane_status=value)
    assert answer.error == (400, "HTTPBadRequest") and "data_plane_status" in answer.message


def test_the_status_of_the_data_plane_is_not_for_creates(api: Asker, network: Row) -> None:
    answer = api.try_create("ports", network_id=network["id"], data_plane_status="ACTIVE")
    assert answer.error == (400, "HTTPBadRequest")
    assert answer.message == "Attribute 'data_plane_status' not allowed in POST of port"


def test_a_link_loses_its_carrier_with_its_port_or_network_unless_it_is_told_not_to(api: Asker, network: Row) -> None:
    port = api.port(network, **{"binding:host_id": "h1"})
    assert port["propagate_uplink_status"] is True
    for given, value in ((False, False), ("true", True), ("0", False)):
        assert api.update("ports", port, propagate_uplink_status=given)["propagate_uplink_status"] is value
    steady = api.port(network, propagate_uplink_status=False)
    found = {item["id"]: item["propagate_uplink_status"] for item in api.list("ports")}
    assert (found.pop(port["id"]), found.pop(steady["id"])) == (False, False)
    assert list(found.values()) == [True]  # the DHCP server's
    answer = api.try_update("ports", port, propagate_uplink_status="maybe")
    assert answer.error == (400, "InvalidInput") and "propagate_uplink_status" in answer.message
