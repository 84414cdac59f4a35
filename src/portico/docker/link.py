# SPDX-License-Identifier: Apache-2.0
"""Links of the namespace that the plugin and the engine live in; only looked at, never changed."""

from __future__ import annotations

import socket
import time
from pathlib import Path

SOON_S = 0.25
LOOK_EVERY_S = 0.002


def is_here(name: str) -> bool:
    """Tell whether a link is in this namespace, and so in no container's."""
    return any(name == link for _, link in socket.if_nameindex())


def is_made_soon(name: str) -> bool:
    """Wait a moment for the agent to have made a link, and tell whether it has.

    Its alias (`ip link show`) is the last thing that the agent gives this end. The other end goes up only after the
    port's filter is in force, so whoever has the link now cannot use it too early.
    """
    alias = Path("/sys/class/net") / name / "ifalias"
    end_s = time.monotonic() + SOON_S
    while time.monotonic() < end_s:
        try:
            if alias.read_bytes().strip():
                return True
        except OSError:
            pass
        time.sleep(LOOK_EVERY_S)
    return False
