# SPDX-License-Identifier: Apache-2.0
"""How often Python looks for garbage: in a process of its own, for it is about the process."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import gc
from portico.garbage import THRESHOLD, collect_less
found = []
gc.callbacks.append(lambda phase, about: found.append(phase))
def work():
    before = len(found)
    kept = [[] for _ in range(THRESHOLD // 2)]
    return len(found) - before
was = work()
collect_less()
print(was > 0, work(), gc.get_freeze_count() > 1000)
gc.callbacks.clear()
"""


def test_work_that_makes_some_objects_has_no_garbage_looked_for_and_never_among_what_was_there() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["True", "0", "True"]
