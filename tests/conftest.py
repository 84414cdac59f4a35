# SPDX-License-Identifier: Apache-2.0
"""Have pytest show the values in the shipped suites' assertions; said here because it must come before any import."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("portico.testing.backend_suite", "portico.testing.backend_machine")

pytest_plugins = ["portico.testing.promises"]
