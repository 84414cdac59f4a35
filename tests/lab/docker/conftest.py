# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.testing.docker_site import DockerSite
from portico.testing.lab import Lab


@pytest.fixture(scope="module")
def module_site() -> Iterator[DockerSite]:
    # With routers: test_published.
    environment = {"PORTICO_HOST": "not-the-host-name", "PORTICO_DOCKER_GATEWAYS": "false"}
    with Lab() as lab, DockerSite(lab.host("one"), environment=environment) as site:
        yield site


@pytest.fixture
def site(module_site: DockerSite) -> Iterator[DockerSite]:
    """An engine without containers, and after the test nothing may be left of what it did."""
    yield module_site
    module_site.clear()
    module_site.wait_until_clean()
