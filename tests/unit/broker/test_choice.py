# SPDX-License-Identifier: Apache-2.0
"""Which backend a network gets, by what it names and by the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from portico.broker.choice import Choice, name_backends, services_of
from portico.contract import Capabilities
from portico.errors import SettingsError, Unsupported
from portico.model.load import load
from portico.settings_broker import BrokerSettings
from portico.store.store import Store

BACKENDS = [
    Capabilities("bridge", ("local",), frozenset()),
    Capabilities("routed", ("routed", "flat"), frozenset()),
    Capabilities("wide", ("vxlan", "flat"), frozenset()),
]
SETTINGS = BrokerSettings(types={"flat": "wide"}, projects={"red": "routed bridge"})


@pytest.mark.parametrize(
    ("project", "backend", "network_type", "chosen"),
    [
        ("blue", None, None, ("bridge", "local")),
        ("red", None, None, ("routed", "routed")),
        ("red", None, "local", ("bridge", "local")),
        ("blue", None, "flat", ("wide", "flat")),
        ("blue", None, "vxlan", ("wide", "vxlan")),
        ("red", "wide", None, ("wide", "vxlan")),
        ("red", "routed", "flat", ("routed", "flat")),
    ],
)
def test_what_is_named_comes_first_then_the_settings(
    project: str, backend: str | None, network_type: str | None, chosen: tuple[str, str]
) -> None:
    assert Choice(BACKENDS, SETTINGS).choose(project, backend, network_type) == chosen


def test_of_backends_with_one_type_the_first_is_chosen() -> None:
    assert Choice(BACKENDS).choose("red", None, "flat") == ("routed", "flat")
    assert Choice(BACKENDS).choose("red", None, None) == ("bridge", "local")


@pytest.mark.parametrize(
    ("backend", "network_type", "words"),
    [
        ("carrier", None, "portico:backend 'carrier' is no backend here; known are: bridge, routed, wide"),
        ("", None, "portico:backend '' is no backend"),
        (None, "gre", "provider:network_type 'gre' is realised by no backend; known are: flat, local, routed, vxlan"),
        ("bridge", "flat", "provider:network_type 'flat' does not go with portico:backend 'bridge', which has: local"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(backend: str | None, network_type: str | None, words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        Choice(BACKENDS, SETTINGS).choose("red", backend, network_type)


def test_members_are_offered_their_projects_backends_else_the_first() -> None:
    choice = Choice(BACKENDS, SETTINGS)
    assert choice.offered("red") == ("routed", "bridge")
    assert choice.offered("blue") == ("bridge",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (BrokerSettings(types={"flat": "pigeon"}), "broker.types: 'pigeon' is none of the setting backends: bridge"),
        (BrokerSettings(types={"flat": "bridge"}), "broker.types: 'flat' is no type of the bridge backend: local"),
        (BrokerSettings(projects={"red": "bridge pigeon"}), "broker.projects: 'pigeon' is none"),
        (BrokerSettings(projects={"red": " "}), "broker.projects: 'red' names no backend"),
    ],
)
def test_settings_that_name_what_there_is_not_stop_the_start(settings: BrokerSettings, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        Choice(BACKENDS, settings)


def test_networks_of_before_get_the_backend_of_their_type(store: Store) -> None:
    of_type = {"a": "flat", "b": "gre", "c": "vxlan"}
    with store.write() as tx:
        for name, kind in of_type.items():
            backend = "bridge" if name == "c" else None
            values = {"id": name, "project_id": "red", "provider:network_type": kind, "portico:backend": backend}
            tx.insert("network", values)
    name_backends(store, Choice(BACKENDS, SETTINGS))
    with store.read() as tx:
        rows = [tx.get("network", name) for name in of_type]
    assert [row and row["portico:backend"] for row in rows] == ["wide", None, "bridge"]


def test_each_service_is_realised_by_one_backend_and_has_a_model(tmp_path: Path) -> None:
    (tmp_path / "vpn.yaml").write_text("resource: vpn\nplural: vpns\nextends: service\ndoc: A VPN.")
    registry = load([tmp_path])
    one, two = (Capabilities(name, (), frozenset(), services=("vpn",)) for name in ("one", "two"))
    assert services_of([one], registry) == {"vpn": "one"}
    with pytest.raises(SettingsError, match="'one' and 'two' both realise 'vpn'"):
        services_of([one, two], registry)
    with pytest.raises(SettingsError, match="'one' realises 'vpn': no installed package has its model"):
        services_of([one], load([]))
