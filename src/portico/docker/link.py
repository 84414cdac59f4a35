# SPDX-License-Identifier: Apache-2.0
"""Links of the namespace that the plugin and the engine live in; only looked at, never changed."""

from __future__ import annotations

import os
import socket
import time

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
    alias, address = (f"/sys/class/net/{name}/{attribute}" for attribute in ("ifalias", "address"))
    begun = time.monotonic()
    while (waited_s := time.monotonic() - begun) < SOON_S:
        try:
            if _read(alias) and _read(address) == mac.encode():
                return True
        except OSError:
            pass
        time.sleep(max(LOOK_EVERY_S, waited_s * LOOK_LATER))
    return False


def _read(path: str) -> bytes:
    """Return a short file of sysfs. It is looked at often, and pathlib takes several times as long."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 4096).strip()
    finally:
        os.close(descriptor)
