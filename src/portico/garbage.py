# SPDX-License-Identifier: Apache-2.0
"""How often Python looks for garbage in a process that serves for long: API, agent and plugin."""

from __future__ import annotations

import gc

THRESHOLD = 10_000
"""How many more objects there are than were before when garbage is looked for; Python's own number is 700."""


def collect_less() -> None:
    """Have garbage looked for among what work makes, and not anew among what the program and its libraries are.

    Work leaves few cycles of references, but a list, or a pass over some ports, makes more objects than Python waits
    for before it looks.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)
