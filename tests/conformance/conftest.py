# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest
from conformance.keystone import Keystone

from conformance import keystone


@pytest.fixture(scope="session")
def identity() -> Iterator[Keystone]:
    """A Keystone with the accounts of `conformance.keystone`."""
    with keystone.running() as server:
        yield server
