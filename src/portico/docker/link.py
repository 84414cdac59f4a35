# SPDX-License-Identifier: Apache-2.0
"""Links of the namespace that the plugin and the engine live in; only looked at, never changed."""

from __future__ import annotations

import socket
import time
from pathlib import Path

SOON_S = 0.25
# At first, and then ever less often: while many containers start at once, links take longer.
LOOK_EVERY_S = 0.002
LOOK_LATER = 1 / 8


def is_here(name: str) -> bool:
    """Tell whether a link is in this namespace, and so in no container's."""
    return any(name == link for _, link in socket.if_nameindex())


def is_made_soon(name: str, mac: str) -> bool:
    """Wait a moment for the agent to have made a link with a MAC address, and tell whether it has.

    One with another MAC address is of the port as it was before: the agent is about to make it anew. The link's alias
    (`ip link show`) is the last thing that the agent gives this end. The other end goes up only after the port's filter
    is in force, so whoever has the link now cannot use it too early.
    """
    alias, address = (Path("/sys/class/net", name, attribute) for attribute in ("ifalias", "address"))
    begun = time.monotonic()
    while (waited_s := time.monotonic() - begun) < SOON_S:
        try:
            if alias.read_bytes().strip() and address.read_text().strip() == mac:
                return True
        except OSError:
            pass
        time.sleep(max(LOOK_EVERY_S, waited_s * LOOK_LATER))
    return False
