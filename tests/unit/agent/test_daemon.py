# SPDX-License-Identifier: Apache-2.0
"""Processes that outlive the agent, as it holds them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from portico.agent.daemon import Daemon


def held() -> int:
    """Return how many processes are held by a descriptor."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += "pidfd" in str(entry.readlink())
    return found


def test_a_process_that_is_dropped_is_held_no_more_and_letting_go_twice_closes_nobody_elses() -> None:
    before = held()
    one = Daemon(os.getpid())
    assert held() == before + 1
    del one
    assert held() == before
    other = Daemon(os.getpid())
    other.close()
    third = Daemon(os.getpid())
    other.close()
    del other
    assert held() == before + 1
    third.close()
    assert held() == before
