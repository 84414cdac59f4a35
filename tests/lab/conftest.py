# SPDX-License-Identifier: Apache-2.0
"""The longest files go first, for whoever starts one last keeps everybody waiting."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of files that take a minute or more before all others."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
