# SPDX-License-Identifier: Apache-2.0
"""The operator's guide to backends says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from portico import settings
from portico.broker import installed
from portico.broker.choice import Choice
from portico.broker.hosts import HostStates

GUIDE = Path(__file__).parents[3] / "docs" / "backends.md"


def test_its_settings_can_be_used_and_choose_as_it_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    file = tmp_path / "portico.toml"
    file.write_text(block)
    loaded = settings.load(file, {}, {})
    variables = dict(re.findall(r'(PORTICO_BROKER_[A-Z]+)="([^"]+)"', GUIDE.read_text()))
    assert settings.load(None, {"backends": ",".join(loaded.backends)}, variables).broker == loaded.broker
    choice = Choice([installed.find(name)(HostStates(), "").describe() for name in loaded.backends], loaded.broker)
    assert choice.choose("web", None, None) == ("routed", "routed")
    assert choice.offered("web") == ("routed", "bridge")
    assert choice.choose("other", None, None)[0] == choice.offered("other")[0] == "bridge"
    assert settings.load(None, {}, {}).backends == loaded.backends, "the guide names the default"
