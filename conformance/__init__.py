# SPDX-License-Identifier: Apache-2.0
"""OpenStack's own API tests against Portico, beside a real Keystone: `python -m conformance`."""

from __future__ import annotations

from pathlib import Path

BIN = Path(__file__).parents[1] / ".venv-conformance" / "bin"
"""The programs of the environment that `make venv-conformance` makes from requirements.lock."""
