# SPDX-License-Identifier: Apache-2.0
"""Conntrack helpers of routers: which there are, what is refused, and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico import settings
from portico.api.app import make_app
from portico.errors import Unsupported
from portico.store.store import Store
from portico.testing.in_process import InProcessApi

from .asker import Answer, Asker, Row
from .conftest import MakeApi

FTP: Row = {"helper": "ftp", "protocol": "tcp", "port": 21}


@pytest.fixture(scope="module")
def api(lasting_store: Store, make_api: MakeApi) -> Iterator[Asker]:
    with Asker(make_app(make_api(lasting_store))) as asker:
        yield asker


@pytest.fixture
def router(api: Asker) -> Row:
    return api.create("routers", name="r")


def ask(api: Asker, router: Row, method: str, row: Row | None = None, **body: Any) -> Answer:
    one = f"/{row['id']}" if row else ""
    wrapped = {"conntrack_helper": body} if method in ("POST", "PUT") else None
    return api.ask(method, f"routers/{router['id']}/conntrack_helpers{one}", wrapped)


def made(api: Asker, router: Row, **body: Any) -> Row:
    answer = ask(api, router, "POST", **body)
    assert answer.status == 201, answer
    row: Row = answer.body["conntrack_helper"]
    return row


def test_a_helper_from_its_start_to_its_end(api: Asker, router: Row) -> None:
    assert router["conntrack_helpers"] == []
    row = made(api, router, **FTP)
    assert row == {"id": row["id"], **FTP}
    made(api, router, helper="sip", protocol="udp", port="5060")
    shown = api.show("routers", router["id"])
    told = {(item["protocol"], item["port"], item["helper"]) for item in shown["conntrack_helpers"]}
    assert told == {("tcp", 21, "ftp"), ("udp", 5060, "sip")}
    assert shown["revision_number"] > router["revision_number"]
    assert ask(api, router, "PUT", row, port=2121).body["conntrack_helper"] == {**row, "port": 2121}
    assert ask(api, router, "GET", row).body["conntrack_helper"]["port"] == 2121
    path = f"routers/{router['id']}/conntrack_helpers?protocol=tcp&fields=helper"
    assert api.get(path)["conntrack_helpers"] == [{"helper": "ftp"}]
    other = api.create("routers")
    assert ask(api, other, "GET", row).error == (404, "ConntrackHelperNotFound")
    assert ask(api, other, "GET").body == {"conntrack_helpers": []}
    assert made(api, other, **FTP)["id"] != row["id"]
    assert ask(api, router, "DELETE", row).status == 204
    assert [item["helper"] for item in api.show("routers", router["id"])["conntrack_helpers"]] == ["sip"]
    api.delete("routers", router)
    assert ask(api, router, "GET").error == (404, "RouterNotFound")


def test_what_there_is_not_and_what_is_there_already_is_refused(api: Asker, router: Row) -> None:
    assert ask(api, router, "POST", **{**FTP, "helper": "h323"}).error == (400, "ConntrackHelperNotAllowed")
    answer = ask(api, router, "POST", **{**FTP, "protocol": "udp"})
    assert answer.error == (400, "InvalidProtocolForHelper")
    assert answer.message == "Conntrack Helper ftp does not support: udp. Supported protocols are: tcp"
    assert ask(api, router, "POST", **{**FTP, "port": 65536}).status == 400
    one, two = made(api, router, **FTP), made(api, router, **{**FTP, "port": 2121})
    assert ask(api, router, "POST", **FTP).error == (400, "BadRequest")
    answer = ask(api, router, "PUT", two, port=21)
    assert answer.error == (400, "BadRequest")
    assert one["id"] in answer.message
    assert ask(api, router, "PUT", two, helper="tftp").error == (400, "InvalidProtocolForHelper")
    assert ask(api, router, "PUT", two, port=2121).status == 200, "itself is no other one"


def test_a_router_on_routed_networks_has_none(tmp_path: Path) -> None:
    (empty := tmp_path / "empty.toml").touch()
    found = settings.load(empty, {"state_dir": str(tmp_path), "host": "h", "backends": ["bridge", "routed"]}, {})
    routed = InProcessApi(found)
    network = routed.create("networks", {"portico:backend": "routed"})["id"]
    subnet = {"network_id": network, "cidr": "10.9.0.0/24", "ip_version": 4}
    joined = {"subnet_id": routed.create("subnets", subnet)["id"]}
    one, two = (routed.create("routers", {})["id"] for _ in range(2))
    routed.request("PUT", f"/v2.0/routers/{one}/add_router_interface", joined)
    with pytest.raises(Unsupported, match="needs 'conntrack-helpers', which the routed backend does not realise"):
        routed.create(f"routers/{one}/conntrack_helpers", FTP)
    routed.create(f"routers/{two}/conntrack_helpers", FTP)
    with pytest.raises(Unsupported, match="needs 'conntrack-helpers'"):
        routed.request("PUT", f"/v2.0/routers/{two}/add_router_interface", joined)
