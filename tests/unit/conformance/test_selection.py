# SPDX-License-Identifier: Apache-2.0
"""The list of tests."""

from __future__ import annotations

import re

from conformance.outcome import module_of

from conformance import selection

CHOSEN = selection.load()


def test_a_module_is_matched_as_a_whole() -> None:
    patterns = [re.compile(pattern) for pattern in CHOSEN.patterns(fast=False)]
    found = [p.pattern for p in patterns if p.search("neutron_tempest_plugin.api.test_ports.PortsTest.test_x[id-1]")]
    assert found == [r"^neutron_tempest_plugin\.api\.test_ports\."]
    assert not any(p.search("tempest.api.network.test_ports_of_others.PortsTest.test_x") for p in patterns)


def test_the_fast_tests_cover_each_module() -> None:
    assert {module_of(test) for test in CHOSEN.fast_tests()} == set(CHOSEN.modules)


def test_a_fast_test_is_matched_with_its_tags_and_alone() -> None:
    pattern = CHOSEN.patterns(fast=True)[0]
    test = CHOSEN.fast_tests()[0]
    assert re.search(pattern, f"{test}[id-1,smoke]") and re.search(pattern, test)
    assert not re.search(pattern, f"{test}_again")
