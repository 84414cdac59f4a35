# SPDX-License-Identifier: Apache-2.0
"""Trunks: their subports, what is in use, and where subports go with the trunk's port."""

from __future__ import annotations

import pytest

from .asker import Asker, Row


def port(api: Asker, network: Row, **values: object) -> Row:
    return api.create("ports", network_id=network["id"], **values)


def subport(row: Row, vlan: object = 7, kind: str = "vlan") -> Row:
    return {"port_id": row["id"], "segmentation_type": kind, "segmentation_id": vlan}


@pytest.fixture
def net(api: Asker) -> Row:
    return api.create("networks", name="own")


@pytest.fixture
def other(api: Asker) -> Row:
    return api.create("networks", name="other")


def test_subports_are_added_shown_and_removed(api: Asker, net: Row, other: Row) -> None:
    own, first, second = port(api, net), port(api, other), port(api, other)
    trunk = api.create("trunks", port_id=own["id"], sub_ports=[subport(first)])
    assert (trunk["status"], trunk["sub_ports"], trunk["admin_state_up"]) == ("DOWN", [subport(first)], True)
    path = f"trunks/{trunk['id']}"
    added = api.ask("PUT", f"{path}/add_subports", {"sub_ports": [subport(second, "8")]})
    assert added.status == 200 and added.body["sub_ports"] == [subport(first), subport(second, 8)]
    assert api.get(f"{path}/get_subports") == {"sub_ports": added.body["sub_ports"]}
    details = api.get(f"ports/{own['id']}")["port"]["trunk_details"]
    assert details["trunk_id"] == trunk["id"]
    assert details["sub_ports"][1] == {**subport(second, 8), "mac_address": second["mac_address"]}
    assert api.get(f"ports/{first['id']}")["port"]["trunk_details"] is None
    removed = api.ask("PUT", f"{path}/remove_subports", {"sub_ports": [{"port_id": first["id"]}]})
    assert removed.body["sub_ports"] == [subport(second, 8)]
    assert api.try_delete("ports", first).status == 204
    assert api.try_delete("ports", second).error == (409, "PortInUseAsSubPort")
    assert api.try_delete("ports", own).error == (409, "PortInUseAsTrunkParent")
    api.delete("trunks", trunk)
    for row in (own, second):
        api.delete("ports", row)


def test_subports_go_where_the_trunks_port_is(api: Asker, net: Row, other: Row) -> None:
    own, first, second = port(api, net), port(api, other), port(api, other)
    trunk = api.create("trunks", port_id=own["id"], sub_ports=[subport(first)])
    api.update("ports", own, **{"binding:host_id": "h1"})
    add = {"sub_ports": [subport(second, 8)]}
    assert api.ask("PUT", f"trunks/{trunk['id']}/add_subports", add).status == 200
    for row in (first, second):
        there = api.get(f"ports/{row['id']}")["port"]
        assert (there["binding:host_id"], there["binding:vif_type"]) == ("h1", "tap")
        assert there["device_owner"] == "trunk:subport"
    assert api.try_delete("trunks", trunk).error == (409, "TrunkInUse")
    plugged = api.try_update("ports", own, **{"binding:profile": {"plug": "veth"}})
    assert plugged.error == (400, "InvalidInput") and "trunk" in plugged.message
    removed = {"sub_ports": [{"port_id": second["id"]}]}
    assert api.ask("PUT", f"trunks/{trunk['id']}/remove_subports", removed).status == 200
    api.update("ports", own, **{"binding:host_id": ""})
    for row in (first, second):
        there = api.get(f"ports/{row['id']}")["port"]
        assert (there["binding:host_id"], there["binding:vif_type"], there["device_owner"]) == ("", "unbound", "")
    api.delete("trunks", trunk)


def test_what_cannot_be_a_subport_is_refused(api: Asker, net: Row, other: Row) -> None:
    own, first, used = port(api, net), port(api, other), port(api, other, device_id="x")
    wide = port(api, api.create("networks", mtu=net["mtu"] + 1))
    trunk = api.create("trunks", port_id=own["id"], sub_ports=[subport(first)])
    free = port(api, other)
    absent = {"id": "00000000-0000-4000-8000-000000000001"}
    for item, error in (
        (subport(free), (409, "DuplicateSubPort")),
        (subport(first, 9), (409, "TrunkPortInUse")),
        (subport(own, 9), (409, "ParentPortInUse")),
        (subport(used, 9), (409, "PortInUse")),
        (subport(wide, 9), (409, "SubPortMtuGreaterThanTrunkPortMtu")),
        (subport(absent, 9), (404, "PortNotFound")),
        (subport(free, 0), (400, "InvalidInput")),
        (subport(free, 4095), (400, "InvalidInput")),
        (subport(free, "x"), (400, "InvalidInput")),
        (subport(free, 9, "vxlan"), (400, "InvalidInput")),
        (subport(free, 9, "inherit"), (400, "InvalidInput")),
        ({"port_id": free["id"], "segmentation_type": "vlan"}, (400, "HTTPBadRequest")),
    ):
        refused = api.ask("PUT", f"trunks/{trunk['id']}/add_subports", {"sub_ports": [item]})
        assert refused.error == error, item
    taken = api.try_create("trunks", port_id=own["id"])
    assert taken.error == (409, "ParentPortInUse") and f"that of trunk {trunk['id']}" in taken.message
    itself = api.try_create("trunks", port_id=free["id"], sub_ports=[subport(free)])
    assert itself.error == (409, "ParentPortInUse") and "that of trunk" not in itself.message, "there is none yet"
    assert api.try_create("trunks", port_id=first["id"]).error == (409, "TrunkPortInUse")
    missing = {"sub_ports": [{"port_id": free["id"]}]}
    assert api.ask("PUT", f"trunks/{trunk['id']}/remove_subports", missing).error == (404, "SubPortNotFound")
    api.update("trunks", trunk, admin_state_up=False)
    assert api.ask("PUT", f"trunks/{trunk['id']}/remove_subports", missing).error == (409, "TrunkDisabled")
    assert api.try_delete("trunks", trunk).error == (409, "TrunkDisabled")
