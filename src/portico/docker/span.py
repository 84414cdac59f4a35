# SPDX-License-Identifier: Apache-2.0
"""Ports that follow each other, which one rule or port forwarding does for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby


def spans(ports: Iterable[int]) -> Iterator[range]:
    """Yield ports in order, those that follow each other as one range."""
    for _, run in groupby(enumerate(sorted({*ports})), lambda pair: pair[1] - pair[0]):
        found = [port for _, port in run]
        yield range(found[0], found[-1] + 1)
