# SPDX-License-Identifier: Apache-2.0
"""A lab host for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portico.testing.lab import Lab
from portico.testing.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Lab() as lab:
        yield Rig(lab.host("one"))
