# SPDX-License-Identifier: Apache-2.0
"""A backend is found by its name, wherever it is installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portico.backends.bridge import BridgeBackend
from portico.broker import installed
from portico.broker.hosts import HostStates
from portico.errors import SettingsError

BACKEND = """
from portico.backends.bridge import BridgeBackend

class Pigeons(BridgeBackend):
    pass
"""


def test_a_backend_of_this_package_is_found() -> None:
    assert isinstance(installed.find("bridge")(HostStates(), "example.org"), BridgeBackend)


def test_each_backend_of_this_package_calls_itself_as_settings_do() -> None:
    for name, make in installed.IN_TREE.items():
        assert make(HostStates(), "").describe().name == name


def test_a_backend_of_another_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pigeon_networks.py").write_text(BACKEND)
    metadata = tmp_path / "pigeon_networks-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon-networks\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[portico.backends]\npigeon = pigeon_networks:Pigeons\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    made = installed.find("pigeon")(HostStates(), "")
    assert type(made).__name__ == "Pigeons"
    assert made.describe().name == "bridge"


def test_an_unknown_backend_stops_the_start_and_says_which_are_known() -> None:
    with pytest.raises(SettingsError, match="backends: 'carrier' is no installed backend; known are: bridge"):
        installed.find("carrier")
