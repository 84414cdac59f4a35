# SPDX-License-Identifier: Apache-2.0
"""The neutron backend keeps the contract, with a second Portico as its remote.

A world costs some forty requests there, so few are tried here; `make conformance` tries more.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portico.testing import strategies
from portico.testing.backend_suite import FEW, BackendSuite, example_world, overlapping_world
from portico.testing.medium import Medium
from portico.testing.remote_medium import RemoteMedium
from portico.testing.world import Edit, PutNetwork, PutSubnet, World

# What openstacksdk says of its own future.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]
EXAMPLES = int(os.environ.get("PORTICO_NEUTRON_EXAMPLES", "1"))
few = settings(FEW, max_examples=EXAMPLES)


def _body(test: Any) -> Any:
    """Return what a test of the suite does with one example."""
    return test.hypothesis.inner_test


def without_dhcp() -> tuple[World, list[list[Edit]]]:
    """Return a subnet that loses its DHCP server, which no API lets keep its address mode."""
    world = World()
    world.apply(PutNetwork(0), PutSubnet(0, 6, ra_mode="slaac"))
    return world, [[PutSubnet(0, 6, enable_dhcp=False, ra_mode="slaac")]]


class TestNeutron(BackendSuite):
    machine_examples = max(1, EXAMPLES // 4)
    fault_stride = 12 if EXAMPLES < 10 else 1

    def medium(self) -> Medium:
        return RemoteMedium()

    @few
    @given(strategies.worlds())
    def test_sync_twice_changes_nothing(self, world: World) -> None:
        _body(BackendSuite.test_sync_twice_changes_nothing)(self, world)

    @few
    @given(strategies.worlds(), st.randoms(use_true_random=False))
    def test_the_order_of_objects_is_irrelevant(self, world: World, random: Random) -> None:
        _body(BackendSuite.test_the_order_of_objects_is_irrelevant)(self, world, random)

    @few
    @given(strategies.worlds(), strategies.batches(4))
    def test_dirty_equals_everything(self, world: World, batches: list[list[Edit]]) -> None:
        _body(BackendSuite.test_dirty_equals_everything)(self, world, batches)

    @few
    @given(strategies.worlds(), strategies.batches(3))
    @example(*without_dhcp())
    def test_a_new_instance_converges_and_sweeps(self, world: World, batches: list[list[Edit]]) -> None:
        _body(BackendSuite.test_a_new_instance_converges_and_sweeps)(self, world, batches)

    @few
    @given(strategies.worlds())
    @example(example_world())
    @example(overlapping_world())
    def test_reachability_equals_the_oracle(self, world: World) -> None:
        _body(BackendSuite.test_reachability_equals_the_oracle)(self, world)
