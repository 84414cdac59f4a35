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


def test_the_link_of_every_port_follows_what_carries_it(api: Asker, network: Row) -> None:
    port = api.port(network, **{"binding:host_id": "h1"})
    assert port["propagate_uplink_status"] is True
    assert api.update("ports", port, propagate_uplink_status="true")["propagate_uplink_status"] is True
    assert {item["propagate_uplink_status"] for item in api.list("ports")} == {True}
    assert len(api.list("ports")) == 2


def test_a_link_that_stays_up_is_refused_by_a_backend_that_cannot_hold_it_up(api: Asker, network: Row) -> None:
    port = api.port(network)
    made = api.try_create("ports", network_id=network["id"], propagate_uplink_status=False)
    for answer in (made, api.try_update("ports", port, propagate_uplink_status=False)):
        assert answer.error == (400, "InvalidInput")
        assert "propagate_uplink_status False needs 'steady-link', which the bridge backend" in answer.message
    assert len(api.list("ports")) == 1
