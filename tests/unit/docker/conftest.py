# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from portico import settings
from portico.testing.docker_calls import EngineCalls
from portico.testing.in_process import InProcessApi


@pytest.fixture(scope="module")
def module_settings(tmp_path_factory: pytest.TempPathFactory) -> settings.Settings:
    state = tmp_path_factory.mktemp("state")
    return settings.load(
        # With routers: test_outside.
        overrides={"state_dir": str(state), "host": "a-host-of-another-name", "docker.gateways": False},
        environment={},
        file=_empty(state),
    )


def _empty(folder: Path) -> Path:
    path = folder / "empty.toml"
    path.touch()
    return path


@pytest.fixture(scope="module")
def module_api(module_settings: settings.Settings) -> InProcessApi:
    return InProcessApi(module_settings)


@pytest.fixture
def api(module_api: InProcessApi) -> InProcessApi:
    """An API with nothing in it."""
    module_api.agents_run = True
    module_api.before = lambda _method, _path: None
    for collection in ("ports", "networks", "subnetpools"):
        for item in module_api.list(collection):
            module_api.delete(collection, item["id"])
    for item in module_api.list("security_groups"):
        if item["name"] != "default":
            module_api.delete("security_groups", item["id"])
    return module_api


@pytest.fixture
def engine(api: InProcessApi, module_settings: settings.Settings) -> EngineCalls:
    return EngineCalls(api, module_settings)
