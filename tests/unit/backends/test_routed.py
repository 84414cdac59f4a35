# SPDX-License-Identifier: Apache-2.0
"""The routed backend keeps the contract, with the agent's own loop and drivers on a kernel that fails when told to."""

from __future__ import annotations

from portico.testing.backend_machine import disagreements
from portico.testing.backend_suite import example_world, sync
from portico.testing.medium import Medium
from portico.testing.probes import probes
from portico.testing.routed_medium import FakeRoutedMedium
from portico.testing.router_suite import RouterSuite
from portico.testing.router_world import RouterWorld, put_in_scopes
from portico.testing.world import World
from portico.trace.way import verdict


class TestRouted(RouterSuite):
    machine_examples = 8
    ports_need_networks = False

    def medium(self) -> Medium:
        return FakeRoutedMedium()

    def fit(self, world: World) -> World:
        """Return a world in which no two networks have the same subnets: others are refused at admission."""
        return world.routed()

    def fit_routers(self, world: RouterWorld) -> RouterWorld:
        """See RouterSuite, and `fit`."""
        return world.routed()


def test_honest_and_false_senders_of_several_scopes_reach_whom_the_oracle_says() -> None:
    medium, world = FakeRoutedMedium(), example_world().routed()
    before = world.snapshot()
    put_in_scopes(world, {0: "a"})
    want = world.snapshot()
    assert any(verdict(before, packet) and not verdict(want, packet) for packet in probes(want))
    sync(medium, medium.make(), want)
    assert disagreements(medium, want) == []
