# SPDX-License-Identifier: Apache-2.0
"""The fast part of what `python -m conformance` runs."""

from __future__ import annotations

import pytest
from conformance.keystone import Keystone
from conformance.outcome import failures, reasons, unexplained

from conformance import selection, suite

pytestmark = pytest.mark.long

LIMIT_S = 600
CHOSEN = selection.load()


@pytest.fixture(scope="session")
def done(identity: Keystone) -> suite.Run:
    return suite.run(CHOSEN, CHOSEN.patterns(fast=True), {}, identity, at_once=2, limit_s=LIMIT_S)


def test_all_that_were_chosen_have_a_result(done: suite.Run) -> None:
    assert {outcome.test.partition("[")[0] for outcome in done.outcomes} == set(CHOSEN.fast_tests())


@pytest.mark.parametrize("module", CHOSEN.modules)
def test_a_module_passes(done: suite.Run, module: str) -> None:
    found = [outcome for outcome in done.outcomes if outcome.module == module]
    assert unexplained(found, done.expected) == [], f"{failures(found)}\n{reasons(found, done.expected)}"
