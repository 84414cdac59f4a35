# SPDX-License-Identifier: Apache-2.0
"""Benchmarks compare fairly."""

from __future__ import annotations

from bench.containers import PLAIN, PORTICO, pairs_of


def test_each_side_of_a_pair_goes_first_every_other_time() -> None:
    order: list[str] = []

    def measure(network: str) -> float:
        order.append(network)
        return {PORTICO: 1.0, PLAIN: 2.0}[network]

    assert pairs_of(measure, 3) == [(1.0, 2.0)] * 3
    assert order == [PORTICO, PLAIN, PLAIN, PORTICO, PORTICO, PLAIN]
