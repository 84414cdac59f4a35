# SPDX-License-Identifier: Apache-2.0
"""The routed backend keeps the contract, with the agent's own loop and drivers on a kernel that fails when told to."""

from __future__ import annotations

from portico.testing.medium import Medium
from portico.testing.routed_medium import FakeRoutedMedium
from portico.testing.router_suite import RouterSuite
from portico.testing.router_world import RouterWorld
from portico.testing.world import World


class TestRouted(RouterSuite):
    machine_examples = 8
    scopes_are_apart = False
    ports_need_networks = False

    def medium(self) -> Medium:
        return FakeRoutedMedium()

    def fit(self, world: World) -> World:
        """Return a world in which no two networks have the same subnets: others are refused at admission."""
        return world.routed()

    def fit_routers(self, world: RouterWorld) -> RouterWorld:
        """See RouterSuite, and `fit`."""
        return world.routed()
