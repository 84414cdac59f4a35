# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: how the shipped suites' assertions are shown, and that the longest files go first."""

from __future__ import annotations

import pytest

# Before any import of theirs.
pytest.register_assert_rewrite("portico.testing.backend_suite", "portico.testing.backend_machine")

pytest_plugins = ["portico.testing.promises"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put first the tests of files that take a minute or more: who starts one last keeps everybody waiting."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
