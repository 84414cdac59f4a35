# SPDX-License-Identifier: Apache-2.0
"""The bridge backend keeps the contract, with the agent's own loop and drivers on a kernel that fails when told to."""

from __future__ import annotations

from portico.testing.bridge_medium import FakeHostsMedium
from portico.testing.medium import Medium
from portico.testing.router_suite import RouterSuite


class TestBridge(RouterSuite):
    def medium(self) -> Medium:
        return FakeHostsMedium()
