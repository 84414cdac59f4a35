# SPDX-License-Identifier: Apache-2.0
"""Objects that are parts of others: their paths, who may see them, and how they are told of."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from portico.api.app import Api, make_app
from portico.api.collection import Service
from portico.api.openapi import document
from portico.backends.bridge import BridgeBackend
from portico.broker.broker import Broker
from portico.broker.hosts import HostStates
from portico.contract import Capabilities
from portico.errors import SettingsError
from portico.model.load import load
from portico.model.reference import pages
from portico.model.resource import Registry
from portico.policy.policy import Policy
from portico.rules.context import Limits
from portico.store import schema
from portico.store.store import Store

from .asker import Asker, Row

VPN = "{resource: vpn, plural: vpns, collection: far/vpns, extends: service, doc: A VPN.}"
TUNNEL = """
resource: tunnel
plural: tunnels
extends: service
parent: vpn
doc: A tunnel of a VPN.
policy: {get: 'rule:admin_only or project_id:%(ext_parent:project_id)s'}
attributes: {vpn_id: {allow_post: false, references: vpn, is_filter: false, doc: The VPN.}}
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("models")
    (folder / "vpn.yaml").write_text(VPN)
    # Read before its parent.
    (folder / "tunnel.yaml").write_text(TUNNEL)
    return load([folder])


class Realises(BridgeBackend):
    """Says that it realises VPNs and tunnels."""

    def describe(self) -> Capabilities:
        return msgspec.structs.replace(super().describe(), services=("vpn", "tunnel"))


@pytest.fixture(scope="module")
def parts(models: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('store')}/portico.db", models)
    schema.ensure(store)
    hosts = HostStates()
    limits = Limits({}, 1500, "fa:16:3e", "portico.test.", "red")
    api = Api(Service(store, 1000), Broker(store, hosts, [Realises(hosts)]), hosts, limits)
    with Asker(make_app(api)) as asker:
        yield asker
    store.close()


@pytest.fixture
def vpn(parts: Asker) -> Row:
    row: Row = parts.ask("POST", "far/vpns", {"vpn": {"name": "a"}}).body["vpn"]
    return row


def test_a_part_is_made_listed_changed_and_removed_inside_of_its_parent(parts: Asker, vpn: Row) -> None:
    other = parts.ask("POST", "far/vpns", {"vpn": {}}).body["vpn"]
    inside = f"far/vpns/{vpn['id']}/tunnels"
    made = parts.ask("POST", inside, {"tunnel": {"name": "t"}})
    assert made.status == 201 and made.body["tunnel"]["vpn_id"] == vpn["id"]
    one = f"{inside}/{made.body['tunnel']['id']}"
    assert [row["name"] for row in parts.get(inside)["tunnels"]] == ["t"]
    assert parts.get(f"{inside}?name=x")["tunnels"] == []
    assert parts.get(f"far/vpns/{other['id']}/tunnels")["tunnels"] == []
    assert parts.ask("PUT", one, {"tunnel": {"name": "u"}}).body["tunnel"]["name"] == "u"
    assert parts.get(one)["tunnel"]["name"] == "u"
    assert parts.ask("DELETE", one).status == 204
    assert parts.ask("GET", one).error == (404, "TunnelNotFound")


def test_pages_of_parts_have_links_to_where_they_are(parts: Asker, vpn: Row) -> None:
    inside = f"far/vpns/{vpn['id']}/tunnels"
    assert parts.ask("POST", inside, {"tunnels": [{"name": "1"}, {"name": "2"}]}).status == 201
    link, _ = parts.get(f"{inside}?limit=1")["tunnels_links"]
    assert f"/v2.0/{inside}?limit=1&marker=" in link["href"]


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_a_part_is_not_there_inside_of_another_object(parts: Asker, vpn: Row, verb: str) -> None:
    other = parts.ask("POST", "far/vpns", {"vpn": {}}).body["vpn"]
    made = parts.ask("POST", f"far/vpns/{vpn['id']}/tunnels", {"tunnel": {}}).body["tunnel"]
    body = {"tunnel": {"name": "x"}} if verb == "PUT" else None
    assert parts.ask(verb, f"far/vpns/{other['id']}/tunnels/{made['id']}", body).error == (404, "TunnelNotFound")
    assert parts.ask(verb, f"far/vpns/{uuid.uuid4()}/tunnels/{made['id']}", body).error == (404, "VpnNotFound")


def test_a_parent_that_is_not_there_has_no_parts(parts: Asker) -> None:
    nowhere = f"far/vpns/{uuid.uuid4()}/tunnels"
    assert parts.ask("GET", nowhere).error == (404, "VpnNotFound")
    assert parts.ask("POST", nowhere, {"tunnel": {}}).error == (404, "VpnNotFound")


def test_a_request_cannot_say_in_its_body_whose_part_it_makes(parts: Asker, vpn: Row) -> None:
    body = {"tunnel": {"vpn_id": vpn["id"]}}
    assert parts.ask("POST", f"far/vpns/{vpn['id']}/tunnels", body).status == 400


def test_openapi_and_reference_have_the_parent_in_the_path(models: Registry) -> None:
    described = document(models)
    path = "/v2.0/far/vpns/{vpn_id}/tunnels"
    assert [one["name"] for one in described["paths"][path]["parameters"]] == ["vpn_id"]
    assert [one["name"] for one in described["paths"][f"{path}/{{id}}"]["parameters"]] == ["vpn_id", "id"]
    assert f"`POST {path}`" in pages(models)["tunnel.md"]


def test_rules_of_parts_have_the_parent_s_name_and_may_ask_for_its_owner(models: Registry, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("update_vpn_tunnel: 'project_id:%(ext_parent:project_id)s'\n")
    Policy(models, file)
    file.write_text("get_vpn: 'project_id:%(ext_parent:project_id)s'\n")
    with pytest.raises(SettingsError, match="get_vpn"):
        Policy(models, file)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("parent: vpn", "parent: nothing", "there is no resource 'nothing'"),
        ("parent: vpn", "parent: tunnel", "there is no resource 'tunnel'"),
        ("references: vpn", "references: port", "one attribute must say that it references vpn"),
        ("doc: A tunnel", "tags: true\ndoc: A tunnel", "a part of another object"),
    ],
)
def test_a_model_whose_parent_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    (tmp_path / "vpn.yaml").write_text(VPN)
    assert old in TUNNEL
    (tmp_path / "tunnel.yaml").write_text(TUNNEL.replace(old, new, 1))
    with pytest.raises(SettingsError, match=words) as caught:
        load([tmp_path])
    assert str(tmp_path / "tunnel.yaml") in caught.value.message
